//! `avamgr completion`.

use clap::{Args, ValueEnum};
use clap_complete::Shell;

/// Options of `completion`.
#[derive(Clone, Copy, Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    pub shell: Shell,
    /// The program; rules-sync and avamgr-webui have this verb themselves
    #[arg(long, value_enum, default_value = "avamgr")]
    pub program: Program,
}

/// A program that is built with this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// The command line
    Avamgr,
    /// The daemon
    Avamgrd,
    /// The witness
    AvamgrWitness,
}
