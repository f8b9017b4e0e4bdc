//! `avamgr user`: who may look and steer through the page.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use avamgr_core::config::WebConfig;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use serde::Serialize;

use crate::account::Account;
use crate::cli::CliError;
use crate::cli::args::{UserArgs, UserVerb};
use crate::cli::output::Styled;
use crate::cli::session::Session;
use crate::exit::Exit;
use crate::users::secret::{PASSWORD_BYTES, new_token, password_hash, token_hash};
use crate::users::{FILE, Kind, Right, User, Users, is_name};

/// `--json`: one of the list.
#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'a str,
    kind: String,
    right: Right,
}

pub(super) fn run(session: &Session, args: &UserArgs) -> Result<Exit, CliError> {
    let web = session.config().ok().and_then(|config| config.web);
    let configured = web.as_ref().and_then(|web| web.users.clone());
    let path = args.file.clone().or(configured).unwrap_or_else(|| PathBuf::from(FILE));
    if let UserVerb::List = args.verb {
        return list(session, &read(&path)?);
    }
    // What is typed takes its time: the file is read again after it, and then nobody else changes it meanwhile.
    may(&read(&path)?, &args.verb)?;
    let hash = match &args.verb {
        UserVerb::Add { name, .. } | UserVerb::Password { name } => ask_password(name)?,
        UserVerb::Token { .. } | UserVerb::Remove { .. } | UserVerb::List => String::new(),
    };
    let _alone = lock(&path)?;
    let mut users = read(&path)?;
    may(&users, &args.verb)?;
    let said = change(&mut users, &args.verb, hash)?;
    users.write(&path, owner(&path, web.as_ref())).map_err(failed)?;
    session.print(&format!("{said}\n"))?;
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<Users, CliError> {
    if path.exists() { Users::read(path).map_err(failed) } else { Ok(Users::default()) }
}

/// Whoever changes the file holds this. The kernel forgets it with its holder.
fn lock(path: &Path) -> Result<File, CliError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&name);
    let file = file.map_err(|error| failed(format!("cannot open {}: {error}", name.display())))?;
    file.lock()?;
    Ok(file)
}

/// The account that makes the page reads the file through its group. Where that is not known the group stays as it is.
fn owner(path: &Path, web: Option<&WebConfig>) -> Option<(u32, u32)> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let account = web.and_then(|web| Account::named(&web.user).ok());
    if account.is_none() {
        let what = "the page may not be able to read it: web.user of the config is no account of this host";
        anstream::eprintln!("{}: {}: {what}", Styled::notable("note"), path.display());
    }
    let before = || std::fs::metadata(path).ok().map(|about| about.gid());
    Some(0).zip(account.map(|account| account.gid.as_raw()).or_else(before))
}

fn may(users: &Users, verb: &UserVerb) -> Result<(), CliError> {
    match verb {
        UserVerb::Add { name, .. } | UserVerb::Token { name, .. } => is_new(users, name),
        UserVerb::Password { name } => match users.named(name).filter(|user| user.kind == Kind::User) {
            Some(_) => Ok(()),
            None => Err(CliError::Refused(format!("there is no user {name}"))),
        },
        UserVerb::Remove { name } if users.named(name).is_none() => {
            Err(CliError::Refused(format!("there is no user or token {name}")))
        }
        UserVerb::Remove { .. } | UserVerb::List => Ok(()),
    }
}

/// Does what was asked for; what is said of it.
fn change(users: &mut Users, verb: &UserVerb, hash: String) -> Result<String, CliError> {
    Ok(match verb {
        UserVerb::List => String::new(),
        UserVerb::Add { name, right } => {
            users.put(User { name: name.clone(), kind: Kind::User, right: *right, hash });
            format!("{name} may {}", what(*right))
        }
        UserVerb::Password { name } => {
            if let Some(known) = users.named(name).cloned() {
                users.put(User { hash, ..known });
            }
            format!("{name} has another password")
        }
        UserVerb::Token { name, right } => {
            let token = new_token().map_err(CliError::Failed)?;
            users.put(User { name: name.clone(), kind: Kind::Token, right: *right, hash: token_hash(&token) });
            anstream::eprintln!("{name} may {}, with `Authorization: Bearer` and this token:", what(*right));
            token
        }
        UserVerb::Remove { name } => {
            users.remove(name);
            format!("{name} is out")
        }
    })
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Failed(error.to_string())
}

fn what(right: Right) -> &'static str {
    match right {
        Right::Viewer => "look",
        Right::Operator => "look and steer",
    }
}

fn is_new(users: &Users, name: &str) -> Result<(), CliError> {
    if !is_name(name) {
        return Err(CliError::Refused(format!(
            "{name:?} is no name: letters, digits, '-', '_', '.' and '@', at most 32"
        )));
    }
    match users.named(name) {
        Some(known) => Err(CliError::Refused(format!("there is a {} {name} already: remove it first", known.kind))),
        None => Ok(()),
    }
}

fn list(session: &Session, users: &Users) -> Result<Exit, CliError> {
    for User { name, kind, right, hash: _ } in users.all() {
        if session.json() {
            session.print_json(&Line { name, kind: kind.to_string(), right: *right })?;
        } else {
            session.print(&format!("{}  {kind}, may {}\n", Styled::strong(name.clone()), what(*right)))?;
        }
    }
    if users.all().is_empty() && !session.json() {
        session.print("nobody: `avamgr user add NAME --right operator` takes somebody in\n")?;
    }
    Ok(Exit::Done)
}

/// The hash of a password that is asked for twice on a terminal, or read from the first line of the standard input.
fn ask_password(name: &str) -> Result<String, CliError> {
    let password = if io::stdin().is_terminal() {
        let password = unseen(&format!("password of {name}: "))?;
        if unseen("again: ")? != password {
            return Err(CliError::Refused("they differ, nothing was changed".to_owned()));
        }
        password
    } else {
        line()?
    };
    if !PASSWORD_BYTES.contains(&password.len()) {
        let (least, most) = (PASSWORD_BYTES.start(), PASSWORD_BYTES.end());
        return Err(CliError::Refused(format!("a password has {least} to {most} bytes, nothing was changed")));
    }
    password_hash(&password).map_err(CliError::Failed)
}

/// A line that is typed and not shown.
fn unseen(prompt: &str) -> Result<String, CliError> {
    let stdin = io::stdin();
    let before = tcgetattr(&stdin).map_err(io::Error::from)?;
    let mut quiet = before.clone();
    quiet.local_flags.remove(LocalFlags::ECHO);
    anstream::eprint!("{prompt}");
    io::stderr().flush()?;
    tcsetattr(&stdin, SetArg::TCSAFLUSH, &quiet).map_err(io::Error::from)?;
    let typed = line();
    let restored = tcsetattr(&stdin, SetArg::TCSAFLUSH, &before).map_err(io::Error::from);
    anstream::eprintln!();
    restored?;
    typed
}

fn line() -> Result<String, CliError> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
