//! Can I reach the neutral network? ICMP echo to the configured addresses; one answer is enough.
//!
//! **When the verdict comes.** At once when every address has answered or cannot be asked (no route, interface down, an ICMP
//! error came back); a moment after the first answer; at the timeout when there is none. Never later: somebody's takeover
//! waits for it. A slower address's answer is not lost: it stands in the next verdict that has an answer of its own.
//!
//! **What counts.** Only an echo reply to this very question. The loop being late makes no answer late: at the timeout, what
//! the kernel already holds is read first.
//!
//! **Sockets** are opened anew when the interface has been made anew, and after a question nobody answered, so that no state
//! of an old one can make the arbitrator look unreachable for ever.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use avamgr_core::config::ArbitratorConfig;
use avamgr_core::node::Input;
use avamgr_core::node::action::AskId;
use avamgr_core::time::Instant;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use surge_ping::{Client, ICMP, IcmpPacket, PingIdentifier, PingSequence, SurgeError};
use tokio::time::sleep;

use crate::clock;
use crate::inputs::Inputs;
use crate::links::{Interface, sys};

/// How long the other addresses may still answer after the first: what a local network needs, and far below any budget.
const GRACE: Duration = Duration::from_millis(1);
/// Added to surge-ping's own timeout, which must never be the one that ends a question.
const MARGIN: Duration = Duration::from_secs(1);
/// Turns given to the receiving task after the timeout, so that it reads what the kernel holds.
const LAST_LOOKS: usize = 3;
/// As the program `ping` sends.
const PAYLOAD: [u8; 56] = [0; 56];
/// Receive buffer: raw sockets get every ICMP packet of the host, and lose answers in bursts.
const RECEIVE_BYTES: i32 = 1024 * 1024;
/// As heartbeats: ahead of other traffic.
const CLASS: i32 = 0xc0;
const PRIORITY: i32 = 6;

// Of Linux's icmp.h and icmpv6.h.
const ICMP_FILTER: i32 = 1;
const ECHO_REPLY: u32 = 0;
const UNREACHABLE: u32 = 3;
const TIME_EXCEEDED: u32 = 11;
const ICMP6_FILTER: i32 = 1;
const V6_UNREACHABLE: u32 = 1;
const V6_TIME_EXCEEDED: u32 = 3;
const V6_ECHO_REPLY: u32 = 129;

/// Pings the arbitrator's addresses.
#[derive(Clone)]
pub struct Pinger(Arc<Inner>);

struct Inner {
    addresses: Vec<IpAddr>,
    interface: Option<Arc<Interface>>,
    inputs: Inputs,
    sequence: AtomicU16,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    clients: Clients,
    /// Answers that came after their verdict, per address.
    late: Vec<Option<Duration>>,
    trouble: Option<io::Error>,
}

/// One socket per family, opened when needed.
#[derive(Clone, Default)]
struct Clients {
    v4: Option<Client>,
    v6: Option<Client>,
    /// Echo identifier of both: random, so that nobody else's answers are taken for ours.
    ident: u16,
    /// Number of the interface they were opened on.
    interface: Option<u32>,
}

impl Pinger {
    /// A pinger that answers through `inputs`; its pings leave through `interface`, or as the routing table says.
    pub fn new(config: &ArbitratorConfig, interface: Option<Arc<Interface>>, inputs: Inputs) -> Self {
        let addresses = config.ping.clone();
        let state = Mutex::new(State { late: vec![None; addresses.len()], ..State::default() });
        Self(Arc::new(Inner { addresses, interface, inputs, sequence: AtomicU16::new(0), state }))
    }

    /// Pings every address once and hands over the verdict. Returns at once; must be called within a runtime. Any number of
    /// questions may be under way.
    pub fn ask(&self, ask: AskId, timeout: Duration) {
        let inner = Arc::clone(&self.0);
        let asked = clock::now();
        tokio::spawn(async move { inner.question(ask, asked, timeout).await });
    }

    /// Why the last question could not be asked, in words.
    pub fn trouble(&self) -> Option<String> {
        self.0.state().trouble.as_ref().map(io::Error::to_string)
    }
}

impl Inner {
    async fn question(&self, ask: AskId, asked: Instant, timeout: Duration) {
        let mut answers = vec![None; self.addresses.len()];
        // Held until the end: a client that is let go fails the pings of every question under way.
        let clients = self.clients();
        let mut pings: FuturesUnordered<_> =
            (0..).zip(&self.addresses).map(|(index, address)| self.ping(&clients, index, *address, timeout)).collect();
        let mut deadline = Box::pin(sleep(timeout));
        let end = deadline.deadline();
        let mut answered = false;
        loop {
            tokio::select! {
                biased;
                next = pings.next() => match next {
                    Some((index, Some(time))) => {
                        note(&mut answers, index, time);
                        if !answered {
                            answered = true;
                            deadline.as_mut().reset(end.min(tokio::time::Instant::now() + GRACE));
                        }
                    }
                    Some((_, None)) => {}
                    None => break,
                },
                () = &mut deadline => {
                    last_looks(&mut pings, &mut answers).await;
                    break;
                }
            }
        }
        self.decide(&mut answers);
        self.inputs.send(Input::Verdict { ask, asked, answers }).await;
        // Who answers now answers too late for this verdict.
        let _ = tokio::time::timeout_at(end, async {
            while let Some((index, answer)) = pings.next().await {
                note_option(&mut self.state().late, index, answer);
            }
        })
        .await;
    }

    /// Completes the answers with late ones of the question before, if there is an answer at all; otherwise lets go of the
    /// sockets.
    fn decide(&self, answers: &mut [Option<Duration>]) {
        let mut state = self.state();
        if answers.iter().all(Option::is_none) {
            state.clients = Clients::default();
            state.late.fill(None);
            return;
        }
        for (answer, late) in answers.iter_mut().zip(&mut state.late) {
            *answer = answer.or(late.take());
        }
    }

    /// One ping: its place and the time to the echo reply, `None` for anything else.
    async fn ping(
        &self,
        clients: &Clients,
        index: usize,
        address: IpAddr,
        timeout: Duration,
    ) -> (usize, Option<Duration>) {
        let client = match address {
            IpAddr::V4(_) => clients.v4.as_ref(),
            IpAddr::V6(_) => clients.v6.as_ref(),
        };
        let Some(client) = client else { return (index, None) };
        // Unique among the questions under way: the sequence goes up with each address of each question.
        let sequence = PingSequence(self.sequence.fetch_add(1, Ordering::Relaxed));
        let mut pinger = client.pinger(address, PingIdentifier(clients.ident)).await;
        pinger.timeout(timeout + MARGIN);
        if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            pinger.scope_id(clients.interface.unwrap_or(0));
        }
        let result = pinger.ping(sequence, &PAYLOAD).await;
        (index, self.answer(result))
    }

    /// An ICMP error comes back as a success: only an echo reply is one.
    fn answer(&self, result: Result<(IcmpPacket, Duration), SurgeError>) -> Option<Duration> {
        match result {
            Ok((IcmpPacket::V4(packet), time)) => (u32::from(packet.get_icmp_type().0) == ECHO_REPLY).then_some(time),
            Ok((IcmpPacket::V6(packet), time)) => {
                (u32::from(packet.get_icmpv6_type().0) == V6_ECHO_REPLY).then_some(time)
            }
            Err(SurgeError::IOError(error)) => {
                self.state().trouble = Some(error);
                None
            }
            Err(
                SurgeError::IncorrectBufferSize
                | SurgeError::MalformedPacket(_)
                | SurgeError::Timeout { .. }
                | SurgeError::EchoRequestPacket
                | SurgeError::NetworkError
                | SurgeError::IdenticalRequests { .. }
                | SurgeError::ClientDestroyed,
            ) => None,
        }
    }

    /// The sockets to ask with, opened where necessary; none while frames cannot pass.
    fn clients(&self) -> Clients {
        let index = self.interface.as_ref().and_then(|interface| interface.index());
        let mut state = self.state();
        state.trouble = None;
        if self.interface.as_ref().is_some_and(|interface| interface.up() == Some(false)) {
            state.trouble = Some(io::Error::from_raw_os_error(libc::ENETDOWN));
            return Clients::default();
        }
        if state.clients.interface != index {
            state.clients = Clients { interface: index, ..Clients::default() };
        }
        let name = self.interface.as_ref().map(|interface| interface.name());
        let opened = state.clients.open(&self.addresses, name);
        state.trouble = opened.err();
        state.clients.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nobody leaves it half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clients {
    /// Opens what is missing for these addresses; one family's failure leaves the other working.
    fn open(&mut self, addresses: &[IpAddr], interface: Option<&str>) -> io::Result<()> {
        if self.v4.is_none() && self.v6.is_none() {
            self.ident = getrandom::u32().map_or(0, |number| (number >> 16) as u16);
        }
        let (mut v4, mut v6) = (Ok(()), Ok(()));
        if self.v4.is_none() && addresses.iter().any(IpAddr::is_ipv4) {
            v4 = client(ICMP::V4, interface).map(|client| self.v4 = Some(client));
        }
        if self.v6.is_none() && addresses.iter().any(IpAddr::is_ipv6) {
            v6 = client(ICMP::V6, interface).map(|client| self.v6 = Some(client));
        }
        v4.and(v6)
    }
}

fn client(kind: ICMP, interface: Option<&str>) -> io::Result<Client> {
    let mut config = surge_ping::Config::builder().kind(kind).sock_type_hint(socket2::Type::RAW);
    if let Some(interface) = interface {
        config = config.interface(interface);
    }
    let client = Client::new(&config.build())?;
    let socket = client.get_socket();
    let fd = socket.get_native_sock();
    // None of these is needed for an answer, so none of them may stand in its way.
    let _ = sys::set_int(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BYTES)
        .or_else(|_| sys::set_int(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BYTES));
    if socket.get_type() == socket2::Type::RAW {
        let _ = set_filter(fd, kind);
    }
    let _ = match kind {
        ICMP::V4 => sys::set_int(&fd, libc::IPPROTO_IP, libc::IP_TOS, CLASS),
        ICMP::V6 => sys::set_int(&fd, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, CLASS),
    };
    let _ = sys::set_int(&fd, libc::SOL_SOCKET, libc::SO_PRIORITY, PRIORITY);
    Ok(client)
}

/// Keeps what is neither an answer nor an error about a question from waking us: a raw socket gets all of the host's ICMP.
fn set_filter(fd: std::os::fd::RawFd, kind: ICMP) -> io::Result<()> {
    match kind {
        ICMP::V4 => {
            let pass = 1 << ECHO_REPLY | 1 << UNREACHABLE | 1 << TIME_EXCEEDED;
            sys::set_int(&fd, libc::SOL_RAW, ICMP_FILTER, !pass)
        }
        ICMP::V6 => {
            // 256 types, 32 to a word; a set bit is kept out.
            let mut filter = [u32::MAX; 8];
            for kind in [V6_UNREACHABLE, V6_TIME_EXCEEDED, V6_ECHO_REPLY] {
                if let Some(word) = filter.get_mut((kind / 32) as usize) {
                    *word &= !(1 << (kind % 32));
                }
            }
            let bytes: Vec<u8> = filter.iter().flat_map(|word| word.to_ne_bytes()).collect();
            sys::set_bytes(&fd, libc::IPPROTO_ICMPV6, ICMP6_FILTER, &bytes)
        }
    }
}

/// After a stall the timeout and the answer come to light together: looks whether the answer is there.
async fn last_looks<F>(pings: &mut FuturesUnordered<F>, answers: &mut [Option<Duration>])
where
    F: Future<Output = (usize, Option<Duration>)>,
{
    for _ in 0..LAST_LOOKS {
        tokio::task::yield_now().await;
        while let Some(Some((index, answer))) = pings.next().now_or_never() {
            note_option(answers, index, answer);
        }
    }
}

fn note(answers: &mut [Option<Duration>], index: usize, time: Duration) {
    note_option(answers, index, Some(time));
}

fn note_option(answers: &mut [Option<Duration>], index: usize, answer: Option<Duration>) {
    if let Some(place) = answers.get_mut(index) {
        *place = answer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_that_is_already_there_is_not_too_late() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut pings: FuturesUnordered<_> = [async move { (1, receiver.await.ok()) }].into_iter().collect();
        assert!(pings.next().now_or_never().is_none());
        // The receiving task has been woken and not run yet.
        tokio::spawn(async move { sender.send(Duration::from_millis(3)) });
        let mut answers = vec![None; 2];
        last_looks(&mut pings, &mut answers).await;
        assert_eq!(answers, [None, Some(Duration::from_millis(3))]);
    }
}
