//! The key file: the secrets the nodes share, and how they are changed without an outage.
//!
//! ```text
//! # heartbeat keys of cluster hadev; the same file on every node
//! 1 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 send
//! 2 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
//! ```
//!
//! One key a line: its number (1..=255), 64 hex digits, and `send` behind the one this node seals with; every key is accepted.
//! The mark is explicit because the highest number would be the wrong rule: a key just added here is not on the other
//! nodes yet, and sending with it would silence every link at once. Rotation, each step on all nodes before the next:
//!
//! 1. [`generate`] a key on one node and copy the file; 2. [`send_with`] the new key; 3. [`remove`] the old one.
//!
//! The file must belong to root or to us and be closed to everybody else; it is replaced as a whole or not at all. Secrets
//! appear in no message and no `Debug` output.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use avamgr_core::wire::seal::{Key, Keyring, KeyringError, MAX_KEYS, SECRET, Secret};
use thiserror::Error;

use crate::private_file::{self, Access, BYTES_MAX, Unfit};

/// Readable and writable by the owner.
const MODE: u32 = 0o600;
/// The word behind the sending key.
const SEND: &str = "send";
/// What a new file begins with.
const HEAD: &str = "\
# Heartbeat keys: number, 64 hex digits, and `send` behind the one this node seals with. The same file on every node,
# mode 0600. To change keys without an outage, each step on all nodes before the next: add the new key; move the mark
# `send` to it; remove the old key.
";

/// A key file that cannot be used, and what to do about it.
#[derive(Debug, Error)]
pub enum KeysError {
    /// It cannot be read or written.
    #[error("key file {path}: cannot {action}: {source} (make one with `avamgr keygen`, copy it to every node)")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// Others may read or write it.
    #[error("key file {path}: mode {mode:04o} lets others at the keys (run: chmod 600 {path}, and change the keys)")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("key file {path}: belongs to user {owner}, who can change it (run: chown root {path})")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// It is not a file, or far too long.
    #[error("key file {path}: not a key file (a regular file of at most {BYTES_MAX} bytes is expected)")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// A line that is no key.
    #[error("key file {path}, line {line}: {problem}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what is right. Never the content of the line.
        problem: &'static str,
    },
    /// The lines do not fit together.
    #[error("key file {path}: {problem}")]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what is right.
        problem: String,
    },
}

/// The content of a key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Every key, in the order of the file.
    pub keys: Vec<Key>,
    /// Number of the one this node seals with.
    pub sending: u8,
}

/// Reads a key file, after a look at who else could.
pub fn load(path: &Path) -> Result<Keys, KeysError> {
    parse(path, &read(path)?)
}

/// The ring of a cluster's keys.
pub fn keyring(path: &Path, cluster: &str) -> Result<Keyring, KeysError> {
    let Keys { keys, sending } = load(path)?;
    Keyring::new(cluster, &keys, sending).map_err(|error| unfit(path, error.to_string()))
}

/// Adds a new random key and returns its number. In a new file it is the sending key; in an old one it is not: the other
/// nodes have to get it first.
pub fn generate(path: &Path) -> Result<u8, KeysError> {
    if !path.try_exists().map_err(|source| io_error(path, "look for it", source))? {
        let text = format!("{HEAD}1 {} {SEND}\n", random_hex(path)?);
        replace(path, &text, None)?;
        return Ok(1);
    }
    let mut text = read(path)?;
    let old = parse(path, &text)?;
    if old.keys.len() >= MAX_KEYS {
        let problem = format!("it has {MAX_KEYS} keys already (remove those no node sends with any more)");
        return Err(unfit(path, problem));
    }
    let taken = |number: &u8| old.keys.iter().any(|key| key.number == *number);
    let highest = old.keys.iter().map(|key| key.number).max().unwrap_or(0);
    let free = (highest..=u8::MAX).skip(1).chain(1..=u8::MAX).find(|number| !taken(number));
    let number = free.ok_or_else(|| unfit(path, "no number is free".to_owned()))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    // A lone key needs no mark; beside another it does.
    let text = marked(&text, old.sending);
    replace(path, &format!("{text}{number} {}\n", random_hex(path)?), Some(path))?;
    Ok(number)
}

/// Makes a key the sending one.
pub fn send_with(path: &Path, number: u8) -> Result<(), KeysError> {
    let text = read(path)?;
    let keys = parse(path, &text)?;
    if keys.keys.iter().all(|key| key.number != number) {
        return Err(unfit(path, format!("there is no key {number} to send with (it has {})", numbers(&keys))));
    }
    replace(path, &marked(&text, number), Some(path))
}

/// Removes a key that no node sends with any more.
pub fn remove(path: &Path, number: u8) -> Result<(), KeysError> {
    let text = read(path)?;
    let keys = parse(path, &text)?;
    if keys.sending == number {
        return Err(unfit(
            path,
            format!("key {number} is the sending key (send with another one first, on every node)"),
        ));
    }
    if keys.keys.iter().all(|key| key.number != number) {
        return Err(unfit(path, format!("there is no key {number} to remove (it has {})", numbers(&keys))));
    }
    let kept: String = text.split_inclusive('\n').filter(|line| number_of(line) != Some(number)).collect();
    replace(path, &kept, Some(path))
}

fn read(path: &Path) -> Result<String, KeysError> {
    let path = || path.to_owned();
    private_file::read(&path()).map_err(|unfit| match unfit {
        Unfit::Io { action, source } => KeysError::Io { path: path(), action, source },
        Unfit::Mode(mode) => KeysError::Mode { path: path(), mode },
        Unfit::Owner(owner) => KeysError::Owner { path: path(), owner },
        Unfit::NotAFile => KeysError::NotAFile { path: path() },
    })
}

fn parse(path: &Path, text: &str) -> Result<Keys, KeysError> {
    let (mut keys, mut marked) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let key =
            parse_line(line).map_err(|problem| KeysError::Line { path: path.to_owned(), line: number, problem })?;
        let Some((key, sends)) = key else { continue };
        if sends {
            marked.push(key.number);
        }
        keys.push(key);
    }
    let sending = match (marked.as_slice(), keys.as_slice()) {
        ([number], _) => *number,
        ([], [only]) => only.number,
        ([], []) => return Err(unfit(path, KeyringError::Empty.to_string())),
        ([], _) => return Err(unfit(path, format!("no key is marked (write `{SEND}` behind the one to seal with)"))),
        (_, _) => return Err(unfit(path, format!("keys {marked:?} are marked `{SEND}` (only one can be)"))),
    };
    let keys = Keys { keys, sending };
    // Whatever makes no ring is told here, with the file's name; the cluster does not matter.
    Keyring::new("", &keys.keys, sending).map_err(|error| unfit(path, error.to_string()))?;
    Ok(keys)
}

/// A key and whether it is marked; `None` for an empty line or a comment.
fn parse_line(line: &str) -> Result<Option<(Key, bool)>, &'static str> {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split_whitespace();
    let Some(number) = words.next() else { return Ok(None) };
    let number = number.parse().ok().filter(|number| *number != 0);
    let number = number.ok_or("a line begins with the key's number, 1 to 255")?;
    let secret = words.next().and_then(unhex).ok_or("64 hex digits are expected behind the number")?;
    let secret = secret.ok_or("this key can be guessed: all its bytes are the same (make one with `avamgr keygen`)")?;
    let sends = match (words.next(), words.next()) {
        (None, _) => false,
        (Some(SEND), None) => true,
        (Some(_), _) => return Err("only the word `send` or a comment may follow the digits"),
    };
    Ok(Some((Key { number, secret }, sends)))
}

/// `None` = not 64 hex digits, `Some(None)` = no secret worth the name.
fn unhex(digits: &str) -> Option<Option<Secret>> {
    if digits.len() != SECRET * 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut secret = [0; SECRET];
    for (index, byte) in secret.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    let varied = secret.iter().any(|byte| Some(byte) != secret.first());
    Some(varied.then(|| Secret::new(secret)))
}

/// The text with the mark on this key and no other; comments and everything else stay.
fn marked(text: &str, sending: u8) -> String {
    let mut out = String::with_capacity(text.len() + SEND.len() + 1);
    for line in text.split_inclusive('\n') {
        let Some(number) = number_of(line) else {
            out.push_str(line);
            continue;
        };
        let (key, comment) =
            line.trim_end().split_once('#').map_or((line.trim_end(), None), |(key, rest)| (key, Some(rest)));
        let mut words = key.split_whitespace().filter(|word| *word != SEND);
        let _ = write!(out, "{} {}", words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if number == sending {
            let _ = write!(out, " {SEND}");
        }
        if let Some(comment) = comment {
            let _ = write!(out, " #{comment}");
        }
        out.push('\n');
    }
    out
}

fn number_of(line: &str) -> Option<u8> {
    parse_line(line).ok().flatten().map(|(key, _)| key.number)
}

fn numbers(keys: &Keys) -> String {
    keys.keys.iter().map(|key| key.number.to_string()).collect::<Vec<_>>().join(", ")
}

fn random_hex(path: &Path) -> Result<String, KeysError> {
    let mut secret = [0; SECRET];
    getrandom::fill(&mut secret).map_err(|error| unfit(path, format!("no random numbers for a new key: {error}")))?;
    Ok(secret.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a file as a whole. Owner and group of `like` are kept; without it, it must be new.
fn replace(path: &Path, text: &str, like: Option<&Path>) -> Result<(), KeysError> {
    let write = || {
        let owner = like.map(std::fs::metadata).transpose()?.map(|about| (about.uid(), about.gid()));
        private_file::replace(path, text, Access { mode: MODE, owner }, like.is_none())
    };
    write().map_err(|source| io_error(path, "write it", source))
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> KeysError {
    KeysError::Io { path: path.to_owned(), action, source }
}

fn unfit(path: &Path, problem: String) -> KeysError {
    KeysError::Keys { path: path.to_owned(), problem }
}

#[cfg(test)]
mod tests;
