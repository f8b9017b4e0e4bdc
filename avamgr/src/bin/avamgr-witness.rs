//! The witness.

use std::process::ExitCode;

fn main() -> ExitCode {
    avamgr::witness::main()
}
