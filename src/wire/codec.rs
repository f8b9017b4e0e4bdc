//! Heartbeat to bytes and back. All numbers are big-endian.
//!
//! ```text
//!  0               1               2               3
//! +---------------+---------------+---------------+---------------+
//! |     'A'       |     'V'       |     major     |     minor     |   header: 18 bytes,
//! +---------------+---------------+---------------+---------------+   read before the digest
//! |      key      |     from      |      to       |     link      |   is verified, believed
//! +---------------+---------------+---------------+---------------+   only after it
//! |                      cluster id (8 bytes)                     |
//! +-------------------------------+-------------------------------+
//! |  length of the whole datagram |     flags     |    groups     |   body
//! +---------------+---------------+---------------+---------------+
//! |  record size  |                 revision (4)                  |
//! +---------------+-----------------------------------------------+
//! | seen revision (4), incarnation (8), echo (8, 0 = none),       |
//! | sequence (8), sent (8), echo of sent (8), echo delay (8),     |
//! | wall clock (8), config digest (8)                             |
//! +---------------------------------------------------------------+
//! | switchover request, if flagged: nonce (8), group (1), to (1)  |
//! +---------------------------------------------------------------+
//! | per group one record: role (1), flags (1), term (8),          |
//! |   released to (1), handover nonce (8), to (1), stage (1),     |
//! |   digest of the group's meaning (4),                          |
//! |   then whatever a newer minor version appends to a record     |
//! +---------------------------------------------------------------+
//! | lease, if flagged: microseconds (4), digest of the voters     |
//! |   (4), promises (1), then each: place of its group's          |
//! |   record (1), holder (1), term (8), microseconds left (4)     |
//! +---------------------------------------------------------------+
//! | fenced nodes, if flagged: their number (1), then each:        |
//! |   node (1), run (8, 0 = none)                                 |
//! +---------------------------------------------------------------+
//! | absence, if flagged: microseconds (4)                         |
//! +---------------------------------------------------------------+
//! | whatever a newer minor version appends to the body            |
//! +---------------------------------------------------------------+
//! | tag: see `seal`                                               |
//! +---------------------------------------------------------------+
//! ```
//!
//! **Versions.** The same major version is understood in both directions: a newer minor version only appends, at the end of
//! a record or of the body, and gives meaning to flag bits that were zero; an older reader skips what it does not know.
//! Another major version is refused.
//!
//! Never here: a panic, or memory in proportion to a length that somebody else wrote.

use std::time::Duration;

use thiserror::Error;

use super::{Fenced, GroupState, Handover, HandoverStage, Heartbeat, Promised, SwitchoverRequest};
use crate::cluster::{GroupId, Incarnation, LinkId, NodeId, Role, Term};
use crate::node::input::BadDatagram;

/// The first two bytes of every datagram of ours.
const MAGIC: [u8; 2] = *b"AV";
/// Frames of another major version are refused.
pub const MAJOR: u8 = 1;
/// What this program writes; it reads every minor version.
pub const MINOR: u8 = 0;
/// Bytes of the header, as drawn above.
pub const HEADER: usize = 18;
/// Bytes of the fixed part of the body, without a switchover request.
const FIXED: usize = 75;
/// Bytes of a switchover request.
const REQUEST: usize = 10;
/// Bytes of one group's record in this minor version.
const RECORD: usize = 25;
/// Bytes of the lease without its promises.
const LEASE: usize = 9;
/// Bytes of one promise.
const PROMISE: usize = 14;
/// Bytes of one fenced node.
const FENCED: usize = 9;
/// Most fenced nodes a frame tells of; a cluster that has lost more of them needs a human anyway.
pub const MAX_FENCED: usize = 8;
/// Bytes of an absence.
const ABSENCE: usize = 4;
/// Longest datagram we send or take: one that passes every path unfragmented (1,280 bytes of IPv6, less 48 for the headers,
/// rounded down for a tunnel's).
pub const MAX_DATAGRAM: usize = 1200;
/// Most groups a frame carries: 20 records with a promise each are 780 bytes, which leaves room in `MAX_DATAGRAM` for newer
/// minor versions to make each a quarter as long again. The config's limit on groups must not be higher.
pub const MAX_GROUPS: usize = 20;

const _: () = assert!(
    HEADER
        + FIXED
        + REQUEST
        + LEASE
        + ABSENCE
        + MAX_GROUPS * (RECORD + PROMISE) * 5 / 4
        + (1 + MAX_FENCED * FENCED)
        + super::seal::TAG
        <= MAX_DATAGRAM
);

// Flags of the body.
const HEARS_YOU: u8 = 1;
const PROBE: u8 = 1 << 1;
const LEAVING: u8 = 1 << 2;
const HAS_REQUEST: u8 = 1 << 3;
const HAS_LEASE: u8 = 1 << 4;
const HAS_FENCED: u8 = 1 << 5;
const HAS_ABSENCE: u8 = 1 << 6;

// Flags of a record.
const CLAIM: u8 = 1;
const ABLE: u8 = 1 << 1;
const HAS_RELEASED: u8 = 1 << 2;
const HAS_HANDOVER: u8 = 1 << 3;
const ADDRESSES: u8 = 1 << 4;
const WANTS_LEASE: u8 = 1 << 5;

/// A heartbeat that cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// More groups than a frame may carry.
    #[error("heartbeat: {count} groups, at most {MAX_GROUPS} fit into a frame (split the cluster)")]
    TooManyGroups {
        /// How many there are.
        count: usize,
    },
}

/// What stands before the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of the key that sealed the datagram.
    pub key: u8,
    /// Sender.
    pub from: NodeId,
    /// Receiver.
    pub to: NodeId,
    /// Link.
    pub link: LinkId,
    /// Hash of the cluster's name.
    pub cluster: u64,
    /// Bytes of the whole datagram.
    pub length: u16,
}

/// Writes header and body behind what is in `out`; `trailer` bytes will follow and count into the header's length.
pub fn encode(
    heartbeat: &Heartbeat,
    cluster: u64,
    key: u8,
    trailer: usize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let too_many = EncodeError::TooManyGroups { count: heartbeat.groups.len() };
    if heartbeat.groups.len() > MAX_GROUPS {
        return Err(too_many);
    }
    let groups = u8::try_from(heartbeat.groups.len()).map_err(|_| too_many)?;
    let request = if heartbeat.request.is_some() { REQUEST } else { 0 };
    let lease = if has_lease(heartbeat) { LEASE + promises(heartbeat).count() * PROMISE } else { 0 };
    let fenced = if heartbeat.fenced.is_empty() { 0 } else { 1 + told_fenced(heartbeat).count() * FENCED };
    let absence = if heartbeat.absence.is_zero() { 0 } else { ABSENCE };
    let length = HEADER + FIXED + request + heartbeat.groups.len() * RECORD + lease + fenced + absence + trailer;
    out.reserve(length);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[MAJOR, MINOR, key, heartbeat.from.0, heartbeat.to.0, heartbeat.link.0]);
    out.extend_from_slice(&cluster.to_be_bytes());
    out.extend_from_slice(&u16::try_from(length).map_err(|_| too_many)?.to_be_bytes());
    encode_body(heartbeat, groups, out);
    Ok(())
}

fn promises(heartbeat: &Heartbeat) -> impl Iterator<Item = (u8, &Promised)> {
    (0..).zip(&heartbeat.groups).filter_map(|(place, group)| Some((place, group.promise.as_ref()?)))
}

fn has_lease(heartbeat: &Heartbeat) -> bool {
    !heartbeat.lease.is_zero() || heartbeat.voters != 0 || promises(heartbeat).next().is_some()
}

fn told_fenced(heartbeat: &Heartbeat) -> impl Iterator<Item = &Fenced> {
    heartbeat.fenced.iter().take(MAX_FENCED)
}

/// Whole microseconds, and never more than fit: a promise that is told to be shorter than it is harms nobody.
fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn encode_lease(heartbeat: &Heartbeat, out: &mut Vec<u8>) {
    out.extend_from_slice(&micros(heartbeat.lease).to_be_bytes());
    out.extend_from_slice(&heartbeat.voters.to_be_bytes());
    out.push(u8::try_from(promises(heartbeat).count()).unwrap_or(u8::MAX));
    for (place, promise) in promises(heartbeat) {
        out.extend_from_slice(&[place, promise.holder.0]);
        out.extend_from_slice(&promise.term.0.to_be_bytes());
        out.extend_from_slice(&micros(promise.left).to_be_bytes());
    }
}

fn encode_fenced(heartbeat: &Heartbeat, out: &mut Vec<u8>) {
    out.push(u8::try_from(told_fenced(heartbeat).count()).unwrap_or(u8::MAX));
    for fenced in told_fenced(heartbeat) {
        out.push(fenced.node.0);
        out.extend_from_slice(&fenced.run.map_or(0, |run| run.0).to_be_bytes());
    }
}

fn encode_body(heartbeat: &Heartbeat, groups: u8, out: &mut Vec<u8>) {
    let flags = flag(heartbeat.hears_you, HEARS_YOU)
        | flag(heartbeat.probe, PROBE)
        | flag(heartbeat.leaving, LEAVING)
        | flag(heartbeat.request.is_some(), HAS_REQUEST)
        | flag(has_lease(heartbeat), HAS_LEASE)
        | flag(!heartbeat.fenced.is_empty(), HAS_FENCED)
        | flag(!heartbeat.absence.is_zero(), HAS_ABSENCE);
    out.extend_from_slice(&[flags, groups, RECORD as u8]);
    out.extend_from_slice(&heartbeat.revision.to_be_bytes());
    out.extend_from_slice(&heartbeat.seen_revision.to_be_bytes());
    for number in [
        heartbeat.incarnation.0,
        heartbeat.echo.map_or(0, |echo| echo.0),
        heartbeat.sequence,
        heartbeat.sent_nanos,
        heartbeat.echo_nanos,
        heartbeat.echo_delay_nanos,
        heartbeat.wall_millis,
        heartbeat.config_digest,
    ] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    if let Some(request) = heartbeat.request {
        out.extend_from_slice(&request.nonce.to_be_bytes());
        out.extend_from_slice(&[request.group.0, request.to.0]);
    }
    for group in &heartbeat.groups {
        encode_group(group, out);
    }
    if has_lease(heartbeat) {
        encode_lease(heartbeat, out);
    }
    if !heartbeat.fenced.is_empty() {
        encode_fenced(heartbeat, out);
    }
    if !heartbeat.absence.is_zero() {
        out.extend_from_slice(&micros(heartbeat.absence).to_be_bytes());
    }
}

fn encode_group(group: &GroupState, out: &mut Vec<u8>) {
    let flags = flag(group.claim, CLAIM)
        | flag(group.able, ABLE)
        | flag(group.addresses, ADDRESSES)
        | flag(group.wants_lease, WANTS_LEASE)
        | flag(group.released_to.is_some(), HAS_RELEASED)
        | flag(group.handover.is_some(), HAS_HANDOVER);
    out.extend_from_slice(&[role_code(group.role), flags]);
    out.extend_from_slice(&group.term.0.to_be_bytes());
    out.push(group.released_to.map_or(0, |node| node.0));
    let (nonce, to, stage) =
        group.handover.map_or((0, 0, 0), |handover| (handover.nonce, handover.to.0, stage_code(handover.stage)));
    out.extend_from_slice(&nonce.to_be_bytes());
    out.extend_from_slice(&[to, stage]);
    out.extend_from_slice(&group.digest.to_be_bytes());
}

/// Reads the header and holds it against the bytes that are there. Nothing in it is to be believed yet.
pub fn header(datagram: &[u8]) -> Result<Header, BadDatagram> {
    if datagram.len() > MAX_DATAGRAM {
        return Err(BadDatagram::Malformed);
    }
    if datagram.len() < HEADER {
        return Err(BadDatagram::Truncated);
    }
    let mut reader = Reader(datagram);
    let header = reader.header().ok_or(BadDatagram::Truncated)??;
    let length = usize::from(header.length);
    if length > datagram.len() {
        return Err(BadDatagram::Truncated);
    }
    if length < datagram.len() {
        return Err(BadDatagram::Malformed);
    }
    Ok(header)
}

/// Reads header and body of an authenticated datagram, without its tag. What contradicts itself is `Malformed`.
pub fn decode(frame: &[u8]) -> Result<Heartbeat, BadDatagram> {
    let mut reader = Reader(frame);
    let header = reader.header().ok_or(BadDatagram::Malformed)??;
    reader.body(header).ok_or(BadDatagram::Malformed)
}

/// The bytes not read yet. Every method is `None` when they do not suffice or make no sense.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn header(&mut self) -> Option<Result<Header, BadDatagram>> {
        if self.array::<2>()? != MAGIC {
            return Some(Err(BadDatagram::Malformed));
        }
        let [major, _minor] = self.array::<2>()?;
        if major != MAJOR {
            return Some(Err(BadDatagram::Version));
        }
        let [key, from, to, link] = self.array::<4>()?;
        let (cluster, length) = (self.u64()?, self.u16()?);
        Some(Ok(Header { key, from: NodeId(from), to: NodeId(to), link: LinkId(link), cluster, length }))
    }

    fn body(&mut self, header: Header) -> Option<Heartbeat> {
        let [flags, groups, record] = self.array::<3>()?;
        let mut heartbeat = Heartbeat {
            from: header.from,
            to: header.to,
            link: header.link,
            revision: self.u32()?,
            seen_revision: self.u32()?,
            incarnation: self.u64().and_then(incarnation)?,
            echo: incarnation(self.u64()?),
            sequence: self.u64()?,
            sent_nanos: self.u64()?,
            echo_nanos: self.u64()?,
            echo_delay_nanos: self.u64()?,
            wall_millis: self.u64()?,
            config_digest: self.u64()?,
            hears_you: flags & HEARS_YOU != 0,
            probe: flags & PROBE != 0,
            leaving: flags & LEAVING != 0,
            groups: Vec::new(),
            request: None,
            lease: Duration::ZERO,
            voters: 0,
            fenced: Vec::new(),
            absence: Duration::ZERO,
        };
        if flags & HAS_REQUEST != 0 {
            heartbeat.request = Some(self.request()?);
        }
        heartbeat.groups = self.groups(usize::from(groups), usize::from(record))?;
        if flags & HAS_LEASE != 0 {
            heartbeat.lease = self.micros()?;
            heartbeat.voters = self.u32()?;
            self.promises(&mut heartbeat.groups)?;
        }
        if flags & HAS_FENCED != 0 {
            heartbeat.fenced = self.fenced()?;
        }
        if flags & HAS_ABSENCE != 0 {
            heartbeat.absence = self.micros()?;
        }
        Some(heartbeat)
    }

    fn request(&mut self) -> Option<SwitchoverRequest> {
        let nonce = self.u64()?;
        let [group, to] = self.array::<2>()?;
        Some(SwitchoverRequest { nonce, group: GroupId(group), to: NodeId(to) })
    }

    fn micros(&mut self) -> Option<Duration> {
        self.u32().map(|micros| Duration::from_micros(micros.into()))
    }

    /// Gives each group the promise that is made for it.
    fn promises(&mut self, groups: &mut [GroupState]) -> Option<()> {
        for _ in 0..self.u8()? {
            let [place, holder] = self.array::<2>()?;
            let term = Some(Term(self.u64()?)).filter(|term| *term <= Term::MAX)?;
            let promised = Promised { holder: NodeId(holder), term, left: self.micros()? };
            let group = groups.get_mut(usize::from(place))?;
            // Two promises for one group contradict each other.
            if group.promise.replace(promised).is_some() {
                return None;
            }
        }
        Some(())
    }

    fn fenced(&mut self) -> Option<Vec<Fenced>> {
        let count = usize::from(self.u8()?);
        // None of them would not be flagged.
        if count == 0 || count > MAX_FENCED {
            return None;
        }
        (0..count).map(|_| Some(Fenced { node: NodeId(self.u8()?), run: incarnation(self.u64()?) })).collect()
    }

    fn groups(&mut self, count: usize, record: usize) -> Option<Vec<GroupState>> {
        if count > MAX_GROUPS || record < RECORD || self.0.len() < count * record {
            return None;
        }
        let mut groups = Vec::with_capacity(count);
        let (records, rest) = self.0.split_at_checked(count * record)?;
        for bytes in records.chunks_exact(record) {
            groups.push(Reader(bytes).group()?);
        }
        self.0 = rest;
        Some(groups)
    }

    fn group(&mut self) -> Option<GroupState> {
        let [role, flags] = self.array::<2>()?;
        let term = Some(Term(self.u64()?)).filter(|term| *term <= Term::MAX)?;
        let released_to = NodeId(self.u8()?);
        let nonce = self.u64()?;
        let [to, stage] = self.array::<2>()?;
        let handover = if flags & HAS_HANDOVER != 0 {
            Some(Handover { nonce, to: NodeId(to), stage: stage_of(stage)? })
        } else {
            None
        };
        Some(GroupState {
            digest: self.u32()?,
            role: role_of(role)?,
            term,
            claim: flags & CLAIM != 0,
            able: flags & ABLE != 0,
            addresses: flags & ADDRESSES != 0,
            released_to: (flags & HAS_RELEASED != 0).then_some(released_to),
            handover,
            wants_lease: flags & WANTS_LEASE != 0,
            promise: None,
        })
    }
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

/// Zero stands for "none" on the wire and is never drawn.
fn incarnation(number: u64) -> Option<Incarnation> {
    (number != 0).then_some(Incarnation(number))
}

fn role_code(role: Role) -> u8 {
    match role {
        Role::Standby => 0,
        Role::Activating => 1,
        Role::Active => 2,
        Role::Deactivating => 3,
        Role::Fault => 4,
    }
}

fn role_of(code: u8) -> Option<Role> {
    Role::ALL.into_iter().find(|role| role_code(*role) == code)
}

const STAGES: [HandoverStage; 5] = [
    HandoverStage::Stopping,
    HandoverStage::Released,
    HandoverStage::Done,
    HandoverStage::RolledBack,
    HandoverStage::Refused,
];

fn stage_code(stage: HandoverStage) -> u8 {
    match stage {
        HandoverStage::Stopping => 0,
        HandoverStage::Released => 1,
        HandoverStage::Done => 2,
        HandoverStage::RolledBack => 3,
        HandoverStage::Refused => 4,
    }
}

fn stage_of(code: u8) -> Option<HandoverStage> {
    STAGES.into_iter().find(|stage| stage_code(*stage) == code)
}
