//! THE LANGUAGE: every table of the file, every key in it, what it takes and what it is when it is not written.
//!
//! The readers take ranges and presets from here, unknown keys are judged by it, and docs/config.md is compared with it
//! by a test: what is written down in three places is decided in one. Nothing here looks at a file.

mod nearest;

use std::time::Duration;

pub(super) use nearest::nearest;

use super::derive::{formula, is_constant};
use super::value::{Grammar, format_duration};

/// Nodes of a cluster: a heartbeat goes to each of the others on each link.
pub(super) const NODES_MAX: usize = 16;
/// Dedicated links; with more, the interfaces of a node run out before the limit does.
pub(super) const LINKS_MAX: usize = 7;
/// Bearers of TIPC: the kernel has no more (`MAX_BEARERS`).
pub(super) const BEARERS_MAX: usize = 3;
/// Addresses of the arbitrator: each is asked at each question.
pub(super) const ARBITRATORS_MAX: usize = 8;
/// Groups: each has its word in every heartbeat.
pub(super) const GROUPS_MAX: usize = 16;
/// Resources of one group.
pub(super) const RESOURCES_MAX: usize = 256;
/// Single addresses of one resource. Beyond it a range does the same at a fraction of the cost.
pub(super) const VIPS_MAX: usize = 16_384;
/// Ranges of one resource.
pub(super) const RANGES_MAX: usize = 256;
/// Monitors of one resource.
pub(super) const MONITORS_MAX: usize = 16;
/// Devices that turn nodes off: two levels of two for each node.
pub(super) const FENCES_MAX: usize = NODES_MAX * 4;
/// Members of an etcd cluster: more than anybody runs.
pub(super) const ENDPOINTS_MAX: usize = 16;
/// Directories that are replicated: each is watched with all that is in it.
pub(super) const DIRECTORIES_MAX: usize = 64;
/// Globs of one list: each is tried on each name.
pub(super) const GLOBS_MAX: usize = 256;
/// Names a browser may call a node by.
pub(super) const WEB_NAMES_MAX: usize = 16;
/// Ready checks of a node.
pub(super) const READY_MAX: usize = 64;

/// UDP port of the heartbeats unless set. Nothing is registered for it, an ordinary socket does not get it by chance (Linux
/// hands out 32768 and above), and Linux-HA, which may run beside us, keeps 694.
pub(super) const PORT: &str = "6940";
/// UDP port of a witness unless set: the next one.
pub(super) const WITNESS_PORT: &str = "6941";
/// TCP port the replication of rules listens on unless set: the one after that.
pub(super) const RULES_PORT: &str = "6942";

/// What editors leave behind while somebody types: backups, vim's swap files and its test of a directory, locks and saved
/// buffers of emacs. Nothing more: a rule that happens to match is not replicated, and nobody would see why.
pub(super) const LEFTOVERS: &[&str] = &["*~", ".*.sw[a-p]", ".#*", "#*#"];

/// One table of the file.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its path; empty for the top of the file.
    pub path: &'static str,
    /// The keys it knows.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What it is when it is not written.
    pub preset: Preset,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// A string in a certain form.
    Text(Grammar),
    /// A list of strings in a certain form (or one such string), with the most there may be.
    List(Grammar, usize),
    /// A table with a string for each node.
    PerNode(Grammar),
    /// The same, or one string that holds for every node.
    PerNodeOrText(Grammar),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A command line, or a list of program and arguments.
    Command,
    /// A whole number.
    Integer(u32, u32),
    /// A duration.
    Time(Duration, Duration),
    /// A duration of whole seconds.
    Seconds(Duration, Duration),
    /// `true` or `false`.
    Flag,
    /// A table of strings.
    Strings,
    /// A table of its own.
    Table,
    /// Tables of their own, with the most there may be.
    Tables(usize),
}

impl Key {
    /// What it is when it is not written, in words.
    pub fn default(&self) -> String {
        match self.preset {
            Preset::Required => "required".to_owned(),
            Preset::Optional => "none".to_owned(),
            Preset::Value(value) if matches!(self.takes, Takes::Integer(..) | Takes::Flag) => {
                format!("`{value}`")
            }
            Preset::Value(value) => format!("`\"{value}\"`"),
            Preset::List(values) => format!("`[{}]`", values.map_quoted()),
            Preset::Derived => match formula(self.name) {
                Some(formula) if !is_constant(formula) => format!("derived: {formula}"),
                Some(constant) if matches!(self.takes, Takes::Integer(..)) => {
                    format!("`{constant}`")
                }
                Some(constant) => format!("`\"{constant}\"`"),
                None => "?".to_owned(),
            },
        }
    }
}

/// What a key is when it is not written.
#[derive(Clone, Copy, Debug)]
pub enum Preset {
    /// It must be written.
    Required,
    /// It may be left out, and then there is none.
    Optional,
    /// This, as it would be written.
    Value(&'static str),
    /// These, as they would be written. Only such a list may be written empty, or nobody could say "none of them".
    List(&'static [&'static str]),
    /// Derived from other settings.
    Derived,
}

impl Takes {
    /// What belongs here, in words that follow "must be".
    pub fn describe(&self) -> String {
        match self {
            Self::Text(grammar) => grammar.describe().to_owned(),
            Self::List(grammar, _) => {
                format!("a list of strings (or one), each {}", grammar.describe())
            }
            Self::PerNode(grammar) => format!("a table with {} for each node", grammar.describe()),
            Self::PerNodeOrText(grammar) => {
                format!("{}, or a table with one for each node", grammar.describe())
            }
            Self::Choice(words) => format!("one of {}", words.map_quoted()),
            Self::Command => "a command line (a string, or a list of program and arguments)".to_owned(),
            Self::Integer(min, max) => format!("a whole number from {min} to {max}"),
            Self::Time(min, max) => format!("a duration from {} to {}", format_duration(*min), format_duration(*max)),
            Self::Seconds(min, max) => {
                format!("a duration of whole seconds from {} to {}", format_duration(*min), format_duration(*max))
            }
            Self::Flag => "true or false".to_owned(),
            Self::Strings => "a table of strings".to_owned(),
            Self::Table => "a table".to_owned(),
            Self::Tables(max) => format!("a list of tables, at most {max}"),
        }
    }

    /// An example as it would be written.
    pub fn example(&self) -> Option<&'static str> {
        match self {
            Self::Text(grammar) => Some(grammar.example()),
            Self::List(grammar, _) => Some(grammar.example()),
            Self::Time(..) => Some("\"200ms\""),
            Self::Seconds(..) => Some("\"2s\""),
            Self::Strings => Some("{ re = \"$RE_CONFDIR\" }"),
            Self::Command => Some("\"freeDiameterd -c /etc/freeDiameter/dre.conf\""),
            Self::PerNode(_)
            | Self::PerNodeOrText(_)
            | Self::Choice(_)
            | Self::Integer(..)
            | Self::Flag
            | Self::Table
            | Self::Tables(_) => None,
        }
    }
}

trait MapQuoted {
    fn map_quoted(&self) -> String;
}

impl MapQuoted for [&str] {
    fn map_quoted(&self) -> String {
        self.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
    }
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

const HOUR: Duration = secs(3_600);

const fn key(name: &'static str, takes: Takes, preset: Preset) -> Key {
    Key { name, takes, preset }
}

const fn timer(name: &'static str, min: Duration, max: Duration) -> Key {
    key(name, Takes::Time(min, max), Preset::Derived)
}

const NAME: Key = key("name", Takes::Text(Grammar::Name), Preset::Required);
const PROCESS: Key = key("process", Takes::Text(Grammar::Process), Preset::Optional);
const TCP: Key = key("tcp", Takes::Text(Grammar::Socket), Preset::Optional);
const HTTP: Key = key("http", Takes::Text(Grammar::Url), Preset::Optional);
const SCRIPT: Key = key("script", Takes::Command, Preset::Optional);
const INTERVAL: Key = key("interval", Takes::Time(ms(10), HOUR), Preset::Value("2s"));
const TIMEOUT: Key = key("timeout", Takes::Time(ms(10), HOUR), Preset::Value("1s"));
const FALL: Key = key("fall", Takes::Integer(1, 1_000), Preset::Value("3"));
const RISE: Key = key("rise", Takes::Integer(1, 1_000), Preset::Value("1"));

/// The top of the file.
pub(super) const TOP: Section = Section {
    path: "",
    keys: &[
        key("cluster", Takes::Table, Preset::Required),
        key("timers", Takes::Table, Preset::Optional),
        key("limits", Takes::Table, Preset::Optional),
        key("link", Takes::Tables(LINKS_MAX), Preset::Optional),
        key("arbitrator", Takes::Table, Preset::Optional),
        key("witness", Takes::Table, Preset::Optional),
        key("fencing", Takes::Table, Preset::Optional),
        key("fence", Takes::Tables(FENCES_MAX), Preset::Optional),
        key("watchdog", Takes::Table, Preset::Optional),
        key("etcd", Takes::Table, Preset::Optional),
        key("group", Takes::Tables(GROUPS_MAX), Preset::Optional),
        key("ready", Takes::Tables(READY_MAX), Preset::Optional),
        key("rules", Takes::Table, Preset::Optional),
        key("web", Takes::Table, Preset::Optional),
        key("daemon", Takes::Table, Preset::Optional),
    ],
};

/// `[cluster]`
pub(super) const CLUSTER: Section = Section {
    path: "cluster",
    keys: &[
        NAME,
        key("nodes", Takes::List(Grammar::Host, NODES_MAX), Preset::Required),
        key("failover_budget", Takes::Time(ms(50), secs(600)), Preset::Derived),
        key("authority", Takes::Choice(&["ping", "lease", "etcd"]), Preset::Optional),
        key("standalone", Takes::Flag, Preset::Value("false")),
    ],
};

/// `[timers]`
pub(super) const TIMERS: Section = Section {
    path: "timers",
    keys: &[
        timer("heartbeat_interval", ms(2), secs(60)),
        timer("suspect_time", ms(2), secs(600)),
        timer("dead_time", ms(4), secs(600)),
        timer("probe_interval", ms(1), secs(60)),
        key("link_rise", Takes::Integer(1, 1_000), Preset::Derived),
        timer("arbitrator_timeout", ms(1), secs(60)),
        timer("arbitrator_pace", ms(1), secs(60)),
        timer("arbitrator_interval", ms(10), HOUR),
        key("arbitrator_fall", Takes::Integer(1, 100), Preset::Derived),
        key("arbitrator_rise", Takes::Integer(1, 100), Preset::Derived),
        timer("vip_probe_time", ms(1), secs(10)),
        timer("stop_bound", ms(1), secs(600)),
        timer("hold_time", ms(1), HOUR),
        timer("lease_time", ms(4), secs(600)),
        timer("start_grace", ms(1), HOUR),
        key("guard_lifetime", Takes::Seconds(secs(2), HOUR), Preset::Derived),
        timer("guard_refresh", ms(10), HOUR),
        timer("guard_margin", ms(1), secs(1)),
        timer("announce_delay", ms(1), secs(60)),
        timer("announce_refresh", ms(0), HOUR),
        timer("switchover_timeout", ms(100), HOUR),
        timer("failback_settle", ms(0), secs(86_400)),
        timer("fence_delay", ms(0), secs(600)),
        key("clock_rate_ppm", Takes::Integer(0, 100_000), Preset::Derived),
    ],
};

/// `[limits]`
pub(super) const LIMITS: Section = Section {
    path: "limits",
    keys: &[
        key("failovers", Takes::Integer(1, 1_000), Preset::Value("5")),
        key("failover_window", Takes::Time(secs(1), secs(86_400)), Preset::Value("10m")),
        key("clock_offset", Takes::Time(ms(1), HOUR), Preset::Value("1s")),
    ],
};

/// `[[link]]`
pub(super) const LINK: Section = Section {
    path: "link",
    keys: &[
        NAME,
        key("transport", Takes::Choice(&["udp", "tipc"]), Preset::Value("udp")),
        key("interface", Takes::PerNodeOrText(Grammar::Interface), Preset::Optional),
        key("address", Takes::PerNode(Grammar::Address), Preset::Optional),
        key("port", Takes::Integer(1, 65_535), Preset::Value(PORT)),
        key("network_id", Takes::Integer(1, 9_999), Preset::Value("4711")),
        key("node_address", Takes::PerNode(Grammar::TipcAddress), Preset::Optional),
        key("bearers", Takes::List(Grammar::Interface, BEARERS_MAX), Preset::Optional),
    ],
};

/// `[arbitrator]`
pub(super) const ARBITRATOR: Section = Section {
    path: "arbitrator",
    keys: &[
        key("ping", Takes::List(Grammar::Address, ARBITRATORS_MAX), Preset::Required),
        key("interface", Takes::PerNodeOrText(Grammar::Interface), Preset::Optional),
        key("address", Takes::PerNode(Grammar::Address), Preset::Optional),
        key("port", Takes::Integer(1, 65_535), Preset::Value(PORT)),
    ],
};

/// `[witness]`
pub(super) const WITNESS: Section = Section {
    path: "witness",
    keys: &[
        key("address", Takes::Text(Grammar::Address), Preset::Required),
        key("port", Takes::Integer(1, 65_535), Preset::Value(WITNESS_PORT)),
        key("interface", Takes::PerNodeOrText(Grammar::Interface), Preset::Optional),
        key("key_file", Takes::Text(Grammar::Path), Preset::Value("/etc/avamgr/witness.keys")),
    ],
};

/// `[etcd]`
pub(super) const ETCD: Section = Section {
    path: "etcd",
    keys: &[
        key("endpoints", Takes::List(Grammar::Endpoint, ENDPOINTS_MAX), Preset::Required),
        key("prefix", Takes::Text(Grammar::Name), Preset::Value("avamgr")),
        key("ca_file", Takes::Text(Grammar::Path), Preset::Optional),
        key("cert_file", Takes::Text(Grammar::Path), Preset::Optional),
        key("key_file", Takes::Text(Grammar::Path), Preset::Optional),
    ],
};

/// `[fencing]`
pub(super) const FENCING: Section =
    Section { path: "fencing", keys: &[key("rejoin", Takes::Choice(&["clear", "auto"]), Preset::Value("clear"))] };

/// `[[fence]]`
pub(super) const FENCE: Section = Section {
    path: "fence",
    keys: &[
        key("node", Takes::Text(Grammar::Host), Preset::Required),
        key("level", Takes::Integer(1, 9), Preset::Value("1")),
        key("agent", Takes::Text(Grammar::Path), Preset::Required),
        key("action", Takes::Choice(&["off", "reboot"]), Preset::Value("off")),
        key("options", Takes::Strings, Preset::Optional),
        key("secrets", Takes::Text(Grammar::Path), Preset::Optional),
        key("timeout", Takes::Time(secs(1), secs(600)), Preset::Value("60s")),
    ],
};

/// `[watchdog]`
pub(super) const WATCHDOG: Section = Section {
    path: "watchdog",
    keys: &[
        key("device", Takes::Text(Grammar::Path), Preset::Value("/dev/watchdog")),
        key("timeout", Takes::Seconds(secs(1), HOUR), Preset::Required),
    ],
};

/// `[[group]]`
pub(super) const GROUP: Section = Section {
    path: "group",
    keys: &[
        NAME,
        key("preferred", Takes::Text(Grammar::Host), Preset::Optional),
        key("failback", Takes::Choice(&["manual", "auto"]), Preset::Value("manual")),
        key("on_role_change", Takes::Command, Preset::Optional),
        key("hook_timeout", Takes::Time(ms(10), HOUR), Preset::Value("10s")),
        key("hook_style", Takes::Choice(&["environment", "keepalived"]), Preset::Value("environment")),
        key("resource", Takes::Tables(RESOURCES_MAX), Preset::Required),
    ],
};

/// `[[group.resource]]`
pub(super) const RESOURCE: Section = Section {
    path: "group.resource",
    keys: &[
        NAME,
        key("vip", Takes::List(Grammar::Net, VIPS_MAX), Preset::Optional),
        key("range", Takes::List(Grammar::Net, RANGES_MAX), Preset::Optional),
        key("exec", Takes::Command, Preset::Optional),
        key("lsb", Takes::Text(Grammar::Path), Preset::Optional),
        key("systemd", Takes::Text(Grammar::Unit), Preset::Optional),
        key("interface", Takes::PerNodeOrText(Grammar::Interface), Preset::Optional),
        key("label", Takes::Text(Grammar::Label), Preset::Optional),
        key("environment", Takes::Strings, Preset::Optional),
        key("directory", Takes::Text(Grammar::Path), Preset::Optional),
        key("user", Takes::Text(Grammar::Account), Preset::Optional),
        key("ready", Takes::Table, Preset::Optional),
        key("start_timeout", Takes::Time(ms(10), HOUR), Preset::Value("30s")),
        key("stop_timeout", Takes::Time(ms(10), HOUR), Preset::Value("10s")),
        key("restart", Takes::Table, Preset::Optional),
        key("monitor", Takes::Tables(MONITORS_MAX), Preset::Optional),
    ],
};

/// `group.resource.restart`
pub(super) const RESTART: Section = Section {
    path: "group.resource.restart",
    keys: &[
        key("max", Takes::Integer(0, 1_000), Preset::Value("3")),
        key("window", Takes::Time(ms(100), secs(86_400)), Preset::Value("1m")),
        key("backoff", Takes::Time(ms(0), HOUR), Preset::Value("100ms")),
        key("backoff_max", Takes::Time(ms(0), HOUR), Preset::Value("5s")),
    ],
};

/// `group.resource.ready`
pub(super) const CHECK: Section = Section { path: "group.resource.ready", keys: &[PROCESS, TCP, HTTP, SCRIPT] };

/// `[[group.resource.monitor]]`
pub(super) const MONITOR: Section =
    Section { path: "group.resource.monitor", keys: &[PROCESS, TCP, HTTP, SCRIPT, INTERVAL, TIMEOUT, FALL, RISE] };

/// `[[ready]]`
pub(super) const READY: Section =
    Section { path: "ready", keys: &[NAME, PROCESS, TCP, HTTP, SCRIPT, INTERVAL, TIMEOUT, FALL, RISE] };

/// `[rules]`
pub(super) const RULES: Section = Section {
    path: "rules",
    keys: &[
        key("directories", Takes::Strings, Preset::Required),
        key("include", Takes::List(Grammar::Glob, GLOBS_MAX), Preset::Optional),
        key("exclude", Takes::List(Grammar::Glob, GLOBS_MAX), Preset::List(LEFTOVERS)),
        key("direction", Takes::Choice(&["both", "active-to-standby"]), Preset::Value("both")),
        key("group", Takes::Text(Grammar::Name), Preset::Optional),
        key("port", Takes::Integer(1, 65_535), Preset::Value(RULES_PORT)),
        key("ssh", Takes::Command, Preset::Optional),
        key("user", Takes::Text(Grammar::Account), Preset::Optional),
        key("keep_time", Takes::Time(secs(60), secs(3_650 * 86_400)), Preset::Value("30d")),
        key("keep_size_mib", Takes::Integer(1, 1_048_576), Preset::Value("1024")),
        key("audit_interval", Takes::Time(secs(1), secs(7 * 86_400)), Preset::Value("1h")),
        key("state_dir", Takes::Text(Grammar::Path), Preset::Value("/var/lib/avamgr-rules")),
        key("socket", Takes::Text(Grammar::SocketPath), Preset::Value("/run/avamgr-rules/rules.sock")),
    ],
};

/// `[web]`
pub(super) const WEB: Section = Section {
    path: "web",
    keys: &[
        key("start", Takes::Flag, Preset::Value("true")),
        key("listen", Takes::Text(Grammar::Socket), Preset::Value("127.0.0.1:8080")),
        key("user", Takes::Text(Grammar::Account), Preset::Value("nobody")),
        key("names", Takes::List(Grammar::Host, WEB_NAMES_MAX), Preset::Optional),
        key("users", Takes::Text(Grammar::Path), Preset::Optional),
        key("idle_time", Takes::Time(secs(60), secs(86_400)), Preset::Value("30m")),
        key("tls", Takes::Flag, Preset::Optional),
        key("certificate", Takes::Text(Grammar::Path), Preset::Value("/etc/avamgr/web.pem")),
    ],
};

/// `[daemon]`
pub(super) const DAEMON: Section = Section {
    path: "daemon",
    keys: &[
        key("key_file", Takes::Text(Grammar::Path), Preset::Value("/etc/avamgr/keys")),
        key("state_dir", Takes::Text(Grammar::Path), Preset::Value("/var/lib/avamgr")),
        key("socket", Takes::Text(Grammar::SocketPath), Preset::Value("/run/avamgr/avamgr.sock")),
        key("operators", Takes::Text(Grammar::Account), Preset::Optional),
        key("realtime", Takes::Flag, Preset::Value("true")),
    ],
};

/// Every table, in the order of the manual.
pub const SECTIONS: &[Section] = &[
    TOP, CLUSTER, TIMERS, LIMITS, LINK, ARBITRATOR, WITNESS, ETCD, FENCING, FENCE, WATCHDOG, GROUP, RESOURCE, RESTART,
    CHECK, MONITOR, READY, RULES, WEB, DAEMON,
];
