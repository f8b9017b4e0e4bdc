//! What keeping rules the same on every node needs of this host: rsync, the program that does it, the directories and the port
//! it listens on. The program itself looks closer: that is `rules-sync check`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use avamgr_core::cluster::NodeId;
use avamgr_core::config::{Config, RulesConfig, split_variable, ways_of_rules};
use socket2::{Domain, Socket, Type};

use super::Finding;
use super::facts::find_program;
use crate::courier::client;
use crate::courier::keep::{PROGRAM, beside};

/// The oldest rsync that is known to do what is asked of it.
const OLDEST: (u32, u32) = (3, 2);

/// As it is on this host.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Version of rsync, in its own words; `Err` = it cannot be run.
    pub rsync: Result<String, String>,
    /// Where the program is.
    pub program: Result<PathBuf, String>,
    /// Each directory by its name.
    pub directories: Vec<(String, Directory)>,
    /// Each address others reach us at.
    pub doors: Vec<(SocketAddr, Door)>,
}

/// A directory of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directory {
    /// It is there.
    There(PathBuf),
    /// It is not, or is something else. Why.
    Missing(PathBuf, String),
    /// This variable is not set here.
    Unset(String),
    /// This variable is set to something that is no path from / on.
    Relative(String, String),
}

/// An address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// Nobody is there.
    Free,
    /// Our own courier is.
    Ours,
    /// Somebody else is.
    Taken,
    /// It cannot be had for another reason.
    Closed(String),
}

/// Looks around, if rules are to be kept the same.
pub(super) fn gather(config: &Config, me: NodeId) -> Option<Rules> {
    let rules = config.rules.as_ref()?;
    let own = env::current_exe().ok();
    let program = own.and_then(|own| beside(PROGRAM, &own)).map_or_else(|| find_program(PROGRAM), Ok);
    let directory = |(name, text): (&String, &String)| (name.clone(), directory(text, |name| env::var_os(name)));
    let directories = rules.directories.iter().map(directory).collect();
    Some(Rules { rsync: rsync(), program, directories, doors: doors(config, rules, me) })
}

fn rsync() -> Result<String, String> {
    let mut command = Command::new(find_program("rsync")?);
    let output = command.arg("--version").env("LC_ALL", "C").stdin(Stdio::null()).output();
    let text = output.map_err(|error| error.to_string())?.stdout;
    let text = String::from_utf8_lossy(&text);
    // As in `rsync  version 3.2.7  protocol version 31`.
    Ok(text.split_whitespace().nth(2).unwrap_or_default().to_owned())
}

fn directory(text: &str, variable: impl Fn(&str) -> Option<OsString>) -> Directory {
    let path = match split_variable(text) {
        None => PathBuf::from(text),
        Some((name, rest)) => {
            let Some(value) = variable(name).filter(|value| !value.is_empty()) else {
                return Directory::Unset(name.to_owned());
            };
            if !Path::new(&value).is_absolute() {
                return Directory::Relative(name.to_owned(), value.to_string_lossy().into_owned());
            }
            Path::new(&value).join(rest.trim_start_matches('/'))
        }
    };
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => Directory::There(path),
        Ok(_) => Directory::Missing(path, "is not a directory".to_owned()),
        Err(error) => Directory::Missing(path, error.to_string()),
    }
}

/// Where the courier listens: on every way that rules take, unless files travel through a remote shell.
fn doors(config: &Config, rules: &RulesConfig, me: NodeId) -> Vec<(SocketAddr, Door)> {
    if rules.ssh.is_some() {
        return Vec::new();
    }
    let own = ways_of_rules(&config.links).into_iter().filter_map(|link| link.address(me));
    let name = config.node_name(me);
    let is_ours = || client::status(&rules.socket).is_ok_and(|status| status.node == name);
    own.map(|address| SocketAddr::new(address, rules.port)).map(|at| (at, door(at, is_ours))).collect()
}

/// Takes it for a moment, as whoever serves there would, and does not listen.
pub(super) fn door(at: SocketAddr, is_ours: impl Fn() -> bool) -> Door {
    let bound = || -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&at.into())
    };
    match bound() {
        Ok(()) => Door::Free,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_ours() => Door::Ours,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Door::Taken,
        Err(error) => Door::Closed(error.to_string()),
    }
}

/// Every finding about them.
pub(super) fn judge(found: &Rules) -> Vec<Finding> {
    let mut findings = vec![judge_rsync(&found.rsync), judge_program(&found.program)];
    findings.extend(found.directories.iter().map(|(name, directory)| judge_directory(name, directory)));
    findings.extend(found.doors.iter().map(|(at, door)| judge_door(*at, door)));
    findings
}

fn judge_rsync(found: &Result<String, String>) -> Finding {
    let (major, minor) = OLDEST;
    let hint = format!("install rsync {major}.{minor} or later on every node");
    match found {
        Ok(word) if version(word).is_some_and(|version| version >= OLDEST) => {
            Finding::ok("rsync", format!("version {word}"))
        }
        Ok(word) => Finding::error("rsync", format!("version {word} is too old, or not known"), hint),
        Err(why) => Finding::error("rsync", format!("cannot be run: {why}"), hint),
    }
}

fn version(word: &str) -> Option<(u32, u32)> {
    let mut parts = word.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn judge_program(found: &Result<PathBuf, String>) -> Finding {
    match found {
        Ok(path) => Finding::ok(PROGRAM, format!("is {}", path.display())),
        Err(why) => {
            let text = format!("{why}: the rules would not be replicated");
            Finding::error(PROGRAM, text, "install it beside avamgrd, or where PATH leads")
        }
    }
}

fn judge_directory(name: &str, found: &Directory) -> Finding {
    let subject = format!("rules directory {name}");
    match found {
        Directory::There(path) => Finding::ok(subject, format!("{} is there", path.display())),
        Directory::Missing(path, why) => {
            let hint = "make it, or correct rules.directories";
            Finding::error(subject, format!("{} cannot be used: {why}", path.display()), hint)
        }
        // The daemon may well have another environment than whoever asks.
        Directory::Unset(variable) => Finding::warning(
            subject,
            format!("the variable {variable} is not set here"),
            "set it for the daemon in /etc/default/dre, or write the path",
        ),
        Directory::Relative(variable, value) => Finding::error(
            subject,
            format!("the variable {variable} is {value}, which is no path from / on"),
            "set it to a path that begins with /",
        ),
    }
}

fn judge_door(at: SocketAddr, found: &Door) -> Finding {
    let subject = format!("rules port {at}");
    match found {
        Door::Free => Finding::ok(subject, "is free"),
        Door::Ours => Finding::ok(subject, "is that of rules-sync, which runs"),
        Door::Taken => {
            Finding::error(subject, "is used by another program", "stop that, or set rules.port on every node")
        }
        // An address that is not here is told with its link.
        Door::Closed(why) => {
            Finding::warning(subject, format!("cannot be used: {why}"), "check the link of this address")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn directories_are_found_as_the_courier_would_find_them() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().to_owned();
        fs::create_dir(path.join("re")).unwrap();
        fs::write(path.join("file"), "").unwrap();
        let look = |text: &str| {
            directory(text, |name| match name {
                "ROOT" => Some(path.clone().into_os_string()),
                "NEAR" => Some("near/here".into()),
                "EMPTY" => Some(OsString::new()),
                _ => None,
            })
        };
        assert_eq!(look(&path.join("re").display().to_string()), Directory::There(path.join("re")));
        assert_eq!(look("$ROOT/re"), Directory::There(path.join("re")));
        assert_eq!(look("${ROOT}"), Directory::There(path.clone()));
        assert_eq!(look("$ROOT/file"), Directory::Missing(path.join("file"), "is not a directory".to_owned()));
        assert!(matches!(look("$ROOT/none"), Directory::Missing(_, why) if why.starts_with("No such file")));
        assert_eq!(look("$NOWHERE/re"), Directory::Unset("NOWHERE".to_owned()));
        assert_eq!(look("$EMPTY"), Directory::Unset("EMPTY".to_owned()));
        assert_eq!(look("$NEAR"), Directory::Relative("NEAR".to_owned(), "near/here".to_owned()));
    }

    #[test]
    fn a_door_is_free_ours_or_somebody_elses() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        assert_eq!((door(at, || true), door(at, || false)), (Door::Ours, Door::Taken));
        drop(listener);
        assert_eq!(door(at, || panic!("nobody needs to be asked")), Door::Free);
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 1));
        assert!(matches!(door(elsewhere, || false), Door::Closed(why) if why.contains("Cannot assign")));
    }

    #[test]
    fn rsync_is_asked_for_its_version() {
        // Where there is none, it is said.
        match rsync() {
            Ok(word) => assert!(version(&word).is_some(), "{word}"),
            Err(why) => assert!(why.starts_with("not found in"), "{why}"),
        }
        assert_eq!((version("3.2.7"), version("v3.5.0"), version("protocol")), (Some((3, 2)), Some((3, 5)), None));
    }
}
