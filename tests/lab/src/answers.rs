//! Who answers for an address, asked at every node at once: the measure where an address may be configured on a node
//! whose kernel keeps it dark.
//!
//! A round is one request with one number to each node, addressed to the node's own MAC, so that no neighbour table
//! decides who is asked. Two nodes that answer the same round were owners at the same time. So was a node that answered
//! an earlier and a later round than another one did, unless the address has been given back and forth in between
//! ([`Seen::returns_within`]).

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::{SockAddr, Socket};

use crate::announce::{link_address, open};
use crate::echo::{ECHO_PORT, REQUEST_BYTES};
use crate::error::{Context, LabError, Result};
use crate::host::Host;
use crate::worker::{Bell, PRIORITY, Worker, raise_priority};

/// Between two rounds.
const PACE: Duration = Duration::from_millis(1);

/// A round whose requests left within this is one moment; another one does not count.
const MOMENT: Duration = Duration::from_millis(1);

/// A node that has not answered by then never will.
const LATEST_ANSWER: Duration = Duration::from_secs(1);

/// Silences shorter than this are not told.
const SILENCE: Duration = Duration::from_millis(5);

const ETHERTYPE_IPV4: u16 = 0x0800;

/// The interface of every host on the service network.
const SERVICE: &str = "eth1";

/// A running sampler. Dropping it ends it.
#[derive(Debug)]
pub struct Answers {
    seen: Arc<Mutex<Seen>>,
    _worker: Worker,
}

/// Two owners at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Both {
    /// The number of the round.
    pub round: u64,
    /// When it was asked.
    pub at: Instant,
    /// What its requests took to leave.
    pub spread: Duration,
    /// How long after that each answer was read.
    pub after: Vec<(String, Duration)>,
}

/// From this round on another node answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The node.
    pub node: String,
    /// When its first round was asked.
    pub at: Instant,
    /// When the last round was asked that the node before it answered.
    pub last_of_other: Instant,
}

/// What the sampler has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Rounds there was time for.
    pub due: u64,
    /// Rounds asked.
    pub asked: u64,
    /// Rounds asked in one moment.
    pub counted: u64,
    /// Rounds that a node answered.
    pub answered: u64,
    /// Rounds that two nodes answered, whether they count or not.
    pub both: Vec<Both>,
    /// In the order of the rounds.
    pub changes: Vec<Change>,
    silences: Vec<(Instant, Instant)>,
    last: Option<(usize, Instant)>,
}

impl Seen {
    /// The share of the rounds there was time for that were asked in one moment.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.due == 0 { 0.0 } else { self.counted as f64 / self.due as f64 }
    }

    /// Changes after which the node before answered again, less than `lease` after it had answered last.
    #[must_use]
    pub fn returns_within(&self, lease: Duration) -> Vec<&Change> {
        let pairs = self.changes.iter().zip(self.changes.iter().skip(1));
        pairs.filter(|(away, back)| back.at.duration_since(away.last_of_other) < lease).map(|(away, _)| away).collect()
    }

    /// The longest time between two moments in which no round was answered by anybody.
    #[must_use]
    pub fn longest_silence(&self, from: Instant, to: Instant) -> Duration {
        let open = self.last.map(|(_, at)| (at, to));
        let all = self.silences.iter().copied().chain(open);
        all.map(|(begin, end)| end.min(to).saturating_duration_since(begin.max(from))).max().unwrap_or_default()
    }

    /// The times without an answer that were longer than `limit`: when each began, and its length.
    #[must_use]
    pub fn silences_over(&self, limit: Duration) -> Vec<(Instant, Duration)> {
        let all = self.silences.iter().map(|(begin, end)| (*begin, end.duration_since(*begin)));
        all.filter(|(_, length)| *length > limit).collect()
    }

    /// How often another node began to answer between two moments.
    #[must_use]
    pub fn owner_changes(&self, from: Instant, to: Instant) -> usize {
        self.changes.iter().filter(|change| change.at >= from && change.at < to).count()
    }

    /// When `node` began to answer, after `from`.
    #[must_use]
    pub fn first_of(&self, node: &str, from: Instant) -> Option<Instant> {
        self.changes.iter().find(|change| change.node == node && change.at >= from).map(|change| change.at)
    }
}

impl Answers {
    /// Asks `nodes` for `address` from `client`, a round each millisecond.
    pub fn start(client: &Host, address: Ipv4Addr, nodes: impl IntoIterator<Item = Host>) -> Result<Self> {
        let own = client.plan().nics.iter().find(|nic| nic.name == SERVICE).and_then(|nic| {
            nic.addresses.iter().find_map(|cidr| if let IpAddr::V4(ip) = cidr.ip { Some(ip) } else { None })
        });
        let own = own.ok_or_else(|| LabError::Plan(format!("{} has no IPv4 on {SERVICE}", client.name())))?;
        let link = client.netlink()?.link(SERVICE).at(client.name(), SERVICE, "ask from it")?;
        let (frames, socket) = client.in_netns(|| {
            let socket = UdpSocket::bind((own, 0))?;
            socket.set_nonblocking(true)?;
            // It only sends: nothing is of this type.
            Ok((open(0)?, socket))
        })?;
        let port = socket.local_addr().on(client.name(), "ask for its port")?.port();
        let way = link_address(link.index).on(client.name(), "ask from its interface")?;
        let mut asked = Vec::new();
        for node in nodes {
            let mac = node.netlink()?.link(SERVICE).at(node.name(), SERVICE, "ask for its MAC")?.mac;
            let frame = request(&mac, &link.mac, SocketAddrV4::new(own, port), SocketAddrV4::new(address, ECHO_PORT));
            asked.push((node.name().to_owned(), frame));
        }
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let begun = Instant::now();
        let mut run = Run { asked, frames, socket, way, seen: seen.clone(), begun, number: 0, open: VecDeque::new() };
        let worker = Worker::start("lab-answers", move |bell| run.run(bell)).on(client.name(), "start a sampler")?;
        Ok(Self { seen, _worker: worker })
    }

    /// Everything seen so far; the rounds of the last second may be missing.
    #[must_use]
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// The same, after waiting until every round of the past is judged.
    #[must_use]
    pub fn settled(&self) -> Seen {
        std::thread::sleep(LATEST_ANSWER + 2 * SILENCE);
        self.seen()
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A whole Ethernet frame with a question; its last bytes are for the number of the round.
fn request(to: &[u8], from: &[u8], source: SocketAddrV4, target: SocketAddrV4) -> Vec<u8> {
    const UDP: u8 = 17;
    const HEADERS: usize = 20 + 8;
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes();
    let mut ip = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, UDP, 0, 0].to_vec();
    ip[2..4].copy_from_slice(&length(HEADERS + REQUEST_BYTES));
    ip.extend(source.ip().octets());
    ip.extend(target.ip().octets());
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let ports = [source.port().to_be_bytes(), target.port().to_be_bytes()].concat();
    // A UDP checksum of zero is none.
    let udp = [length(8 + REQUEST_BYTES), [0, 0]].concat();
    [to, from, &ETHERTYPE_IPV4.to_be_bytes(), &ip, &ports, &udp, &[0; REQUEST_BYTES]].concat()
}

/// A round that may still be answered.
struct Round {
    number: u64,
    at: Instant,
    spread: Duration,
    answers: Vec<Option<Duration>>,
}

struct Run {
    asked: Vec<(String, Vec<u8>)>,
    frames: Socket,
    socket: UdpSocket,
    way: SockAddr,
    seen: Arc<Mutex<Seen>>,
    begun: Instant,
    number: u64,
    open: VecDeque<Round>,
}

impl Run {
    fn run(&mut self, bell: &Bell) {
        raise_priority(PRIORITY);
        let mut next = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next {
                self.ask(now);
                // Rounds that were missed are not made up for: due and not asked, they do not count.
                next = (next + PACE).max(now);
            }
            self.receive();
            self.judge();
            let rest = next.saturating_duration_since(Instant::now());
            if bell.wait(&[self.socket.as_fd()], Some(rest)).unwrap_or(true) {
                return;
            }
        }
    }

    fn ask(&mut self, at: Instant) {
        self.number += 1;
        // Nobody is always the first.
        if self.number.is_multiple_of(2) {
            self.asked.iter().for_each(|(_, frame)| self.send(frame));
        } else {
            self.asked.iter().rev().for_each(|(_, frame)| self.send(frame));
        }
        let answers = vec![None; self.asked.len()];
        self.open.push_back(Round { number: self.number, at, spread: at.elapsed(), answers });
    }

    fn send(&self, frame: &[u8]) {
        let mut frame = frame.to_vec();
        let at = frame.len() - REQUEST_BYTES;
        frame[at..].copy_from_slice(&self.number.to_be_bytes());
        // A frame that the kernel refuses is a request without an answer.
        let _ = self.frames.send_to(&frame, &self.way);
    }

    fn receive(&mut self) {
        let mut buffer = [0u8; 128];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            // What is no answer of ours is nothing.
            let _ = self.note(&buffer[..length]);
        }
    }

    fn note(&mut self, answer: &[u8]) -> Option<()> {
        let (number, name) = answer.split_at_checked(REQUEST_BYTES)?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        let node = self.asked.iter().position(|(node, _)| node.as_bytes() == name)?;
        let first = self.open.front()?.number;
        let round = self.open.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)?;
        round.answers[node] = Some(round.at.elapsed());
        Some(())
    }

    /// Rounds that nobody will answer any more become part of what was seen, in their order.
    fn judge(&mut self) {
        let mut seen = lock(&self.seen);
        while self.open.front().is_some_and(|round| round.at.elapsed() > LATEST_ANSWER) {
            if let Some(round) = self.open.pop_front() {
                let time = round.at.duration_since(self.begun);
                seen.due = u64::try_from(time.as_nanos() / PACE.as_nanos()).unwrap_or(u64::MAX) + 1;
                seen.take(&round, &self.asked);
            }
        }
    }
}

impl Seen {
    fn take(&mut self, round: &Round, asked: &[(String, Vec<u8>)]) {
        self.asked += 1;
        self.counted += u64::from(round.spread < MOMENT);
        let owners: Vec<usize> = (0..asked.len()).filter(|node| round.answers[*node].is_some()).collect();
        let Some(&owner) = owners.first() else { return };
        self.answered += 1;
        if owners.len() > 1 {
            let after = owners.iter().map(|node| (asked[*node].0.clone(), round.answers[*node].unwrap_or_default()));
            self.both.push(Both { round: round.number, at: round.at, spread: round.spread, after: after.collect() });
        }
        if let Some((other, last)) = self.last {
            if other != owner {
                self.changes.push(Change { node: asked[owner].0.clone(), at: round.at, last_of_other: last });
            }
            if round.at.duration_since(last) > SILENCE {
                self.silences.push((last, round.at));
            }
        }
        self.last = Some((owner, round.at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_answers_before_and_after_another_is_found() {
        let asked = ["a", "b"].map(|name| (name.to_owned(), Vec::new()));
        let begun = Instant::now();
        let mut seen = Seen::default();
        let mut play = |number: u64, answers: [bool; 2]| {
            let answers = answers.map(|one| one.then_some(Duration::ZERO)).to_vec();
            let at = begun + Duration::from_millis(number);
            seen.take(&Round { number, at, spread: Duration::ZERO, answers }, &asked);
        };
        for (number, answers) in [(0, [true, false]), (1, [false, true]), (2, [true, false]), (9, [true, true])] {
            play(number, answers);
        }
        assert_eq!(seen.returns_within(Duration::from_millis(3)).len(), 1);
        assert_eq!(seen.returns_within(Duration::from_millis(2)).len(), 0);
        assert_eq!(seen.both.iter().map(|both| both.round).collect::<Vec<_>>(), [9]);
        let silent = seen.longest_silence(begun, begun + Duration::from_millis(9));
        assert_eq!(silent, Duration::from_millis(7));
    }
}
