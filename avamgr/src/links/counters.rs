//! What a link has done and refused, in numbers.

use std::collections::BTreeMap;

use avamgr_core::node::input::BadDatagram;

/// Numbers since the daemon's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames given to the kernel.
    pub sent: u64,
    /// Frames dropped because the kernel could not take them at once.
    pub send_dropped: u64,
    /// Frames that could not be sent (no route, no interface, not permitted).
    pub send_failed: u64,
    /// Good frames handed to the loop.
    pub received: u64,
    /// Good frames that had come over another bearer already.
    pub copies: u64,
    /// Datagrams dropped unread because too many came from one address.
    pub flooded: u64,
    /// Datagrams the kernel dropped because too many waited.
    pub kernel_dropped: u64,
    /// Frames of ours that a peer's kernel refused: nobody listened.
    pub refused: u64,
    /// Other ICMP errors, and those that quote no frame of ours.
    pub icmp_ignored: u64,
    /// Times the socket was opened anew because its interface had come back.
    pub reopened: u64,
    /// Refused datagrams, in the order of `BadDatagram::ALL`.
    bad: [u64; BadDatagram::ALL.len()],
}

impl Counters {
    /// Refused datagrams of one cause.
    pub fn bad(&self, cause: BadDatagram) -> u64 {
        BadDatagram::ALL.iter().zip(self.bad).find(|(other, _)| **other == cause).map_or(0, |(_, count)| count)
    }

    /// Every number that is not zero, by a name fit for status and metrics.
    pub fn named(&self) -> BTreeMap<String, u64> {
        let numbers = [
            ("sent", self.sent),
            ("send_dropped", self.send_dropped),
            ("send_failed", self.send_failed),
            ("received", self.received),
            ("copies", self.copies),
            ("flooded", self.flooded),
            ("kernel_dropped", self.kernel_dropped),
            ("refused", self.refused),
            ("icmp_ignored", self.icmp_ignored),
            ("reopened", self.reopened),
            ("bad_truncated", self.bad(BadDatagram::Truncated)),
            ("bad_malformed", self.bad(BadDatagram::Malformed)),
            ("bad_version", self.bad(BadDatagram::Version)),
            ("bad_cluster", self.bad(BadDatagram::Cluster)),
            ("bad_unknown_key", self.bad(BadDatagram::UnknownKey)),
            ("bad_digest", self.bad(BadDatagram::Digest)),
            ("bad_source", self.bad(BadDatagram::Source)),
        ];
        numbers.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name.to_owned(), count)).collect()
    }

    pub(super) fn count_bad(&mut self, cause: BadDatagram) {
        for (other, count) in BadDatagram::ALL.iter().zip(self.bad.iter_mut()) {
            *count += u64::from(*other == cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_number_and_its_name() {
        for cause in BadDatagram::ALL {
            let mut counters = Counters::default();
            counters.count_bad(cause);
            assert!(BadDatagram::ALL.iter().all(|other| counters.bad(*other) == u64::from(*other == cause)));
            assert_eq!(counters.named().into_values().collect::<Vec<_>>(), [1]);
        }
    }
}
