//! Who has logged in. Sessions live as long as this process: after a restart everybody says his password again.

use std::collections::BTreeMap;
use std::time::Duration;

use avamgr::users::User;
use avamgr_core::time::Instant;

use crate::random::word;

/// Sessions at once; the one that has rested longest makes room.
const SESSIONS: usize = 1_024;
/// Of one user.
const SESSIONS_EACH: usize = 16;
/// Nobody stays longer without his password.
const LIFE: Duration = Duration::from_secs(12 * 3600);

/// Somebody who has said his password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// Only his browser knows it.
    pub(crate) id: String,
    /// His name.
    pub(crate) name: String,
    /// His password's hash when he said it.
    pub(crate) hash: String,
    /// Only his page knows it.
    pub(crate) csrf: String,
    begun: Instant,
    moved: Instant,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "session of {}", self.name)
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Sessions {
    idle_time: Duration,
    by_id: BTreeMap<String, Session>,
}

impl Sessions {
    pub(super) fn new(idle_time: Duration) -> Self {
        Self { idle_time, by_id: BTreeMap::new() }
    }

    pub(super) fn open(&mut self, user: &User, now: Instant) -> Result<Session, String> {
        let idle_time = self.idle_time;
        self.by_id.retain(|_, session| session.lives(idle_time, now));
        let own = self.by_id.values().filter(|session| session.name == user.name);
        if own.clone().count() >= SESSIONS_EACH {
            self.remove_oldest(|session| session.name == user.name);
        } else if self.by_id.len() >= SESSIONS {
            self.remove_oldest(|_| true);
        }
        let (name, hash) = (user.name.clone(), user.hash.clone());
        let session = Session { id: word()?, csrf: word()?, name, hash, begun: now, moved: now };
        self.by_id.insert(session.id.clone(), session.clone());
        Ok(session)
    }

    fn remove_oldest(&mut self, of: impl Fn(&Session) -> bool) {
        let oldest = self.by_id.values().filter(|session| of(session)).min_by_key(|session| session.moved);
        if let Some(id) = oldest.map(|session| session.id.clone()) {
            self.by_id.remove(&id);
        }
    }

    pub(super) fn find(&self, id: &str, now: Instant) -> Option<Session> {
        self.by_id.get(id).filter(|session| session.lives(self.idle_time, now)).cloned()
    }

    pub(super) fn touch(&mut self, id: &str, now: Instant) {
        if let Some(session) = self.by_id.get_mut(id) {
            session.moved = now;
        }
    }

    pub(super) fn close(&mut self, id: &str) {
        self.by_id.remove(id);
    }
}

impl Session {
    fn lives(&self, idle_time: Duration, now: Instant) -> bool {
        now.since(self.moved) < idle_time && now.since(self.begun) < LIFE
    }
}

#[cfg(test)]
mod tests {
    use avamgr::users::{Kind, Right};

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    fn user(name: &str) -> User {
        User { name: name.to_owned(), kind: Kind::User, right: Right::Viewer, hash: "h".to_owned() }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_session_lasts_as_long_as_somebody_is_there_and_not_for_ever() {
        let mut sessions = Sessions::new(IDLE);
        let id = sessions.open(&user("alice"), at(0)).unwrap().id;
        assert!(sessions.find(&id, at(59)).is_some());
        assert!(sessions.find(&id, at(60)).is_none(), "he was not there for a minute");
        let id = sessions.open(&user("alice"), at(0)).unwrap().id;
        let end = LIFE.as_secs();
        (1..end).step_by(50).for_each(|second| sessions.touch(&id, at(second)));
        assert!(sessions.find(&id, at(end - 1)).is_some() && sessions.find(&id, at(end)).is_none());
        sessions.close(&id);
        assert!(sessions.find(&id, at(1)).is_none());
    }

    #[test]
    fn there_is_room_for_a_new_one_and_no_two_are_alike() {
        let mut sessions = Sessions::new(IDLE);
        let first = sessions.open(&user("alice"), at(0)).unwrap();
        let second = sessions.open(&user("alice"), at(1)).unwrap();
        assert!(first.id != second.id && first.csrf != second.csrf && first.id != first.csrf && first.id.len() >= 43);
        let bobs: Vec<Session> = (0..99).map(|_| sessions.open(&user("bob"), at(2)).unwrap()).collect();
        assert!(sessions.find(&first.id, at(3)).is_some(), "he has thrown out himself only");
        assert_eq!(sessions.by_id.len(), 2 + SESSIONS_EACH);
        assert!(sessions.find(&bobs[98].id, at(3)).is_some());
        (0..SESSIONS).for_each(|number| drop(sessions.open(&user(&format!("u{number}")), at(2)).unwrap()));
        assert!(sessions.find(&first.id, at(3)).is_none());
        assert_eq!(sessions.by_id.len(), SESSIONS);
    }
}
