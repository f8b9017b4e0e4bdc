//! Talking to systemd about one unit, over D-Bus.

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, select};
use thiserror::Error;
use tokio::time::timeout;
use zbus::message::Type;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";

/// The interfaces of units that can have processes, by the unit's suffix.
const WITH_PROCESSES: [(&str, &str); 6] = [
    ("service", SERVICE),
    ("socket", "org.freedesktop.systemd1.Socket"),
    ("mount", "org.freedesktop.systemd1.Mount"),
    ("swap", "org.freedesktop.systemd1.Swap"),
    ("scope", "org.freedesktop.systemd1.Scope"),
    ("slice", "org.freedesktop.systemd1.Slice"),
];
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Exists exactly when systemd is process 1, see sd_booted(3).
const BOOTED: &str = "/run/systemd/system";

/// The bus and systemd answer within milliseconds, or something is very wrong.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Signals that may wait. When the queue is full the whole connection stands still, answers included; one unit does not
/// change this often while we wait for one answer.
const SIGNALS_MAX: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// What went wrong between systemd and us.
#[derive(Debug, Error)]
pub enum SystemdError {
    /// Another init.
    #[error("systemd does not run on this host ({BOOTED} is missing): use an exec or lsb resource")]
    NotBooted,
    /// The bus cannot be reached.
    #[error("the system bus cannot be reached: {0}; is dbus running?")]
    NoBus(zbus::Error),
    /// The bus is there, systemd is not on it.
    #[error("systemd is not on the bus: {0}")]
    NoSystemd(zbus::Error),
    /// Nobody answers.
    #[error("systemd did not answer to {what} within {ANSWER_TIME:?}")]
    Silent {
        /// What was asked.
        what: &'static str,
    },
    /// It says no.
    #[error("systemd refused {what} of {unit}: {source}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// The unit.
        unit: String,
        /// Why.
        source: zbus::Error,
    },
    /// The unit cannot be used.
    #[error("unit {unit} {}", load_words(.load))]
    NotLoaded {
        /// The unit.
        unit: String,
        /// Its LoadState.
        load: String,
    },
    /// The job ended badly.
    #[error("{what} of {unit} ended with \"{result}\"; it is {state}")]
    Job {
        /// What was asked.
        what: &'static str,
        /// The unit.
        unit: String,
        /// systemd's word.
        result: String,
        /// What the unit is now.
        state: Box<State>,
    },
    /// The job did not end in time.
    #[error("{what} of {unit} took longer than {time:.1?}; it is {state}")]
    Slow {
        /// What was asked.
        what: &'static str,
        /// The unit.
        unit: String,
        /// How long it had.
        time: Duration,
        /// What the unit is now.
        state: Box<State>,
    },
    /// systemd has given it up, not all of it has ended.
    #[error("{unit} is {state}, but something of it is left in {}{processes}", .group.display())]
    Left {
        /// The unit.
        unit: String,
        /// What it is now.
        state: Box<State>,
        /// Its control group.
        group: PathBuf,
        /// Who is left, as far as that can be seen.
        processes: String,
    },
    /// Whether something is left cannot be seen.
    #[error("the control group of {unit} cannot be read: {source}")]
    Unseen {
        /// The unit.
        unit: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What a unit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// `running`, `dead`, `auto-restart`, …
    pub sub: String,
    /// `success`, `exit-code`, `signal`, `oom-kill`, …; empty for units that are no services.
    pub result: String,
}

impl State {
    /// Whether it does what it is there for.
    pub(super) fn up(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "refreshing")
    }

    /// Whether systemd has done with it; processes of it may be left.
    pub(super) fn down(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed")
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.active, self.sub)?;
        match self.result.as_str() {
            "" | "success" => Ok(()),
            result => write!(f, ", result {result}"),
        }
    }
}

/// A connection, and the unit on it.
#[derive(Debug)]
pub(super) struct Bus {
    connection: Connection,
    unit: String,
    path: OwnedObjectPath,
}

/// What systemd tells about the unit.
#[derive(Debug)]
pub(super) enum Signal {
    /// A job is over, with this result.
    JobRemoved(OwnedObjectPath, String),
    /// Something about the unit is different.
    Changed,
}

impl Bus {
    /// Connects to `address`, or to the system bus.
    pub(super) async fn connect(address: Option<&str>, unit: &str) -> Result<Self, SystemdError> {
        use zbus::connection::Builder;
        if address.is_none() && !Path::new(BOOTED).is_dir() {
            return Err(SystemdError::NotBooted);
        }
        let builder = address.map_or_else(Builder::system, Builder::address).method_timeout(ANSWER_TIME);
        let connecting = timeout(ANSWER_TIME, builder.build());
        let connection =
            connecting.await.map_err(|_| SystemdError::Silent { what: "hello" })?.map_err(SystemdError::NoBus)?;
        let mut bus = Self { connection, unit: unit.to_owned(), path: OwnedObjectPath::default() };
        // Without this, systemd sends no signals at all.
        bus.manager("Subscribe", &()).await.map_err(no_systemd)?;
        let reply = bus.manager("LoadUnit", &(unit,)).await?;
        bus.path = bus.parse("LoadUnit", &reply)?;
        Ok(bus)
    }

    /// Whether systemd still answers.
    pub(super) async fn alive(&self) -> bool {
        self.property(UNIT, "LoadState").await.is_ok()
    }

    /// Whether systemd could load the unit's file.
    pub(super) async fn loaded(&self) -> Result<(), SystemdError> {
        let load = self.property(UNIT, "LoadState").await?;
        if load == "loaded" { Ok(()) } else { Err(SystemdError::NotLoaded { unit: self.unit.clone(), load }) }
    }

    pub(super) async fn state(&self) -> Result<State, SystemdError> {
        let active = self.property(UNIT, "ActiveState").await?;
        let sub = self.property(UNIT, "SubState").await?;
        // Only services have a result.
        let result = self.property(SERVICE, "Result").await.unwrap_or_default();
        Ok(State { active, sub, result })
    }

    /// The path of its control group; empty when it has none.
    pub(super) async fn control_group(&self) -> Result<String, SystemdError> {
        let suffix = self.unit.rsplit('.').next().unwrap_or_default();
        match WITH_PROCESSES.iter().find(|(kind, _)| *kind == suffix) {
            Some((_, interface)) => self.property(interface, "ControlGroup").await,
            None => Ok(String::new()),
        }
    }

    /// Queues a job; its end is told by a signal.
    pub(super) async fn job(&self, what: &'static str) -> Result<OwnedObjectPath, SystemdError> {
        let reply = self.manager(what, &(self.unit.as_str(), "replace")).await?;
        self.parse(what, &reply)
    }

    /// Forgets a failure, and with it systemd's own count of restarts: ours are counted by the core.
    pub(super) async fn reset_failed(&self) {
        let _ = self.manager("ResetFailedUnit", &(self.unit.as_str(),)).await;
    }

    /// KILL to every process of the unit.
    pub(super) async fn kill(&self) -> Result<(), SystemdError> {
        self.manager("KillUnit", &(self.unit.as_str(), "all", libc::SIGKILL)).await.map(drop)
    }

    /// What systemd tells about the unit from now on. Kept only while it is read: see [`SIGNALS_MAX`].
    pub(super) async fn signals(&self) -> Result<BoxStream<'static, Signal>, SystemdError> {
        let rule = |interface, member| {
            MatchRule::builder().msg_type(Type::Signal).sender(SYSTEMD).interface(interface).member(member)
        };
        let refused = |source| SystemdError::Refused { what: "signals", unit: self.unit.clone(), source };
        let jobs = rule(MANAGER, "JobRemoved").arg(2, self.unit.clone()).build().map_err(refused)?;
        let changes = rule(PROPERTIES, "PropertiesChanged").path(&self.path).build().map_err(refused)?;
        let jobs = MessageStream::for_match_rule(jobs, &self.connection, Some(SIGNALS_MAX)).await.map_err(refused)?;
        let changes =
            MessageStream::for_match_rule(changes, &self.connection, Some(SIGNALS_MAX)).await.map_err(refused)?;
        let jobs = jobs.filter_map(|message| async move {
            let (_, job, _, result): (u32, OwnedObjectPath, String, String) =
                message.ok()?.body().deserialize().ok()?;
            Some(Signal::JobRemoved(job, result))
        });
        let changes = changes.filter_map(|message| async move { message.ok().map(|_| Signal::Changed) });
        Ok(select(jobs, changes).boxed())
    }

    async fn manager<B>(&self, method: &'static str, body: &B) -> Result<Message, SystemdError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let reply = self.connection.call_method(Some(SYSTEMD), MANAGER_PATH, Some(MANAGER), method, body).await;
        reply.map_err(|source| self.explain(method, source))
    }

    async fn property(&self, interface: &str, name: &'static str) -> Result<String, SystemdError> {
        let body = (interface, name);
        let reply = self.connection.call_method(Some(SYSTEMD), &self.path, Some(PROPERTIES), "Get", &body).await;
        let reply = reply.map_err(|source| self.explain(name, source))?;
        let value: OwnedVariant = self.parse(name, &reply)?;
        String::try_from(value).map_err(|source| self.explain(name, source))
    }

    fn parse<T>(&self, what: &'static str, reply: &Message) -> Result<T, SystemdError>
    where
        T: for<'d> zbus::wire::DynamicDeserialize<'d>,
    {
        reply.body().deserialize().map_err(|source| self.explain(what, source))
    }

    fn explain(&self, what: &'static str, source: zbus::Error) -> SystemdError {
        if let zbus::Error::InputOutput(error) = &source
            && error.kind() == io::ErrorKind::TimedOut
        {
            return SystemdError::Silent { what };
        }
        SystemdError::Refused { what, unit: self.unit.clone(), source }
    }
}

fn no_systemd(error: SystemdError) -> SystemdError {
    if let SystemdError::Refused { source, .. } = error { SystemdError::NoSystemd(source) } else { error }
}

fn load_words(load: &str) -> String {
    match load {
        "not-found" => "is not found: install it, or correct its name (with its suffix)".to_owned(),
        "masked" => "is masked: systemctl unmask it".to_owned(),
        other => format!("cannot be loaded ({other}): see systemctl status"),
    }
}
