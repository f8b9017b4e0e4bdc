//! What a check saw instead of what it expected.

use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::process::{Exit, ProgramError};

/// Why a check failed.
#[derive(Debug, Error)]
pub enum CheckError {
    /// No answer in time.
    #[error("{what}: no answer within {time:?}")]
    TimedOut {
        /// What was tried.
        what: String,
        /// How long.
        time: Duration,
    },
    /// Nobody of this name.
    #[error("no process named {name} runs")]
    NoProcess {
        /// The name.
        name: String,
    },
    /// The connection was refused, or broke.
    #[error("{what}: {}", plain(.source))]
    Io {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The page is not well.
    #[error("{what}: status {status}, expected 2xx or 3xx")]
    HttpStatus {
        /// What was asked.
        what: String,
        /// Status code and its words.
        status: String,
    },
    /// Something that does not speak HTTP.
    #[error("{what}: answered {seen:?}, expected a line like \"HTTP/1.1 200 OK\"")]
    NotHttp {
        /// What was asked.
        what: String,
        /// The beginning of the answer.
        seen: String,
    },
    /// A script says no.
    #[error("script {script} {exit}, expected status 0{output}")]
    Script {
        /// The command.
        script: String,
        /// How it ended.
        exit: Exit,
        /// What it said last.
        output: String,
    },
    /// A script does not end.
    #[error("script {script} did not end within {time:?} and was killed{output}")]
    ScriptHangs {
        /// The command.
        script: String,
        /// How long it had.
        time: Duration,
        /// What it said last.
        output: String,
    },
    /// A script cannot be run.
    #[error("script cannot be run: {0}")]
    Program(#[from] ProgramError),
    /// The config asks for what cannot be done.
    #[error("{0}")]
    Wrong(String),
}

/// The kernel's words without the number: `connection refused`.
fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_lowercase(),
        None => error.to_string(),
    }
}
