//! The carrier watch: which of our interfaces can pass frames, told by the kernel the moment it changes.
//!
//! One netlink socket listens to link changes. What it tells is kept in each [`Interface`] and handed to the loop as
//! `Input::Carrier`, once at the start and then at each change.
//!
//! Two things the kernel does are worked around here:
//! * It answers questions (and dumps) under a lock that others may hold for a long time, while thousands of addresses are
//!   added, say. So questions are asked from another thread, and never as a dump, which would go on in our `recv`.
//! * It announces losses of physical carriers at most once a second, for all interfaces of the machine together. So for a
//!   second after each change of any interface we ask on our own: a power-off takes two carriers, and only the first would
//!   be told at once.
//!
//! Never here: waiting, or a word about interfaces nobody named.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use avamgr_core::cluster::LinkId;
use avamgr_core::node::Input;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep, sleep_until};

use super::interface::Interface;
use super::notice::{Notice, notices};
use super::sys::{self, Reading};

/// The multicast group of link changes (`RTMGRP_LINK` of Linux's rtnetlink.h).
const LINK_CHANGES: u32 = 1;
/// Bytes of one message of the kernel: it never sends more at a time when it is not asked for a dump.
const MESSAGE_BYTES: usize = 32 * 1024;
/// Messages handled in one turn; what is left wakes us again.
const TURN: usize = 64;
/// From a change to the first question of our own.
const FIRST_QUESTION: Duration = Duration::from_millis(1);
/// Between two questions of our own.
const QUESTION_PACE: Duration = Duration::from_millis(10);
/// For how long we ask after a change: somewhat longer than the second in which the kernel keeps a loss to itself.
const QUESTION_TIME: Duration = Duration::from_millis(1_100);

/// An interface, and what was known of it when somebody last looked for news.
#[derive(Debug)]
struct Watched {
    interface: Arc<Interface>,
    before: Option<bool>,
}

/// A link and the interfaces that carry it.
#[derive(Debug)]
struct User {
    link: LinkId,
    interfaces: Vec<Arc<Interface>>,
    told: Option<bool>,
}

/// The watch over all our interfaces.
pub struct Carriers {
    socket: AsyncFd<Arc<Socket>>,
    /// The socket's number for the kernel.
    port: u32,
    watched: Vec<Watched>,
    users: Vec<User>,
    buffer: Vec<u8>,
    /// Our own questions: the next one, and when they end.
    questions: Option<(Pin<Box<Sleep>>, Instant)>,
    /// A question has not been taken by the kernel yet: it may have to wait for others there.
    asking: Arc<AtomicBool>,
}

impl Carriers {
    /// Listens from now on and asks after the present state of each interface; `users` are the links with their interfaces.
    /// Must be called within a runtime.
    pub fn open(interfaces: Vec<Arc<Interface>>, users: Vec<(LinkId, Vec<Arc<Interface>>)>) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, LINK_CHANGES))?;
        let mut address = SocketAddr::new(0, 0);
        socket.get_address(&mut address)?;
        let port = address.port_number();
        socket.set_non_blocking(true)?;
        let watched = interfaces.into_iter().map(|interface| Watched { interface, before: None }).collect();
        let users = users.into_iter().map(|(link, interfaces)| User { link, interfaces, told: None }).collect();
        let socket = sys::watched(Arc::new(socket), Interest::READABLE)?;
        let buffer = Vec::with_capacity(MESSAGE_BYTES);
        let mut carriers = Self { socket, port, watched, users, buffer, questions: None, asking: Arc::default() };
        carriers.ask();
        carriers.go_on_asking();
        Ok(carriers)
    }

    /// Waits until `receive` has something to do. May be dropped at any time.
    pub async fn readable(&mut self) {
        poll_fn(|cx| self.poll_readable(cx)).await;
    }

    /// As `readable`.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((sleep, _)) = &mut self.questions
            && sleep.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(());
        }
        // An error of the socket shows when it is read.
        self.socket.poll_read_ready(cx).map(|_| ())
    }

    /// Takes note of what the kernel has said, without waiting, and hands over what is new.
    pub fn receive(&mut self, sink: &mut impl FnMut(Input)) {
        self.read(Reading::WhenReady, sink);
    }

    /// As `receive`, after a stall.
    pub fn drain(&mut self, sink: &mut impl FnMut(Input)) {
        self.read(Reading::Always, sink);
    }

    pub(super) fn read(&mut self, reading: Reading, sink: &mut impl FnMut(Input)) {
        self.ask_when_due();
        for _ in 0..TURN {
            self.buffer.clear();
            let buffer = &mut self.buffer;
            match sys::read(&self.socket, reading, |socket| Ok((socket.recv_from(buffer, 0)?, false))) {
                // Only port 0 is the kernel; any process may send us a message.
                Some(Ok((_, from))) if from.port_number() != 0 => {}
                Some(Ok(_)) => self.take_note(sink),
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Too much was said at once (ENOBUFS) and some of it is lost.
                Some(Err(_)) => self.ask(),
                None => return,
            }
        }
    }

    fn take_note(&mut self, sink: &mut impl FnMut(Input)) {
        let (mut changed, mut unsure) = (false, false);
        for notice in notices(self.port, &self.buffer) {
            changed |= notice.is_change();
            for (number, watched) in (1..).zip(self.watched.iter_mut()) {
                unsure |= watched.take_note(number, &notice);
                changed |= watched.has_news();
            }
            self.users.iter_mut().for_each(|user| user.tell(sink));
        }
        if unsure {
            self.ask();
        }
        if changed {
            self.go_on_asking();
        }
    }

    /// From now on and for a while we ask on our own.
    fn go_on_asking(&mut self) {
        let now = Instant::now();
        let next = now + FIRST_QUESTION;
        match &mut self.questions {
            Some((sleep, end)) => {
                *end = now + QUESTION_TIME;
                if sleep.deadline() > next {
                    sleep.as_mut().reset(next);
                }
            }
            None => self.questions = Some((Box::pin(sleep_until(next)), now + QUESTION_TIME)),
        }
    }

    fn ask_when_due(&mut self) {
        let Some((sleep, end)) = &mut self.questions else { return };
        let now = Instant::now();
        if sleep.deadline() > now {
            return;
        }
        if now < *end {
            sleep.as_mut().reset(now + QUESTION_PACE);
        } else {
            self.questions = None;
        }
        self.ask();
    }

    /// Asks after each interface by name, from another thread. The answers come in with the changes, in order.
    pub fn ask(&self) {
        if self.asking.swap(true, Ordering::Relaxed) {
            return;
        }
        let request = questions(self.watched.iter().map(|watched| watched.interface.name()));
        let (socket, asking) = (Arc::clone(self.socket.get_ref()), Arc::clone(&self.asking));
        tokio::task::spawn_blocking(move || {
            // What is not answered now is told at the next change, and a link without carrier is silent anyway.
            let _ = socket.send_to(&request, &SocketAddr::new(0, 0), 0);
            asking.store(false, Ordering::Relaxed);
        });
    }
}

impl Watched {
    /// Takes note of one notice; `number` is the question's. `true` = somebody had better ask again.
    fn take_note(&self, number: u32, notice: &Notice<'_>) -> bool {
        let ours = |index: u32| self.interface.index() == Some(index);
        match *notice {
            Notice::Link { question, index, name, up } => {
                let answer = question == number;
                let change = question == 0 && name == self.interface.name();
                // Ours under another name: either it was renamed, or the config has one of its other names. A loss is
                // believed meanwhile.
                let unsure = question == 0 && !change && ours(index);
                if answer || change || (unsure && !up) {
                    self.interface.set(index, up);
                }
                return unsure;
            }
            Notice::Gone { index } if ours(index) => self.interface.set(0, false),
            Notice::NoSuchInterface { question } if question == number => self.interface.set(0, false),
            Notice::Gone { .. } | Notice::NoSuchInterface { .. } => {}
        }
        false
    }

    /// Whether it has changed since this was last asked.
    fn has_news(&mut self) -> bool {
        let now = self.interface.up();
        std::mem::replace(&mut self.before, now) != now
    }
}

impl User {
    /// Hands over what is new. One interface that can pass frames is enough.
    fn tell(&mut self, sink: &mut impl FnMut(Input)) {
        let mut states = self.interfaces.iter().map(|interface| interface.up());
        let up = match states.clone().any(|up| up == Some(true)) {
            true => true,
            // Perhaps one that nobody has looked at yet.
            false if states.any(|up| up.is_none()) => return,
            false => false,
        };
        if self.told.replace(up) != Some(up) {
            sink(Input::Carrier { link: self.link, up });
        }
    }
}

/// One question per name, numbered from 1, as bytes of one message.
fn questions<'a>(names: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, name) in (1..).zip(names) {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        header.sequence_number = number;
        let mut question = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::GetLink(message)));
        question.finalize();
        let start = bytes.len();
        // Messages begin at multiples of four bytes.
        bytes.resize(start + question.buffer_len().next_multiple_of(4), 0);
        question.serialize(&mut bytes[start..]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId(1);

    /// What the watch over `eth3`, number 7 and up, the second one asked after, makes of notices: who has to ask, what is known,
    /// what is told.
    fn after(told: &[Notice<'_>]) -> (bool, Option<u32>, Vec<bool>) {
        let interface = Arc::new(Interface::new("eth3"));
        interface.set(7, true);
        let mut user = User { link: LINK, interfaces: vec![Arc::clone(&interface)], told: Some(true) };
        let mut watched = Watched { interface, before: Some(true) };
        let (mut asks, mut changes, mut heard) = (false, Vec::new(), 0);
        for notice in told {
            asks |= watched.take_note(2, notice);
            user.tell(&mut |input| changes.push(carrier(&input)));
            assert_eq!(watched.has_news(), changes.len() > heard, "{notice:?}");
            heard = changes.len();
        }
        (asks, watched.interface.index(), changes)
    }

    fn carrier(input: &Input) -> bool {
        let Input::Carrier { link: LINK, up } = input else { panic!("{input:?}") };
        *up
    }

    #[test]
    fn a_link_has_a_carrier_while_one_of_its_interfaces_has() {
        let interfaces = ["eth3", "eth4"].map(|name| Arc::new(Interface::new(name)));
        let mut user = User { link: LINK, interfaces: interfaces.to_vec(), told: None };
        let mut told = |place: usize, up: bool| {
            interfaces[place].set(7, up);
            let mut told: Vec<bool> = Vec::new();
            user.tell(&mut |input| told.push(carrier(&input)));
            told
        };
        assert_eq!(told(0, false), [false; 0], "the other one is not known yet");
        assert_eq!(told(1, true), [true]);
        assert_eq!((told(0, true), told(1, false)), (vec![], vec![]));
        assert_eq!(told(0, false), [false]);
        assert_eq!(told(1, true), [true]);
    }

    fn link(question: u32, index: u32, name: &str, up: bool) -> Notice<'_> {
        Notice::Link { question, index, name, up }
    }

    #[test]
    fn changes_of_our_interface_are_told_once() {
        let changes = [link(0, 7, "eth3", false), link(0, 7, "eth3", false), link(0, 7, "eth3", true)];
        assert_eq!(after(&changes), (false, Some(7), vec![false, true]));
        assert_eq!(after(&[Notice::Gone { index: 7 }]), (false, None, vec![false]));
        assert_eq!(after(&[link(0, 9, "eth3", true)]), (false, Some(9), vec![]), "made anew");
    }

    #[test]
    fn other_interfaces_do_not_matter() {
        let others = [link(0, 8, "eth4", false), Notice::Gone { index: 8 }, Notice::NoSuchInterface { question: 1 }];
        assert_eq!(after(&others), (false, Some(7), vec![]));
    }

    #[test]
    fn an_answer_counts_for_the_interface_asked_after() {
        assert_eq!(after(&[Notice::NoSuchInterface { question: 2 }]), (false, None, vec![false]));
        assert_eq!(after(&[link(2, 7, "its-other-name", false)]), (false, Some(7), vec![false]));
        assert_eq!(after(&[link(1, 8, "eth4", false)]), (false, Some(7), vec![]));
    }

    #[test]
    fn under_another_name_only_a_loss_is_believed_and_somebody_asks() {
        assert_eq!(after(&[link(0, 7, "other", false)]), (true, Some(7), vec![false]));
        assert_eq!(after(&[link(0, 7, "eth3", false), link(0, 7, "other", true)]), (true, Some(7), vec![false]));
    }
}
