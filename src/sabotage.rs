//! SABOTAGE: the safety rules of lease and fencing, each of which a test can break on purpose.
//!
//! A checker is worth what it catches. With the feature `sabotage` a test says which rule does not count on its thread, and
//! the checker has to find out. Without the feature no rule can be broken, and the compiler removes the question.
#![cfg_attr(not(feature = "sabotage"), expect(unreachable_pub, reason = "nobody outside may know of it then"))]

/// A rule that keeps two nodes from having a lease at once, or a node from serving without one or beside a silent owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A holder counts its lease from the sending of the renewal, not from the arrival of the acknowledgement.
    LeaseCountsFromSending,
    /// A voter counts its promise from the receipt of the renewal on its own clock, not from the sender's time.
    PromiseCountsFromReceipt,
    /// A lease is shortened and a promise stretched by what a clock may be wrong.
    ClocksAreWrong,
    /// A voter has one promise at a time: nobody else gets one before it is over.
    OnePromiseAtATime,
    /// Only its holder gives a promise back.
    OnlyTheHolderGivesBack,
    /// A voter that was restarted abstains until what it may have promised is over.
    RestartedVoterAbstains,
    /// A lease needs a majority.
    MajorityDecides,
    /// A candidate counts its own vote only when it is free.
    OwnVoteIsFree,
    /// Only a promise to us acknowledges our renewal.
    PromiseIsOurs,
    /// Whoever still holds something of a group does not give its votes back.
    ReleaseWhenDown,
    /// Nothing is started before a majority has granted the claim.
    ClaimIsGrantedFirst,
    /// A holder stops when its lease is over.
    LapsedHolderStops,
    /// The kernel is told when the lease is over, and closes the addresses by itself.
    LeaseEnds,
    /// What a silent node may own is not taken over before the node is known to be off.
    SilentNodesAreFenced,
    /// A fence device that has failed has not turned anything off.
    OnlyAProofFences,
}

#[cfg(feature = "sabotage")]
mod switch {
    use super::Rule;
    use std::cell::Cell;

    impl Rule {
        /// All of them.
        pub const ALL: [Self; 15] = [
            Self::LeaseCountsFromSending,
            Self::PromiseCountsFromReceipt,
            Self::ClocksAreWrong,
            Self::OnePromiseAtATime,
            Self::OnlyTheHolderGivesBack,
            Self::RestartedVoterAbstains,
            Self::MajorityDecides,
            Self::OwnVoteIsFree,
            Self::PromiseIsOurs,
            Self::ReleaseWhenDown,
            Self::ClaimIsGrantedFirst,
            Self::LapsedHolderStops,
            Self::LeaseEnds,
            Self::SilentNodesAreFenced,
            Self::OnlyAProofFences,
        ];
    }

    thread_local! {
        static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// From now on this rule does not count on this thread; `None` = all of them do.
    pub fn break_rule(rule: Option<Rule>) {
        BROKEN.set(rule);
    }

    /// Whether a rule does not count on this thread.
    pub fn broken(rule: Rule) -> bool {
        BROKEN.get() == Some(rule)
    }
}

#[cfg(feature = "sabotage")]
pub use switch::{break_rule, broken};

/// Every rule counts.
#[cfg(not(feature = "sabotage"))]
pub const fn broken(_: Rule) -> bool {
    false
}
