//! The daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    avamgr::avamgrd::main()
}
