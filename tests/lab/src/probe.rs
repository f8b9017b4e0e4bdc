//! The client that measures: asks the virtual addresses in turn, at a steady pace, and writes down every answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::echo::{ECHO_PORT, REQUEST_BYTES};
use crate::error::{Context, LabError, Result};
use crate::host::Host;
use crate::outage::{Answer, Outage, Sightings, Stall};
use crate::wait::wait_for;
use crate::worker::{Bell, PRIORITY, Worker, raise_priority};

/// How fast to ask, and when to distrust oneself.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two requests, whatever their target.
    pub interval: Duration,
    /// A request that leaves this much too late is a stall.
    pub stall: Duration,
}

impl Default for Pace {
    /// A request per millisecond; ten milliseconds late is a stall.
    fn default() -> Self {
        Self { interval: Duration::from_millis(1), stall: Duration::from_millis(10) }
    }
}

/// A running probe. Dropping it ends it.
#[derive(Debug)]
pub struct Probe {
    sightings: Arc<Mutex<Sightings>>,
    _worker: Worker,
}

impl Probe {
    /// Asks one request per millisecond, the targets in turn.
    pub fn start(client: &Host, targets: &[IpAddr]) -> Result<Self> {
        Self::start_at(client, targets, Pace::default())
    }

    /// The same at another pace.
    pub fn start_at(client: &Host, targets: &[IpAddr], pace: Pace) -> Result<Self> {
        if targets.is_empty() || targets.len() > usize::from(u16::MAX) {
            return Err(LabError::Plan(format!("a probe of {} targets", targets.len())));
        }
        let sockets =
            client.in_netns(|| Ok([open(Ipv4Addr::UNSPECIFIED.into())?, open(Ipv6Addr::UNSPECIFIED.into())?]))?;
        let sightings = Sightings { targets: targets.to_vec(), ..Sightings::default() };
        let sightings = Arc::new(Mutex::new(sightings));
        let mut run = Run { targets: targets.to_vec(), sockets, pace, sightings: sightings.clone(), sent: 0 };
        let worker = Worker::start("lab-probe", move |bell| run.run(bell)).on(client.name(), "start a probe")?;
        Ok(Self { sightings, _worker: worker })
    }

    /// Everything seen so far.
    #[must_use]
    pub fn sightings(&self) -> Sightings {
        lock(&self.sightings).clone()
    }

    /// The longest silence of `target` since `from`.
    #[must_use]
    pub fn outage_since(&self, target: IpAddr, from: Instant) -> Outage {
        lock(&self.sightings).outage(target, from, Instant::now())
    }

    /// Waits until `target` answers from `node`, after now.
    pub fn wait_for_answer(&self, target: IpAddr, node: &str, limit: Duration) -> Result<Instant> {
        let from = Instant::now();
        wait_for(limit, format!("an answer of {target} from {node}"), || {
            let turns = lock(&self.sightings).turns(target, from, Instant::now());
            turns.iter().find(|turn| turn.node == node).map(|turn| turn.at)
        })
    }

    /// The times the probe did not run since `from`.
    #[must_use]
    pub fn stalls_since(&self, from: Instant) -> Vec<Stall> {
        lock(&self.sightings).stalls(from, Instant::now())
    }
}

fn lock(sightings: &Mutex<Sightings>) -> MutexGuard<'_, Sightings> {
    sightings.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(any: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

struct Run {
    targets: Vec<IpAddr>,
    sockets: [UdpSocket; 2],
    pace: Pace,
    sightings: Arc<Mutex<Sightings>>,
    sent: u64,
}

impl Run {
    fn run(&mut self, bell: &Bell) {
        raise_priority(PRIORITY);
        let mut next = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next {
                self.send(next, now);
                // Requests that were missed are not made up for: a burst would say nothing.
                next = (next + self.pace.interval).max(now);
            }
            self.receive();
            let rest = next.saturating_duration_since(Instant::now());
            let sockets = [self.sockets[0].as_fd(), self.sockets[1].as_fd()];
            if bell.wait(&sockets, Some(rest)).unwrap_or(true) {
                return;
            }
        }
    }

    fn send(&mut self, due: Instant, now: Instant) {
        let target = self.targets[usize::try_from(self.sent).unwrap_or(0) % self.targets.len()];
        let socket = &self.sockets[usize::from(target.is_ipv6())];
        // A request that the kernel refuses is a request without an answer.
        let _ = socket.send_to(&self.sent.to_be_bytes(), (target, ECHO_PORT));
        self.sent += 1;
        let mut sightings = lock(&self.sightings);
        sightings.sent = self.sent;
        let late = now - due;
        if late > self.pace.stall {
            sightings.stalls.push(Stall { at: due, late });
        }
    }

    fn receive(&self) {
        let mut buffer = [0u8; 128];
        for socket in &self.sockets {
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                self.note(from, &buffer[..length]);
            }
        }
    }

    fn note(&self, from: SocketAddr, answer: &[u8]) {
        let at = Instant::now();
        let target = self.targets.iter().position(|target| *target == from.ip());
        let name = answer.get(REQUEST_BYTES..).and_then(|name| std::str::from_utf8(name).ok());
        let (Some(target), Some(name)) = (target, name) else {
            return;
        };
        let mut sightings = lock(&self.sightings);
        let known = sightings.nodes.iter().position(|node| node == name);
        let node = known.unwrap_or_else(|| {
            sightings.nodes.push(name.to_owned());
            sightings.nodes.len() - 1
        });
        let (Ok(target), Ok(node)) = (u16::try_from(target), u16::try_from(node)) else {
            return;
        };
        sightings.answers.push(Answer { at, target, node });
    }
}
