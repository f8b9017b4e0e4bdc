//! Who has these addresses?

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use avamgr_core::node::input::VipOwner;
use avamgr_core::time::Instant;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

use super::ear::Ear;
use super::packet::register;
use super::{Claim, Error, question};
use crate::clock;
use crate::netlink::{Interface, Mac, Netlink};

/// Addresses asked for on one interface. One owner has all of them or none, so a few are enough; more would only make the
/// owner's answers later.
pub const ASKED_MAX: usize = 8;
/// How often each question is asked: one lost frame in a hundred is common, three in a row are not.
const ROUNDS: u32 = 3;
/// How many more rounds may take the place of those that do not count.
const REPEATED_MAX: u32 = 6;

/// Asks on an interface who has one of these addresses, and returns at the first answer, or after `time` without one.
/// Of many addresses, a few are asked for: the first, the last, and some between them. Answers of this host's own
/// interfaces do not count. No neighbour's table changes.
///
/// A round during which this host stood still does not count: the answer may be as late as we are. Neither does one whose
/// questions did not all leave this host. It is asked again, so the whole may take longer than `time`; where that does not
/// help either, [`Error::Late`] or [`Error::Unasked`] says that nothing is known.
pub async fn probe(interface: &str, addresses: &[IpAddr], time: Duration) -> Result<Option<VipOwner>, Error> {
    let mut netlink = Netlink::open()?;
    let name = || interface.to_owned();
    let link = netlink.interface(interface).await?.ok_or_else(|| Error::Missing { interface: name() })?;
    if !link.up {
        return Err(Error::Down { interface: name() });
    }
    if !link.carrier {
        return Err(Error::NoCarrier { interface: name() });
    }
    let Some(mac) = link.mac else { return Err(Error::NotEthernet { interface: name() }) };
    if addresses.is_empty() {
        return Ok(None);
    }
    let asked = spread(addresses, ASKED_MAX);
    let mut asker = Asker::open(&link, mac, asked)?;
    let patience = time / ROUNDS;
    let (mut counted, mut unasked) = (0, 0);
    for _ in 0..ROUNDS + REPEATED_MAX {
        let asked = asker.ask()?;
        let until = clock::now() + patience;
        while let Some(claim) = asker.hear(until).await? {
            if !is_own(&mut netlink, claim.mac).await? {
                return Ok(Some(VipOwner { address: claim.address, mac: claim.mac.to_string() }));
            }
        }
        unasked += u32::from(!asked);
        counted += u32::from(asked && clock::now() <= until + patience);
        if counted == ROUNDS {
            return Ok(None);
        }
    }
    Err(if unasked > 0 { Error::Unasked { interface: name() } } else { Error::Late { interface: name() } })
}

/// A claim can come from another interface of this host that is on the same network.
pub async fn is_own(netlink: &mut Netlink, mac: Mac) -> Result<bool, Error> {
    Ok(netlink.interfaces().await?.iter().any(|link| link.hardware == Some(mac)))
}

/// `count` elements at even distances, the first and the last among them.
pub fn spread<T: Copy>(all: &[T], count: usize) -> Vec<T> {
    if all.len() <= count {
        return all.to_vec();
    }
    let (last, steps) = (all.len() - 1, count.saturating_sub(1).max(1));
    (0..count).filter_map(|place| all.get(place * last / steps).copied()).collect()
}

/// Who asks, and hears the answers.
struct Asker {
    ear: Ear,
    questions: Vec<Vec<u8>>,
}

impl Asker {
    fn open(link: &Interface, mac: Mac, asked: Vec<IpAddr>) -> Result<Self, Error> {
        let questions = asked.iter().map(|address| question(mac, *address)).collect();
        let ear = Ear::open(link, mac, asked)?;
        ear.go_first();
        Ok(Self { ear, questions })
    }

    /// Asks for each address; `false` = not all questions found room on their way out of this host.
    fn ask(&self) -> Result<bool, Error> {
        Ok(self.ear.send(&self.questions)? == self.questions.len())
    }

    /// The next claim to one of the addresses asked for; `None` when the time is over.
    async fn hear(&mut self, until: Instant) -> Result<Option<Claim>, Error> {
        tokio::select! {
            biased;
            claim = self.ear.next() => claim.map(Some),
            () = alarm(until) => Ok(None),
        }
    }
}

/// Sleeps to the microsecond: the timers of the runtime come up to two milliseconds late, and every takeover from a silent
/// peer waits for the end of a probe.
async fn alarm(until: Instant) {
    let left = until.since(clock::now());
    if left.is_zero() {
        return;
    }
    match timer(left) {
        Ok(timer) => drop(timer.readable().await),
        // Out of file descriptors: late is better than never.
        Err(_) => tokio::time::sleep(left).await,
    }
}

fn timer(left: Duration) -> std::io::Result<AsyncFd<OwnedFd>> {
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    timer.set(Expiration::OneShot(TimeSpec::from_duration(left)), TimerSetTimeFlags::empty())?;
    register(timer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_all_asked_for_and_many_at_even_distances() {
        assert_eq!(spread(&[1, 2, 3], 8), [1, 2, 3]);
        let all: Vec<u32> = (0..4000).collect();
        assert_eq!(spread(&all, 8), [0, 571, 1142, 1713, 2285, 2856, 3427, 3999]);
        assert_eq!(spread(&[1, 2, 3], 2), [1, 3]);
        assert!(spread::<u8>(&[], 8).is_empty());
    }
}
