//! How the heartbeat thread is scheduled.
#![allow(unsafe_code, reason = "sched_setscheduler has no safe wrapper")]

use nix::sys::mman::{MlockAllFlags, mlockall};

/// Above ordinary threads, below the kernel's own real-time threads.
const PRIORITY: i32 = 20;

/// Asks for real-time scheduling of the calling thread and for memory that is never paged out; says in words what was
/// granted. Neither is needed for safety: without them the loop may be late, and notices that it was.
pub fn claim() -> String {
    format!("{}, {}", schedule(), lock_memory())
}

fn schedule() -> String {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // Children must not inherit it: a service would starve the machine.
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the struct outlives the call; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if result == 0 {
        format!("SCHED_RR {PRIORITY}")
    } else {
        format!("ordinary scheduling (SCHED_RR refused: {})", std::io::Error::last_os_error())
    }
}

fn lock_memory() -> String {
    // On fault: thread stacks and arenas that are never touched are not brought in.
    let flags =
        MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    match mlockall(flags) {
        Ok(()) => "memory locked".to_owned(),
        Err(error) => format!("memory not locked ({error})"),
    }
}
