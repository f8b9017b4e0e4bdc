//! PREFLIGHT: what `avamgr check` looks at on the host before it hurts.
//!
//! [`Facts`] are gathered from the system, [`judge`] compares them with the config and says what to do. Only the gathering
//! touches the world, and it changes nothing there.

mod facts;
mod fencing;
mod judge;
mod lease;
mod route;
mod rules;
mod tipc;
mod web;

use serde::Serialize;

pub use facts::{Facts, Interface, KeyFile, Owner, PeerClock, Program};
pub use judge::judge;
pub use route::Route;
pub use rules::{Directory, Door, Rules};
pub use tipc::{Tipc, setup as tipc_setup};
pub use web::Web;

/// How a finding is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It may work, or will hurt one day.
    Warning,
    /// It cannot work.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it is meant.
    pub level: Level,
    /// What was looked at, as in `interface eth3`.
    pub subject: String,
    /// What was seen.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Finding {
    fn ok(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject: subject.into(), text: text.into(), hint: None }
    }

    fn warning(subject: impl Into<String>, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { level: Level::Warning, subject: subject.into(), text: text.into(), hint: Some(hint.into()) }
    }

    fn error(subject: impl Into<String>, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { level: Level::Error, subject: subject.into(), text: text.into(), hint: Some(hint.into()) }
    }
}
