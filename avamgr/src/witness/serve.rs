//! Requests in, answers out, one after the other: the kernel's buffer is the queue.

use std::net::UdpSocket;
use std::sync::Mutex;

use avamgr_core::wire::codec::MAX_DATAGRAM;

use super::table::{self, Table};
use crate::clock;

/// Answers every request until the process ends.
pub(super) fn votes(socket: &UdpSocket, table: &Mutex<Table>) {
    // One more than ours may have, so that a longer one is seen to be too long.
    let mut datagram = [0; MAX_DATAGRAM + 1];
    let mut answer = Vec::with_capacity(MAX_DATAGRAM);
    loop {
        // An error is that of an earlier answer: whoever asked is not there any more.
        let Ok((length, from)) = socket.recv_from(&mut datagram) else { continue };
        let bytes = datagram.get(..length).unwrap_or_default();
        let answers = table::lock(table).hear(clock::now(), clock::wall_nanos() / 1_000_000, bytes, &mut answer);
        if answers {
            // What cannot be sent now is asked for again soon.
            let _ = socket.send_to(&answer, from);
        }
    }
}
