//! From the decision to everybody who listens: events and answers, in the order in which they were said.
//!
//! One queue for both, so that the events of a command are always there before its last word. The loop only ever offers;
//! when nobody takes (the hands plane is stuck), words are dropped and counted, never waited for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use avamgr_core::control::Answer;
use avamgr_core::node::Event;
use avamgr_core::node::action::RequestId;
use avamgr_core::time::Instant;
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::hooks::Hooks;
use crate::scribe::Scribe;

/// Words under way: a storm of several events per resource for thousands of resources.
const DEPTH: usize = 4096;

/// One word of the decision.
#[derive(Debug)]
pub enum Word {
    /// A fact for everybody.
    Event(Event),
    /// The last word on a request.
    Answer(RequestId, Answer),
}

/// The loop's end of the queue. Nothing here waits.
#[derive(Clone, Debug)]
pub struct Outbox {
    words: mpsc::Sender<Word>,
    lost: Arc<AtomicU64>,
}

/// A pair of ends.
pub fn channel() -> (Outbox, Words) {
    let (sender, words) = mpsc::channel(DEPTH);
    let lost = Arc::new(AtomicU64::new(0));
    (Outbox { words: sender, lost: Arc::clone(&lost) }, Words { words, lost })
}

impl Outbox {
    /// Tells a fact.
    pub fn event(&self, event: Event) {
        self.offer(Word::Event(event));
    }

    /// Answers a request.
    pub fn answer(&self, request: RequestId, answer: Answer) {
        self.offer(Word::Answer(request, answer));
    }

    fn offer(&self, word: Word) {
        if self.words.try_send(word).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The hands plane's end of the queue.
#[derive(Debug)]
pub struct Words {
    words: mpsc::Receiver<Word>,
    lost: Arc<AtomicU64>,
}

impl Words {
    /// Journals, records and hands on every word until the loop has ended; hooks hear of every event.
    pub async fn relay(mut self, scribe: Scribe, hooks: Hooks, answers: Answers) {
        while let Some(word) = self.words.recv().await {
            match word {
                Word::Event(event) => {
                    hooks.hear(&event);
                    scribe.write(event);
                }
                Word::Answer(request, answer) => answers.deliver(request, answer),
            }
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                tracing::warn!(lost, "events or answers were lost: this side of the daemon was too slow for them");
            }
        }
    }
}

/// Requests that wait for their last word.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    next: Arc<AtomicU64>,
    waiting: Arc<Mutex<BTreeMap<RequestId, oneshot::Sender<Answer>>>>,
}

impl Answers {
    /// A new request and the place where its answer will arrive.
    pub fn open(&self) -> Waiting {
        let request = RequestId(self.next.fetch_add(1, Ordering::Relaxed).saturating_add(1));
        let (sender, answer) = oneshot::channel();
        self.lock().insert(request, sender);
        Waiting { request, answer, answers: self.clone() }
    }

    /// Hands the last word to whoever waits for it; nobody does when the client has left.
    pub fn deliver(&self, request: RequestId, answer: Answer) {
        let waiting = self.lock().remove(&request);
        if let Some(waiting) = waiting {
            // The client may leave at this very moment.
            let _ = waiting.send(answer);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<RequestId, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request under way; dropping it forgets the request.
#[derive(Debug)]
pub struct Waiting {
    /// Its name.
    pub request: RequestId,
    /// Its answer; an error when it was forgotten.
    pub answer: oneshot::Receiver<Answer>,
    answers: Answers,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.answers.lock().remove(&self.request);
    }
}

/// The wall clock at an instant that has just been, RFC 3339 in UTC with milliseconds.
pub fn wall_time(at: Instant) -> String {
    let ago = clock::now().since(at);
    let nanos = Duration::from_nanos(clock::wall_nanos()).saturating_sub(ago).as_nanos();
    let nanos = i128::try_from(nanos).unwrap_or(i128::MAX);
    // A clock beyond the year 9999 is the only way to fail.
    let time = jiff::Timestamp::from_nanosecond(nanos).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reaches_its_request_and_a_forgotten_one_leaves_nothing() {
        let answers = Answers::default();
        let (mut first, second) = (answers.open(), answers.open());
        assert_ne!(first.request, second.request);
        let done = Answer::Done { text: "done".into() };
        answers.deliver(first.request, done.clone());
        answers.deliver(RequestId(99), done.clone());
        assert_eq!(first.answer.try_recv().unwrap(), done);
        drop((first, second));
        assert!(answers.lock().is_empty());
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (outbox, words) = channel();
        for _ in 0..DEPTH + 3 {
            outbox.answer(RequestId(1), Answer::Done { text: String::new() });
        }
        assert_eq!(words.lost.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn the_wall_time_is_that_of_the_event() {
        let ago = Duration::from_secs(5);
        let (then, now) = (wall_time(clock::now() - ago), wall_time(clock::now()));
        let parse = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
        let difference = parse(&now).duration_since(parse(&then));
        assert!((difference.as_millis() - 5_000).abs() < 1_000, "{then} {now}");
        assert!(now.ends_with('Z') && now.len() == "2026-03-01T03:12:45.123Z".len(), "{now}");
    }
}
