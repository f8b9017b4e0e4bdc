//! COMPANIONS: programs of ours that run beside the daemon, whatever its role, and whose failure never hurts it.
//!
//! One task keeps one program running: what ends is started again after a pause that grows, what is to be another one is
//! stopped first. Nobody waits for any of it. What happens is told in few words, however often it happens.
//!
//! **Start only from the thread that lives as long as the daemon** (the hands plane), see [`crate::process`].

pub mod briefing;
pub(crate) mod follow;
mod lines;

#[cfg(test)]
mod tests;

use std::time::Duration;

use avamgr_core::control::words::duration;
use avamgr_core::node::event::Severity;
use avamgr_core::time::Instant as Since;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::clock;
use crate::process::family::{Family, Mark};
use crate::process::{Child, Program, quoted};

/// Before what has ended is started again: short, because the first end is mostly somebody's `kill`,
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// and no longer than an operator who has just mended something looks at the screen.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// What has run for so long is well: its next end is a first one again.
const STEADY: Duration = Duration::from_secs(60);
/// What cannot run at all ends sooner than this; before that, nobody is told that it runs.
const LIVES: Duration = Duration::from_secs(1);
/// So many ends in a row are told one by one;
const TOLD: u32 = 3;
/// so many are an alarm, and what comes after it is in the log only.
const ALARM: u32 = 5;

/// It may finish what it does, then it is killed.
const GRACE: Duration = Duration::from_secs(3);
/// After KILL there is nothing to wait for but the kernel.
const KILL_TIME: Duration = Duration::from_millis(500);
/// How long [`Companion::stop`] takes at most.
pub const STOP_TIME: Duration = Duration::from_secs(4);

/// How it stands with a companion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its process number; `None` = it does not run.
    pub pid: Option<i32>,
    /// Since when it runs, or does not.
    pub since: Since,
    /// Why it does not run.
    pub trouble: Option<String>,
}

/// Who is told of what happens. It must not wait.
pub type Tell = Box<dyn Fn(Severity, String) + Send + Sync>;

/// What is to be.
#[derive(Clone, Debug)]
enum Wanted {
    Nothing,
    Run(Program),
    End,
}

/// A program that is kept running. Dropping this kills it.
#[derive(Debug)]
pub struct Companion {
    wanted: watch::Sender<Wanted>,
    standing: watch::Receiver<Standing>,
    task: JoinHandle<()>,
}

impl Companion {
    /// Nothing runs until it is wanted. What carries the mark is ours, also when an earlier daemon has left it behind.
    pub fn start(name: &'static str, mark: Mark, tell: Tell) -> Self {
        let (wanted, orders) = watch::channel(Wanted::Nothing);
        let (stands, standing) = watch::channel(Standing { pid: None, since: clock::now(), trouble: None });
        let family = Family { mark, session: None, looks: crate::process::aside::Aside::default() };
        let keeper =
            Keeper { name, family, tell, wanted: orders, stands, failures: 0, pause: PAUSE_MIN, told: String::new() };
        Self { wanted, standing, task: tokio::spawn(keeper.run()) }
    }

    /// Whoever may say what is to run.
    pub fn orders(&self) -> Orders {
        Orders(self.wanted.clone())
    }

    /// How it stands.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Ends it, gently if it takes the hint, within [`STOP_TIME`].
    pub async fn stop(mut self) {
        self.wanted.send_replace(Wanted::End);
        // What is left then is killed when this is dropped.
        let _ = timeout(STOP_TIME, &mut self.task).await;
    }

    /// Kills it, and waits for nothing.
    pub async fn end_at_once(mut self) {
        self.task.abort();
        // The child is killed by whoever drops it, and that is done when this comes back.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Says what is to run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Orders(watch::Sender<Wanted>);

impl Orders {
    /// This one from now on, in the place of what runs; or nothing. After the end of the companion nobody listens.
    pub fn want(&self, program: Option<Program>) {
        self.0.send_if_modified(|wanted| {
            let ended = matches!(wanted, Wanted::End);
            if !ended {
                *wanted = program.map_or(Wanted::Nothing, Wanted::Run);
            }
            !ended
        });
    }
}

/// How a run was over.
enum Over {
    /// Something else is wanted.
    Replaced,
    /// It could not be started.
    NotStarted(String),
    /// It ended by itself.
    Ended { reason: String, age: Duration },
}

/// The task.
struct Keeper {
    name: &'static str,
    family: Family,
    tell: Tell,
    wanted: watch::Receiver<Wanted>,
    stands: watch::Sender<Standing>,
    /// Ends in a row.
    failures: u32,
    pause: Duration,
    /// The last thing that was told about a program that cannot be started.
    told: String,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            match wanted {
                Wanted::End => return,
                Wanted::Nothing => {
                    self.stand(None, None);
                    if self.wanted.changed().await.is_err() {
                        return;
                    }
                }
                Wanted::Run(program) => {
                    let over = self.once(&program).await;
                    self.between(over).await;
                }
            }
        }
    }

    fn stand(&self, pid: Option<i32>, trouble: Option<String>) {
        self.stands.send_modify(|standing| {
            if standing.pid != pid {
                (standing.pid, standing.since) = (pid, clock::now());
            }
            standing.trouble = trouble;
        });
    }

    fn say(&self, severity: Severity, text: &str) {
        (self.tell)(severity, format!("{} {text}", self.name));
    }

    /// From its start to its end.
    async fn once(&mut self, program: &Program) -> Over {
        if let Err(left) = self.clear_leftovers().await {
            return Over::NotStarted(left);
        }
        let program = Program { mark: Some(self.family.mark.clone()), ..program.clone() };
        let executable = match program.resolve().await {
            Ok(executable) => executable,
            Err(error) => return Over::NotStarted(error.to_string()),
        };
        let mut child = match Child::spawn(&executable, lines::log_of(self.name)) {
            Ok(child) => child,
            Err(error) => return Over::NotStarted(error.to_string()),
        };
        self.stand(Some(child.pid()), None);
        let mut is_told = false;
        loop {
            tokio::select! {
                exit = child.exited() => {
                    let word = quoted(lines::last_word(child.last_line()));
                    return Over::Ended { reason: format!("{exit}{word}"), age: child.age() };
                }
                () = sleep(LIVES), if !is_told => {
                    is_told = true;
                    self.lives(child.pid());
                }
                _ = self.wanted.changed() => {
                    self.stop(child).await;
                    return Over::Replaced;
                }
            }
        }
    }

    /// Of one that comes and goes all the time nobody wants to know that it has come.
    fn lives(&mut self, pid: i32) {
        self.told.clear();
        if self.failures < ALARM {
            self.say(Severity::Info, &format!("runs (process {pid})"));
        }
    }

    async fn stop(&self, mut child: Child) {
        let now = Instant::now();
        if let Err(left) = child.stop(now + GRACE, now + GRACE + KILL_TIME).await {
            self.say(Severity::Warning, &left.to_string());
        }
        self.stand(None, None);
    }

    /// What it had started may be left when it was killed; and after the death of a daemon, it itself.
    async fn clear_leftovers(&self) -> Result<(), String> {
        let now = Instant::now();
        let cleared = self.family.clear(now, now + KILL_TIME).await;
        let count = cleared.map_err(|left| format!("what is left of an earlier run cannot be removed: {left}"))?;
        if count > 0 {
            tracing::info!("{}: {count} processes of an earlier run were killed", self.name);
        }
        Ok(())
    }

    /// Tells how it was over, and waits until the next run.
    async fn between(&mut self, over: Over) {
        match over {
            Over::Replaced => return self.forget(),
            Over::NotStarted(reason) => {
                let text = format!("cannot be started: {reason}; this is tried again and again");
                self.stand(None, Some(text.clone()));
                if self.told != text {
                    self.say(Severity::Alarm, &text);
                    self.told = text;
                }
            }
            Over::Ended { reason, age } => {
                if age >= STEADY {
                    self.forget();
                }
                self.failures = self.failures.saturating_add(1);
                self.stand(None, Some(reason.clone()));
                self.tell_end(&reason);
            }
        }
        tokio::select! {
            () = sleep(self.pause) => self.pause = (self.pause * 2).min(PAUSE_MAX),
            _ = self.wanted.changed() => self.forget(),
        }
    }

    fn tell_end(&self, reason: &str) {
        let text = format!("{reason}; it is started again in {}", duration(self.pause));
        match self.failures {
            ALARM => {
                self.say(Severity::Alarm, &format!("does not stay up: it {reason}; this is tried again and again"))
            }
            1..=TOLD => self.say(Severity::Warning, &text),
            _ => tracing::warn!("{} {text}", self.name),
        }
    }

    fn forget(&mut self) {
        (self.failures, self.pause) = (0, PAUSE_MIN);
        self.told.clear();
    }
}
