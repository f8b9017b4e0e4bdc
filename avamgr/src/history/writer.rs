//! The thread that writes the history: nobody waits for it, and it reports trouble once.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use avamgr_core::control::HistoryEntry;

use crate::history::held::{HELD_MAX, Held};
use crate::history::store::{FILE, Store, StoreError};
use crate::history::{legacy, lock};

/// Entries on their way to the disk.
const DEPTH: usize = 1024;

/// Entries kept for a disk that is in trouble; older ones are lost to the store.
const BACKLOG_MAX: usize = 1024;

/// How often a disk in trouble is tried again without new events.
const RETRY: Duration = Duration::from_secs(10);

/// Name of a store that was damaged; one is kept, for whoever wants to know why.
const DAMAGED: &str = "history.damaged.redb";

/// The store while it is open, for all threads that use it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf(Arc<Mutex<Option<Arc<Store>>>>);

impl Shelf {
    fn store(&self) -> Option<Arc<Store>> {
        lock(&self.0).clone()
    }

    fn put(&self, store: Option<Arc<Store>>) {
        let before = std::mem::replace(&mut *lock(&self.0), store);
        // Closing writes to the disk, and nobody may wait for that with the lock in his hand.
        drop(before);
    }

    /// Asks the store.
    pub(super) fn read<T>(&self, question: impl FnOnce(&Store) -> Result<T, StoreError>) -> Result<T, String> {
        let store = self.store().ok_or("it could not be opened")?;
        question(&store).map_err(|error| {
            if matches!(error, StoreError::Damaged(_)) {
                // The writer opens it again, which tells the whole of it.
                self.put(None);
            }
            error.to_string()
        })
    }
}

/// The thread's handle. The thread ends when the handle is dropped and everything is written or cannot be.
#[derive(Debug)]
pub(super) struct Writer {
    orders: SyncSender<Order>,
    trouble: Arc<Mutex<Option<String>>>,
    shelf: Shelf,
}

enum Order {
    Entry(Arc<HistoryEntry>),
    /// Tell when everything before this has been tried.
    Flush(SyncSender<()>),
    /// The same, with the store closed.
    Close(SyncSender<()>),
}

impl Writer {
    /// Starts the thread and waits this long for the store to be open.
    pub(super) fn spawn(directory: &Path, bytes_max: u64, held: Arc<Mutex<Held>>, opening: Duration) -> Self {
        let (orders, inbox) = sync_channel(DEPTH);
        let (opened, wait) = sync_channel(1);
        let (trouble, shelf) = (Arc::new(Mutex::new(None)), Shelf::default());
        let task = Task {
            directory: directory.to_owned(),
            bytes_max,
            held,
            shelf: shelf.clone(),
            backlog: VecDeque::new(),
            lost: 0,
            trouble: Arc::clone(&trouble),
        };
        let work = move || {
            let mut task = task;
            task.write();
            let _ = opened.try_send(());
            task.run(&inbox);
        };
        match thread::Builder::new().name("history".to_owned()).spawn(work) {
            Ok(_) => drop(wait.recv_timeout(opening)),
            Err(error) => {
                *lock(&trouble) = Some(format!("history is kept in memory only: no thread for its store: {error}"));
            }
        }
        Self { orders, trouble, shelf }
    }

    pub(super) fn shelf(&self) -> Shelf {
        self.shelf.clone()
    }

    /// Hands an entry over; while the disk hangs and the queue is full it stays in memory only.
    pub(super) fn offer(&self, entry: &Arc<HistoryEntry>) {
        if self.orders.try_send(Order::Entry(Arc::clone(entry))).is_err() && self.trouble().is_none() {
            let reason = "history is kept in memory only: the disk takes nothing".to_owned();
            tracing::error!("{reason}");
            *lock(&self.trouble) = Some(reason);
            // It may have written everything just now, and would sleep until the next event.
            self.flush(Duration::ZERO);
        }
    }

    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    pub(super) fn flush(&self, within: Duration) {
        self.wait(Order::Flush, within);
    }

    pub(super) fn close(&self, within: Duration) {
        self.wait(Order::Close, within);
    }

    fn wait(&self, order: fn(SyncSender<()>) -> Order, within: Duration) {
        let (done, wait) = sync_channel(1);
        if self.orders.try_send(order(done)).is_ok() {
            // A disk that does not answer in time is given up: the daemon must end.
            let _ = wait.recv_timeout(within);
        }
    }
}

struct Task {
    directory: PathBuf,
    bytes_max: u64,
    held: Arc<Mutex<Held>>,
    shelf: Shelf,
    backlog: VecDeque<Arc<HistoryEntry>>,
    lost: u64,
    trouble: Arc<Mutex<Option<String>>>,
}

/// Who waits for what.
#[derive(Default)]
struct Waiting {
    done: Vec<SyncSender<()>>,
    close: bool,
}

impl Task {
    fn run(mut self, inbox: &Receiver<Order>) {
        loop {
            let mut waiting = Waiting::default();
            match self.next(inbox) {
                Ok(order) => self.take(order, &mut waiting),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    if !self.backlog.is_empty() {
                        self.write();
                    }
                    return self.shelf.put(None);
                }
            }
            // One sync for everything that has come meanwhile.
            while let Ok(order) = inbox.try_recv() {
                self.take(order, &mut waiting);
            }
            self.write();
            if waiting.close {
                self.shelf.put(None);
            }
            for done in waiting.done {
                let _ = done.try_send(());
            }
        }
    }

    /// Only trouble makes it wake up while nothing happens.
    fn next(&self, inbox: &Receiver<Order>) -> Result<Order, RecvTimeoutError> {
        if lock(&self.trouble).is_some() {
            inbox.recv_timeout(RETRY)
        } else {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        }
    }

    fn take(&mut self, order: Order, waiting: &mut Waiting) {
        match order {
            Order::Entry(entry) => self.owe(entry),
            Order::Flush(done) => waiting.done.push(done),
            Order::Close(done) => {
                waiting.done.push(done);
                waiting.close = true;
            }
        }
    }

    fn owe(&mut self, entry: Arc<HistoryEntry>) {
        if self.backlog.len() == BACKLOG_MAX {
            self.backlog.pop_front();
            self.lost += 1;
        }
        self.backlog.push_back(entry);
    }

    fn write(&mut self) {
        let troubled = lock(&self.trouble).is_some();
        if self.backlog.is_empty() && !troubled && lock(&self.held).is_numbered() && self.shelf.store().is_some() {
            return;
        }
        match self.try_to_write(troubled) {
            Ok(()) => {
                self.backlog.clear();
                if troubled {
                    tracing::warn!(lost = self.lost, "history is written to its store again");
                    self.lost = 0;
                    *lock(&self.trouble) = None;
                }
            }
            Err(error) => {
                // Whatever it was, the library wants the file opened again.
                self.shelf.put(None);
                self.complain(&error, troubled);
            }
        }
    }

    fn complain(&self, error: &StoreError, troubled: bool) {
        let directory = self.directory.display();
        if troubled {
            tracing::debug!(%error, "history still cannot be written");
        } else {
            let reason = format!("history is kept in memory only: cannot write in {directory}: {error}");
            tracing::error!("{reason}");
            *lock(&self.trouble) = Some(reason);
        }
    }

    fn try_to_write(&mut self, troubled: bool) -> Result<(), StoreError> {
        match self.store().and_then(|store| store.append(self.backlog.iter().map(Arc::as_ref))) {
            Err(StoreError::Damaged(why)) => {
                self.shelf.put(None);
                self.put_aside(&why, troubled)?;
                self.store()?.append(self.backlog.iter().map(Arc::as_ref))
            }
            done => done,
        }
    }

    /// The store, opened if it is not.
    fn store(&mut self) -> Result<Arc<Store>, StoreError> {
        if let Some(store) = self.shelf.store() {
            return Ok(store);
        }
        let store = Store::open(&self.directory, self.bytes_max)?;
        legacy::take_over(&self.directory, &store)?;
        let (stored, next) = (store.last(HELD_MAX)?, store.next()?);
        let store = Arc::new(store);
        self.shelf.put(Some(Arc::clone(&store)));
        let numbered = lock(&self.held).join(stored, next);
        numbered.into_iter().for_each(|entry| self.owe(entry));
        Ok(store)
    }

    fn put_aside(&self, why: &str, troubled: bool) -> Result<(), StoreError> {
        if !troubled {
            let kept = self.directory.join(DAMAGED);
            tracing::warn!("history begins anew: {why}; what there was is kept in {}", kept.display());
        }
        Ok(fs::rename(self.directory.join(FILE), self.directory.join(DAMAGED))?)
    }
}
