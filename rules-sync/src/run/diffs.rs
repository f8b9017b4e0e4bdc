//! Who wants to know where a peer differs. It has to look through all that it holds for an answer: whoever asks shares it with the
//! others, and they do not ask all the time.

use std::collections::BTreeMap;
use std::time::Duration;

use avamgr_core::courier::Reply;
use tokio::sync::mpsc::UnboundedSender;

/// For an answer of a peer.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// After an answer, before the next question.
const REST: Duration = Duration::from_secs(3);

/// Where an answer goes.
type Asker = UnboundedSender<Reply>;

/// Everybody who waits.
#[derive(Default)]
pub(super) struct Diffs {
    /// Peer, and until when.
    waiting: Vec<(String, Duration, Asker)>,
    /// Peers that have been asked; whether they have not answered yet, and when they may be asked again.
    asked: BTreeMap<String, (bool, Duration)>,
}

impl Diffs {
    pub(super) fn wait(&mut self, now: Duration, peer: String, asker: Asker) {
        self.waiting.push((peer, now + PATIENCE, asker));
    }

    /// Whether a peer is to be asked now; it counts as asked then.
    pub(super) fn asks(&mut self, now: Duration, peer: &str) -> bool {
        self.waiting.retain(|(_, _, asker)| !asker.is_closed());
        let may = self.asked.get(peer).is_none_or(|(is_pending, next)| !is_pending && now >= *next);
        let asks = may && self.waiting.iter().any(|(wanted, _, _)| wanted == peer);
        if asks {
            self.asked.insert(peer.to_owned(), (true, now));
        }
        asks
    }

    /// A peer has said a part of what it holds: the rest is on its way.
    pub(super) fn go_on(&mut self, now: Duration, peer: &str) {
        for (_, until, _) in self.waiting.iter_mut().filter(|(wanted, _, _)| wanted == peer) {
            *until = now + PATIENCE;
        }
    }

    /// A peer has answered: to these.
    pub(super) fn answered(&mut self, now: Duration, peer: &str) -> Vec<Asker> {
        self.asked.insert(peer.to_owned(), (false, now + REST));
        self.waiting.extract_if(.., |(wanted, _, _)| wanted == peer).map(|(_, _, asker)| asker).collect()
    }

    /// Those who have waited for long enough, and for whom.
    pub(super) fn late(&mut self, now: Duration) -> Vec<(String, Asker)> {
        let late: Vec<_> = self.waiting.extract_if(.., |(_, until, _)| now >= *until).collect();
        for (peer, _, _) in &late {
            self.asked.insert(peer.clone(), (false, now));
        }
        late.into_iter().map(|(peer, _, asker)| (peer, asker)).collect()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let next = |peer: &String| self.asked.get(peer).filter(|(is_pending, _)| !is_pending).map(|(_, next)| *next);
        self.waiting.iter().map(|(peer, until, _)| next(peer).map_or(*until, |next| next.min(*until))).min()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn many_who_ask_cost_a_peer_one_answer_now_and_then() {
        let mut diffs = Diffs::default();
        let (asker, answers) = unbounded_channel();
        let mut questions = 0;
        for _ in 0..100 {
            diffs.wait(at(0), "b".to_owned(), asker.clone());
            questions += u32::from(diffs.asks(at(0), "b"));
        }
        assert_eq!((questions, diffs.asks(at(0), "c"), diffs.deadline()), (1, false, Some(PATIENCE)));
        assert_eq!(diffs.answered(at(1), "b").len(), 100);
        diffs.wait(at(1), "b".to_owned(), asker.clone());
        assert_eq!((diffs.asks(at(2), "b"), diffs.deadline(), diffs.asks(at(4), "b")), (false, Some(at(4)), true));
        diffs.go_on(at(10), "b");
        assert_eq!((diffs.late(at(24)).len(), diffs.late(at(25)).len(), diffs.deadline()), (0, 1, None));
        diffs.wait(at(26), "b".to_owned(), asker);
        assert!(diffs.asks(at(26), "b"), "what was lost is asked again");
        drop(answers);
    }

    #[test]
    fn for_whoever_has_left_nobody_is_asked() {
        let mut diffs = Diffs::default();
        let (asker, answers) = unbounded_channel();
        diffs.wait(at(0), "b".to_owned(), asker);
        drop(answers);
        assert!(!diffs.asks(at(0), "b"));
    }
}
