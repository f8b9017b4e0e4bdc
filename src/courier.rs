//! THE COURIER'S WORDS as types: what may be asked of the program that replicates the rules, and what comes back.
//!
//! The courier, its command line, the daemon and the web page all speak these documents, one JSON document a line.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::node::event::Severity;
use crate::time::Instant;

/// What a client sends, one a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request")]
pub enum Request {
    /// How everything stands; answered by `Reply::Status`.
    Status,
    /// What differs between this node and a peer (the only one if not named); answered by `Reply::Differences`.
    Diff {
        /// The peer.
        peer: Option<String>,
    },
    /// Read everything again, compare it with all peers and send what they lack; told by `Reply::Progress`, then `Reply::Done`.
    Resync {
        /// Also pass on that a directory has lost everything.
        force: bool,
    },
    /// What was replaced, deleted or lost a conflict; answered by `Reply::Kept`.
    Kept {
        /// Those that lost a conflict, or the others.
        conflicts: bool,
    },
    /// Put a kept content back in its place: a change like any other.
    Restore {
        /// The name it is kept under.
        name: String,
    },
    /// A conflict is settled as it is: the loser is kept like everything that was replaced.
    Settle {
        /// The name it is kept under; all of them if not named.
        name: Option<String>,
    },
}

impl Request {
    /// As it would be typed, for the history and for answers.
    pub fn words(&self) -> String {
        let rest = match self {
            Self::Status => "status".to_owned(),
            Self::Diff { peer } => peer.as_ref().map_or_else(|| "diff".to_owned(), |peer| format!("diff {peer}")),
            Self::Resync { force } => if *force { "resync --force" } else { "resync" }.to_owned(),
            Self::Kept { conflicts } => if *conflicts { "conflicts list" } else { "trash list" }.to_owned(),
            Self::Restore { name } => format!("conflicts restore {name}"),
            Self::Settle { name: Some(name) } => format!("conflicts settle {name}"),
            Self::Settle { name: None } => "conflicts settle --all".to_owned(),
        };
        format!("rules-sync {rest}")
    }

    /// Whether it changes something, and so needs an operator.
    pub fn steers(&self) -> bool {
        match self {
            Self::Status | Self::Diff { .. } | Self::Kept { .. } => false,
            Self::Resync { .. } | Self::Restore { .. } | Self::Settle { .. } => true,
        }
    }
}

/// What the courier sends back, one a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reply")]
pub enum Reply {
    /// How everything stands.
    Status {
        /// It.
        status: Box<Status>,
    },
    /// What differs from a peer.
    Differences {
        /// The peer.
        peer: String,
        /// Paths, in order; at most 1,000.
        differences: Vec<Difference>,
        /// How many more there are.
        omitted: u64,
    },
    /// What is kept, the oldest first.
    Kept {
        /// The youngest of it, so many as a reply has room for.
        kept: Vec<KeptStatus>,
        /// How many older ones there are.
        #[serde(default)]
        omitted: u64,
    },
    /// How far it is.
    Progress {
        /// Done until now.
        done: u64,
        /// Of so many that are known of now.
        total: u64,
        /// What is being done.
        text: String,
    },
    /// It is done.
    Done {
        /// What was done, in words.
        text: String,
    },
    /// It was not done.
    Refused {
        /// Why.
        reason: String,
    },
}

impl Reply {
    /// Nothing more comes after it.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Progress { .. } => false,
            Self::Status { .. }
            | Self::Differences { .. }
            | Self::Kept { .. }
            | Self::Done { .. }
            | Self::Refused { .. } => true,
        }
    }
}

/// How everything stands. Instants are of the machine's clock since it was started: age = `now` − instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = RulesStatus))]
pub struct Status {
    /// The moment of this snapshot.
    pub now: Instant,
    /// Our node.
    pub node: String,
    /// Version of the program.
    pub version: String,
    /// Since when it runs.
    pub started: Instant,
    /// The ACTIVE node, whose version wins; `None` = nobody knows.
    pub active: Option<String>,
    /// Changes go from the ACTIVE node only.
    pub one_way: bool,
    /// The directories.
    pub directories: Vec<DirectoryStatus>,
    /// The other nodes.
    pub peers: Vec<PeerStatus>,
    /// Paths that change at this moment.
    pub unsettled: u64,
    /// What lost a conflict and waits for a word of the operator.
    pub conflicts: u64,
    /// What was replaced or deleted, and is kept for a while.
    pub trash: u64,
    /// What cannot be replicated now, and is tried again; at most 100.
    pub troubles: Vec<Trouble>,
    /// How many more there are.
    pub troubles_omitted: u64,
    /// What has happened lately, the oldest first.
    pub notices: Vec<Notice>,
}

impl Status {
    /// Everything that was changed here is known to be on every other node, and nothing stands in the way.
    pub fn in_sync(&self) -> bool {
        self.unsettled == 0
            && self.troubles.is_empty()
            && self.directories.iter().all(DirectoryStatus::in_sync)
            && self.peers.iter().all(PeerStatus::in_sync)
    }
}

/// The courier as the daemon of its node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Watched {
    /// Process number; `None` = the daemon does not have it running.
    pub pid: Option<i32>,
    /// Since when it runs, or does not.
    pub since: Instant,
    /// Why it does not run, or does not say how everything stands.
    pub trouble: Option<String>,
    /// When it last answered.
    pub answered: Option<Instant>,
    /// What it said then, without notices: those are in the history. Of many troubles only the first are here.
    pub status: Option<Box<Status>>,
}

/// One directory of the config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DirectoryStatus {
    /// Its name.
    pub name: String,
    /// Where it is on this node.
    pub path: String,
    /// Paths in it, as far as they are known.
    pub paths: u64,
    /// It is not replicated, or changes in it are seen late. Why, and what to do.
    pub trouble: Option<String>,
    /// It has lost so many paths at once: they are not deleted elsewhere until an operator says so.
    pub held: Option<u64>,
    /// Paths that were changed here, while changes go from the ACTIVE node only.
    pub strays: u64,
}

impl DirectoryStatus {
    /// It is replicated, and as the other nodes are told that it is.
    pub fn in_sync(&self) -> bool {
        self.trouble.is_none() && self.held.is_none() && self.strays == 0
    }
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = RulesPeerStatus))]
pub struct PeerStatus {
    /// Its name.
    pub node: String,
    /// It answers; since when, or since when not.
    pub reachable: bool,
    /// Since when.
    pub since: Option<Instant>,
    /// The address that is used.
    pub address: String,
    /// Paths that it has not confirmed.
    pub owed: u64,
    /// How long the first of them waits.
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::time::DurationSchema>))]
    pub lag: Option<Duration>,
    /// What was sent last.
    pub last_sent: Option<Transfer>,
    /// What came last.
    pub last_received: Option<Transfer>,
    /// Why the last attempt failed; `None` = it did not.
    pub error: Option<String>,
    /// Failed attempts by cause.
    pub errors: std::collections::BTreeMap<String, u64>,
    /// When both trees were compared last, and whether they were the same.
    pub compared: Option<(Instant, bool)>,
}

impl PeerStatus {
    /// It has confirmed everything, and answers; and when both trees were compared last, they were the same.
    pub fn in_sync(&self) -> bool {
        self.reachable && self.owed == 0 && self.compared.is_none_or(|(_, same)| same)
    }
}

/// A batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Transfer {
    /// When.
    pub at: Instant,
    /// Paths in it.
    pub paths: u64,
    /// Bytes of contents.
    pub bytes: u64,
    /// How long it took.
    #[cfg_attr(feature = "schema", schema(value_type = crate::time::DurationSchema))]
    pub took: Duration,
}

/// What cannot be replicated now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Trouble {
    /// The path.
    pub place: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: Instant,
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Notice {
    /// Grows by one from notice to notice of a run.
    pub number: u64,
    /// When.
    pub at: Instant,
    /// How much it matters.
    pub severity: Severity,
    /// The sentence.
    pub text: String,
}

/// A path that is not the same on two nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The path.
    pub place: String,
    /// How it differs.
    pub kind: DifferenceKind,
    /// The peer has not confirmed our last change of it: it is on its way.
    pub owed: bool,
}

/// How a path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Only this node has it.
    OnlyHere,
    /// Only the peer has it.
    OnlyThere,
    /// Both have it, with different contents or permissions.
    Differs,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct KeptStatus {
    /// The name it is kept under.
    pub name: String,
    /// Where it was.
    pub place: String,
    /// The file it lies in.
    pub file: String,
    /// The node that had made it.
    pub by: String,
    /// Since when it is kept, in milliseconds since 1970.
    pub millis: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let directory = DirectoryStatus {
            name: "re".to_owned(),
            path: "/re".to_owned(),
            paths: 1,
            trouble: None,
            held: None,
            strays: 0,
        };
        let peer = PeerStatus {
            node: "b".to_owned(),
            reachable: true,
            since: None,
            address: String::new(),
            owed: 0,
            lag: None,
            last_sent: None,
            last_received: None,
            error: None,
            errors: std::collections::BTreeMap::new(),
            compared: Some((Instant::BOOT, true)),
        };
        Status {
            now: Instant::BOOT,
            node: "a".to_owned(),
            version: String::new(),
            started: Instant::BOOT,
            active: None,
            one_way: false,
            directories: vec![directory],
            peers: vec![peer],
            unsettled: 0,
            conflicts: 1,
            trash: 1,
            troubles: Vec::new(),
            troubles_omitted: 0,
            notices: Vec::new(),
        }
    }

    #[test]
    fn in_sync_is_only_what_nothing_stands_in_the_way_of() {
        assert!(status().in_sync(), "what is kept for an operator is where it should be");
        let trouble = || Trouble { place: String::new(), why: String::new(), since: Instant::BOOT };
        let breaks: [&dyn Fn(&mut Status); 8] = [
            &|status| status.unsettled = 1,
            &|status| status.troubles.push(trouble()),
            &|status| status.directories[0].trouble = Some("not there".to_owned()),
            &|status| status.directories[0].held = Some(2),
            &|status| status.directories[0].strays = 1,
            &|status| status.peers[0].reachable = false,
            &|status| status.peers[0].owed = 1,
            &|status| status.peers[0].compared = Some((Instant::BOOT, false)),
        ];
        for (number, change) in breaks.iter().enumerate() {
            let mut status = status();
            change(&mut status);
            assert!(!status.in_sync(), "{number}");
        }
    }
}
