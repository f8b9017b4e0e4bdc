//! The hard end of a daemon that cannot do its work any more. Its silence is understood by the peers, the right of what it
//! has started ends, and addresses run out; half a daemon that goes on would be none of that.

use std::panic;
use std::process::abort;
use std::thread::sleep;
use std::time::Duration;

/// How long the log, which another thread writes, may take for the last words.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Logs why, and ends the process.
pub(crate) fn die(why: &str) -> ! {
    tracing::error!("{why}");
    sleep(LAST_WORDS);
    abort()
}

/// From now on a panic in any thread or task is the end of the process, also where unwinding would end that task alone and
/// leave a resource that nobody drives.
pub(crate) fn of_any_panic() {
    panic::set_hook(Box::new(|panic| die(&format!("a defect ends the daemon: {panic}"))));
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    /// Set where the test plays the daemon.
    const VICTIM: &str = "AVAMGR_TEST_VICTIM";

    #[test]
    fn a_task_that_panics_ends_the_process() {
        if std::env::var_os(VICTIM).is_some() {
            of_any_panic();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            drop(runtime.block_on(async { tokio::spawn(async { panic!("on purpose") }).await }));
            return;
        }
        let this = std::env::current_exe().unwrap();
        let name = "die::tests::a_task_that_panics_ends_the_process";
        let output = Command::new(this).args(["--exact", name]).env(VICTIM, "1").output().unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
    }
}
