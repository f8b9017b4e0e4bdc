//! `avamgr report`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::duration;

/// Options of `report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// The archive; one that is there is not overwritten [default: avamgr-report-CLUSTER-NODE-TIME.tar.gz, here]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The report of another node, to be in this archive too
    #[arg(long, value_name = "FILE")]
    pub with: Vec<PathBuf>,
    /// Not a word about what is to be done on the other nodes
    #[arg(long)]
    pub no_peer: bool,
    /// How long each part may take before it is given up
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub patience: Duration,
}
