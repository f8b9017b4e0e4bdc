//! Root without being root: a user namespace of one's own, in which an ordinary account may make networks.
//!
//! The kernel asks for a single thread when a process changes its user namespace. A program therefore calls
//! [`enter_user_namespace`] first thing in `main`; a test, which already has threads, starts itself anew with
//! [`within_user_namespace`].

#![allow(unsafe_code, reason = "a hook between fork and exec has no safe form in std")]

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};

use crate::error::UserNamespaceError;

/// What the namespace holds besides users: networks (the lab's), mounts and host names (each host's own).
const FLAGS: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC);

/// Makes this process root of a new user namespace; does nothing when it already is root.
///
/// Must be called before the process has a second thread. Files keep their owner: inside, the account is called root,
/// and everything it makes belongs to the account outside.
pub fn enter_user_namespace() -> Result<(), UserNamespaceError> {
    if Uid::effective().is_root() {
        return Ok(());
    }
    let maps = Maps::of_this_account();
    unshare(FLAGS).map_err(|errno| explain("unshare", errno.into()))?;
    maps.write().map_err(|source| explain("map the account to root", source))
}

/// Lets `command` start as root of a new user namespace; does nothing when this process already is root.
///
/// The error of the namespace is the error of `spawn`; [`explain`] turns it into advice.
pub fn within_user_namespace(command: &mut Command) -> &mut Command {
    if Uid::effective().is_root() {
        return command;
    }
    let maps = Maps::of_this_account();
    let hook = move || {
        unshare(FLAGS).map_err(io::Error::from)?;
        maps.write()
    };
    // SAFETY: the hook runs in the child between fork and exec. It makes system calls on values prepared before the
    // fork and neither locks nor allocates.
    unsafe { command.pre_exec(hook) }
}

/// Turns the kernel's refusal into a sentence with the settings that cause it.
#[must_use]
pub fn explain(step: &'static str, source: io::Error) -> UserNamespaceError {
    UserNamespaceError { step, source, hints: hints() }
}

/// The text of the three maps, made before a fork.
struct Maps {
    uid: String,
    gid: String,
}

impl Maps {
    fn of_this_account() -> Self {
        Self { uid: format!("0 {} 1", Uid::effective()), gid: format!("0 {} 1", Gid::effective()) }
    }

    fn write(&self) -> io::Result<()> {
        // The kernel wants group changes given up before an account may map its own group.
        write_existing(c"/proc/self/setgroups", b"deny")?;
        write_existing(c"/proc/self/uid_map", self.uid.as_bytes())?;
        write_existing(c"/proc/self/gid_map", self.gid.as_bytes())
    }
}

/// Writes without allocating, so that it may run between fork and exec.
fn write_existing(path: &std::ffi::CStr, bytes: &[u8]) -> io::Result<()> {
    use nix::fcntl::{OFlag, open};
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())?;
    nix::unistd::write(&file, bytes)?;
    Ok(())
}

/// The settings of this machine that are known to forbid user namespaces, each with its remedy.
fn hints() -> Vec<String> {
    let settings = [
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        ("/proc/sys/user/max_net_namespaces", "0", "sysctl -w user.max_net_namespaces=15000"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    let mut hints: Vec<String> = settings
        .iter()
        .filter(|(path, forbidding, _)| fs::read_to_string(path).is_ok_and(|value| value.trim() == *forbidding))
        .map(|(path, value, remedy)| format!("{path} is {value}; as root: {remedy}"))
        .collect();
    if hints.is_empty() {
        hints.push(
            "no setting of this machine is known to forbid it; inside a container its runtime may (seccomp, \
             capabilities): run it outside, or as root"
                .to_owned(),
        );
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_step_and_a_remedy() {
        let error = explain("unshare", io::Error::from_raw_os_error(libc::EPERM));
        let text = error.to_string();
        assert!(text.starts_with("no user namespace: unshare: "), "{text}");
        assert!(text.contains("\n  - "), "{text}");
    }
}
