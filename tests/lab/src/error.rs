//! What can go wrong in the lab, always with the host, the interface and the step, so that a failed story says
//! where to look.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// An error of the lab itself; what a story expects of the programs under test is the story's own business.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// A step of building or steering a host failed.
    #[error("{host}: {step}: {source}")]
    Host {
        /// The host, as the plan names it.
        host: String,
        /// What was being done.
        step: String,
        /// What the kernel answered.
        source: io::Error,
    },

    /// A step on one interface of a host failed.
    #[error("{host}: interface {interface}: {step}: {source}")]
    Interface {
        /// The host, as the plan names it.
        host: String,
        /// The interface in that host.
        interface: String,
        /// What was being done.
        step: String,
        /// What the kernel answered.
        source: io::Error,
    },

    /// A file of a host or of the scratch directory could not be read or written.
    #[error("{host}: {step} {}: {source}", path.display())]
    File {
        /// The host, as the plan names it.
        host: String,
        /// What was being done.
        step: &'static str,
        /// The path as seen from outside the host.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },

    /// The plan has no host, network or cable of this name.
    #[error("the lab has no {kind} `{name}`; it has: {known}")]
    Unknown {
        /// `host`, `network` or `cable`.
        kind: &'static str,
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: String,
    },

    /// The plan contradicts itself.
    #[error("the plan of the lab: {0}")]
    Plan(String),

    /// Something was asked of a host that has no power.
    #[error("{host} is powered off; `power_on` comes first")]
    PoweredOff {
        /// The host, as the plan names it.
        host: String,
    },

    /// Packet loss and one-way cuts need the `nft` program.
    #[error(
        "{fault} needs the program `nft`, which was not found (Debian: apt-get install nftables); pulling cables, \
         silencing links and power faults work without it"
    )]
    NoNft {
        /// The fault that was asked for.
        fault: String,
    },

    /// The `nft` program refused the rules of the faults.
    #[error("nft refused the rules for {fault}: {answer}")]
    Nft {
        /// The fault that was asked for.
        fault: String,
        /// What nft printed.
        answer: String,
    },

    /// What was awaited did not happen in time.
    #[error("waited {limit:?} in vain for: {what}")]
    Waited {
        /// What was awaited, in words.
        what: String,
        /// How long.
        limit: Duration,
    },

    /// A program of a host could not be started.
    #[error("{host}: start `{program}`: {source}")]
    Spawn {
        /// The host, as the plan names it.
        host: String,
        /// The program as given.
        program: String,
        /// What the kernel answered.
        source: io::Error,
    },

    /// The machine does not let this account make namespaces.
    #[error(transparent)]
    UserNamespace(#[from] UserNamespaceError),
}

/// Why an ordinary account could not become root of a namespace of its own, and what the machine's owner can do.
#[derive(Debug, thiserror::Error)]
#[error("no user namespace: {step}: {source}{}", hints_as_text(hints))]
pub struct UserNamespaceError {
    /// What was being done.
    pub step: &'static str,
    /// What the kernel answered.
    pub source: io::Error,
    /// One sentence per setting of this machine that stands in the way, with the command that changes it.
    pub hints: Vec<String>,
}

fn hints_as_text(hints: &[String]) -> String {
    hints.iter().map(|hint| format!("\n  - {hint}")).collect()
}

/// The result of everything in the lab.
pub type Result<T, E = LabError> = std::result::Result<T, E>;

/// Adds host and step to an error of the kernel.
pub(crate) trait Context<T> {
    /// The step of a host.
    fn on(self, host: &str, step: impl Into<String>) -> Result<T>;

    /// The step on an interface of a host.
    fn at(self, host: &str, interface: &str, step: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn on(self, host: &str, step: impl Into<String>) -> Result<T> {
        self.map_err(|source| LabError::Host { host: host.to_owned(), step: step.into(), source: source.into() })
    }

    fn at(self, host: &str, interface: &str, step: impl Into<String>) -> Result<T> {
        self.map_err(|source| LabError::Interface {
            host: host.to_owned(),
            interface: interface.to_owned(),
            step: step.into(),
            source: source.into(),
        })
    }
}
