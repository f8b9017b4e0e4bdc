//! Wrong passwords: whoever says many waits longer and longer.
//!
//! It is counted for a name from an address, so that nobody keeps another one out from elsewhere by trying his name; and, much later
//! and for much shorter, for an address and for a name alone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use avamgr::users::is_name;
use avamgr_core::time::Instant;

/// Of whom the last try is so long ago is forgotten.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// As many are remembered.
const KNOWN: usize = 4_096;

#[derive(Clone, Copy, Debug)]
struct Limit {
    /// So many are free.
    free: u32,
    /// After the next one it is so long, and twice as long after each further one.
    first: Duration,
    /// But never longer.
    longest: Duration,
}

const BY_BOTH: Limit = Limit { free: 5, first: Duration::from_secs(1), longest: Duration::from_secs(60) };
const BY_ONE: Limit = Limit { free: 50, first: Duration::from_millis(250), longest: Duration::from_secs(2) };

/// By what tries are counted; a name only where it can be somebody's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Both(IpAddr, String),
    Address(IpAddr),
    Name(String),
}

#[derive(Clone, Copy, Debug)]
struct Count {
    tries: u32,
    last: Instant,
}

/// Those who were wrong lately.
#[derive(Debug, Default)]
pub(super) struct Tries(BTreeMap<Key, Count>);

impl Tries {
    /// One more try, which counts as wrong until it was right; or how long to wait before it.
    pub(super) fn begin(&mut self, name: &str, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let keys = keys(name, address);
        let wait = keys.iter().map(|(key, limit)| self.wait(key, *limit, now)).max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(wait);
        }
        for (key, _) in keys {
            let before = self.recent(&key, now).map_or(0, |count| count.tries);
            self.make_room(&key, now);
            self.0.insert(key, Count { tries: before.saturating_add(1), last: now });
        }
        Ok(())
    }

    /// That one was right: nobody else has become more believable by it.
    pub(super) fn succeeded(&mut self, name: &str, address: IpAddr) {
        for (key, _) in keys(name, address) {
            match (&key, self.0.get_mut(&key)) {
                (Key::Address(_), Some(count)) => count.tries = count.tries.saturating_sub(1),
                (Key::Both(..) | Key::Name(_), Some(_)) => drop(self.0.remove(&key)),
                (_, None) => {}
            }
        }
    }

    fn recent(&self, key: &Key, now: Instant) -> Option<&Count> {
        self.0.get(key).filter(|count| now.since(count.last) < FORGET)
    }

    fn make_room(&mut self, key: &Key, now: Instant) {
        if self.0.len() < KNOWN || self.0.contains_key(key) {
            return;
        }
        self.0.retain(|_, count| now.since(count.last) < FORGET);
        if self.0.len() >= KNOWN
            && let Some(oldest) = self.0.iter().min_by_key(|(_, count)| count.last).map(|(key, _)| key.clone())
        {
            self.0.remove(&oldest);
        }
    }

    fn wait(&self, key: &Key, limit: Limit, now: Instant) -> Duration {
        let Some(count) = self.recent(key, now) else { return Duration::ZERO };
        let Some(more) = count.tries.checked_sub(limit.free) else { return Duration::ZERO };
        let wait = limit.first.saturating_mul(1 << more.min(16)).min(limit.longest);
        wait.saturating_sub(now.since(count.last))
    }
}

fn keys(name: &str, address: IpAddr) -> Vec<(Key, Limit)> {
    // Of IPv6 the network: a host has as many addresses as it likes.
    let network = match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    };
    let mut keys = vec![(Key::Address(network), BY_ONE)];
    if is_name(name) {
        keys.push((Key::Both(network, name.to_owned()), BY_BOTH));
        keys.push((Key::Name(name.to_owned()), BY_ONE));
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "192.0.2.7";

    fn at(millis: u64) -> Instant {
        Instant::from_millis(1_000_000 + millis)
    }

    /// `None` = he need not wait.
    fn begin(tries: &mut Tries, name: &str, address: &str, millis: u64) -> Option<Duration> {
        tries.begin(name, address.parse().unwrap(), at(millis)).err()
    }

    #[test]
    fn who_is_wrong_often_waits_longer_and_longer_and_nobody_else_does() {
        let mut tries = Tries::default();
        for _ in 0..5 {
            assert_eq!(begin(&mut tries, "alice", HERE, 0), None);
        }
        assert_eq!(begin(&mut tries, "alice", HERE, 0), Some(Duration::from_secs(1)));
        assert_eq!(begin(&mut tries, "bob", HERE, 0), None, "it is another name");
        assert_eq!(begin(&mut tries, "alice", "192.0.2.8", 0), None, "she is elsewhere");
        assert_eq!(begin(&mut tries, "alice", HERE, 1_000), None);
        assert_eq!(begin(&mut tries, "alice", HERE, 1_000), Some(Duration::from_secs(2)));
        let mut now = 1_000;
        for _ in 0..20 {
            now += 60_000;
            assert_eq!(begin(&mut tries, "alice", HERE, now), None);
        }
        assert_eq!(begin(&mut tries, "alice", HERE, now), Some(Duration::from_secs(60)), "and no longer");
        tries.succeeded("alice", HERE.parse().unwrap());
        assert_eq!(begin(&mut tries, "alice", HERE, now), None);
    }

    #[test]
    fn who_knows_his_own_password_guesses_no_faster_at_anothers() {
        let mut tries = Tries::default();
        let mut wrong = 0;
        for _ in 0..20 {
            wrong += u32::from(begin(&mut tries, "alice", HERE, 0).is_none());
            assert_eq!(begin(&mut tries, "bob", HERE, 0), None);
            tries.succeeded("bob", HERE.parse().unwrap());
        }
        assert_eq!(wrong, BY_BOTH.free);
    }

    #[test]
    fn a_name_that_is_tried_from_everywhere_waits_a_little_and_so_does_an_address_that_tries_many() {
        let mut tries = Tries::default();
        for host in 0..50 {
            assert_eq!(begin(&mut tries, "alice", &format!("192.0.2.{host}"), 0), None);
            assert_eq!(begin(&mut tries, &format!("u{host}"), "192.0.3.1", 0), None);
        }
        assert_eq!(begin(&mut tries, "alice", "192.0.2.99", 0), Some(Duration::from_millis(250)));
        assert_eq!(begin(&mut tries, "carol", "192.0.3.1", 0), Some(Duration::from_millis(250)));
        assert_eq!(begin(&mut tries, "bob", "192.0.2.99", 0), None);
    }

    #[test]
    fn a_network_of_many_addresses_is_one_and_all_is_forgotten_some_day() {
        let mut tries = Tries::default();
        for host in 0..5 {
            assert_eq!(begin(&mut tries, "alice", &format!("2001:db8::{host}"), 0), None);
        }
        assert!(begin(&mut tries, "alice", "2001:db8::1:99", 0).is_some());
        assert_eq!(begin(&mut tries, "alice", "2001:db8:0:1::1", 0), None);
        let later = 15 * 60 * 1_000;
        for _ in 0..5 {
            assert_eq!(begin(&mut tries, "alice", "2001:db8::1", later), None, "as if nothing had been");
        }
    }

    #[test]
    fn only_so_many_are_remembered_and_what_is_no_name_is_not() {
        let mut tries = Tries::default();
        for host in 0..6_000u32 {
            let address = IpAddr::V4(host.into());
            tries.begin(&format!("u{host}"), address, at(host.into())).unwrap();
        }
        assert!(tries.0.len() <= KNOWN);
        assert!(tries.0.contains_key(&Key::Name("u5999".to_owned())), "the last one is");
        let mut tries = Tries::default();
        begin(&mut tries, &"x".repeat(2_000_000), HERE, 0);
        assert_eq!(tries.0.len(), 1, "its address only");
    }
}
