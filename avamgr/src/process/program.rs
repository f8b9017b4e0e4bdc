//! What to run, and finding it on this host before it is needed.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::{Gid, Uid, User, getgrouplist, getgroups};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::timeout;

use super::aside::Aside;
use super::birth::Account;
use super::family::{MARK_VARIABLE, Mark};

/// Looking up a file takes microseconds and a user milliseconds; a network file system or directory that is away hangs.
const RESOLVE_TIME: Duration = Duration::from_secs(2);

/// Searched when neither the program's environment nor ours has a PATH (init scripts often run without).
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables meant for the daemon alone: a child that obeyed them would speak to systemd in the daemon's name. And no child
/// carries the mark of a resource that the daemon itself may be.
const NOT_FOR_CHILDREN: [&str; 11] = [
    MARK_VARIABLE,
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "SYSTEMD_EXEC_PID",
    "CREDENTIALS_DIRECTORY",
];

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Program and arguments. A program without a slash is searched in PATH.
    pub command: Vec<String>,
    /// Added to the daemon's environment.
    pub environment: BTreeMap<String, String>,
    /// Nothing of the daemon's environment is handed down but PATH.
    pub bare: bool,
    /// Working directory; `/` unless set, so that no file system stays in use.
    pub directory: Option<PathBuf>,
    /// User to run as.
    pub user: Option<String>,
    /// Left in the environment, see [`super::family`].
    pub mark: Option<Mark>,
    /// Where it is looked for.
    pub lookups: Aside,
}

/// A program that was found: can be started without asking anybody.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Executable {
    path: PathBuf,
    command: Vec<String>,
    environment: Vec<(OsString, OsString)>,
    directory: PathBuf,
    account: Option<Account>,
}

/// Why a program cannot be run here.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// Nothing to run.
    #[error("the command is empty: write a program and its arguments")]
    Empty,
    /// A zero byte, which no program can be given.
    #[error("the command {0:?} holds a zero byte")]
    ZeroByte(String),
    /// Not in PATH.
    #[error("program {program} is not in PATH ({path}): install it or write its absolute path")]
    NotInPath {
        /// What was searched.
        program: String,
        /// Where.
        path: String,
    },
    /// No such file, or it cannot be looked at.
    #[error("{} cannot be run: {source}; install it or correct the path", .path.display())]
    Missing {
        /// What was looked for.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A directory or device.
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    /// No permission.
    #[error("{} is not executable for {user} (mode {mode:04o}): chmod +x it", .path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// Who may not.
        user: String,
        /// Its permissions.
        mode: u32,
    },
    /// The working directory is not there.
    #[error("the working directory {} cannot be used: {source}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No such user.
    #[error("user {0} is unknown on this host: create it or correct `user`")]
    UnknownUser(String),
    /// The user database did not answer.
    #[error("user {user} cannot be looked up: {source}")]
    UserLookup {
        /// The user.
        user: String,
        /// What it said.
        source: nix::Error,
    },
    /// Only root can become somebody else.
    #[error("only root can run a program as user {0}: start the daemon as root or leave `user` out")]
    NotRoot(String),
    /// The file system or the user database hangs.
    #[error("looking for {0} took longer than {RESOLVE_TIME:?}: a file system or the user database hangs")]
    Hangs(String),
    /// The kernel refused to run it.
    #[error("{} could not be started: {source}{hint}", .path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
        /// What to look at.
        hint: &'static str,
    },
}

impl Program {
    /// Looks for everything it needs, without keeping the thread.
    ///
    /// # Errors
    /// Names what is missing.
    pub async fn resolve(&self) -> Result<Executable, ProgramError> {
        let program = self.clone();
        let name = self.command.first().cloned().unwrap_or_default();
        match timeout(RESOLVE_TIME, self.lookups.run(move || program.find())).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) | Err(_) => Err(ProgramError::Hangs(name)),
        }
    }

    /// May block.
    fn find(&self) -> Result<Executable, ProgramError> {
        let name = self.command.first().filter(|name| !name.is_empty()).ok_or(ProgramError::Empty)?;
        if let Some(bad) = self.command.iter().find(|word| word.contains('\0')) {
            return Err(ProgramError::ZeroByte(bad.clone()));
        }
        let user = self.user.as_deref().map(find_user).transpose()?;
        let environment = self.full_environment(user.as_ref());
        let directory = self.directory.clone().unwrap_or_else(|| PathBuf::from("/"));
        let found = fs::metadata(&directory)
            .and_then(|found| if found.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) });
        found.map_err(|source| ProgramError::Directory { path: directory.clone(), source })?;
        let account = user.map(|user| account(&user)).transpose()?;
        let caller = Caller::new(self.user.as_deref(), account.as_ref());
        let path = if name.contains('/') {
            let path = directory.join(name);
            caller.may_run(&path)?;
            path
        } else {
            search(name, &environment, &caller)?
        };
        // One who is the user already needs no change, and without root could not make one.
        let account = account.filter(|account| Uid::effective().is_root() || account.uid != Uid::effective().as_raw());
        match (&account, Uid::effective().is_root()) {
            (Some(_), false) => Err(ProgramError::NotRoot(self.user.clone().unwrap_or_default())),
            (Some(_), true) | (None, _) => {
                let environment = environment.into_iter().collect();
                Ok(Executable { path, command: self.command.clone(), environment, directory, account })
            }
        }
    }

    fn full_environment(&self, user: Option<&User>) -> BTreeMap<OsString, OsString> {
        let mut all: BTreeMap<OsString, OsString> = env::vars_os().collect();
        all.retain(|name, _| !NOT_FOR_CHILDREN.iter().any(|banned| name == banned));
        all.retain(|name, _| !self.bare || name == "PATH");
        all.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
        if let Some(user) = user {
            all.insert("HOME".into(), user.dir.clone().into());
            all.insert("USER".into(), user.name.clone().into());
            all.insert("LOGNAME".into(), user.name.clone().into());
            all.insert("SHELL".into(), user.shell.clone().into());
        }
        all.extend(self.environment.iter().map(|(name, value)| (name.into(), value.into())));
        if let Some(mark) = &self.mark {
            all.insert(MARK_VARIABLE.into(), mark.value().into());
        }
        all
    }
}

impl Executable {
    pub(super) fn command(&self) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(&self.path);
        if let Some((name, arguments)) = self.command.split_first() {
            command.arg0(name).args(arguments);
        }
        command.env_clear().envs(self.environment.iter().cloned()).current_dir(&self.directory);
        command
    }

    pub(super) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    pub(super) fn spawn_error(&self, source: io::Error) -> ProgramError {
        let hint = match source.raw_os_error() {
            Some(libc::ENOENT) => "; if the file is there, the interpreter in its first line (#!) is not",
            Some(libc::ENOEXEC) => {
                "; neither a program of this machine nor a script with an interpreter in its first line (#!)"
            }
            Some(libc::EACCES) => "; a directory above it may be closed to the user, or its file system mounted noexec",
            Some(libc::EAGAIN) => "; a limit on the number of processes is reached",
            Some(_) | None => "",
        };
        ProgramError::Spawn { path: self.path.clone(), source, hint }
    }
}

/// Who wants to run a file.
struct Caller {
    name: String,
    uid: u32,
    groups: Vec<u32>,
}

impl Caller {
    fn new(name: Option<&str>, account: Option<&Account>) -> Self {
        let name = name.map_or_else(|| format!("uid {}", Uid::effective()), str::to_owned);
        if let Some(account) = account {
            return Self { name, uid: account.uid, groups: account.groups.clone() };
        }
        let mut groups: Vec<u32> = getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).collect();
        groups.push(Gid::effective().as_raw());
        Self { name, uid: Uid::effective().as_raw(), groups }
    }

    fn may_run(&self, path: &Path) -> Result<(), ProgramError> {
        let file = fs::metadata(path).map_err(|source| ProgramError::Missing { path: path.to_owned(), source })?;
        if !file.is_file() {
            return Err(ProgramError::NotAFile(path.to_owned()));
        }
        let mode = file.mode() & 0o7777;
        // As the kernel decides: the first class that fits is the only one that counts; root needs any of them.
        let bit = match () {
            () if self.uid == 0 => 0o111,
            () if self.uid == file.uid() => 0o100,
            () if self.groups.contains(&file.gid()) => 0o010,
            () => 0o001,
        };
        if mode & bit == 0 {
            return Err(ProgramError::NotExecutable { path: path.to_owned(), user: self.name.clone(), mode });
        }
        Ok(())
    }
}

fn search(name: &str, environment: &BTreeMap<OsString, OsString>, caller: &Caller) -> Result<PathBuf, ProgramError> {
    let path = environment.get(&OsString::from("PATH")).cloned().unwrap_or_else(|| DEFAULT_PATH.into());
    let mut closed = None;
    for directory in env::split_paths(&path).filter(|directory| directory.is_absolute()) {
        match caller.may_run(&directory.join(name)) {
            Ok(()) => return Ok(directory.join(name)),
            Err(error @ ProgramError::NotExecutable { .. }) => closed = closed.or(Some(error)),
            // Elsewhere perhaps.
            Err(_) => {}
        }
    }
    Err(closed.unwrap_or_else(|| ProgramError::NotInPath {
        program: name.to_owned(),
        path: path.to_string_lossy().into_owned(),
    }))
}

fn find_user(name: &str) -> Result<User, ProgramError> {
    let lookup = |source| ProgramError::UserLookup { user: name.to_owned(), source };
    User::from_name(name).map_err(lookup)?.ok_or_else(|| ProgramError::UnknownUser(name.to_owned()))
}

fn account(user: &User) -> Result<Account, ProgramError> {
    let name = CString::new(user.name.as_str()).map_err(|_| ProgramError::UnknownUser(user.name.clone()))?;
    let groups =
        getgrouplist(&name, user.gid).map_err(|source| ProgramError::UserLookup { user: user.name.clone(), source })?;
    Ok(Account {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups: groups.into_iter().map(Gid::as_raw).collect(),
    })
}
