//! One link at one node: its socket, who may speak on it, its counters.
//!
//! A link looks after itself. While its interface is missing it has no socket; when the interface is (back) there it opens
//! one; an error of one frame is counted and forgotten. It shares nothing with the other links.
//!
//! In a flood it reads in turns with a pause after each: the flood may cost frames of this link, not the processor that the
//! other links need.
//!
//! Never here: waiting. A frame that cannot be sent now is dropped.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use avamgr_core::cluster::{LinkId, NodeId};
use avamgr_core::config::LinkConfig;
use avamgr_core::node::Input;
use avamgr_core::time::Instant;
use avamgr_core::wire::Heartbeat;
use avamgr_core::wire::seal::Keyring;
use socket2::SockAddr;
use tokio::time::{Sleep, sleep};

use super::LinkError;
use super::counters::Counters;
use super::interface::Interface;
use super::judge::{Clocks, Judge};
use super::sent::Sent;
use super::sys::{BATCH, Batch, Reading};
use super::udp::{QUOTE, Udp, destination};
use crate::clock;

/// From one attempt to open a socket that did not open to the next.
const RETRY: Duration = Duration::from_millis(200);
/// ICMP errors read in one turn: one per frame we sent since the last.
const ERRORS: usize = 64;

/// Datagrams cut, without the socket ever being empty, that make a flood: some turns' worth.
const FLOOD: u64 = 512;
/// In a flood, from one turn to the next: long enough to leave the processor to others, short enough for the receive buffer to
/// hold what a hundred thousand datagrams a second bring meanwhile.
const FLOOD_PAUSE: Duration = Duration::from_millis(2);

/// What carries frames. UDP today; TIPC will stand beside it.
enum Transport {
    Udp(Udp),
}

/// One heartbeat path.
pub struct Link {
    config: LinkConfig,
    interface: Arc<Interface>,
    judge: Judge,
    transport: Option<Transport>,
    /// Where frames to each node go.
    destinations: Vec<SockAddr>,
    /// The last frames to each node.
    sent: Vec<Sent>,
    batch: Batch,
    buffer: Vec<u8>,
    emptied: Instant,
    /// While there is no socket: when to try again. Not there while there is no interface: the carrier watch wakes us.
    retry: Option<Pin<Box<Sleep>>>,
    /// The number of the interface at the last attempt.
    tried: Option<u32>,
    /// Datagrams cut since the socket was empty.
    cut: u64,
    /// In a flood: when the socket is read again.
    pause: Option<Pin<Box<Sleep>>>,
    /// A send has met an error that may have been an ICMP error's.
    errors_due: bool,
    /// Why nothing can be sent at the moment.
    trouble: Option<io::Error>,
}

impl Link {
    /// A link at `node`, opened if its interface is there and otherwise as soon as it can be. Must be called within a
    /// runtime.
    pub fn open(id: LinkId, config: &LinkConfig, node: NodeId, keys: Arc<Keyring>, interface: Arc<Interface>) -> Self {
        let judge = Judge::new(id, node, config.port, config.addresses.clone(), keys);
        let mut link = Self {
            config: config.clone(),
            interface,
            judge,
            transport: None,
            destinations: Vec::new(),
            sent: vec![Sent::new(); config.addresses.len()],
            batch: Batch::new(),
            buffer: Vec::with_capacity(avamgr_core::wire::codec::MAX_DATAGRAM),
            emptied: clock::now(),
            retry: None,
            tried: None,
            cut: 0,
            pause: None,
            errors_due: false,
            trouble: None,
        };
        link.open_when_due(clock::now());
        link
    }

    /// What keeps it shut and is hardly going to end by itself.
    pub fn obstacle(&self) -> Option<LinkError> {
        let code = self.trouble.as_ref().filter(|error| is_lasting(error))?.raw_os_error()?;
        Some(self.open_error(io::Error::from_raw_os_error(code)))
    }

    /// Which link it is.
    pub fn id(&self) -> LinkId {
        self.judge.link
    }

    /// Its name in the config.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Its numbers.
    pub fn counters(&self) -> Counters {
        let mut counters = self.judge.counters;
        if let Some(Transport::Udp(udp)) = &self.transport {
            counters.kernel_dropped += udp.kernel_drops();
        }
        counters
    }

    /// Why nothing can be sent at the moment, in words.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.as_ref().map(|error| format!("{}: {error}", self.interface.name()))
    }

    /// Seals with these keys and opens with them from now on.
    pub fn set_keys(&mut self, keys: Arc<Keyring>) {
        self.judge.keys = keys;
    }

    /// Waits until `receive` has something to do. May be dropped at any time.
    pub async fn readable(&mut self) {
        std::future::poll_fn(|cx| self.poll_readable(cx)).await;
    }

    /// As `readable`.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause
            && pause.as_mut().poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        match (&self.transport, &mut self.retry) {
            (Some(Transport::Udp(udp)), _) => udp.poll_readable(cx),
            (None, Some(retry)) => retry.as_mut().poll(cx),
            (None, None) => Poll::Pending,
        }
    }

    /// Hands over what has arrived, at most about `budget` datagrams, without waiting. `true` = more may be there.
    pub fn receive(&mut self, budget: usize, sink: &mut impl FnMut(Input)) -> bool {
        self.read(Reading::WhenReady, budget, sink)
    }

    /// As `receive`, also when the runtime has not noticed yet that something arrived: after a stall, before judging silence.
    pub fn drain(&mut self, budget: usize, sink: &mut impl FnMut(Input)) -> bool {
        self.read(Reading::Always, budget, sink)
    }

    pub(super) fn read(&mut self, reading: Reading, budget: usize, sink: &mut impl FnMut(Input)) -> bool {
        let mut before = clock::now();
        self.open_when_due(before);
        if reading == Reading::WhenReady && self.pause.as_ref().is_some_and(|pause| !pause.is_elapsed()) {
            return false;
        }
        self.pause = None;
        let flooded = self.judge.counters.flooded;
        let mut turns = budget.div_ceil(BATCH);
        let mut more = true;
        while more && turns > 0 {
            more = self.read_batch(reading, before, sink);
            before = clock::now();
            turns -= 1;
        }
        self.cut = if more { self.cut + self.judge.counters.flooded - flooded } else { 0 };
        if self.cut >= FLOOD {
            self.cut = 0;
            self.pause = Some(Box::pin(sleep(FLOOD_PAUSE)));
        }
        self.receive_errors(sink);
        more && self.pause.is_none()
    }

    /// One call into the kernel; `before` is the time before it. `true` = more may be there.
    fn read_batch(&mut self, reading: Reading, before: Instant, sink: &mut impl FnMut(Input)) -> bool {
        let Some(Transport::Udp(udp)) = &self.transport else { return false };
        let count = match udp.receive(reading, &mut self.batch) {
            None => return false,
            Some(Ok(count)) => count,
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Some(Err(_)) => {
                // An ICMP error stood before the datagrams. Its own queue tells more.
                self.errors_due = true;
                return true;
            }
        };
        let clocks = Clocks { now: clock::now(), wall_nanos: clock::wall_nanos(), emptied: self.emptied };
        for datagram in self.batch.datagrams(count) {
            if let Some(input) = self.judge.judge(datagram, clocks) {
                sink(input);
            }
        }
        if count < BATCH {
            self.emptied = before;
        }
        count == BATCH
    }

    /// Sends a frame to the node it names, with the time of sending filled in. It is sent now or never.
    pub fn send(&mut self, mut heartbeat: Heartbeat) {
        let now = clock::now();
        self.open_when_due(now);
        let Some(Transport::Udp(udp)) = &self.transport else {
            self.judge.counters.send_failed += 1;
            return;
        };
        let to = heartbeat.to.index();
        let (Some(destination), Some(sent)) = (self.destinations.get(to), self.sent.get_mut(to)) else {
            self.judge.counters.send_failed += 1;
            return;
        };
        heartbeat.sent_nanos = now.as_nanos();
        heartbeat.wall_millis = clock::wall_nanos() / 1_000_000;
        if let Err(error) = self.judge.keys.seal(&heartbeat, &mut self.buffer) {
            self.judge.counters.send_failed += 1;
            self.trouble = Some(io::Error::other(error));
            return;
        }
        match udp.send(&self.buffer, destination) {
            Ok(()) => {
                self.judge.counters.sent += 1;
                sent.note(&self.buffer);
                self.trouble = None;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.judge.counters.send_dropped += 1,
            Err(error) => {
                self.judge.counters.send_failed += 1;
                self.errors_due = true;
                self.trouble = Some(error);
            }
        }
    }

    /// Reads the ICMP errors that wait, and hands over those that say that nobody listens at a peer.
    fn receive_errors(&mut self, sink: &mut impl FnMut(Input)) {
        let Some(Transport::Udp(udp)) = &self.transport else { return };
        if !(udp.errors_wait() | std::mem::take(&mut self.errors_due)) {
            return;
        }
        let mut quote = [0; QUOTE];
        for _ in 0..ERRORS {
            let Some(error) = udp.next_error(&mut quote) else { return };
            let quoted = quote.get(..error.quoted).unwrap_or_default();
            let peer = self.config.addresses.iter().position(|address| Some(*address) == error.to);
            let ours = peer.and_then(|peer| self.sent.get(peer)).is_some_and(|sent| sent.quoted_in(quoted));
            match peer.and_then(|peer| u8::try_from(peer).ok()) {
                Some(peer) if error.refused && ours => {
                    self.judge.counters.refused += 1;
                    sink(Input::Refused { link: self.judge.link, from: NodeId(peer) });
                }
                Some(_) | None => self.judge.counters.icmp_ignored += 1,
            }
        }
        self.errors_due = true;
    }

    /// Opens the socket if there is none, and anew if its interface is another one by now.
    fn open_when_due(&mut self, now: Instant) {
        let index = self.interface.index();
        let open = match &self.transport {
            Some(Transport::Udp(udp)) => index.is_none_or(|index| index == udp.interface()),
            None => false,
        };
        let due = index != self.tried || self.retry.as_ref().is_none_or(|retry| retry.is_elapsed());
        if open || !due {
            return;
        }
        self.tried = index;
        self.retry = None;
        if self.interface.up().is_some() && index.is_none() {
            self.trouble = Some(io::Error::from_raw_os_error(libc::ENODEV));
            return;
        }
        if let Some(Transport::Udp(old)) = self.transport.take() {
            self.judge.counters.kernel_dropped += old.kernel_drops();
            self.judge.counters.reopened += 1;
        }
        match self.open_udp() {
            Ok(udp) => {
                let to = |address: &IpAddr| destination(*address, self.config.port, udp.interface());
                self.destinations = self.config.addresses.iter().map(to).collect();
                self.transport = Some(Transport::Udp(udp));
                self.trouble = None;
                self.emptied = now;
            }
            Err(error) => {
                self.trouble = Some(error);
                self.retry = Some(Box::pin(sleep(RETRY)));
            }
        }
    }

    fn open_udp(&self) -> io::Result<Udp> {
        let addresses = &self.config.addresses;
        let own = addresses.get(self.judge.node.index()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Udp::open(self.interface.name(), *own, self.config.port, addresses.len().saturating_sub(1))
    }

    fn open_error(&self, source: io::Error) -> LinkError {
        LinkError::Open {
            link: self.config.name.clone(),
            interface: self.interface.name().to_owned(),
            address: self.config.addresses.get(self.judge.node.index()).copied(),
            port: self.config.port,
            hint: hint(&source),
            source,
        }
    }
}

/// Whether waiting will hardly cure it.
fn is_lasting(error: &io::Error) -> bool {
    hint_for(error).is_some()
}

fn hint(error: &io::Error) -> &'static str {
    hint_for(error).unwrap_or("try again")
}

fn hint_for(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::EADDRINUSE => Some("is another daemon running? give this link another port otherwise"),
        libc::EPERM | libc::EACCES => Some("run as root or with CAP_NET_RAW and CAP_NET_ADMIN"),
        libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT => Some("this kernel has no such protocol: is IPv6 switched off?"),
        libc::EMFILE | libc::ENFILE => Some("raise the limit on open files"),
        _other => None,
    }
}
