//! Golden bytes both ways, round trips, and every way to break a datagram.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::Sha256;

use super::codec::{self, EncodeError, HEADER, MAX_DATAGRAM, MAX_FENCED, MAX_GROUPS};
use super::seal::{Key, Keyring, KeyringError, MAX_KEYS, SECRET, Secret, TAG};
use super::{Fenced, GroupState, Handover, HandoverStage, Heartbeat, Promised, SwitchoverRequest};
use crate::cluster::{GroupId, Incarnation, LinkId, NodeId, Role, Term};
use crate::node::input::BadDatagram;

const CLUSTER: &str = "hadev";

/// Where the version, the key number, the length and the number of groups stand.
const MAJOR_AT: usize = 2;
const MINOR_AT: usize = 3;
const KEY_AT: usize = 4;
const CLUSTER_AT: usize = 8;
const LENGTH_AT: usize = 16;
const GROUPS_AT: usize = 19;
const RECORD_AT: usize = 20;

/// Made by another implementation from the drawing in `codec`, with the key 00 01 02 … 1f as number 3.
const GOLDEN: &str = "4156010003000101356bb71cbf19c9ae00a90b02190000000700000009112233\
                      445566778899aabbccddeeff01000000000000002a000000003b9aca07000000\
                      003b8b87c100000000000013880000018bcfe5687bfeedfacecafebeef000000\
                      000000abcd010002120000000000000005000000000000000000000001020304\
                      000e000000000000000601000000000000abcd010105060708af6dd4e772a53f\
                      fd2b132ba7afbefe53";

fn golden_heartbeat() -> Heartbeat {
    let active = GroupState {
        digest: 0x0102_0304,
        role: Role::Active,
        term: Term(5),
        claim: false,
        able: true,
        addresses: true,
        released_to: None,
        handover: None,
        wants_lease: false,
        promise: None,
    };
    let handed_over = GroupState {
        digest: 0x0506_0708,
        role: Role::Standby,
        term: Term(6),
        claim: false,
        able: true,
        addresses: false,
        released_to: Some(NodeId(1)),
        handover: Some(Handover { nonce: 0xabcd, to: NodeId(1), stage: HandoverStage::Released }),
        wants_lease: false,
        promise: None,
    };
    Heartbeat {
        from: NodeId(0),
        to: NodeId(1),
        link: LinkId(1),
        incarnation: Incarnation(0x1122_3344_5566_7788),
        echo: Some(Incarnation(0x99aa_bbcc_ddee_ff01)),
        sequence: 42,
        sent_nanos: 1_000_000_007,
        echo_nanos: 999_000_001,
        echo_delay_nanos: 5_000,
        wall_millis: 1_700_000_000_123,
        config_digest: 0xfeed_face_cafe_beef,
        hears_you: true,
        probe: true,
        leaving: false,
        revision: 7,
        seen_revision: 9,
        groups: vec![active, handed_over],
        request: Some(SwitchoverRequest { nonce: 0xabcd, group: GroupId(1), to: NodeId(0) }),
        lease: Duration::ZERO,
        voters: 0,
        fenced: Vec::new(),
        absence: Duration::ZERO,
    }
}

fn key(number: u8) -> Key {
    let mut secret = [number; SECRET];
    if number == 3 {
        for (index, byte) in (0u8..).zip(secret.iter_mut()) {
            *byte = index;
        }
    }
    Key { number, secret: Secret::new(secret) }
}

fn ring() -> Keyring {
    Keyring::new(CLUSTER, &[key(3)], 3).unwrap()
}

fn sealed(heartbeat: &Heartbeat) -> Vec<u8> {
    let mut datagram = Vec::new();
    ring().seal(heartbeat, &mut datagram).unwrap();
    datagram
}

/// A frame of anybody's making under a good tag of key 3; its length field is put right.
fn forged(mut frame: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(frame.len() + TAG).unwrap();
    frame[LENGTH_AT..LENGTH_AT + 2].copy_from_slice(&length.to_be_bytes());
    let secret: Vec<u8> = (0..32).collect();
    let tag = Hmac::<Sha256>::new_from_slice(&secret).unwrap().chain_update(&frame).finalize().into_bytes();
    frame.extend_from_slice(&tag[..TAG]);
    frame
}

fn unsealed(heartbeat: &Heartbeat) -> Vec<u8> {
    let mut datagram = sealed(heartbeat);
    datagram.truncate(datagram.len() - TAG);
    datagram
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn a_heartbeat_becomes_the_golden_bytes() {
    assert_eq!(sealed(&golden_heartbeat()), unhex(GOLDEN));
}

#[test]
fn the_golden_bytes_become_the_heartbeat() {
    assert_eq!(ring().open(&unhex(GOLDEN)), Ok(golden_heartbeat()));
}

#[test]
fn an_absence_stands_behind_everything_else() {
    let there = golden_heartbeat();
    let absent = Heartbeat { absence: Duration::from_millis(2000), ..there.clone() };
    assert_eq!(ring().open(&sealed(&absent)), Ok(absent.clone()));
    let (there, absent) = (unsealed(&there), unsealed(&absent));
    assert_eq!(absent[there.len()..], 2_000_000_u32.to_be_bytes());
    assert_eq!(absent[HEADER], there[HEADER] | 0x40);
    assert_eq!(ring().open(&forged(absent[..absent.len() - 1].to_vec())), Err(BadDatagram::Malformed));
}

#[test]
fn frames_are_compact() {
    let mut heartbeat = golden_heartbeat();
    assert!(sealed(&heartbeat).len() <= 200, "two groups take {} bytes", sealed(&heartbeat).len());
    heartbeat.groups = vec![heartbeat.groups[0]; MAX_GROUPS];
    assert!(sealed(&heartbeat).len() <= MAX_DATAGRAM);
    assert_eq!(ring().open(&sealed(&heartbeat)), Ok(heartbeat));
}

#[test]
fn more_groups_than_fit_are_an_error_not_a_shorter_frame() {
    let mut heartbeat = golden_heartbeat();
    heartbeat.groups = vec![heartbeat.groups[0]; MAX_GROUPS + 1];
    let error = ring().seal(&heartbeat, &mut Vec::new()).unwrap_err();
    assert_eq!(error, EncodeError::TooManyGroups { count: MAX_GROUPS + 1 });
}

#[test]
fn more_fenced_nodes_than_fit_are_left_out() {
    let mut heartbeat = golden_heartbeat();
    heartbeat.fenced = (0..9).map(|node| Fenced { node: NodeId(node), run: None }).collect();
    let read = ring().open(&sealed(&heartbeat)).unwrap();
    assert_eq!(read.fenced, heartbeat.fenced[..MAX_FENCED]);
}

#[test]
fn sealing_again_reuses_the_buffer() {
    let mut buffer = Vec::new();
    ring().seal(&golden_heartbeat(), &mut buffer).unwrap();
    let (first, place) = (buffer.clone(), buffer.as_ptr());
    ring().seal(&golden_heartbeat(), &mut buffer).unwrap();
    assert_eq!(buffer, first);
    assert_eq!(buffer.as_ptr(), place);
}

#[test]
fn every_cut_is_truncated() {
    let datagram = sealed(&golden_heartbeat());
    for length in 0..datagram.len() {
        assert_eq!(ring().open(&datagram[..length]), Err(BadDatagram::Truncated), "cut to {length} bytes");
    }
}

#[test]
fn a_header_that_leaves_no_room_for_a_tag_is_truncated() {
    for length in HEADER..HEADER + TAG {
        let mut datagram = sealed(&golden_heartbeat());
        datagram.truncate(length);
        datagram[LENGTH_AT..LENGTH_AT + 2].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        assert_eq!(ring().open(&datagram), Err(BadDatagram::Truncated), "{length} bytes");
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let datagram = sealed(&golden_heartbeat());
    for bit in 0..datagram.len() * 8 {
        let mut broken = datagram.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        assert!(ring().open(&broken).is_err(), "bit {bit} may be flipped");
    }
}

#[test]
fn what_is_not_ours_is_malformed() {
    let datagram = sealed(&golden_heartbeat());
    let mut other = datagram.clone();
    other[0] = b'X';
    assert_eq!(ring().open(&other), Err(BadDatagram::Malformed));
    let mut longer = datagram;
    longer.push(0);
    assert_eq!(ring().open(&longer), Err(BadDatagram::Malformed), "longer than it says");
    let mut longest = unsealed(&golden_heartbeat());
    longest.resize(MAX_DATAGRAM - TAG, 0);
    assert_eq!(ring().open(&forged(longest.clone())), Ok(golden_heartbeat()));
    longest.push(0);
    assert_eq!(ring().open(&forged(longest)), Err(BadDatagram::Malformed), "longer than any of ours");
}

#[test]
fn another_major_version_is_refused() {
    let mut datagram = sealed(&golden_heartbeat());
    datagram[MAJOR_AT] = codec::MAJOR + 1;
    assert_eq!(ring().open(&datagram), Err(BadDatagram::Version));
}

#[test]
fn another_cluster_is_refused() {
    let other = Keyring::new("hadev2", &[key(3)], 3).unwrap();
    assert_eq!(other.open(&sealed(&golden_heartbeat())), Err(BadDatagram::Cluster));
}

#[test]
fn an_unknown_key_is_refused() {
    let other = Keyring::new(CLUSTER, &[key(4)], 4).unwrap();
    assert_eq!(other.open(&sealed(&golden_heartbeat())), Err(BadDatagram::UnknownKey));
}

#[test]
fn another_secret_under_the_same_number_is_refused() {
    let other = Keyring::new(CLUSTER, &[Key { number: 3, ..key(7) }], 3).unwrap();
    assert_eq!(other.open(&sealed(&golden_heartbeat())), Err(BadDatagram::Digest));
}

#[test]
fn a_frame_under_another_of_our_keys_is_refused() {
    let ring = Keyring::new(CLUSTER, &[key(3), key(4)], 3).unwrap();
    let mut datagram = sealed(&golden_heartbeat());
    datagram[KEY_AT] = 4;
    assert_eq!(ring.open(&datagram), Err(BadDatagram::Digest));
}

#[test]
fn nothing_is_decoded_before_the_digest_is_verified() {
    let mut frame = unsealed(&golden_heartbeat());
    frame[GROUPS_AT] = 255;
    let good = forged(frame);
    assert_eq!(ring().open(&good), Err(BadDatagram::Malformed), "the digest is good, the body is not");
    let mut bad = good;
    let last = bad.len() - 1;
    bad[last] ^= 1;
    assert_eq!(ring().open(&bad), Err(BadDatagram::Digest), "the body was looked at first");
}

#[test]
fn a_body_that_contradicts_itself_is_malformed() {
    type Break = fn(&mut Vec<u8>);
    const FIRST_ROLE: usize = HEADER + 75 + 10;
    const LAST_STAGE: usize = FIRST_ROLE + 2 * 25 - 5;
    let breaks: [(&str, Break); 12] = [
        ("groups without records", |frame| frame[GROUPS_AT] = 3),
        ("more groups than any", |frame| {
            frame[GROUPS_AT] = u8::try_from(MAX_GROUPS + 1).unwrap();
            let record = frame[frame.len() - 25..].to_vec();
            (0..MAX_GROUPS).for_each(|_| frame.extend_from_slice(&record));
        }),
        ("records of no bytes", |frame| frame[RECORD_AT] = 0),
        ("records too short", |frame| frame[RECORD_AT] = 24),
        ("records beyond the end", |frame| frame[RECORD_AT] = 255),
        ("an unknown role", |frame| frame[FIRST_ROLE] = 5),
        ("an unknown stage", |frame| frame[LAST_STAGE] = 5),
        ("incarnation zero", |frame| frame[29..37].fill(0)),
        ("fenced nodes without a number", |frame| frame[HEADER] |= 1 << 5),
        ("no fenced node", |frame| {
            frame[HEADER] |= 1 << 5;
            frame.push(0);
        }),
        ("more fenced nodes than any", |frame| {
            frame[HEADER] |= 1 << 5;
            frame.push(9);
            frame.extend_from_slice(&[1; 81]);
        }),
        ("no body", |frame| frame.truncate(HEADER)),
    ];
    for (name, break_it) in breaks {
        let mut frame = unsealed(&golden_heartbeat());
        break_it(&mut frame);
        assert_eq!(ring().open(&forged(frame)), Err(BadDatagram::Malformed), "{name}");
    }
}

#[test]
fn a_body_cut_anywhere_under_a_good_tag_is_malformed() {
    let frame = unsealed(&golden_heartbeat());
    for length in HEADER..frame.len() {
        assert_eq!(ring().open(&forged(frame[..length].to_vec())), Err(BadDatagram::Malformed), "{length} bytes");
    }
}

#[test]
fn a_newer_minor_version_is_understood() {
    let frame = unsealed(&golden_heartbeat());
    let records = frame.len() - 2 * 25;
    let mut newer = frame[..records].to_vec();
    newer[MINOR_AT] = codec::MINOR + 9;
    newer[RECORD_AT] = 28;
    for record in frame[records..].chunks(25) {
        newer.extend_from_slice(record);
        newer.extend_from_slice(b"new");
    }
    newer.extend_from_slice(b"and something behind the records");
    // Flag bits that mean nothing yet.
    newer[HEADER] |= 0x80;
    newer[records + 1] |= 0xc0;
    assert_eq!(ring().open(&forged(newer)), Ok(golden_heartbeat()));
}

#[test]
fn keys_rotate_without_a_refused_frame() {
    let ring = |keys: &[u8], sending| {
        let keys: Vec<Key> = keys.iter().map(|number| key(*number)).collect();
        Keyring::new(CLUSTER, &keys, sending).unwrap()
    };
    // Each step reaches one node first and the other later.
    let steps = [ring(&[3], 3), ring(&[3, 4], 3), ring(&[3, 4], 4), ring(&[4], 4)];
    for pair in steps.windows(2) {
        for (sender, receiver) in [(&pair[0], &pair[1]), (&pair[1], &pair[0]), (&pair[1], &pair[1])] {
            let mut datagram = Vec::new();
            sender.seal(&golden_heartbeat(), &mut datagram).unwrap();
            assert_eq!(receiver.open(&datagram), Ok(golden_heartbeat()), "{sender:?} to {receiver:?}");
        }
    }
}

#[test]
fn keys_that_make_no_ring_are_refused() {
    let many: Vec<Key> = (1..=17).map(key).collect();
    assert_eq!(Keyring::new(CLUSTER, &[], 1).unwrap_err(), KeyringError::Empty);
    assert_eq!(Keyring::new(CLUSTER, &many, 1).unwrap_err(), KeyringError::TooMany { count: MAX_KEYS + 1 });
    assert_eq!(Keyring::new(CLUSTER, &[key(0)], 0).unwrap_err(), KeyringError::Zero);
    assert_eq!(Keyring::new(CLUSTER, &[key(1), key(1)], 1).unwrap_err(), KeyringError::Duplicate { number: 1 });
    assert_eq!(Keyring::new(CLUSTER, &[key(1)], 2).unwrap_err(), KeyringError::NoSendingKey { number: 2 });
}

#[test]
fn a_secret_is_never_printed() {
    let printed =
        format!("{:?} {:?} {:?}", key(171), key(171).secret, Keyring::new(CLUSTER, &[key(171)], 171).unwrap());
    assert!(!printed.contains("ab") && !printed.contains("171, 171"), "{printed}");
}

#[test]
fn the_cluster_id_stands_in_the_header() {
    let datagram = sealed(&golden_heartbeat());
    let id = super::seal::cluster_id(CLUSTER).to_be_bytes();
    assert_eq!(datagram[CLUSTER_AT..LENGTH_AT], id);
}

prop_compose! {
    fn any_handover()(nonce: u64, to: u8, stage in 0usize..5) -> Handover {
        let stages = [
            HandoverStage::Stopping,
            HandoverStage::Released,
            HandoverStage::Done,
            HandoverStage::RolledBack,
            HandoverStage::Refused,
        ];
        Handover { nonce, to: NodeId(to), stage: stages[stage] }
    }
}

prop_compose! {
    fn any_promise()(holder: u8, term in 0..=Term::MAX.0, left: u32) -> Promised {
        Promised { holder: NodeId(holder), term: Term(term), left: Duration::from_micros(left.into()) }
    }
}

prop_compose! {
    fn any_group()(
        role in 0usize..5,
        digest: u32,
        term in 0..=Term::MAX.0,
        claim: bool,
        able: bool,
        addresses: bool,
        released_to: Option<u8>,
        handover in proptest::option::of(any_handover()),
        wants_lease: bool,
        promise in proptest::option::of(any_promise()),
    ) -> GroupState {
        let released_to = released_to.map(NodeId);
        let (role, term) = (Role::ALL[role], Term(term));
        GroupState { digest, role, term, claim, able, addresses, released_to, handover, wants_lease, promise }
    }
}

prop_compose! {
    fn any_heartbeat()(
        (from, to, link) in any::<(u8, u8, u8)>(),
        incarnation in 1u64..,
        echo in proptest::option::of(1u64..),
        [sequence, sent_nanos, echo_nanos, echo_delay_nanos, wall_millis, config_digest] in any::<[u64; 6]>(),
        [hears_you, probe, leaving] in any::<[bool; 3]>(),
        [revision, seen_revision] in any::<[u32; 2]>(),
        groups in proptest::collection::vec(any_group(), 0..=MAX_GROUPS),
        request: Option<(u64, u8, u8)>,
        [lease, voters] in any::<[u32; 2]>(),
        fenced in proptest::collection::vec((any::<u8>(), proptest::option::of(1u64..)), 0..=MAX_FENCED),
        absence: u32,
    ) -> Heartbeat {
        Heartbeat {
            from: NodeId(from),
            to: NodeId(to),
            link: LinkId(link),
            incarnation: Incarnation(incarnation),
            echo: echo.map(Incarnation),
            sequence,
            sent_nanos,
            echo_nanos,
            echo_delay_nanos,
            wall_millis,
            config_digest,
            hears_you,
            probe,
            leaving,
            revision,
            seen_revision,
            groups,
            request: request.map(|(nonce, group, to)| SwitchoverRequest { nonce, group: GroupId(group), to: NodeId(to) }),
            lease: Duration::from_micros(lease.into()),
            voters,
            fenced: fenced.into_iter().map(|(node, run)| Fenced { node: NodeId(node), run: run.map(Incarnation) }).collect(),
            absence: Duration::from_micros(absence.into()),
        }
    }
}

proptest! {
    #[test]
    fn every_heartbeat_comes_back_as_it_was(heartbeat in any_heartbeat()) {
        let datagram = sealed(&heartbeat);
        prop_assert!(datagram.len() <= MAX_DATAGRAM);
        prop_assert_eq!(ring().open(&datagram), Ok(heartbeat));
    }

    #[test]
    fn any_flipped_bit_of_any_heartbeat_is_refused(heartbeat in any_heartbeat(), place: prop::sample::Index) {
        let mut datagram = sealed(&heartbeat);
        let bit = place.index(datagram.len() * 8);
        datagram[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(ring().open(&datagram).is_err());
    }

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
        prop_assert!(ring().open(&bytes).is_err());
    }

    #[test]
    fn random_bodies_never_panic_and_what_decodes_encodes_again(
        body in proptest::collection::vec(any::<u8>(), 0..1100),
        groups in 0u8..40,
        record in 15u8..40,
    ) {
        let mut frame = unsealed(&golden_heartbeat());
        frame.truncate(HEADER);
        frame.extend_from_slice(&body);
        if let Some(place) = frame.get_mut(GROUPS_AT) {
            *place = groups;
        }
        if let Some(place) = frame.get_mut(RECORD_AT) {
            *place = record;
        }
        if let Ok(heartbeat) = codec::decode(&frame) {
            prop_assert_eq!(ring().open(&sealed(&heartbeat)), Ok(heartbeat));
        }
    }
}
