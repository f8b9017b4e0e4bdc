//! What is still to be announced, and when.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use avamgr_core::config::IpNet;
use avamgr_core::time::Instant;

use crate::clock;
use crate::neighbours::{Error, Form, Haste, Sender};
use crate::netlink::{Interface, prefix};

/// Addresses of one range that are announced, from the first on. More would take too long (0.1 s for these, and four times
/// that for the repetition), and neighbours keep a few thousand entries at most.
const RANGE_MAX: u64 = 16_384;
/// Addresses handed to the sender at once.
const BATCH: u64 = 128;
/// An interface that takes nothing for so long takes nothing.
const PATIENCE: Duration = Duration::from_millis(500);

/// Announcements under way on one interface.
#[derive(Default)]
pub(super) struct Announcer {
    sender: Option<Sender>,
    /// The interface as it was when the socket was opened.
    interface: Option<Interface>,
    queue: VecDeque<Pass>,
    /// The interface takes no more since then.
    stuck: Option<Instant>,
}

/// One announcement of each address of a list, under way.
struct Pass {
    what: What,
    form: Form,
    haste: Haste,
    done: u64,
}

enum What {
    List(Vec<IpAddr>),
    Range(IpNet),
}

impl Announcer {
    /// Takes a socket for the interface as it is now, unless it has one; what was under way is forgotten.
    pub(super) fn open(&mut self, interface: &Interface) -> Result<(), Error> {
        self.clear();
        if self.interface.as_ref() != Some(interface) {
            self.close();
            self.sender = Sender::open(interface)?;
            self.interface = Some(interface.clone());
        }
        Ok(())
    }

    /// Drops the socket: something happened to the interface, and what the socket says next would be about that.
    pub(super) fn close(&mut self) {
        self.clear();
        self.sender = None;
        self.interface = None;
    }

    /// Forgets what is under way.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.stuck = None;
    }

    /// Addresses that were just added come before everything else.
    pub(super) fn urgent(&mut self, addresses: Vec<IpAddr>) {
        if let Some(pass) = self.pass(What::List(addresses), Form::Request, Haste::Urgent) {
            self.queue.push_front(pass);
        }
    }

    /// Each address once in each form: all of them soon, then all of them for those who listen only to the other one.
    pub(super) fn burst(&mut self, addresses: &[IpNet], ranges: &[IpNet]) {
        self.round(addresses, ranges, Form::Request, Haste::Urgent);
        self.round(addresses, ranges, Form::Reply, Haste::Routine);
    }

    /// Each address once.
    pub(super) fn round(&mut self, addresses: &[IpNet], ranges: &[IpNet], form: Form, haste: Haste) {
        let list = What::List(addresses.iter().map(|net| net.address).collect());
        for what in std::iter::once(list).chain(ranges.iter().copied().map(What::Range)) {
            let pass = self.pass(what, form, haste);
            self.queue.extend(pass);
        }
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        let pass = self.queue.front()?;
        let waiting: u64 = self.queue.iter().map(Pass::left).sum();
        Some(self.sender.as_ref()?.next(usize::try_from(waiting).unwrap_or(usize::MAX), pass.haste))
    }

    /// Sends what may leave now. After an error everything is forgotten: it is told again later anyway.
    pub(super) fn turn(&mut self) -> Result<(), Error> {
        let result = self.send();
        if result.is_err() {
            self.clear();
        }
        result
    }

    fn send(&mut self) -> Result<(), Error> {
        let Some(sender) = &mut self.sender else { return Ok(()) };
        while let Some(pass) = self.queue.front_mut() {
            let batch = pass.batch();
            let sent = sender.announce(&batch, pass.form, pass.haste)?;
            pass.done += u64::try_from(sent).unwrap_or(u64::MAX);
            if pass.left() == 0 {
                self.queue.pop_front();
            }
            if sent > 0 {
                self.stuck = None;
            }
            if sent < batch.len() {
                break;
            }
        }
        if self.queue.is_empty() {
            self.stuck = None;
            return Ok(());
        }
        let now = clock::now();
        if now.since(*self.stuck.get_or_insert(now)) > PATIENCE {
            self.clear();
        }
        Ok(())
    }

    /// Nothing, where there is nothing to say or no way to say it.
    fn pass(&self, what: What, form: Form, haste: Haste) -> Option<Pass> {
        let pass = Pass { what, form, haste, done: 0 };
        (self.sender.is_some() && pass.left() > 0).then_some(pass)
    }
}

impl Pass {
    fn left(&self) -> u64 {
        let all = match &self.what {
            What::List(addresses) => u64::try_from(addresses.len()).unwrap_or(u64::MAX),
            What::Range(range) => u64::try_from(prefix::size(*range)).unwrap_or(u64::MAX).min(RANGE_MAX),
        };
        all.saturating_sub(self.done)
    }

    fn batch(&self) -> Vec<IpAddr> {
        let places = self.done..self.done + self.left().min(BATCH);
        match &self.what {
            What::List(addresses) => {
                let place = |place: u64| usize::try_from(place).ok().and_then(|place| addresses.get(place)).copied();
                places.filter_map(place).collect()
            }
            What::Range(range) => places.map(|place| prefix::member(*range, u128::from(place))).collect(),
        }
    }
}
