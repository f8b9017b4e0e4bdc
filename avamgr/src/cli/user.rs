//! `avamgr user`: who may look and steer through the page.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

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
    let mut users = if path.exists() { Users::read(&path).map_err(failed)? } else { Users::default() };
    let said = match &args.verb {
        UserVerb::List => return list(session, &users),
        UserVerb::Add { name, right } => {
            is_new(&users, name)?;
            users.put(User { name: name.clone(), kind: Kind::User, right: *right, hash: ask_password(name)? });
            format!("{name} may {}", what(*right))
        }
        UserVerb::Password { name } => {
            let known = users.named(name).filter(|user| user.kind == Kind::User);
            let known = known.ok_or_else(|| CliError::Refused(format!("there is no user {name}")))?;
            let changed = User { hash: ask_password(name)?, ..known.clone() };
            users.put(changed);
            format!("{name} has another password")
        }
        UserVerb::Token { name, right } => {
            is_new(&users, name)?;
            let token = new_token().map_err(CliError::Failed)?;
            users.put(User { name: name.clone(), kind: Kind::Token, right: *right, hash: token_hash(&token) });
            anstream::eprintln!("{name} may {}, with `Authorization: Bearer` and this token:", what(*right));
            token
        }
        UserVerb::Remove { name } => {
            if !users.remove(name) {
                return Err(CliError::Refused(format!("there is no user or token {name}")));
            }
            format!("{name} is out")
        }
    };
    // The account that makes the page reads it through its group.
    let account = web.map(|web| web.user).and_then(|name| Account::named(&name).ok());
    if account.is_none() {
        let what = "the page cannot read it: web.user of the config is no account of this host";
        anstream::eprintln!("{}: {}: {what}", Styled::notable("note"), path.display());
    }
    let owner = nix::unistd::geteuid().is_root().then_some(0).zip(account.map(|account| account.gid.as_raw()));
    users.write(&path, owner).map_err(failed)?;
    session.print(&format!("{said}\n"))?;
    Ok(Exit::Done)
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
