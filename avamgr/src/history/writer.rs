//! The thread that writes the history: nobody waits for it, and it reports trouble once.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use avamgr_core::control::HistoryEntry;

use crate::history::files::Files;

/// Lines on their way to the disk.
const DEPTH: usize = 1024;

/// Lines kept for a disk that is in trouble; older ones are lost to the files.
const BACKLOG_MAX: usize = 1024;

/// How often a disk in trouble is tried again without new events.
const RETRY: Duration = Duration::from_secs(10);

/// The thread's handle. The thread ends when the handle is dropped and everything is written or cannot be.
#[derive(Debug)]
pub(super) struct Writer {
    orders: SyncSender<Order>,
    trouble: Arc<Mutex<Option<String>>>,
}

enum Order {
    Line(Vec<u8>),
    /// Tell when everything before this has been tried.
    Flush(SyncSender<()>),
}

impl Writer {
    pub(super) fn spawn(files: Files) -> Self {
        let (orders, inbox) = sync_channel(DEPTH);
        let trouble = Arc::new(Mutex::new(None));
        let task = Task { files, backlog: VecDeque::new(), lost: 0, trouble: Arc::clone(&trouble) };
        let spawned = thread::Builder::new().name("history".to_owned()).spawn(move || task.run(&inbox));
        if let Err(error) = spawned {
            set(&trouble, Some(format!("history is kept in memory only: no thread for its files: {error}")));
        }
        Self { orders, trouble }
    }

    /// Hands an entry over; while the disk hangs and the queue is full it stays in memory only.
    pub(super) fn offer(&self, entry: &HistoryEntry) {
        let Ok(mut line) = serde_json::to_vec(entry) else { return };
        line.push(b'\n');
        if self.orders.try_send(Order::Line(line)).is_err() && self.trouble().is_none() {
            let reason = "history is kept in memory only: the disk takes nothing".to_owned();
            tracing::error!("{reason}");
            set(&self.trouble, Some(reason));
        }
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn flush(&self, within: Duration) {
        let (done, wait) = sync_channel(1);
        if self.orders.try_send(Order::Flush(done)).is_ok() {
            // A disk that does not answer in time is given up: the daemon must end.
            let _ = wait.recv_timeout(within);
        }
    }
}

struct Task {
    files: Files,
    backlog: VecDeque<Vec<u8>>,
    lost: u64,
    trouble: Arc<Mutex<Option<String>>>,
}

impl Task {
    fn run(mut self, inbox: &Receiver<Order>) {
        loop {
            let mut flushed = Vec::new();
            match inbox.recv_timeout(RETRY) {
                Ok(order) => self.take(order, &mut flushed),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.write(),
            }
            // One sync for everything that has come meanwhile.
            while let Ok(order) = inbox.try_recv() {
                self.take(order, &mut flushed);
            }
            self.write();
            for done in flushed {
                let _ = done.try_send(());
            }
        }
    }

    fn take(&mut self, order: Order, flushed: &mut Vec<SyncSender<()>>) {
        match order {
            Order::Line(line) => {
                if self.backlog.len() == BACKLOG_MAX {
                    self.backlog.pop_front();
                    self.lost += 1;
                }
                self.backlog.push_back(line);
            }
            Order::Flush(done) => flushed.push(done),
        }
    }

    fn write(&mut self) {
        let troubled = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if self.backlog.is_empty() && !troubled {
            return;
        }
        let lines: Vec<u8> = self.backlog.iter().flatten().copied().collect();
        match self.files.append(&lines) {
            Ok(()) => {
                self.backlog.clear();
                if troubled {
                    tracing::warn!(lost = self.lost, "history is written to its files again");
                    self.lost = 0;
                    set(&self.trouble, None);
                }
            }
            Err(error) if troubled => tracing::debug!(%error, "history still cannot be written"),
            Err(error) => {
                let directory = self.files.directory().display();
                let reason = format!("history is kept in memory only: cannot write in {directory}: {error}");
                tracing::error!("{reason}");
                set(&self.trouble, Some(reason));
            }
        }
    }
}

fn set(trouble: &Mutex<Option<String>>, value: Option<String>) {
    *trouble.lock().unwrap_or_else(PoisonError::into_inner) = value;
}
