//! Programs that need root, for tests of any account.

use std::ffi::OsStr;
use std::process::Command;

/// A command that runs as root: of this machine, or of a user namespace of its own. Never skips: where neither is
/// permitted, `unshare` says so and the test fails.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Command {
    if nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--"]).arg(program);
    command
}
