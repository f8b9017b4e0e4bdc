//! The program: what it refuses, and whom it becomes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::process::Command;

fn refused(arguments: &[&str], words: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_avamgr-webui")).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(words), "{output:?}");
}

#[test]
fn it_listens_for_this_machine_only() {
    refused(&["--listen", "0.0.0.0:0"], "only loopback addresses");
    refused(&["--listen", "[::]:0"], "only loopback addresses");
}

#[test]
fn it_never_runs_with_privileges() {
    assert!(nix::unistd::Uid::effective().is_root(), "run this test as root: nobody else has privileges to give up");
    refused(&["--listen", "127.0.0.1:0", "--user", "root"], "nobody needs privileges");
    refused(&["--listen", "127.0.0.1:0", "--user", "no-such-user"], "no-such-user is unknown");
}
