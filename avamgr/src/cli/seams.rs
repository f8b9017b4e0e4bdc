//! The places where other rooms of the house are asked: config reader, key file, resources, demo. One place, so that a
//! change over there is a change here only.

use std::path::Path;

use avamgr_core::cluster::{NodeId, ResourceId};
use avamgr_core::config::Config;
use avamgr_core::control::ResourceVerb;
use serde::Serialize;

use crate::cli::{CliError, Exit};

/// A config file that is good.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Config,
    /// What is allowed but worth knowing, drawn for a terminal; empty = nothing.
    pub(super) warnings: String,
}

/// One timer as `check` shows it.
#[derive(Debug, Serialize)]
pub(super) struct Timer {
    pub(super) name: String,
    pub(super) value: String,
    /// Set by hand, or what it is derived from.
    pub(super) origin: String,
}

/// One rule between timers as `check` shows it.
#[derive(Debug, Serialize)]
pub(super) struct Rule {
    pub(super) name: String,
    /// Both sides with their values.
    pub(super) text: String,
    pub(super) holds: bool,
    /// The daemon does not start without it; otherwise it is advice.
    pub(super) required: bool,
    /// What goes wrong without it.
    pub(super) why: String,
}

/// Reads and checks a config file.
pub(super) fn load(path: &Path) -> Result<Loaded, CliError> {
    Err(CliError::Config(format!("{}: the config reader is not connected yet", path.display())))
}

/// Every timer of a config.
pub(super) fn timers(_config: &Config) -> Vec<Timer> {
    Vec::new()
}

/// Every rule between timers.
pub(super) fn rules(_config: &Config) -> Vec<Rule> {
    Vec::new()
}

/// Makes a key file, or adds a key to it; says what was done.
pub(super) fn keygen(path: &Path) -> Result<String, CliError> {
    Err(CliError::Failed(format!("{}: key files are not connected yet", path.display())))
}

/// Starts or stops a resource on this host without a daemon; says what was done.
pub(super) fn resources_offline(
    _config: &Config,
    _node: NodeId,
    resource: ResourceId,
    _verb: ResourceVerb,
) -> Result<String, CliError> {
    Err(CliError::Failed(format!("resource {} is not connected yet", resource.index)))
}

/// The demo.
pub(super) fn demo() -> Result<Exit, CliError> {
    match crate::demo::run(crate::demo::Options::default()) {
        Ok(true) => Ok(Exit::Done),
        Ok(false) => Ok(Exit::Failed),
        Err(error) => Err(CliError::Failed(format!("{error:#}"))),
    }
}
