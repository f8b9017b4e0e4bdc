//! The courier.

use std::process::ExitCode;

fn main() -> ExitCode {
    rules_sync::program::main()
}
