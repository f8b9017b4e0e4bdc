//! Stories whose figures are only those of a machine that runs: a processor that a hypervisor takes away for longer than a
//! lease ends the lease, as it must.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::worker::{Bell, PRIORITY, Worker, raise_priority};

/// Between two looks at the clock.
const PACE: Duration = Duration::from_millis(1);

/// So often a story is told on a machine that does not run steadily.
const TURNS: usize = 5;

/// Tells a story anew when it failed while a processor stood still for longer than `limit`, and says so; a story that
/// fails on a machine that ran has failed, and so has one that the machine never let run.
///
/// # Errors
/// What `body` returned last.
///
/// # Panics
/// When `body` did so last.
pub fn on_a_steady_machine(
    limit: Duration,
    mut body: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    for turn in 1.. {
        let watch = Watch::start()?;
        let outcome = catch_unwind(AssertUnwindSafe(&mut body));
        if matches!(outcome, Ok(Ok(()))) {
            break;
        }
        let longest = watch.longest();
        if longest <= limit || turn == TURNS {
            println!("a processor stood still for at most {longest:?} meanwhile");
            return outcome.unwrap_or_else(|panic| resume_unwind(panic));
        }
        println!("a processor stood still for {longest:?}, longer than {limit:?}: told again, {turn} of {TURNS}");
    }
    Ok(())
}

/// A thread on each processor that looks at the clock all the time.
struct Watch {
    longest: Arc<AtomicU64>,
    _workers: Vec<Worker>,
}

impl Watch {
    fn start() -> std::io::Result<Self> {
        let longest: Arc<AtomicU64> = Arc::default();
        let processors = std::thread::available_parallelism()?.get();
        let worker = |processor| {
            let longest = longest.clone();
            Worker::start("lab-steady", move |bell| look(bell, processor, &longest))
        };
        Ok(Self { longest: longest.clone(), _workers: (0..processors).map(worker).collect::<Result<_, _>>()? })
    }

    /// The longest time that a processor did not run.
    fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest.load(Ordering::Relaxed))
    }
}

fn look(bell: &Bell, processor: usize, longest: &AtomicU64) {
    // An ordinary account may have neither: then it sees other programs' use of the processor, too.
    let mut own = CpuSet::new();
    if own.set(processor).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &own);
    }
    raise_priority(PRIORITY);
    loop {
        let asleep = Instant::now();
        if bell.wait(&[], Some(PACE)).unwrap_or(true) {
            return;
        }
        let late = asleep.elapsed().saturating_sub(PACE);
        longest.fetch_max(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_that_fails_on_a_machine_that_runs_is_told_once() {
        let mut told = 0;
        let outcome = on_a_steady_machine(Duration::from_secs(3600), || {
            told += 1;
            Err("it failed".into())
        });
        assert_eq!((told, outcome.unwrap_err().to_string().as_str()), (1, "it failed"));
    }

    #[test]
    fn a_story_that_the_machine_disturbed_is_told_again_but_not_for_ever() {
        let mut told = 0;
        // Every machine stands still for longer than no time at all.
        let outcome = on_a_steady_machine(Duration::ZERO, || {
            told += 1;
            std::thread::sleep(10 * PACE);
            if told == 3 { Ok(()) } else { panic!("it failed") }
        });
        assert_eq!((told, outcome.is_ok()), (3, true));
        let mut told = 0;
        let outcome = on_a_steady_machine(Duration::ZERO, || {
            told += 1;
            std::thread::sleep(10 * PACE);
            Err("it failed".into())
        });
        assert_eq!((told, outcome.is_err()), (TURNS, true));
    }
}
