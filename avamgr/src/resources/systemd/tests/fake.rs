//! A private bus daemon, and a systemd that knows one unit.

use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use zbus::connection::Builder;
use zbus::message::Type;
use zbus::{Connection, Message, MessageStream, OwnedObjectPath, Variant};

use super::super::State;

const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const UNIT_PATH: &str = "/org/freedesktop/systemd1/unit/dre_2eservice";

/// A bus for one user: this process.
const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>"#;

/// How systemd and its unit behave.
#[derive(Clone, Debug)]
pub(super) struct Fake {
    pub(super) load: &'static str,
    pub(super) control_group: &'static str,
    /// Result of the job, then ActiveState and Result of the unit.
    pub(super) start_ends_as: (&'static str, &'static str, &'static str),
    pub(super) start_hangs: bool,
    pub(super) stop_hangs: bool,
    pub(super) kill_hangs: bool,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            load: "loaded",
            control_group: "",
            start_ends_as: ("done", "active", "success"),
            start_hangs: false,
            stop_hangs: false,
            kill_hangs: false,
        }
    }
}

/// The bus, and what is known about systemd on it.
pub(super) struct Bus {
    pub(super) address: String,
    daemon: tokio::process::Child,
    inner: Arc<Inner>,
    _directory: TempDir,
}

struct Inner {
    fake: Fake,
    state: Mutex<State>,
    calls: Mutex<Vec<String>>,
    silent: Mutex<bool>,
    jobs: Mutex<u32>,
    connection: Mutex<Option<Connection>>,
}

impl Bus {
    /// Without systemd.
    pub(super) async fn empty() -> Self {
        Self::start(Fake::default()).await
    }

    pub(super) async fn with_systemd(fake: Fake) -> Self {
        let bus = Self::start(fake).await;
        let connection = Builder::address(bus.address.as_str()).name("org.freedesktop.systemd1").build().await.unwrap();
        let calls = MessageStream::from(&connection);
        *bus.inner.connection.lock().unwrap() = Some(connection.clone());
        tokio::spawn(serve(Arc::clone(&bus.inner), connection, calls));
        bus
    }

    async fn start(fake: Fake) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let directory = TempDir::new().unwrap();
        // The daemon runs as somebody else where we are root: as root it wants limits that a container may refuse.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let socket = directory.path().join("bus");
        let config = directory.path().join("bus.conf");
        std::fs::write(&config, CONFIG.replace("SOCKET", &socket.to_string_lossy())).unwrap();
        let mut command = tokio::process::Command::new("dbus-daemon");
        command.arg("--nofork").arg("--config-file").arg(&config).stdout(Stdio::null()).kill_on_drop(true);
        if nix::unistd::Uid::effective().is_root() {
            command.uid(65534).gid(65534);
        }
        let daemon = command.spawn().expect("these tests need the program dbus-daemon (tests/run installs it)");
        let inner = Arc::new(Inner {
            fake,
            state: Mutex::new(State { active: "inactive".into(), sub: "dead".into(), result: "success".into() }),
            calls: Mutex::default(),
            silent: Mutex::default(),
            jobs: Mutex::default(),
            connection: Mutex::default(),
        });
        let address = format!("unix:path={}", socket.display());
        for _ in 0..500 {
            let hello = timeout(Duration::from_secs(2), Builder::address(address.as_str()).build());
            if hello.await.is_ok_and(|connection| connection.is_ok()) {
                return Self { address, daemon, inner, _directory: directory };
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the bus does not come up");
    }

    pub(super) fn state(&self) -> State {
        self.inner.state().clone()
    }

    pub(super) fn calls(&self) -> Vec<String> {
        self.inner.calls.lock().unwrap().clone()
    }

    /// From now on nothing is answered.
    pub(super) fn fall_silent(&self) {
        *self.inner.silent.lock().unwrap() = true;
    }

    pub(super) async fn set_state(&self, active: &str, sub: &str, result: &str) {
        let connection = self.inner.connection.lock().unwrap().clone().unwrap();
        self.inner.become_state(&connection, active, sub, result).await;
    }

    pub(super) async fn kill(&mut self) {
        self.daemon.kill().await.unwrap();
    }
}

async fn serve(inner: Arc<Inner>, connection: Connection, mut calls: MessageStream) {
    while let Some(Ok(message)) = calls.next().await {
        if message.message_type() == Type::MethodCall && !*inner.silent.lock().unwrap() {
            inner.answer(&connection, &message).await;
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn answer(&self, connection: &Connection, call: &Message) {
        let header = call.header();
        let method = header.member().unwrap().to_string();
        self.calls.lock().unwrap().push(method.clone());
        match method.as_str() {
            "Subscribe" | "ResetFailedUnit" => connection.reply(&header, &()).await.unwrap(),
            "LoadUnit" => connection.reply(&header, &path(UNIT_PATH)).await.unwrap(),
            "Get" => self.get(connection, call).await,
            "StartUnit" => {
                let job = self.job(connection, call).await;
                let (result, active, unit_result) = self.fake.start_ends_as;
                self.become_state(connection, "activating", "start", "success").await;
                if !self.fake.start_hangs {
                    self.become_state(
                        connection,
                        active,
                        if active == "active" { "running" } else { active },
                        unit_result,
                    )
                    .await;
                    self.job_removed(connection, &job, result).await;
                }
            }
            "StopUnit" if self.fake.load != "loaded" => {
                let error = "org.freedesktop.systemd1.NoSuchUnit";
                connection.reply_error(&header, error, &"Unit dre.service not loaded.").await.unwrap();
            }
            "StopUnit" => {
                let job = self.job(connection, call).await;
                if self.fake.stop_hangs && self.state().up() {
                    self.become_state(connection, "deactivating", "stop-sigterm", "success").await;
                } else {
                    self.become_state(connection, "inactive", "dead", "success").await;
                    self.job_removed(connection, &job, "done").await;
                }
            }
            "KillUnit" => {
                let (unit, whom, signal): (String, String, i32) = call.body().deserialize().unwrap();
                assert_eq!((unit.as_str(), whom.as_str(), signal), ("dre.service", "all", 9));
                connection.reply(&header, &()).await.unwrap();
                if !self.fake.kill_hangs {
                    self.become_state(connection, "failed", "failed", "signal").await;
                }
            }
            other => panic!("systemd was asked for {other}"),
        }
    }

    async fn get(&self, connection: &Connection, call: &Message) {
        let (_, name): (String, String) = call.body().deserialize().unwrap();
        let state = self.state().clone();
        let value = match name.as_str() {
            "LoadState" => self.fake.load.to_owned(),
            "ActiveState" => state.active,
            "SubState" => state.sub,
            "Result" => state.result,
            "ControlGroup" => self.fake.control_group.to_owned(),
            other => panic!("systemd was asked for property {other}"),
        };
        // The test may have killed the bus meanwhile.
        let _ = connection.reply(&call.header(), &Variant::from(value)).await;
    }

    async fn job(&self, connection: &Connection, call: &Message) -> OwnedObjectPath {
        let (unit, mode): (String, String) = call.body().deserialize().unwrap();
        assert_eq!((unit.as_str(), mode.as_str()), ("dre.service", "replace"));
        let number = {
            let mut jobs = self.jobs.lock().unwrap();
            *jobs += 1;
            *jobs
        };
        let job = path(&format!("/org/freedesktop/systemd1/job/{number}"));
        connection.reply(&call.header(), &job).await.unwrap();
        job
    }

    async fn job_removed(&self, connection: &Connection, job: &OwnedObjectPath, result: &str) {
        let body = (1_u32, job, "dre.service", result);
        emit(connection, MANAGER_PATH, "org.freedesktop.systemd1.Manager", "JobRemoved", &body).await;
    }

    async fn become_state(&self, connection: &Connection, active: &str, sub: &str, result: &str) {
        *self.state() = State { active: active.into(), sub: sub.into(), result: result.into() };
        let changed: std::collections::BTreeMap<&str, Variant<'_>> = [("ActiveState", Variant::from(active))].into();
        let body = ("org.freedesktop.systemd1.Unit", changed, Vec::<&str>::new());
        emit(connection, UNIT_PATH, "org.freedesktop.DBus.Properties", "PropertiesChanged", &body).await;
    }
}

async fn emit<B>(connection: &Connection, path: &str, interface: &str, name: &str, body: &B)
where
    B: serde::Serialize + zbus::DynamicType,
{
    connection.emit_signal(None::<&str>, path, interface, name, body).await.unwrap();
}

fn path(path: &str) -> OwnedObjectPath {
    path.try_into().unwrap()
}
