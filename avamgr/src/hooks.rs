//! HOOKS: a program of the operator for each change of role.
//!
//! One queue for the whole daemon: hooks run one after the other, in the order of the changes, each until it ends or its
//! time is up. Nobody waits for them, the decision least of all: when too many wait, the oldest is dropped and that is told.
//! A hook that succeeds is not worth a word.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use avamgr_core::cluster::{GroupId, NodeId, Role};
use avamgr_core::config::{Config, HookConfig, HookStyle};
use avamgr_core::control::sentence::describe_cause;
use avamgr_core::control::words::duration;
use avamgr_core::node::{Event, Fact};
use tokio::sync::Notify;

use crate::clock;
use crate::process::aside::Aside;
use crate::process::{Outcome, Program, Rest, nowhere, run_to_end};
use crate::scribe::Scribe;

/// Hooks that may wait: four changes of every group there can be.
pub const WAITING_MAX: usize = 64;

/// What keepalived subtracts from for each place in rank.
const KEEPALIVED_PRIORITY: u8 = 100;

/// The end that hears of changes. Dropping it lets the runner come to its end.
#[derive(Debug)]
pub struct Hooks {
    queue: Arc<Queue>,
    scribe: Scribe,
    lookups: Aside,
}

/// The end that runs the programs.
#[derive(Debug)]
pub struct Runner {
    queue: Arc<Queue>,
    scribe: Scribe,
}

/// A pair of ends; failures are written down by `scribe`.
pub fn channel(scribe: Scribe) -> (Hooks, Runner) {
    let queue = Arc::new(Queue::default());
    (Hooks { queue: Arc::clone(&queue), scribe: scribe.clone(), lookups: Aside::default() }, Runner { queue, scribe })
}

impl Hooks {
    /// Queues the hook of the group, if it has one, when the event is a change of its role.
    pub fn hear(&self, event: &Event) {
        let config = self.scribe.config();
        let Some(mut hook) = hook(&event.fact, &config, self.scribe.me()) else { return };
        hook.program.lookups = self.lookups.clone();
        if let Some(dropped) = self.queue.put(hook) {
            tell(&self.scribe, &dropped, format!("not run: {WAITING_MAX} later ones wait already"));
        }
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Runner {
    /// Runs every hook, until the other end is gone and the queue is empty. Must be polled by the thread that lives as
    /// long as the daemon. Dropping the future kills the hook that runs.
    pub async fn run(self) {
        while let Some(hook) = self.queue.next().await {
            match hook.run().await {
                Ok(()) => tracing::debug!(group = ?hook.group, role = %hook.to, "hook done"),
                Err(reason) => tell(&self.scribe, &hook, reason),
            }
        }
    }
}

fn tell(scribe: &Scribe, hook: &Hook, reason: String) {
    let fact = Fact::HookFailed { group: hook.group, to: hook.to, reason };
    scribe.write(Event { at: clock::now(), fact });
}

/// One run of a program.
#[derive(Debug)]
struct Hook {
    group: GroupId,
    to: Role,
    program: Program,
    time: Duration,
}

impl Hook {
    async fn run(&self) -> Result<(), String> {
        let executable = self.program.resolve().await.map_err(|error| error.to_string())?;
        let ended =
            run_to_end(&executable, nowhere(), self.time, Rest::Kill).await.map_err(|error| error.to_string())?;
        let output = ended.last_output();
        match ended.outcome {
            Outcome::Exited(exit) if exit.success() => Ok(()),
            Outcome::Exited(exit) => Err(format!("{exit}{output}")),
            Outcome::TimedOut(time) => Err(format!("killed, it did not end within {}{output}", duration(time))),
        }
    }
}

/// What has to be run because of a fact.
fn hook(fact: &Fact, config: &Config, me: NodeId) -> Option<Hook> {
    let Fact::RoleChanged { group, from, to, term, position, cause } = fact else { return None };
    let settings = config.groups.get(group.index())?.hook.as_ref()?;
    let name = config.group_name(*group);
    let lower = |role: &Role| role.to_string().to_lowercase();
    let environment = BTreeMap::from(
        [
            ("AVAMGR_CLUSTER", config.cluster.clone()),
            ("AVAMGR_GROUP", name.to_owned()),
            ("AVAMGR_NODE", config.node_name(me).to_owned()),
            ("AVAMGR_ROLE", lower(to)),
            ("AVAMGR_FROM", lower(from)),
            ("AVAMGR_POSITION", position.to_string()),
            ("AVAMGR_TERM", term.to_string()),
            ("AVAMGR_CAUSE", describe_cause(cause, *group, config, me)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let command = command(settings, name, *to, me)?;
    Some(Hook {
        group: *group,
        to: *to,
        program: Program { command, environment, ..Program::default() },
        time: settings.timeout,
    })
}

/// The command line; `None` where this style has no word for the role.
fn command(settings: &HookConfig, group: &str, role: Role, me: NodeId) -> Option<Vec<String>> {
    let mut command = settings.command.clone();
    match settings.style {
        HookStyle::Environment => {}
        HookStyle::Keepalived => {
            let state = match role {
                Role::Active => "MASTER",
                Role::Standby => "BACKUP",
                Role::Fault => "FAULT",
                Role::Activating | Role::Deactivating => return None,
            };
            let priority = KEEPALIVED_PRIORITY.saturating_sub(me.0).to_string();
            command.extend(["INSTANCE", group, state, &priority].map(str::to_owned));
        }
    }
    Some(command)
}

/// What waits, oldest first.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    hooks: VecDeque<Hook>,
    closed: bool,
}

impl Queue {
    /// Returns the one that had to make room.
    fn put(&self, hook: Hook) -> Option<Hook> {
        let mut waiting = self.lock();
        let dropped = if waiting.hooks.len() < WAITING_MAX { None } else { waiting.hooks.pop_front() };
        waiting.hooks.push_back(hook);
        self.changed.notify_one();
        dropped
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits for one; `None` = there will be no more.
    async fn next(&self) -> Option<Hook> {
        loop {
            {
                let mut waiting = self.lock();
                if let Some(hook) = waiting.hooks.pop_front() {
                    return Some(hook);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
