//! Is there a process of this name?

use std::fs;

use tokio::task::yield_now;

use super::CheckError;
use crate::process::family::{Process, pids};

/// The kernel cuts a process's name to this many bytes.
const KERNEL_NAME_MAX: usize = 15;

/// Processes looked at before the thread is given to others: about half a millisecond.
const BATCH: usize = 32;

/// Looks for a process, first where it was last time: then a check costs one file, not one for each process of the host.
#[derive(Debug)]
pub(super) struct Finder {
    name: String,
    last: Option<i32>,
}

impl Finder {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), last: None }
    }

    pub(super) fn describe(&self) -> String {
        format!("look for a process named {}", self.name)
    }

    pub(super) async fn find(&mut self) -> Result<(), CheckError> {
        if self.last.is_some_and(|pid| matches(&self.name, pid)) {
            return Ok(());
        }
        self.last = None;
        for (count, pid) in pids().enumerate() {
            if matches(&self.name, pid) {
                self.last = Some(pid);
                return Ok(());
            }
            if count % BATCH == BATCH - 1 {
                yield_now().await;
            }
        }
        Err(CheckError::NoProcess { name: self.name.clone() })
    }
}

/// The name is the kernel's, or the last part of the program's path as it was called, or, for a script whose name the
/// kernel has cut, that of an argument.
fn matches(name: &str, pid: i32) -> bool {
    let Some(process) = Process::read(pid).filter(|process| process.alive) else {
        return false;
    };
    if process.name == name {
        return true;
    }
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words =
        command.split(|byte| *byte == 0).map(|word| word.rsplit(|byte| *byte == b'/').next().unwrap_or(word));
    let cut = name.len() > KERNEL_NAME_MAX && name.as_bytes().get(..KERNEL_NAME_MAX) == Some(process.name.as_bytes());
    if cut { words.any(|word| word == name.as_bytes()) } else { words.next() == Some(name.as_bytes()) }
}
