//! A VIP resource at work in a namespace, and an ear on the other end of the cable.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use avamgr::clock;
use avamgr::inputs;
use avamgr::neighbours::{Claim, claim};
use avamgr::resources::vip;
use avamgr_core::cluster::{GroupId, NodeId, ResourceId};
use avamgr_core::config::{IpNet, Timers, VipConfig};
use avamgr_core::node::{Input, Order, Report};
use avamgr_core::time::Instant;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{mpsc, oneshot};

use crate::space::Space;

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn net(text: &str) -> IpNet {
    let (address, prefix) = text.split_once('/').unwrap();
    IpNet { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() }
}

pub(crate) fn config(addresses: &[&str], ranges: &[&str]) -> VipConfig {
    VipConfig {
        interfaces: vec!["eth1".to_owned()],
        addresses: addresses.iter().copied().map(net).collect(),
        ranges: ranges.iter().copied().map(net).collect(),
        label: None,
    }
}

/// A guard of 2 s; nothing is announced again by itself unless a test wants it.
pub(crate) fn timers() -> Timers {
    Timers {
        failover_budget: SECOND,
        heartbeat_interval: SECOND / 10,
        suspect_time: SECOND / 5,
        dead_time: SECOND / 3,
        probe_interval: SECOND / 20,
        link_rise: 3,
        arbitrator_timeout: SECOND / 5,
        arbitrator_pace: SECOND / 10,
        arbitrator_interval: SECOND,
        arbitrator_fall: 2,
        arbitrator_rise: 2,
        vip_probe_time: SECOND / 100,
        stop_bound: SECOND / 3,
        lease_time: Duration::ZERO,
        guard_margin: Duration::ZERO,
        fence_delay: Duration::ZERO,
        hold_time: SECOND,
        start_grace: SECOND,
        guard_lifetime: SECOND * 2,
        guard_refresh: SECOND / 2,
        announce_delay: SECOND * 600,
        announce_refresh: Duration::ZERO,
        switchover_timeout: SECOND * 10,
        failback_settle: SECOND * 60,
        clock_rate_ppm: 100,
    }
}

/// The task of one resource, alone on its thread.
pub(crate) struct Vip {
    orders: Option<mpsc::Sender<Order>>,
    reports: std_mpsc::Receiver<(Instant, Report)>,
    kill: Option<oneshot::Sender<()>>,
    freeze: mpsc::Sender<Duration>,
    thread: Option<JoinHandle<()>>,
}

impl Vip {
    pub(crate) fn new(space: &Space, config: VipConfig) -> Self {
        Self::with(space, config, timers())
    }

    pub(crate) fn with(space: &Space, config: VipConfig, timers: Timers) -> Self {
        Self::beside(space, config, timers, None)
    }

    /// One of two resources of a daemon; the other does nothing here.
    pub(crate) fn beside(space: &Space, config: VipConfig, timers: Timers, other: Option<VipConfig>) -> Self {
        let (orders, received) = mpsc::channel(16);
        let (reported, reports) = std_mpsc::channel();
        let (kill, killed) = oneshot::channel();
        let (freeze, mut freezes) = mpsc::channel::<Duration>(1);
        let thread = space.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let (inputs, mut input) = inputs::channel();
                let id = ResourceId { group: GroupId(0), index: 0 };
                if let Some(other) = other {
                    let id = ResourceId { group: GroupId(1), index: 0 };
                    drop(vip::run(id, other, NodeId(0), timers.clone(), None, mpsc::channel(1).1, inputs.clone()));
                }
                // Spawned: the task must be able to move to another thread.
                let task = tokio::spawn(vip::run(id, config, NodeId(0), timers, None, received, inputs));
                tokio::spawn(async move {
                    while let Some(time) = freezes.recv().await {
                        std::thread::sleep(time);
                    }
                });
                tokio::spawn(async move {
                    while let Some(input) = input.recv().await {
                        if let Input::Report { report, .. } = input {
                            let _ = reported.send((clock::now(), report));
                        }
                    }
                });
                tokio::select! {
                    ended = task => ended.unwrap(),
                    _ = killed => {}
                }
            });
        });
        Self { orders: Some(orders), reports, kill: Some(kill), freeze, thread: Some(thread) }
    }

    /// Gives an order; returns when.
    pub(crate) fn order(&self, order: Order) -> Instant {
        let now = clock::now();
        self.orders.as_ref().unwrap().blocking_send(order).unwrap();
        now
    }

    pub(crate) fn next(&self) -> (Instant, Report) {
        self.reports.recv_timeout(Duration::from_secs(60)).expect("a report within 60 s")
    }

    pub(crate) fn expect(&self, report: Report) -> Instant {
        let (at, next) = self.next();
        assert_eq!(next, report);
        at
    }

    /// The text of the next report, which must be of this kind.
    pub(crate) fn expect_text(&self, kind: fn(String) -> Report) -> String {
        let (_, report) = self.next();
        let text = match &report {
            Report::StartFailed(text)
            | Report::StopFailed(text)
            | Report::Failed(text)
            | Report::Unable(text)
            | Report::Well(text)
            | Report::Stray(text)
            | Report::Gone(text)
            | Report::Notice(text) => text.clone(),
            Report::Started | Report::Stopped | Report::Able => String::new(),
        };
        assert_eq!(report, kind(text.clone()));
        text
    }

    pub(crate) fn next_within(&self, time: Duration) -> Option<Report> {
        self.reports.recv_timeout(time).ok().map(|(_, report)| report)
    }

    /// How many reports are waiting; prints them.
    pub(crate) fn drain(&self) -> usize {
        self.reports.try_iter().inspect(|(at, report)| println!("{at} {report:?}")).count()
    }

    pub(crate) fn silent_for(&self, time: Duration) {
        if let Ok((_, report)) = self.reports.recv_timeout(time) {
            panic!("unexpected {report:?}");
        }
    }

    /// Starts, and returns how long it took.
    pub(crate) fn start(&self) -> Duration {
        let ordered = self.order(Order::Start);
        self.expect(Report::Started).since(ordered)
    }

    /// Stops, and returns how long it took.
    pub(crate) fn stop(&self) -> Duration {
        let ordered = self.order(Order::Stop { within: None });
        self.expect(Report::Stopped).since(ordered)
    }

    /// The daemon is gone, without a word.
    pub(crate) fn kill(mut self) {
        let _ = self.kill.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }

    /// The whole thread stands still.
    pub(crate) fn freeze(&self, time: Duration) {
        self.freeze.blocking_send(time).unwrap();
    }
}

impl Drop for Vip {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the task panicked");
        }
    }
}

/// Hears everything that is claimed on the network of a space.
pub(crate) struct Ear {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    claims: std_mpsc::Receiver<(Instant, Claim)>,
}

impl Ear {
    pub(crate) fn new(space: &Space) -> Self {
        let (claimed, claims) = std_mpsc::channel();
        let (ready, is_ready) = std_mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = space.spawn(move || {
            const ALL: u16 = 3;
            let protocol = Protocol::from(i32::from(ALL.to_be()));
            let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).unwrap();
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &(4 << 20)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            ready.send(()).unwrap();
            let mut frame = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                let Ok(length) = socket.read(&mut frame) else { continue };
                if let Some(claim) = claim(&frame[..length]) {
                    let _ = claimed.send((clock::now(), claim));
                }
            }
        });
        is_ready.recv().unwrap();
        Self { stop, thread: Some(thread), claims }
    }

    /// What was claimed until nothing more came for so long.
    pub(crate) fn until_quiet(&self, quiet: Duration) -> Vec<(Instant, Claim)> {
        let mut all = Vec::new();
        while let Ok(claim) = self.claims.recv_timeout(quiet) {
            all.push(claim);
        }
        all
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
