//! A body of anybody's making: decoding never panics, takes bounded memory, and what it yields is what it means.
#![no_main]

use avamgr_core::wire::codec::{self, MAX_GROUPS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    let _ = codec::header(frame);
    let Ok(heartbeat) = codec::decode(frame) else { return };
    assert!(heartbeat.groups.len() <= MAX_GROUPS);
    let mut again = Vec::new();
    codec::encode(&heartbeat, 0, 0, 0, &mut again).expect("what was decoded fits into a frame");
    assert_eq!(codec::decode(&again), Ok(heartbeat));
});
