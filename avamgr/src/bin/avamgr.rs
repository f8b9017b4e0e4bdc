//! The operator's command line; everything is in [`avamgr::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    avamgr::cli::main()
}
