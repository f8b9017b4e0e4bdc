//! Bytes on the control socket, in pieces of any size: nothing panics, and no line is longer than the limit.
#![no_main]

use avamgr_core::control::Request;
use avamgr_core::control::frame::{Lines, MAX_REQUEST_BYTES, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|pieces: Vec<Vec<u8>>| {
    let mut lines = Lines::new(MAX_REQUEST_BYTES);
    for piece in pieces {
        lines.push(&piece);
        while let Some(line) = lines.next_line() {
            let Ok(request) = line.and_then(|line| decode::<Request>(&line)) else { continue };
            let again = encode(&request, MAX_REQUEST_BYTES * 2).expect("what was decoded can be said again");
            let again = decode::<Request>(again.strip_suffix(b"\n").unwrap_or(&again));
            assert_eq!(again.expect("and is understood"), request);
        }
    }
});
