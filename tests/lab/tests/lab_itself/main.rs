//! The lab proves itself: every piece a story leans on is shown to do what it says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod cables;
mod leaving;
mod power;
mod watching;

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use avamgr_lab::{Cidr, Host, Lab, wait_until};

const SOON: Duration = Duration::from_secs(3);

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// How long a frame may take: a neighbour that is not found at once is asked for again after a second.
const ON_ITS_WAY: Duration = Duration::from_millis(1500);

/// Sends `count` datagrams from one host to an address of another and counts what arrives.
fn deliver(from: &Host, to: &Host, address: &str, count: u32) -> u32 {
    let any: IpAddr = if address.contains(':') { ip("::") } else { ip("0.0.0.0") };
    let receiver = to.in_netns(|| UdpSocket::bind((any, 0))).unwrap();
    receiver.set_nonblocking(true).unwrap();
    let port = receiver.local_addr().unwrap().port();
    let sender = from.in_netns(|| UdpSocket::bind((any, 0))).unwrap();
    let mut got = 0;
    let mut empty = || {
        let mut buffer = [0; 16];
        while receiver.recv(&mut buffer).is_ok() {
            got += 1;
        }
        got
    };
    for _ in 0..count {
        // A link without carrier refuses, which counts as lost.
        let _ = sender.send_to(b"frame", (ip(address), port));
        // Emptied at once, so that the socket's buffer loses nothing.
        empty();
    }
    let _ = wait_until(ON_ITS_WAY, "", || empty() == count);
    empty()
}

fn pair(lab: &Lab) -> (Host, Host) {
    (lab.host("hadev1").unwrap(), lab.host("hadev2").unwrap())
}

/// Gives a test that counts or stops its own process a process of its own.
fn alone(test: &str, body: impl FnOnce()) {
    if std::env::args().any(|arg| arg == "--exact") {
        return body();
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    let output = again.args(["--exact", test, "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
