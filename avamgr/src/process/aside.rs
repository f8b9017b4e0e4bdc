//! Work that may hang in the kernel or in a library: done on another thread, one piece at a time.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::{JoinError, spawn_blocking};

/// A queue with one place at the counter. Clones share it.
///
/// Nothing can end a thread that hangs, so who gives up waiting leaves it behind. The next piece of work waits for its end:
/// what hangs keeps one thread, however often it is asked again, and an answer is never older than its question.
#[derive(Clone, Debug, Default)]
pub struct Aside {
    turn: Arc<Mutex<()>>,
}

impl Aside {
    /// Does the work and waits for it as long as it takes: the caller has to bound that.
    ///
    /// # Errors
    /// When the work panicked or the runtime ends.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let work = move || {
            let _until_done = turn;
            work()
        };
        spawn_blocking(work).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_hangs_keeps_one_thread_however_often_it_is_asked() {
        let aside = Aside::default();
        let begun = Arc::new(AtomicU32::new(0));
        let (end, ended) = mpsc::channel::<()>();
        let ask = |work: Box<dyn FnOnce() + Send>| {
            let (aside, begun) = (aside.clone(), Arc::clone(&begun));
            async move {
                let counted = move || {
                    begun.fetch_add(1, Ordering::Relaxed);
                    work();
                };
                timeout(Duration::from_millis(20), aside.run(counted)).await.is_ok()
            }
        };
        assert!(!ask(Box::new(move || assert!(ended.recv().is_err()))).await);
        for _ in 0..10 {
            assert!(!ask(Box::new(|| ())).await, "somebody hangs before it");
        }
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        drop(end);
        assert_eq!(timeout(Duration::from_secs(5), aside.run(|| 7)).await.unwrap().unwrap(), 7);
    }
}
