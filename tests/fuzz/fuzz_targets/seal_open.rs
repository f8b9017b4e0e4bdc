//! A datagram of anybody's making, then the same bytes under a good tag: opening never panics, and nobody without the
//! key gets a frame through.
#![no_main]

use avamgr_core::wire::codec::HEADER;
use avamgr_core::wire::seal::{Key, Keyring, Secret, TAG, cluster_id};
use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use sha2::Sha256;

const SECRET: [u8; 32] = [0x5a; 32];

fuzz_target!(|bytes: &[u8]| {
    let ring = Keyring::new("fuzz", &[Key { number: 1, secret: Secret::new(SECRET) }], 1).expect("one key is a ring");
    assert!(ring.open(bytes).is_err(), "opened without the key");

    let mut frame = bytes.to_vec();
    if frame.len() >= HEADER {
        frame[0..3].copy_from_slice(b"AV\x01");
        frame[4] = 1;
        frame[8..16].copy_from_slice(&cluster_id("fuzz").to_be_bytes());
        frame[16..18].copy_from_slice(&u16::try_from(bytes.len() + TAG).unwrap_or(0).to_be_bytes());
    }
    let tag = Hmac::<Sha256>::new_from_slice(&SECRET).expect("any length will do").chain_update(&frame).finalize();
    frame.extend_from_slice(&tag.into_bytes()[..TAG]);
    if let Ok(heartbeat) = ring.open(&frame) {
        let mut again = Vec::new();
        ring.seal(&heartbeat, &mut again).expect("what was opened fits into a frame");
        assert_eq!(ring.open(&again), Ok(heartbeat));
    }
});
