//! Who calls, and what they may do.
//!
//! The kernel's word counts: user, group and supplementary groups the caller had when it connected. Names come from the
//! local files only; a directory service that hangs must not hang the control socket.
#![expect(
    unsafe_code,
    reason = "SO_PEERGROUPS has no safe wrapper; /proc/PID/status would be another process's by then"
)]

use std::ffi::c_int;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use avamgr_core::config::Config;
use avamgr_core::control::{Command, Errand};
use avamgr_core::courier;
use nix::unistd::geteuid;
use tokio::net::UnixStream;

/// `SO_PEERGROUPS` of asm-generic/socket.h, Linux 4.13; not in the libc crate.
const SO_PEERGROUPS: c_int = 59;

/// Most supplementary groups a process can have (`NGROUPS_MAX`).
const GROUPS_MAX: usize = 65_536;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Look: status, history, config.
    Viewer,
    /// Look, and steer in the name of others.
    Relay,
    /// Look and steer.
    Operator,
}

/// Whether a page may have it done in the name of its users. What turns nodes off, vouches for something nobody can check, or runs
/// another program needs somebody on the node.
pub(super) fn is_relayed(errand: &Errand) -> bool {
    match errand {
        Errand::Command(command) => match command {
            Command::Switchover { .. }
            | Command::Offline { .. }
            | Command::Online
            | Command::Maintenance { .. }
            | Command::Resource { .. } => true,
            Command::Fence { .. } | Command::ConfirmVoters | Command::ResetTerm { .. } | Command::Upgrade { .. } => {
                false
            }
        },
        Errand::Rules(request) => match request {
            courier::Request::Resync { force } => !force,
            courier::Request::Status
            | courier::Request::Diff { .. }
            | courier::Request::Kept { .. }
            | courier::Request::Restore { .. }
            | courier::Request::Settle { .. } => true,
        },
    }
}

/// Somebody on the other end of the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What they may do.
    pub level: Level,
    /// Their account; `None` = the kernel cannot say.
    pub uid: Option<u32>,
    /// Who they are, for the history.
    pub who: String,
}

/// Whom the config lets steer besides root and the daemon's own account.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trusted<'a> {
    /// A group: its members are operators.
    pub operators: Option<&'a str>,
    /// An account that steers in the name of its users.
    pub relay: Option<&'a str>,
}

impl<'a> Trusted<'a> {
    /// Those of a config.
    pub fn by(config: &'a Config) -> Self {
        let relay = config.web.as_ref().and_then(|web| web.relay());
        Self { operators: config.daemon.operators.as_deref(), relay }
    }
}

/// Where names are looked up, and who is always an operator besides root.
#[derive(Clone, Debug)]
pub struct Policy {
    /// User the daemon runs as.
    pub daemon_uid: u32,
    /// Names of users.
    pub passwd_file: PathBuf,
    /// Names of groups.
    pub group_file: PathBuf,
}

impl Policy {
    /// The policy of this host.
    pub fn system() -> Self {
        Self {
            daemon_uid: geteuid().as_raw(),
            passwd_file: PathBuf::from("/etc/passwd"),
            group_file: PathBuf::from("/etc/group"),
        }
    }

    /// The caller of a connection; somebody the kernel cannot name may only look.
    pub fn identify(&self, stream: &UnixStream, trusted: Trusted<'_>) -> Caller {
        let Ok(peer) = stream.peer_cred() else {
            return Caller { level: Level::Viewer, uid: None, who: "unknown".to_owned() };
        };
        let mut groups = peer_groups(stream);
        groups.push(peer.gid());
        let level = self.level(peer.uid(), &groups, trusted);
        let login = peer.pid().and_then(login_uid).filter(|login| *login != peer.uid());
        Caller { level, uid: Some(peer.uid()), who: self.who(peer.uid(), login) }
    }

    /// Root, and the account the daemon runs as.
    pub(super) fn is_own(&self, uid: u32) -> bool {
        uid == 0 || uid == self.daemon_uid
    }

    fn level(&self, uid: u32, groups: &[u32], trusted: Trusted<'_>) -> Level {
        let operators = trusted.operators.and_then(|name| number_of(&self.group_file, name));
        let relay = trusted.relay.and_then(|name| number_of(&self.passwd_file, name));
        if self.is_own(uid) || operators.is_some_and(|gid| groups.contains(&gid)) {
            Level::Operator
        } else if relay == Some(uid) {
            Level::Relay
        } else {
            Level::Viewer
        }
    }

    /// `root`, or `root (login alice)` when alice became root.
    fn who(&self, uid: u32, login: Option<u32>) -> String {
        let name = |uid| name_of(&self.passwd_file, uid).unwrap_or_else(|| format!("uid {uid}"));
        match login {
            Some(login) => format!("{} (login {})", name(uid), name(login)),
            None => name(uid),
        }
    }
}

/// Supplementary groups of the caller when it connected; none on kernels that cannot tell.
fn peer_groups(stream: &UnixStream) -> Vec<u32> {
    let mut groups = vec![0_u32; 32];
    loop {
        let mut bytes = u32::try_from(groups.len() * size_of::<u32>()).unwrap_or(u32::MAX);
        // SAFETY: the buffer is ours and `bytes` is its size; the kernel writes at most that much, and the size it has
        // written or needs back to `bytes`.
        let result = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = usize::try_from(bytes).unwrap_or(0) / size_of::<u32>();
        if result == 0 {
            groups.truncate(count);
            return groups;
        }
        let too_small = std::io::Error::last_os_error().raw_os_error() == Some(libc::ERANGE);
        if !too_small || count <= groups.len() || count > GROUPS_MAX {
            return Vec::new();
        }
        groups.resize(count, 0);
    }
}

/// Who logged in to become this process. For the history only: a number that may be another process's by now decides
/// nothing.
fn login_uid(pid: i32) -> Option<u32> {
    const UNSET: u32 = u32::MAX;
    let text = fs::read_to_string(format!("/proc/{pid}/loginuid")).ok()?;
    text.trim().parse().ok().filter(|uid| *uid != UNSET)
}

/// The number of `name` in a file of `name:password:number:…` lines.
fn number_of(file: &Path, name: &str) -> Option<u32> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

/// The name of `number` in a file of `name:password:number:…` lines.
fn name_of(file: &Path, number: u32) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let number = number.to_string();
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(number.as_str()))?;
    line.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(directory: &Path) -> Policy {
        fs::write(directory.join("passwd"), "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n").unwrap();
        fs::write(directory.join("group"), "root:x:0:\ndreops:x:4242:alice\nbroken\n").unwrap();
        Policy { daemon_uid: 990, passwd_file: directory.join("passwd"), group_file: directory.join("group") }
    }

    #[test]
    fn root_the_daemon_and_members_of_the_group_steer_and_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let policy = policy(directory.path());
        let level = |uid, groups: &[u32], operators| policy.level(uid, groups, Trusted { operators, relay: None });
        assert_eq!(level(0, &[], None), Level::Operator);
        assert_eq!(level(990, &[990], None), Level::Operator);
        assert_eq!(level(1000, &[1000, 4242], Some("dreops")), Level::Operator);
        assert_eq!(level(1000, &[1000, 4242], None), Level::Viewer);
        assert_eq!(level(1000, &[1000], Some("dreops")), Level::Viewer);
        assert_eq!(level(1000, &[1000, 4242], Some("no-such-group")), Level::Viewer);
        assert_eq!(level(1000, &[1000, 4242], Some("broken")), Level::Viewer);
    }

    #[test]
    fn only_the_account_of_the_page_steers_in_the_name_of_others() {
        let directory = tempfile::tempdir().unwrap();
        let policy = policy(directory.path());
        let level = |uid, relay| policy.level(uid, &[uid], Trusted { operators: None, relay });
        assert_eq!(level(1000, Some("alice")), Level::Relay);
        assert_eq!(level(1001, Some("alice")), Level::Viewer);
        assert_eq!(level(1000, Some("no-such-account")), Level::Viewer);
        assert_eq!(level(1000, None), Level::Viewer);
        assert_eq!(level(0, Some("root")), Level::Operator, "root is who it is");
    }

    #[test]
    fn the_history_names_who_became_root() {
        let directory = tempfile::tempdir().unwrap();
        let policy = policy(directory.path());
        assert_eq!(policy.who(0, None), "root");
        assert_eq!(policy.who(0, Some(1000)), "root (login alice)");
        assert_eq!(policy.who(5001, None), "uid 5001");
    }
}
