//! The window.

use std::process::ExitCode;

fn main() -> ExitCode {
    avamgr_webui::program::main()
}
