//! What an operator may order.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::words;
use crate::courier;

/// A command to the node. Names are checked by the node; what it refuses says why.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Command {
    /// Move a group (the only one if not named) to another node (the best one if not named).
    Switchover {
        /// The group.
        group: Option<String>,
        /// The target.
        to: Option<String>,
        /// Only say what would be done and what stands in the way.
        dry_run: bool,
    },
    /// Take this node out: hand over what it has, take nothing over.
    Offline {
        /// For how long; until `online` unless given.
        duration: Option<Duration>,
    },
    /// Let this node take part again; also lifts a flap hold.
    Online,
    /// Switch automatic actions off or on: services run on, nothing is moved, restarted or taken over.
    Maintenance {
        /// On or off.
        on: bool,
    },
    /// Turn another node off, or say how it stands with one.
    Fence {
        /// The node.
        node: String,
        /// What.
        verb: FenceVerb,
    },
    /// Vouch that no node that is off counts other voters than this one's config.
    ConfirmVoters,
    /// Bring this node's term of a group back to what the other nodes know: its state was damaged.
    ResetTerm {
        /// The group; the only one if not named.
        group: Option<String>,
    },
    /// An order for one resource of the ACTIVE node, or clearing its failures.
    Resource {
        /// `group/resource`, or the resource's name where it is unique.
        resource: String,
        /// The order.
        verb: ResourceVerb,
    },
    /// Let another program, or a new process of the same one, go on with everything as it is.
    Upgrade {
        /// The program; the daemon's own file if not named.
        binary: Option<PathBuf>,
    },
}

impl Command {
    /// Whether it only asks what would be done.
    pub fn is_dry_run(&self) -> bool {
        match self {
            Self::Switchover { dry_run, .. } => *dry_run,
            Self::Offline { .. }
            | Self::Online
            | Self::Maintenance { .. }
            | Self::Fence { .. }
            | Self::ConfirmVoters
            | Self::ResetTerm { .. }
            | Self::Resource { .. }
            | Self::Upgrade { .. } => false,
        }
    }

    /// As it would be typed, for the history and for answers.
    pub fn words(&self) -> String {
        match self {
            Self::Switchover { group, to, dry_run } => {
                let group = group.as_ref().map_or(String::new(), |group| format!(" {group}"));
                let to = to.as_ref().map_or(String::new(), |to| format!(" --to {to}"));
                format!("switchover{group}{to}{}", if *dry_run { " --dry-run" } else { "" })
            }
            Self::Offline { duration: None } => "offline".to_owned(),
            Self::Offline { duration: Some(time) } if time.subsec_millis() == 0 => {
                format!("offline --for {}s", time.as_secs())
            }
            Self::Offline { duration: Some(time) } => format!("offline --for {}ms", time.as_millis()),
            Self::Online => "online".to_owned(),
            Self::Maintenance { on } => format!("maintenance {}", if *on { "on" } else { "off" }),
            Self::Fence { node, verb: FenceVerb::Shoot } => format!("fence now {node}"),
            Self::Fence { node, verb: FenceVerb::Confirm } => format!("fence confirm {node}"),
            Self::Fence { node, verb: FenceVerb::Clear } => format!("fence clear {node}"),
            Self::ConfirmVoters => "voters confirm".to_owned(),
            Self::ResetTerm { group } => {
                format!("term reset{}", group.as_ref().map_or(String::new(), |group| format!(" {group}")))
            }
            Self::Resource { resource, verb } => format!("resource {} {resource}", words::verb(*verb)),
            Self::Upgrade { binary: None } => "upgrade".to_owned(),
            Self::Upgrade { binary: Some(path) } => format!("upgrade --binary {}", path.display()),
        }
    }
}

/// Something that is ordered in somebody's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Errand {
    /// Of the node.
    Command(Command),
    /// Of the program that keeps the rules the same.
    Rules(courier::Request),
}

impl Errand {
    /// As it would be typed.
    pub fn words(&self) -> String {
        match self {
            Self::Command(command) => command.words(),
            Self::Rules(request) => request.words(),
        }
    }

    /// Whether it only asks what would be done.
    pub fn is_dry_run(&self) -> bool {
        match self {
            Self::Command(command) => command.is_dry_run(),
            Self::Rules(_) => false,
        }
    }
}

/// What an operator can do about a node that has to be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FenceVerb {
    /// Turn it off through its fence devices, whatever it does.
    Shoot,
    /// Vouch that it is off.
    Confirm,
    /// Let it take part again.
    Clear,
}

/// What an operator can do to one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ResourceVerb {
    /// Start it, where its group is ACTIVE.
    Start,
    /// Stop it and leave it stopped until started; the group stays ACTIVE.
    Stop,
    /// Stop and start it.
    Restart,
    /// Forget its failures; a group in `Fault` goes back to `Standby`.
    Clear,
}
