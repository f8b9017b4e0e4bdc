//! Running something that should end: scripts.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Child, Executable, Exit, ProgramError, Sink, quoted};

/// A group that got KILL is gone within milliseconds, or hangs in the kernel: then there is nothing to wait for.
const KILL_TIME: Duration = Duration::from_millis(500);

/// What becomes of what the script leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It is killed.
    Kill,
    /// It stays, and its output is read as long as there is any (an init script's daemon).
    Stay,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In time.
    Exited(Exit),
    /// It was killed, with its whole group, after this time.
    TimedOut(Duration),
}

/// A script that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub outcome: Outcome,
    /// The last few lines it wrote, oldest first.
    pub lines: Vec<String>,
}

impl Ended {
    /// Whether it ended in time and with 0.
    pub fn success(&self) -> bool {
        matches!(self.outcome, Outcome::Exited(exit) if exit.success())
    }

    /// `; last output: "…"`, or nothing.
    pub fn last_output(&self) -> String {
        quoted(self.lines.last().cloned())
    }
}

/// Runs it to its end, or kills it and its group after `time`. Dropping the future kills it at once.
///
/// # Errors
/// When it could not be started.
pub async fn run_to_end(
    executable: &Executable,
    sink: Sink,
    time: Duration,
    rest: Rest,
) -> Result<Ended, ProgramError> {
    Ok(to_end(Child::spawn(executable, sink)?, time, rest).await)
}

/// The same for one that reads its orders from its standard input; what it leaves behind is killed.
///
/// # Errors
/// When it could not be started.
pub async fn run_reading(
    executable: &Executable,
    input: &[u8],
    sink: Sink,
    time: Duration,
) -> Result<Ended, ProgramError> {
    Ok(to_end(Child::spawn_reading(executable, input, sink)?, time, Rest::Kill).await)
}

async fn to_end(mut child: Child, time: Duration, rest: Rest) -> Ended {
    let exit = timeout(time, child.exited()).await;
    let Ok(exit) = exit else {
        let now = Instant::now();
        // What survives KILL is the business of whoever verifies afterwards; the script is over.
        let _ = child.stop(now, now + KILL_TIME).await;
        return Ended { outcome: Outcome::TimedOut(time), lines: child.last_lines() };
    };
    let ended = Ended { outcome: Outcome::Exited(exit), lines: child.last_lines() };
    match rest {
        Rest::Kill => child.kill(),
        Rest::Stay => child.release(),
    }
    ended
}
