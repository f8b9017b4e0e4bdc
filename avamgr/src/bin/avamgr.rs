//! The operator's command line; everything is in [`avamgr::cli`]. Under other names, the programs of its demo.

use std::process::ExitCode;

fn main() -> ExitCode {
    avamgr::demo::called_by_name().unwrap_or_else(avamgr::cli::main)
}
