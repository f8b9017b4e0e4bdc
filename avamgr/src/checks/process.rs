//! Is there a process of this name?

use std::fs;

use super::CheckError;
use crate::process::aside::Aside;
use crate::process::family::{Process, pids};

/// The kernel cuts a process's name to this many bytes.
const KERNEL_NAME_MAX: usize = 15;

/// Looks for a process, first where it was last time: then a check costs one file, not one for each process of the host.
#[derive(Debug)]
pub(super) struct Finder {
    name: String,
    last: Option<i32>,
    looks: Aside,
}

impl Finder {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), last: None, looks: Aside::default() }
    }

    pub(super) fn describe(&self) -> String {
        format!("look for a process named {}", self.name)
    }

    /// Not on our thread: reading the command of a process waits while that process holds its memory locked, as one does
    /// that hangs in the kernel.
    pub(super) async fn find(&mut self) -> Result<(), CheckError> {
        let (name, last) = (self.name.clone(), self.last.take());
        let found = self.looks.run(move || look(&name, last)).await;
        self.last = found.unwrap_or_default();
        self.last.map(drop).ok_or_else(|| CheckError::NoProcess { name: self.name.clone() })
    }
}

/// Commands are read only when the kernel's own names, which never hang, do not have it.
fn look(name: &str, last: Option<i32>) -> Option<i32> {
    let last = last.filter(|pid| matches(name, *pid));
    last.or_else(|| pids().find(|pid| named(name, *pid))).or_else(|| pids().find(|pid| matches(name, *pid)))
}

fn named(name: &str, pid: i32) -> bool {
    Process::read(pid).is_some_and(|process| process.alive && process.name == name)
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_look_that_hangs_keeps_neither_our_thread_nor_the_next_answer() {
        let mut finder = Finder::new("no-such-process");
        let (end, ended) = mpsc::channel::<()>();
        let hanging = timeout(Duration::from_millis(20), finder.looks.run(move || ended.recv().is_ok()));
        assert!(hanging.await.is_err());
        assert!(timeout(Duration::from_millis(20), finder.find()).await.is_err());
        drop(end);
        let answer = timeout(Duration::from_secs(5), finder.find()).await.unwrap();
        assert!(matches!(answer, Err(CheckError::NoProcess { .. })), "{answer:?}");
    }
}
