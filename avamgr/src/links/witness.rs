//! The way to the witness: one socket that is bound to nothing but, where the config says so, an interface.
//!
//! The witness answers and never asks, so nobody has to know our address beforehand: it may change, and lie behind a
//! translator. Only what comes from the witness's own address is looked at.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use avamgr_core::cluster::{LinkId, NodeId};
use avamgr_core::config::WitnessConfig;
use avamgr_core::node::Input;
use avamgr_core::node::input::BadDatagram;
use avamgr_core::time::Instant;
use avamgr_core::wire::Heartbeat;
use avamgr_core::wire::seal::Keyring;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Sleep, sleep};

use super::bucket::Bucket;
use super::counters::Counters;
use super::judge::Clocks;
use super::sys::{self, BATCH, Batch, Reading, Source};
use super::udp;
use crate::clock;

/// From one attempt to open the socket to the next.
const RETRY: Duration = Duration::from_secs(1);
/// Datagrams beyond one in this time are dropped before their digest is computed: ten times what a witness is asked at most.
const PERIOD: Duration = Duration::from_micros(100);
/// Datagrams at once.
const BURST: u32 = 1_024;

/// The way to the witness.
pub struct WitnessPath {
    config: WitnessConfig,
    node: NodeId,
    keys: Arc<Keyring>,
    socket: Option<AsyncFd<Socket>>,
    retry: Option<Pin<Box<Sleep>>>,
    batch: Batch,
    buffer: Vec<u8>,
    emptied: Instant,
    bucket: Bucket,
    counters: Counters,
}

impl WitnessPath {
    /// The way from `node`. A socket that cannot be opened is tried again. Must be called within a runtime.
    pub fn open(config: &WitnessConfig, node: NodeId, keys: Arc<Keyring>) -> Self {
        let mut path = Self {
            config: config.clone(),
            node,
            keys,
            socket: None,
            retry: None,
            batch: Batch::new(),
            buffer: Vec::with_capacity(avamgr_core::wire::codec::MAX_DATAGRAM),
            emptied: clock::now(),
            bucket: Bucket::new(PERIOD, BURST),
            counters: Counters::default(),
        };
        path.open_when_due();
        path
    }

    /// Its numbers.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Seals with these keys and opens with them from now on.
    pub fn set_keys(&mut self, keys: Arc<Keyring>) {
        self.keys = keys;
    }

    /// Ready when there is something to read, or the socket is to be opened again.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match (&self.socket, &mut self.retry) {
            (Some(socket), _) => socket.poll_read_ready(cx).map(|_| ()),
            (None, Some(retry)) => retry.as_mut().poll(cx),
            (None, None) => Poll::Pending,
        }
    }

    pub(super) fn read(&mut self, reading: Reading, budget: usize, sink: &mut impl FnMut(Input)) -> bool {
        self.open_when_due();
        let mut more = true;
        for _ in 0..budget.div_ceil(BATCH) {
            more = more && self.read_batch(reading, sink);
        }
        more
    }

    fn read_batch(&mut self, reading: Reading, sink: &mut impl FnMut(Input)) -> bool {
        let before = clock::now();
        let Some(socket) = &self.socket else { return false };
        let count = sys::receive(socket, reading, &mut self.batch);
        // An error is that of an earlier request, answered by somebody on the way.
        let Some(Ok(count)) = count else { return false };
        let clocks = Clocks { now: clock::now(), wall_nanos: clock::wall_nanos(), emptied: self.emptied };
        let witness = Source::Udp(self.config.address, self.config.port);
        for datagram in self.batch.datagrams(count) {
            if datagram.source != Some(witness) {
                self.counters.count_bad(BadDatagram::Source);
                continue;
            }
            if !self.bucket.take(clocks.now) {
                self.counters.flooded += 1;
                continue;
            }
            let judged = self.keys.open(datagram.bytes).and_then(|heartbeat| {
                let ours = heartbeat.from == NodeId::WITNESS && heartbeat.to == self.node;
                if ours { Ok(heartbeat) } else { Err(BadDatagram::Source) }
            });
            match judged {
                Ok(heartbeat) => {
                    self.counters.received += 1;
                    let wall_millis = datagram.wall_nanos.unwrap_or(clocks.wall_nanos) / 1_000_000;
                    let arrived = clocks.arrival(datagram.wall_nanos);
                    sink(Input::Heartbeat { link: LinkId::WITNESS, arrived, wall_millis, heartbeat });
                }
                Err(cause) => self.counters.count_bad(cause),
            }
        }
        if count < BATCH {
            self.emptied = before;
        }
        count == BATCH
    }

    /// Sends a request now or never, with the time of sending filled in.
    pub fn send(&mut self, mut heartbeat: Heartbeat) {
        self.open_when_due();
        let Some(socket) = &self.socket else {
            self.counters.send_failed += 1;
            return;
        };
        heartbeat.sent_nanos = clock::now().as_nanos();
        heartbeat.wall_millis = clock::wall_nanos() / 1_000_000;
        if self.keys.seal(&heartbeat, &mut self.buffer).is_err() {
            self.counters.send_failed += 1;
            return;
        }
        let to = SockAddr::from(SocketAddr::new(self.config.address, self.config.port));
        match socket.get_ref().send_to(&self.buffer, &to) {
            Ok(_) => self.counters.sent += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.counters.send_dropped += 1,
            Err(error) => {
                self.counters.send_failed += 1;
                // An interface that was made anew is another one.
                if error.raw_os_error() == Some(libc::ENODEV) || error.raw_os_error() == Some(libc::ENXIO) {
                    self.socket = None;
                    self.retry = Some(Box::pin(sleep(RETRY)));
                }
            }
        }
    }

    fn open_when_due(&mut self) {
        if self.socket.is_some() || self.retry.as_ref().is_some_and(|retry| !retry.is_elapsed()) {
            return;
        }
        self.retry = None;
        match self.socket() {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => {
                tracing::debug!("the way to the witness cannot be opened: {error}; it is tried again");
                self.retry = Some(Box::pin(sleep(RETRY)));
            }
        }
    }

    fn socket(&self) -> io::Result<AsyncFd<Socket>> {
        let (any, domain) = match self.config.address {
            IpAddr::V4(_) => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), Domain::IPV4),
            IpAddr::V6(_) => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), Domain::IPV6),
        };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        let interface = self.config.interfaces.as_ref().and_then(|names| names.get(self.node.index()));
        if let Some(name) = interface {
            socket.bind_device(Some(name.as_bytes()))?;
        }
        for (level, name, value) in udp::class_options(self.config.address) {
            sys::set_int(&socket, level, name, value)?;
        }
        socket.bind(&SockAddr::from(SocketAddr::new(any, 0)))?;
        sys::watched(socket, Interest::READABLE)
    }
}
