//! The lab proves itself: every piece a story leans on is shown to do what it says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cables;
mod leaving;
mod power;
mod watching;

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use avamgr_lab::{Cidr, Host, Lab};

const SOON: Duration = Duration::from_secs(3);

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Sends `count` datagrams to each other's address and counts what arrives.
fn deliver(from: &Host, to: &Host, address: &str, count: u32) -> u32 {
    let bind = if address.contains(':') {
        "[::]:9999"
    } else {
        "0.0.0.0:9999"
    };
    let receiver = to.in_netns(|| UdpSocket::bind(bind)).unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let any = if address.contains(':') {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    let sender = from.in_netns(|| UdpSocket::bind(any)).unwrap();
    let target = (ip(address), 9999);
    let mut got = 0;
    let mut buffer = [0; 16];
    for _ in 0..count {
        // A link without carrier refuses, which counts as lost.
        let _ = sender.send_to(b"frame", target);
        // Emptied at once, so that the socket's buffer loses nothing.
        receiver.set_nonblocking(true).unwrap();
        while receiver.recv(&mut buffer).is_ok() {
            got += 1;
        }
        receiver.set_nonblocking(false).unwrap();
    }
    while receiver.recv(&mut buffer).is_ok() {
        got += 1;
    }
    got
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
    let output = again
        .args(["--exact", test, "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}
