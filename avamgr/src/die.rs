//! The hard end of a daemon that cannot do its work any more. Its silence is understood by the peers, the right of what it
//! has started ends, and addresses run out; half a daemon that goes on would be none of that.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::process::abort;
use std::sync::Once;
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

thread_local! {
    /// A panic of this thread is answered by whoever called [`spare`].
    static SPARED: Cell<bool> = const { Cell::new(false) };
}

/// There is a hook that knows of those who are spared.
static HOOK: Once = Once::new();

/// From now on a panic in any thread or task is the end of the process, also where unwinding would end that task alone and
/// leave a resource that nobody drives. There is no moment at which [`spare`] puts another hook in the place of this one.
pub(crate) fn of_any_panic() {
    panic::set_hook(Box::new(|panic| {
        if !SPARED.get() {
            die(&format!("a defect ends the daemon: {panic}"));
        }
    }));
    HOOK.call_once(|| ());
}

/// Does what may panic over a damaged file, and only over that: the panic is an error like any other. What `work` has changed is
/// in doubt then, and must not be used again.
pub(crate) fn spare<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // In a program that goes on after a panic: only to keep what is answered off the screen.
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !SPARED.get() {
                before(panic);
            }
        }));
    });
    let outer = SPARED.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    SPARED.set(outer);
    done.map_err(|panic| words(panic.as_ref()))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason given".to_owned())
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
            assert_eq!(spare(|| panic!("a damaged file")).map(|()| 0), Err("a damaged file".to_owned()));
            println!("it goes on after that");
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            drop(runtime.block_on(async { tokio::spawn(async { panic!("on purpose") }).await }));
            return;
        }
        let this = std::env::current_exe().unwrap();
        let name = "die::tests::a_task_that_panics_ends_the_process";
        let output = Command::new(this).args(["--exact", name, "--nocapture"]).env(VICTIM, "1").output().unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("it goes on after that"), "{output:?}");
    }
}
