//! The thread that reads the store for whoever must not wait: one question after the other, and not many at once.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::history::store::{Store, StoreError};
use crate::history::writer::Shelf;

/// Questions that may wait. One takes milliseconds, a search through everything a tenth of a second.
const DEPTH: usize = 64;
/// Of those, questions of viewers: together they take less time than operators are ready to wait.
const VIEWERS: usize = 8;
/// How long an answer may take, with all those before it.
const PATIENCE: Duration = Duration::from_secs(4);

type Question = Box<dyn FnOnce(&Shelf) + Send>;

/// The thread's handle. The thread ends when the handle is dropped.
#[derive(Debug)]
pub(super) struct Reader {
    questions: SyncSender<Question>,
    viewers: Semaphore,
}

impl Reader {
    pub(super) fn spawn(shelf: Shelf) -> Self {
        let (questions, inbox) = sync_channel::<Question>(DEPTH);
        let work = move || inbox.iter().for_each(|question| question(&shelf));
        if let Err(error) = thread::Builder::new().name("history-read".to_owned()).spawn(work) {
            tracing::error!("only the last events can be told: no thread to read the others: {error}");
        }
        Self { questions, viewers: Semaphore::new(VIEWERS) }
    }

    /// Asks, and waits within bounds.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        is_viewer: bool,
        question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, String> {
        let full = || "too many ask for it at once: ask again".to_owned();
        let _place = is_viewer.then(|| self.viewers.try_acquire()).transpose().map_err(|_| full())?;
        let (sender, answer) = oneshot::channel();
        let question: Question = Box::new(move |shelf| {
            // Nobody waits any more: the disk has better things to do.
            if !sender.is_closed() {
                let _ = sender.send(shelf.read(question));
            }
        });
        if self.questions.try_send(question).is_err() {
            return Err(full());
        }
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_forgotten)) => Err("the thread that reads it is gone".to_owned()),
            Err(_elapsed) => Err("the disk has not answered in time, or too much is asked of it: ask again".to_owned()),
        }
    }
}
