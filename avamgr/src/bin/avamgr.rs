//! The operator's program, and the parts of its demo.

use std::process::ExitCode;

fn main() -> ExitCode {
    avamgr::demo::called_by_name().unwrap_or_else(|| {
        let d = avamgr::demo::run(avamgr::demo::Options::default());
        match d { Ok(true) => ExitCode::SUCCESS, Ok(false) => ExitCode::FAILURE, Err(e) => { avamgr::complain(&format!("{e:#}")); ExitCode::from(2) } }
    })
}
