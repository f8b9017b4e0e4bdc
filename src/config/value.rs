//! The forms a string can have in the file: names, addresses, durations, command lines.
//!
//! Each form is one function from the text to the value or to a [`Complaint`], without knowledge of where the text stands.
//! Nothing is looked up: whether an interface, a user or a program exists is the host's business, not the file's.

mod command;
mod directory;
mod duration;
mod net;

pub use command::command_words;
pub(super) use command::{check as check_command, split as split_command};
pub(super) use directory::overlap;
pub use directory::split_variable;
pub(super) use duration::as_text;
pub use duration::{DurationError, format_duration, parse_duration};

use super::error::Problem;
use crate::config::{IpNet, TipcAddress};

/// Longest interface name of the kernel (`IFNAMSIZ` with its zero byte is 16); labels share it.
const INTERFACE_CHARS_MAX: usize = 15;
/// Longest path of a unix socket (`sun_path` with its zero byte is 108).
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Longest path of the kernel (`PATH_MAX` with its zero byte is 4096).
const PATH_BYTES_MAX: usize = 4_095;

/// What the name of a variable is made of, in words.
pub(super) const VARIABLE_LETTERS: &str = "letters, digits and `_`, not beginning with a digit";

/// What is wrong with a text, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) problem: Problem,
    pub(super) hint: Option<String>,
}

impl Complaint {
    /// "must be `rule`".
    pub(super) fn value(rule: impl Into<String>) -> Self {
        Self { problem: Problem::BadValue { rule: rule.into() }, hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// A name we give: short, and safe in a file name, a sentence and a command line.
    Name,
    /// A node: its hostname.
    Host,
    /// A network interface.
    Interface,
    /// A label of an IPv4 address.
    Label,
    /// An IPv4 or IPv6 address.
    Address,
    /// The address of a node in TIPC.
    TipcAddress,
    /// An address with its prefix length.
    Net,
    /// `address:port`.
    Socket,
    /// An `http://` URL with an address.
    Url,
    /// A member of an etcd cluster.
    Endpoint,
    /// A process name.
    Process,
    /// An absolute path.
    Path,
    /// An absolute path short enough for a unix socket.
    SocketPath,
    /// A systemd unit.
    Unit,
    /// A unix user or group.
    Account,
    /// A directory, where each node may have it elsewhere.
    Directory,
    /// A pattern of names below a directory.
    Glob,
}

impl Grammar {
    /// All forms.
    pub const ALL: [Self; 17] = [
        Self::Name,
        Self::Host,
        Self::Interface,
        Self::Label,
        Self::Address,
        Self::TipcAddress,
        Self::Net,
        Self::Socket,
        Self::Url,
        Self::Endpoint,
        Self::Process,
        Self::Path,
        Self::SocketPath,
        Self::Unit,
        Self::Account,
        Self::Directory,
        Self::Glob,
    ];

    /// In words that follow "must be".
    pub fn describe(self) -> &'static str {
        match self {
            Self::Name => "a name of 1 to 32 letters, digits and `.`, `_`, `-`, beginning with a letter or digit",
            Self::Host => "a hostname of 1 to 64 letters, digits and `.`, `-`, `_`, beginning with a letter or digit",
            Self::Interface => "an interface name of 1 to 15 characters without spaces, `/` and `:`",
            Self::Label => "a label of 1 to 15 characters, the interface name, `:` and a tag",
            Self::Address => "an IPv4 or IPv6 address (without prefix length)",
            Self::TipcAddress => "a TIPC address: zone, cluster and node with dots between them",
            Self::Net => "an IPv4 or IPv6 address with its prefix length",
            Self::Socket => "an IPv4 or IPv6 address with a port",
            Self::Url => "an http:// URL with an IPv4 or IPv6 address",
            Self::Endpoint => "http:// or https:// with an IPv4 or IPv6 address and a port",
            Self::Process => "a process name of 1 to 64 characters without `/`",
            Self::Path => "an absolute path",
            Self::SocketPath => "an absolute path of at most 107 bytes",
            Self::Unit => "a systemd unit with its suffix",
            Self::Account => "a user or group name of 1 to 32 characters",
            Self::Directory => "an absolute path below `/`, or a variable with or without a path below it",
            Self::Glob => "a glob of 1 to 1024 bytes, relative to the directory",
        }
    }

    /// An example as it would be written.
    pub fn example(self) -> &'static str {
        match self {
            Self::Name => "\"dre\"",
            Self::Host => "\"hadev1\"",
            Self::Interface => "\"eth1\"",
            Self::Label => "\"eth1:0\"",
            Self::Address => "\"172.16.11.54\"",
            Self::TipcAddress => "\"1.1.23\"",
            Self::Net => "\"172.16.9.61/24\"",
            Self::Socket => "\"127.0.0.1:3868\"",
            Self::Url => "\"http://127.0.0.1:8080/health\"",
            Self::Endpoint => "\"https://172.16.8.20:2379\"",
            Self::Process => "\"freeDiameterd\"",
            Self::Path => "\"/etc/init.d/mysql\"",
            Self::SocketPath => "\"/run/avamgr/avamgr.sock\"",
            Self::Unit => "\"mysql.service\"",
            Self::Account => "\"diameter\"",
            Self::Directory => "\"$RE_CONFDIR\"",
            Self::Glob => "\"*.conf\"",
        }
    }

    /// Whether the text has this form.
    pub(super) fn check(self, text: &str) -> Result<(), Complaint> {
        let complaint = || Complaint::value(self.describe()).hint(format!("for example {}", self.example()));
        let good = match self {
            Self::Name => text.len() <= 32 && is_word(text, "._-"),
            Self::Host => text.len() <= 64 && is_word(text, ".-_"),
            Self::Interface => is_interface(text),
            Self::Label => text.len() <= INTERFACE_CHARS_MAX && is_label(text),
            Self::Address => return net::address(text).map(|_| ()),
            Self::TipcAddress => text.parse::<TipcAddress>().is_ok(),
            Self::Net => return net::net(text).map(|_| ()),
            Self::Socket => return net::socket(text),
            Self::Url => return net::url(text),
            Self::Endpoint => endpoint(text),
            Self::Process => (1..=64).contains(&text.len()) && !text.contains(['/', '\0', '\n']),
            Self::Path => return path(text, PATH_BYTES_MAX, complaint),
            Self::SocketPath => return path(text, SOCKET_PATH_BYTES_MAX, complaint),
            Self::Unit => return unit(text, complaint),
            Self::Account => (1..=32).contains(&text.len()) && is_account(text),
            Self::Directory => return directory::directory(text),
            Self::Glob => return directory::glob(text),
        };
        good.then_some(()).ok_or_else(complaint)
    }
}

impl std::str::FromStr for IpNet {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        net::net(text).map_err(|_| ())
    }
}

/// Letters, digits and a few more, beginning with a letter or digit.
fn is_word(text: &str, more: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

fn is_interface(text: &str) -> bool {
    (1..=INTERFACE_CHARS_MAX).contains(&text.len())
        && text != "."
        && text != ".."
        && text.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != ':')
}

fn is_label(text: &str) -> bool {
    text.split_once(':').is_some_and(|(interface, tag)| is_interface(interface) && is_word(tag, "._-"))
}

/// A variable of the environment; the options of an agent are named like one.
pub(super) fn is_variable(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn endpoint(text: &str) -> bool {
    let address = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    address.is_some_and(|address| net::socket(address).is_ok())
}

fn is_account(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn path(text: &str, bytes_max: usize, complaint: impl Fn() -> Complaint) -> Result<(), Complaint> {
    if text.len() > bytes_max || text.contains('\0') {
        return Err(complaint());
    }
    if text.starts_with('/') {
        return Ok(());
    }
    Err(complaint().hint("the daemon has no directory of its own to begin from; write the path from `/` on"))
}

fn unit(text: &str, complaint: impl Fn() -> Complaint) -> Result<(), Complaint> {
    const SUFFIXES: [&str; 6] = [".service", ".target", ".socket", ".mount", ".timer", ".slice"];
    let letters = text.chars().all(|c| c.is_ascii_alphanumeric() || ":_.@-\\".contains(c));
    if text.is_empty() || text.len() > 255 || !letters {
        return Err(complaint());
    }
    if SUFFIXES.iter().any(|suffix| text.strip_suffix(suffix).is_some_and(|name| !name.is_empty())) {
        return Ok(());
    }
    Err(complaint().hint(format!("probably \"{text}.service\"")))
}

#[cfg(test)]
mod tests;
