//! The users file: who may look and steer through the page.
//!
//! ```text
//! # Users of the page: `avamgr user` changes this file.
//! user alice operator $argon2id$v=19$m=19456,t=2,p=1$...
//! token prometheus viewer sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
//! ```
//!
//! A user says a password, which is kept as a hash that is slow on purpose; a program shows a token, which is too long to be
//! guessed. Root writes the file, the account that makes the page may read it, nobody else may.

pub mod secret;

use std::fmt;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::private_file::{self, Access, Unfit};

/// Where the file is unless the config says otherwise.
pub const FILE: &str = "/etc/avamgr/users";
/// Readable by the account that makes the page, through its group.
const MODE: u32 = 0o640;
/// What nobody else may.
const CLOSED: u32 = 0o027;
/// Longest name.
const NAME_MAX: usize = 32;
/// What a new file begins with.
const HEAD: &str = "# Users of the page: `avamgr user` changes this file.\n";

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Look.
    Viewer,
    /// Look and steer.
    Operator,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        })
    }
}

/// How somebody shows who he is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With a password.
    User,
    /// With a token.
    Token,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Token => "token",
        })
    }
}

/// One line of the file.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Name, for the history too.
    pub name: String,
    /// What is asked of him.
    pub kind: Kind,
    /// What he may do.
    pub right: Right,
    /// What his password or token must fit.
    pub hash: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.kind, self.name, self.right)
    }
}

/// Why the file is not used, and what to do about it.
#[derive(Debug, Error)]
pub enum UsersError {
    /// It is not there, or others may at it.
    #[error("users file {path}: {why} (root's, mode 0640, of the group of web.user: so `avamgr user` writes it)")]
    Unfit {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: Unfit,
    },
    /// A line that says nothing.
    #[error("users file {path}, line {line}: {problem}")]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The reason.
        problem: String,
    },
    /// It cannot be written.
    #[error("users file {path}: cannot write it: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// Everybody who may look and steer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(Vec<User>);

impl Users {
    /// Those of a file.
    ///
    /// # Errors
    /// When it cannot be read, others may change it or read it, or a line says nothing.
    pub fn read(path: &Path) -> Result<Self, UsersError> {
        let text =
            private_file::read_closed(path, CLOSED).map_err(|why| UsersError::Unfit { path: path.to_owned(), why })?;
        let mut users = Self::default();
        for (index, line) in text.lines().enumerate() {
            let wrong = |problem: String| UsersError::Line { path: path.to_owned(), line: index + 1, problem };
            let Some(user) = parse(line).map_err(wrong)? else { continue };
            if users.named(&user.name).is_some() {
                return Err(wrong(format!("{} is there twice", user.name)));
            }
            users.0.push(user);
        }
        Ok(users)
    }

    /// Writes them to a file. `owner`: its owner, and the group that may read it too, that of the account that makes the page.
    ///
    /// # Errors
    /// When the system refuses; the file is as it was then.
    pub fn write(&self, path: &Path, owner: Option<(u32, u32)>) -> Result<(), UsersError> {
        let mut text = HEAD.to_owned();
        for User { name, kind, right, hash } in &self.0 {
            // A string takes everything.
            let _ = writeln!(text, "{kind} {name} {right} {hash}");
        }
        let cannot = |source| UsersError::Write { path: path.to_owned(), source };
        if u64::try_from(text.len()).is_ok_and(|bytes| bytes > private_file::BYTES_MAX) {
            return Err(cannot(io::Error::other("there are too many in it")));
        }
        private_file::replace(path, &text, Access { mode: MODE, owner }, !path.exists()).map_err(cannot)
    }

    /// Everybody, in the order of the file.
    pub fn all(&self) -> &[User] {
        &self.0
    }

    /// Somebody by his name.
    pub fn named(&self, name: &str) -> Option<&User> {
        self.0.iter().find(|user| user.name == name)
    }

    /// The one whose token this is.
    pub fn of_token(&self, token: &str) -> Option<&User> {
        let hash = secret::token_hash(token);
        self.0.iter().find(|user| user.kind == Kind::Token && user.hash == hash)
    }

    /// Takes somebody in, in the place of the one of his name.
    pub fn put(&mut self, user: User) {
        match self.0.iter_mut().find(|known| known.name == user.name) {
            Some(known) => *known = user,
            None => self.0.push(user),
        }
    }

    /// Whether there was one of this name.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|user| user.name != name);
        self.0.len() < before
    }
}

/// Whether somebody may be called so: it stands in the history, in the file and on terminals.
pub fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|first| first.is_ascii_alphanumeric());
    first
        && name.len() <= NAME_MAX
        && characters.all(|rest| rest.is_ascii_alphanumeric() || matches!(rest, '-' | '_' | '.' | '@'))
}

fn parse(line: &str) -> Result<Option<User>, String> {
    let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
    if line.is_empty() {
        return Ok(None);
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let [kind, name, right, hash] = words.as_slice() else {
        return Err("expected: user|token NAME viewer|operator HASH".to_owned());
    };
    let kind = match *kind {
        "user" => Kind::User,
        "token" => Kind::Token,
        other => return Err(format!("{other:?} is neither user nor token")),
    };
    let right = match *right {
        "viewer" => Right::Viewer,
        "operator" => Right::Operator,
        other => return Err(format!("{other:?} is neither viewer nor operator")),
    };
    if !is_name(name) {
        return Err(format!("{name:?} is no name of at most {NAME_MAX} letters, digits, '-', '_', '.' and '@'"));
    }
    let is_hash = match kind {
        Kind::User => secret::is_password_hash(hash),
        Kind::Token => secret::is_token_hash(hash),
    };
    if !is_hash {
        return Err(format!("the hash of {name} is none: `avamgr user` makes one"));
    }
    Ok(Some(User { name: (*name).to_owned(), kind, right, hash: (*hash).to_owned() }))
}

#[cfg(test)]
mod tests;
