//! The thread that reads the store for whoever must not wait: one question after the other, and not many at once.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::history::store::{Store, StoreError};
use crate::history::writer::Shelf;

/// Questions that may wait. One takes milliseconds, a search through everything a tenth of a second.
const DEPTH: usize = 64;
/// How long an answer may take, with all those before it.
const PATIENCE: Duration = Duration::from_secs(4);

type Question = Box<dyn FnOnce(&Shelf) + Send>;

/// The thread's handle. The thread ends when the handle is dropped.
#[derive(Debug)]
pub(super) struct Reader {
    questions: SyncSender<Question>,
}

impl Reader {
    pub(super) fn spawn(shelf: Shelf) -> Self {
        let (questions, inbox) = sync_channel::<Question>(DEPTH);
        let work = move || inbox.iter().for_each(|question| question(&shelf));
        if let Err(error) = thread::Builder::new().name("history-read".to_owned()).spawn(work) {
            tracing::error!("only the last events can be told: no thread to read the others: {error}");
        }
        Self { questions }
    }

    /// Asks, and waits within bounds.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, String> {
        let (sender, answer) = oneshot::channel();
        let question: Question = Box::new(move |shelf| {
            // Nobody waits any more: the disk has better things to do.
            if !sender.is_closed() {
                let _ = sender.send(shelf.read(question));
            }
        });
        if self.questions.try_send(question).is_err() {
            return Err("too many ask for it at once: ask again".to_owned());
        }
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_forgotten)) => Err("the thread that reads it is gone".to_owned()),
            Err(_elapsed) => Err("the disk does not answer".to_owned()),
        }
    }
}
