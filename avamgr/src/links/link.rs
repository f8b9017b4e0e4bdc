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
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use avamgr_core::cluster::{LinkId, NodeId};
use avamgr_core::config::{self, LinkConfig, UdpConfig};
use avamgr_core::node::Input;
use avamgr_core::time::Instant;
use avamgr_core::wire::Heartbeat;
use avamgr_core::wire::seal::Keyring;
use tokio::time::{Sleep, sleep};

use super::LinkError;
use super::counters::Counters;
use super::interface::Interface;
use super::judge::{Clocks, Judge};
use super::sent::Sent;
use super::sys::{BATCH, Batch, Reading};
use super::transport::Transport;
use super::udp::QUOTE;
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

/// One heartbeat path.
pub struct Link {
    config: LinkConfig,
    interfaces: Vec<Arc<Interface>>,
    judge: Judge,
    transport: Option<Transport>,
    /// The last frames to each node.
    sent: Vec<Sent>,
    batch: Batch,
    buffer: Vec<u8>,
    emptied: Instant,
    /// While there is no socket: when to try again. Not there while there is no interface: the carrier watch wakes us.
    retry: Option<Pin<Box<Sleep>>>,
    /// The numbers of the interfaces at the last attempt.
    tried: Vec<Option<u32>>,
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
    pub fn open(
        id: LinkId,
        config: &LinkConfig,
        node: NodeId,
        keys: Arc<Keyring>,
        interfaces: Vec<Arc<Interface>>,
    ) -> Self {
        let mut link = Self {
            config: config.clone(),
            interfaces,
            judge: Judge::new(id, node, &config.transport, keys),
            transport: None,
            sent: vec![Sent::new(); config.udp().map_or(0, |udp| udp.addresses.len())],
            batch: Batch::new(),
            buffer: Vec::with_capacity(avamgr_core::wire::codec::MAX_DATAGRAM),
            emptied: clock::now(),
            retry: None,
            tried: Vec::new(),
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

    /// Whether TIPC carries it.
    pub fn is_over_tipc(&self) -> bool {
        self.config.tipc().is_some()
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
        counters.kernel_dropped += self.transport.as_ref().map_or(0, Transport::kernel_drops);
        counters
    }

    /// Why nothing can be sent at the moment, in words.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.as_ref().map(|error| format!("{}: {error}", self.interface_names()))
    }

    fn interface_names(&self) -> String {
        self.interfaces.iter().map(|interface| interface.name()).collect::<Vec<_>>().join(", ")
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
        match (&mut self.transport, &mut self.retry) {
            (Some(transport), _) => transport.poll_readable(cx),
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
        self.tell(reading, sink);
        more && self.pause.is_none()
    }

    /// One call into the kernel; `before` is the time before it. `true` = more may be there.
    fn read_batch(&mut self, reading: Reading, before: Instant, sink: &mut impl FnMut(Input)) -> bool {
        let Some(transport) = &self.transport else { return false };
        let count = match transport.receive(reading, &mut self.batch) {
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
        let Some(transport) = &self.transport else {
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
        match transport.send(&self.buffer, heartbeat.to) {
            Ok(()) => {
                self.judge.counters.sent += 1;
                if let Some(sent) = self.sent.get_mut(heartbeat.to.index()) {
                    sent.note(&self.buffer);
                }
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
        let Some(udp) = self.transport.as_ref().and_then(Transport::udp) else { return };
        let Some(config) = self.config.udp() else { return };
        if !(udp.errors_wait() | std::mem::take(&mut self.errors_due)) {
            return;
        }
        let mut quote = [0; QUOTE];
        for _ in 0..ERRORS {
            let Some(error) = udp.next_error(&mut quote) else { return };
            let quoted = quote.get(..error.quoted).unwrap_or_default();
            let peer = config.addresses.iter().position(|address| Some(*address) == error.to);
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

    /// Hands over what the transport itself says of the peers.
    fn tell(&mut self, reading: Reading, sink: &mut impl FnMut(Input)) {
        let told = self.transport.as_mut().map(|transport| transport.tell(reading, sink));
        if let Some(Err(error)) = told {
            self.shut(error);
        }
    }

    /// Opens the sockets if there are none, and anew if the interface is another one by now.
    fn open_when_due(&mut self, now: Instant) {
        let open = self.transport.as_ref().is_some_and(|transport| transport.fits(&self.interfaces));
        let indices: Vec<Option<u32>> = self.interfaces.iter().map(|interface| interface.index()).collect();
        let due = indices != self.tried || self.retry.as_ref().is_none_or(|retry| retry.is_elapsed());
        if open || !due {
            return;
        }
        let missing = self.config.udp().is_some() && self.interfaces.iter().any(|interface| is_missing(interface));
        self.tried = indices;
        self.retry = None;
        if missing {
            self.trouble = Some(io::Error::from_raw_os_error(libc::ENODEV));
            return;
        }
        if let Some(old) = self.transport.take() {
            self.judge.counters.kernel_dropped += old.kernel_drops();
            self.judge.counters.reopened += 1;
        }
        match Transport::open(&self.config, self.judge.link, self.judge.node, self.judge.keys.cluster_id()) {
            Ok(transport) => {
                self.transport = Some(transport);
                self.trouble = None;
                self.emptied = now;
            }
            Err(error) => self.shut(error),
        }
    }

    /// There is no socket until the next attempt.
    fn shut(&mut self, error: io::Error) {
        let old = self.transport.take();
        self.judge.counters.kernel_dropped += old.as_ref().map_or(0, Transport::kernel_drops);
        self.trouble = Some(error);
        self.retry = Some(Box::pin(sleep(RETRY)));
    }

    fn open_error(&self, source: io::Error) -> LinkError {
        let own = |udp: &UdpConfig| udp.addresses.get(self.judge.node.index()).map(ToString::to_string);
        let what = match &self.config.transport {
            config::Transport::Udp(udp) => format!(
                "UDP port {} on {} of {}",
                udp.port,
                own(udp).unwrap_or_else(|| "no address".to_owned()),
                self.interface_names()
            ),
            config::Transport::Tipc(_) => "a socket of TIPC".to_owned(),
        };
        LinkError::Open {
            link: self.config.name.clone(),
            what,
            hint: hint(&source, self.config.tipc().is_some()),
            source,
        }
    }
}

/// It has been looked at, and is not there.
fn is_missing(interface: &Interface) -> bool {
    interface.up().is_some() && interface.index().is_none()
}

/// Whether waiting will hardly cure it.
fn is_lasting(error: &io::Error) -> bool {
    hint_for(error, false).is_some()
}

fn hint(error: &io::Error, tipc: bool) -> &'static str {
    hint_for(error, tipc).unwrap_or("try again")
}

fn hint_for(error: &io::Error, tipc: bool) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::EADDRINUSE => Some("is another daemon running? give this link another port otherwise"),
        libc::EPERM | libc::EACCES => Some("run as root or with CAP_NET_RAW and CAP_NET_ADMIN"),
        libc::EAFNOSUPPORT if tipc => Some("this kernel has no TIPC: `modprobe tipc`, or a kernel that has it"),
        libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT => Some("this kernel has no such protocol: is IPv6 switched off?"),
        libc::EMFILE | libc::ENFILE => Some("raise the limit on open files"),
        _other => None,
    }
}
