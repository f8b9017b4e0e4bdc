//! The command line as types. Help texts are written here and nowhere else; the manual pages are made from them.

mod documents;
mod history;
mod report;
mod users;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub use documents::{CompletionArgs, Program};
pub use history::{HistoryArgs, severity};
pub use report::ReportArgs;
pub use users::{UserArgs, UserVerb};

/// Where the config file lives unless told otherwise.
const CONF_DIR: &str = "/etc/avamgr";

/// Name of the config file in that directory.
const CONF_FILE: &str = "avamgr.toml";

const EXIT_CODES: &str = "Exit codes:
  0  done, or shown
  1  begun and failed; or a check found an error
  2  wrong command line
  3  refused: not permitted, or something stands in the way
  4  the daemon cannot be reached or does not answer: UNKNOWN
  5  the config is invalid";

/// See and steer a node of an availability manager's cluster.
#[derive(Debug, Parser)]
#[command(name = "avamgr", version, after_help = EXIT_CODES, max_term_width = 120)]
pub struct Cli {
    /// Options of every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of every verb.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Control socket of the daemon [default: the config's, else /run/avamgr/avamgr.sock]
    #[arg(long, global = true, value_name = "PATH", env = "AVAMGR_SOCKET")]
    pub socket: Option<PathBuf>,
    /// Config file [default: avamgr.toml in --conf-dir]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the config file
    #[arg(long, global = true, value_name = "DIR", env = "AVAMGR_CONFDIR", default_value = CONF_DIR)]
    pub conf_dir: PathBuf,
    /// Print facts as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

impl Global {
    /// The config file these options mean.
    pub fn config_file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| self.conf_dir.join(CONF_FILE))
    }
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Show roles, peers, links, arbitrator, resources, holds and alarms of this node
    #[command(visible_alias = "stat")]
    Status(StatusArgs),
    /// Say why this node is ACTIVE or not, what stands in the way, and what happened last; or what led to an event
    Why {
        /// Group, or the number of an event in the history; all groups unless given
        what: Option<String>,
    },
    /// Show past events
    ///
    /// Times are UTC, the same on every node; the number before each can be asked about: `avamgr why NUMBER`. When the daemon is
    /// not running or hangs, the events are read from its store. `avamgr history --last all --json` exports all of it as JSON
    /// lines.
    History(HistoryArgs),
    /// Move a group to another node in an orderly way
    ///
    /// The ACTIVE node brings its resources down, the target brings them up; if the target fails, the old node takes them
    /// back. Each step is shown as it happens.
    Switchover(SwitchoverArgs),
    /// Take this node out: hand over what it has, take nothing over
    #[command(visible_aliases = ["off", "disable"])]
    Offline {
        /// For how long, as in 30s or 5min; until `online` unless given
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        duration: Option<Duration>,
    },
    /// Let this node take part again; also lifts a hold for flapping
    #[command(visible_alias = "enable")]
    Online,
    /// Switch automatic actions off or on: services run on, nothing is moved, restarted or taken over
    Maintenance {
        /// On or off
        state: Switch,
    },
    /// Start, stop or restart one resource, or clear its failures
    #[command(visible_alias = "res")]
    Resource(ResourceArgs),
    /// Who votes in leases
    Voters {
        /// What about it
        #[command(subcommand)]
        verb: VotersVerb,
    },
    /// The terms of a group
    Term {
        /// What about it
        #[command(subcommand)]
        verb: TermVerb,
    },
    /// Read the config file again and take it into use; a bad one changes nothing
    Reload,
    /// Replace the program of the running daemon, or restart it in place: nothing is stopped or moved
    ///
    /// The new program is asked first whether it can go on with everything as it is; if it cannot, nothing happens. Each step is
    /// shown as it happens.
    Upgrade {
        /// The new avamgrd [default: the file that the daemon was started from, as it is now]
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
    },
    /// Validate the config, print every timer and rule, and look at this host before it hurts
    ///
    /// Needs no daemon and no root, but sees more with them. Exit code 5 when the config is invalid, 1 when the host has
    /// an error.
    Check(CheckArgs),
    /// The devices that turn nodes off
    Fence(FenceArgs),
    /// Make a key file for the heartbeats, or add a key to it
    ///
    /// To change keys without an outage: add one, copy the file to every node, reload each; then --send-with the new one and
    /// reload on each; then --remove the old one and reload on each.
    Keygen(KeygenArgs),
    /// Who may look and steer through the page
    ///
    /// Changes the users file at once: whoever is taken out is out with his next request. The same file on every node lets the
    /// same people in.
    User(UserArgs),
    /// Show the config
    Config {
        /// What about it
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Put what this node knows into one archive for support, without secrets
    ///
    /// Config, history, status, check, versions, network, journal. Works without a daemon; needs root to see everything.
    Report(ReportArgs),
    /// The same verbs at a prompt, with completion and history
    Shell,
    /// Print the completion script of a shell
    Completion(CompletionArgs),
    /// Write the manual pages of avamgr, avamgrd and avamgr-witness into a directory
    Man {
        /// The directory
        directory: PathBuf,
    },
    /// Play failovers with two real nodes on this machine, as an ordinary user
    Demo {
        /// End after the table, also on a terminal
        #[arg(long)]
        no_keys: bool,
    },
}

/// What about the voters.
#[derive(Clone, Debug, Subcommand)]
pub enum VotersVerb {
    /// Vouch that no node that is off counts other voters than this node's config
    ///
    /// After a change of cluster.nodes, authority or [witness] a node waits until every other node counts the same voters. Say
    /// this only when those that are not heard are off, and have the new config before they come back.
    Confirm,
}

/// What about the terms.
#[derive(Clone, Debug, Subcommand)]
pub enum TermVerb {
    /// Bring this node's term back to what the other nodes know, after its state was damaged
    Reset {
        /// Group; the only one unless given
        group: Option<String>,
    },
}

/// Options of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Show it again and again: in place on a terminal, one after the other elsewhere
    #[arg(long, short)]
    pub watch: bool,
    /// Time between two looks with --watch
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration, requires = "watch")]
    pub interval: Duration,
    /// One line only: node and role of each group
    #[arg(long, short)]
    pub short: bool,
}

/// Options of `switchover`.
#[derive(Clone, Debug, Args)]
pub struct SwitchoverArgs {
    /// Group; not needed where there is only one
    pub group: Option<String>,
    /// Target node; the best one unless given
    #[arg(long, value_name = "NODE")]
    pub to: Option<String>,
    /// Only say what would be done and what stands in the way (then the exit code is 3)
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `resource`.
#[derive(Clone, Debug, Args)]
#[command(
    after_long_help = "With the daemon running, start, stop and restart are orders to it: a resource stopped by an \
operator stays stopped until started again, or until its group has been on another node; the group stays ACTIVE. \
`clear` forgets the failures of a resource; a group in FAULT goes back to STANDBY, and what is STUCK is ordered to stop once \
more at once.

With the daemon stopped, `stop` acts on this host directly, for the leftovers of a daemon that died; it needs root. `start` and \
`restart` do so only with --force: nobody checks then whether another node owns the resource, and an address on two nodes \
breaks both."
)]
pub struct ResourceArgs {
    /// The order
    pub verb: ResourceOrder,
    /// GROUP/RESOURCE, or the resource alone where its name is unique
    #[arg(value_name = "NAME")]
    pub resource: Option<String>,
    /// Start even though no daemon runs here that could protect you from two owners
    #[arg(long)]
    pub force: bool,
    /// Which node this is, where the daemon is stopped [default: the hostname]
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
}

/// Options of `check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// The file [default: the config of this node]
    pub file: Option<PathBuf>,
    /// Check for this node instead of the one this host is
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// Only the file, not this host
    #[arg(long)]
    pub no_host: bool,
    /// First set up what the link over TIPC lacks here: network, address, bearers; what is there is left as it is
    #[arg(long, conflicts_with_all = ["no_host", "node"])]
    pub set_up_tipc: bool,
}

/// Options of `fence`.
#[derive(Clone, Debug, Args)]
pub struct FenceArgs {
    /// What about them
    #[command(subcommand)]
    pub verb: FenceVerb,
}

/// Verbs of `fence`.
#[derive(Clone, Debug, Subcommand)]
pub enum FenceVerb {
    /// Ask every device whether its node is on, and turn nothing off
    ///
    /// Needs no daemon, but must be able to read the secrets of the devices. Run it on every node: each must reach the devices
    /// of the others. Exit code 1 when a device does not answer.
    Test {
        /// Only the devices of this node
        node: Option<String>,
    },
    /// Turn a node off through its devices, whatever it does
    ///
    /// The answer comes when it is known to be off. What it was ACTIVE for is taken over then.
    Now {
        /// The node
        node: String,
    },
    /// Vouch that a node is off: what it may have owned is taken over
    ///
    /// When its devices do not work. Say it only when you have seen to it yourself; a node that is heard is refused.
    Confirm {
        /// The node
        node: String,
    },
    /// Let a node that was fenced take part again
    Clear {
        /// The node
        node: String,
    },
}

/// Options of `keygen`.
#[derive(Clone, Debug, Args)]
pub struct KeygenArgs {
    /// The file [default: daemon.key_file of the config]
    pub file: Option<PathBuf>,
    /// Make no key, but send with this one from the next reload on
    #[arg(long, value_name = "NUMBER", conflicts_with = "remove")]
    pub send_with: Option<u8>,
    /// Make no key, but remove this one, which no node sends with any more
    #[arg(long, value_name = "NUMBER")]
    pub remove: Option<u8>,
}

/// Verbs of `config`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print the config the daemon runs with, as JSON
    Show,
}

/// Orders to one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ResourceOrder {
    /// Start it where its group is ACTIVE
    Start,
    /// Stop it and leave it stopped
    Stop,
    /// Stop and start it
    Restart,
    /// Forget its failures
    Clear,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On
    On,
    /// Off
    Off,
}

/// The daemon of the availability manager: stays in the foreground. SIGHUP reads the config again, SIGTERM hands over and
/// stops.
#[derive(Debug, Parser)]
#[command(name = "avamgrd", version, max_term_width = 120)]
pub struct DaemonArgs {
    /// Config file [default: avamgr.toml in --conf-dir]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the config file
    #[arg(long, value_name = "DIR", env = "AVAMGR_CONFDIR", default_value = CONF_DIR)]
    pub conf_dir: PathBuf,
    /// Which node of the config this is [default: the hostname]
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// Where terms, holds and history live [default: daemon.state_dir of the config]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Control socket [default: daemon.socket of the config]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Run alone, without peer or arbitrator
    #[arg(
        long,
        value_name = "YES|NO",
        value_parser = yes_or_no,
        num_args = 0..=1,
        require_equals = true,
        default_value = "no",
        default_missing_value = "yes",
        action = ArgAction::Set
    )]
    pub standalone: bool,
    /// error, warn, info, debug or trace, or directives such as info,avamgr::links=debug
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// stderr, journald, syslog or syslog-bsd [default: journald under systemd, stderr elsewhere]
    #[arg(long, value_name = "TARGET")]
    pub log_target: Option<String>,
    /// Only check whether it could start with these options, the config and the keys
    #[arg(long)]
    pub check: bool,
    /// File for the process number
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Only say whether it could go on with the state on the standard input
    #[arg(long, hide = true)]
    pub try_continue: bool,
    /// Go on with the state in this file descriptor
    #[arg(long, value_name = "NUMBER", hide = true)]
    pub continue_from: Option<i32>,
}

impl DaemonArgs {
    /// The config file these options mean.
    pub fn config_file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| self.conf_dir.join(CONF_FILE))
    }
}

/// Yes or no, in the words that the init script takes too; a setting left empty is no.
fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" | "" => Ok(false),
        _ => Err("expected yes or no (or true, false, on, off, 1, 0)".to_owned()),
    }
}

/// A duration with its unit, above zero.
///
/// # Errors
/// When it is none, in words.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number with its unit, as in 30s, 500ms or 5min".to_owned();
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| expected())?;
    if parsed.is_zero() {
        return Err("expected more than no time at all, as in 30s".to_owned());
    }
    Duration::try_from(parsed).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn both_command_lines_are_sound() {
        Cli::command().debug_assert();
        DaemonArgs::command().debug_assert();
    }

    #[test]
    fn standalone_is_a_flag_for_humans_and_a_setting_for_units() {
        let alone = |args: &[&str]| {
            DaemonArgs::try_parse_from(["avamgrd"].iter().chain(args)).map(|args| args.standalone).map_err(|e| e.kind())
        };
        assert_eq!((alone(&[]), alone(&["--standalone"])), (Ok(false), Ok(true)));
        for word in ["yes", "YES", "True", "on", "1"] {
            assert_eq!(alone(&[&format!("--standalone={word}")]), Ok(true), "{word}");
        }
        for word in ["no", "No", "false", "OFF", "0", ""] {
            assert_eq!(alone(&[&format!("--standalone={word}")]), Ok(false), "{word}");
        }
        for word in ["maybe", "y", "yess", "2"] {
            assert_eq!(alone(&[&format!("--standalone={word}")]), Err(ErrorKind::ValueValidation), "{word}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        for wrong in ["30", "", "-3s", "0s", "soon"] {
            assert!(duration(wrong).unwrap_err().contains("30s"), "{wrong}");
        }
        assert!(duration("0s").unwrap_err().starts_with("expected more than no time"));
    }

    #[test]
    fn options_may_stand_before_or_after_the_verb() {
        let before = Cli::try_parse_from(["avamgr", "--json", "--socket", "/s", "status"]).unwrap();
        let after = Cli::try_parse_from(["avamgr", "status", "--json", "--socket", "/s"]).unwrap();
        assert!(before.global.json && after.global.json);
        assert_eq!(before.global.socket, after.global.socket);
    }

    #[test]
    fn the_old_words_are_understood() {
        for words in [vec!["stat"], vec!["off", "--for", "30s"], vec!["disable"], vec!["res", "stop"]] {
            Cli::try_parse_from(std::iter::once("avamgr").chain(words.clone()))
                .unwrap_or_else(|e| panic!("{words:?}: {e}"));
        }
    }
}
