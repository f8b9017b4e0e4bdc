//! Announces addresses on one interface.

use std::net::IpAddr;

use avamgr_core::time::Instant;

use super::packet::{Hears, PacketSocket};
use super::{Error, Form, Haste, Pace, announcement};
use crate::clock;
use crate::netlink::{Interface, Mac};

/// Frames that are built and handed to the kernel at once; 128 take about 0.3 ms.
const BATCH: usize = 128;

/// A socket that announces addresses with the hardware address of its interface.
pub struct Sender {
    socket: PacketSocket,
    pace: Pace,
    mac: Mac,
    router: bool,
}

impl Sender {
    /// Opens the socket; `None` where neighbours are not found by ARP or neighbour discovery, so that nothing is announced.
    pub fn open(interface: &Interface) -> Result<Option<Self>, Error> {
        let Some(mac) = interface.mac else { return Ok(None) };
        let socket = PacketSocket::open(interface, Hears::Nothing)?;
        Ok(Some(Self { socket, pace: Pace::new(), mac, router: is_router(&interface.name) }))
    }

    /// Announces as many of the addresses, from the first on, as may leave now; returns how many. Never waits.
    pub fn announce(&mut self, addresses: &[IpAddr], form: Form, haste: Haste) -> Result<usize, Error> {
        let now = clock::now();
        let count = addresses.len().min(self.pace.allowed(haste, now)).min(BATCH);
        if count == 0 {
            return Ok(0);
        }
        let frames: Vec<_> =
            addresses.iter().take(count).map(|address| announcement(self.mac, *address, form, self.router)).collect();
        let sent = self.socket.send(&frames)?;
        self.pace.sent(sent, haste, now);
        if sent < count {
            self.pace.refused(now);
        }
        Ok(sent)
    }

    /// When it pays to announce again, with so many addresses waiting.
    pub fn next(&self, waiting: usize, haste: Haste) -> Instant {
        self.pace.next(waiting, haste)
    }
}

/// Whether this host forwards IPv6 that comes in on the interface. (A file of the kernel, not of a disk.)
pub(super) fn is_router(interface: &str) -> bool {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/forwarding");
    std::fs::read_to_string(path).is_ok_and(|value| value.trim() != "0")
}
