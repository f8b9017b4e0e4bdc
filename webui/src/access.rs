//! Who is there, and what he may do.
//!
//! Without a users file anybody who reaches the page may look, and nobody steers: it listens on this machine only then. With one,
//! a person says his password once and is known by his session, a program shows its token each time.

mod file;
mod sessions;
mod tries;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use avamgr::clock;
use avamgr::users::secret::is_password;
use avamgr::users::{Kind, Right, User, is_name};
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{HeaderMap, StatusCode};
use tokio::sync::Semaphore;

use crate::problem::Problem;
use file::UsersFile;
pub(crate) use sessions::Session;
use sessions::Sessions;
use tries::Tries;

/// Header of requests that change something, with the word of the session: a page elsewhere does not know it.
pub(crate) const CSRF: &str = "x-csrf-token";
/// Passwords that are looked at or wait for it. Each takes some 20 ms and 19 MiB.
const HASHING: usize = 8;

/// How the page is protected.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may look and steer; `None` = anybody may look.
    pub users: Option<PathBuf>,
    /// Who does nothing for so long is asked again.
    pub idle_time: Duration,
    /// Everything is encrypted on its way.
    pub secure: bool,
    /// Where it listens.
    pub port: u16,
}

/// Somebody who was asked who he is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// His name; `None` = nobody was asked.
    pub(crate) name: Option<String>,
    /// What he may do.
    pub(crate) right: Right,
    /// By which he is known; `None` = a token, or nobody was asked.
    pub(crate) session: Option<Session>,
}

/// The door. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Access(Arc<Door>);

#[derive(Debug)]
struct Door {
    users: Option<Mutex<UsersFile>>,
    sessions: Mutex<Sessions>,
    tries: Mutex<Tries>,
    hashing: Arc<Semaphore>,
    one_at_a_time: Arc<tokio::sync::Mutex<()>>,
    secure: bool,
    cookie: String,
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

fn problem(status: StatusCode, detail: impl Into<String>) -> Problem {
    Problem::new(status, detail)
}

impl Access {
    pub(crate) fn new(settings: Settings) -> Self {
        Self(Arc::new(Door {
            users: settings.users.map(UsersFile::new).map(Mutex::new),
            sessions: Mutex::new(Sessions::new(settings.idle_time)),
            tries: Mutex::default(),
            hashing: Arc::new(Semaphore::new(HASHING)),
            one_at_a_time: Arc::default(),
            secure: settings.secure,
            cookie: format!("{}avamgr-{}", if settings.secure { "__Host-" } else { "" }, settings.port),
        }))
    }

    /// Whether anybody is asked who he is.
    pub(crate) fn asks(&self) -> bool {
        self.0.users.is_some()
    }

    /// Name of the cookie with the session: a browser gives it to every port of a host. With the longer beginning it takes it over an
    /// encrypted way only, and from this host alone.
    pub(crate) fn cookie(&self) -> &str {
        &self.0.cookie
    }

    /// Whether everything is encrypted on its way.
    pub(crate) fn is_secure(&self) -> bool {
        self.0.secure
    }

    /// Who sends these headers.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<Who, Problem> {
        let Some(users) = &self.0.users else { return Ok(Who { name: None, right: Right::Viewer, session: None }) };
        let users = lock(users).now().map_err(|why| problem(StatusCode::SERVICE_UNAVAILABLE, why))?;
        if let Some(token) = bearer(headers) {
            let user = users.of_token(token);
            let user = user.ok_or_else(|| problem(StatusCode::UNAUTHORIZED, "this token is not known here"))?;
            return Ok(Who { name: Some(user.name.clone()), right: user.right, session: None });
        }
        let nobody = || problem(StatusCode::UNAUTHORIZED, "say who you are: log in on the page, or send a token");
        let id = cookie(headers, self.cookie()).ok_or_else(nobody)?;
        let session = lock(&self.0.sessions).find(id, clock::now()).ok_or_else(nobody)?;
        // Whoever is taken out, or has another password, is out at once.
        let user = users.named(&session.name).filter(|user| user.kind == Kind::User && user.hash == session.hash);
        let user = user.ok_or_else(nobody)?;
        Ok(Who { name: Some(user.name.clone()), right: user.right, session: Some(session) })
    }

    /// He has done something.
    pub(crate) fn stays(&self, who: &Who) {
        if let Some(session) = &who.session {
            lock(&self.0.sessions).touch(&session.id, clock::now());
        }
    }

    /// Opens a session for whoever knows the password.
    pub(crate) async fn log_in(&self, name: &str, password: &str, address: IpAddr) -> Result<Session, Problem> {
        let Some(users) = &self.0.users else {
            return Err(problem(StatusCode::NOT_FOUND, "nobody is asked who he is here: the config has no web.users"));
        };
        let users = lock(users).now().map_err(|why| problem(StatusCode::SERVICE_UNAVAILABLE, why))?;
        let full = |_| problem(StatusCode::TOO_MANY_REQUESTS, "many log in at once: try again").retry_after(1);
        let place = Arc::clone(&self.0.hashing).try_acquire_owned().map_err(full)?;
        lock(&self.0.tries).begin(name, address, clock::now()).map_err(|wait| {
            let seconds = wait.as_secs() + 1;
            problem(StatusCode::TOO_MANY_REQUESTS, format!("too many wrong passwords: try again in {seconds} s"))
                .retry_after(seconds)
        })?;
        let turn = Arc::clone(&self.0.one_at_a_time).lock_owned().await;
        let user = users.named(name).filter(|user| user.kind == Kind::User).cloned();
        let (hash, said) = (user.as_ref().map(|user| user.hash.clone()), password.to_owned());
        // Whoever hangs up meanwhile has not made room for another one: the work goes on.
        let look = move || {
            let fits = is_password(&said, hash.as_deref());
            drop(place);
            drop(turn);
            fits
        };
        let fits = tokio::task::spawn_blocking(look).await.unwrap_or(false);
        match user.filter(|_| fits) {
            Some(user) => self.open(user, address),
            None => {
                let name = if is_name(name) { name } else { "what is no name" };
                tracing::warn!(name, %address, "a wrong password, or no such user");
                Err(problem(StatusCode::UNAUTHORIZED, "wrong name or password"))
            }
        }
    }

    fn open(&self, user: User, address: IpAddr) -> Result<Session, Problem> {
        lock(&self.0.tries).succeeded(&user.name, address);
        let session = lock(&self.0.sessions).open(&user, clock::now());
        let session = session.map_err(|why| problem(StatusCode::SERVICE_UNAVAILABLE, why))?;
        tracing::info!(name = user.name, %address, "{} has logged in", user.right);
        Ok(session)
    }

    /// Ends a session.
    pub(crate) fn log_out(&self, session: &Session) {
        lock(&self.0.sessions).close(&session.id);
    }
}

impl Who {
    /// Whether a request may change something here: with a session, only one that knows its word.
    pub(crate) fn may_change(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(session) = &self.session else { return Ok(()) };
        let said = headers.get(CSRF).and_then(|word| word.to_str().ok());
        if said == Some(session.csrf.as_str()) {
            return Ok(());
        }
        Err(problem(
            StatusCode::FORBIDDEN,
            format!("the header {CSRF} is not that of your session: load the page again"),
        ))
    }

    /// Whether he may steer; his name.
    pub(crate) fn operator(&self) -> Result<&str, Problem> {
        match (&self.name, self.right) {
            (Some(name), Right::Operator) => Ok(name),
            (Some(name), Right::Viewer) => {
                Err(problem(StatusCode::FORBIDDEN, format!("{name} may look, and not steer")))
            }
            (None, _) => Err(problem(
                StatusCode::FORBIDDEN,
                "nobody steers here: the config has no web.users. `avamgr` on the node does",
            )),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").map(str::trim)
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(COOKIE).into_iter().filter_map(|it| it.to_str().ok());
    all.flat_map(|it| it.split(';')).find_map(|it| it.trim().strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use avamgr::users::Users;
    use avamgr::users::secret::password_hash;

    use super::*;

    #[tokio::test]
    async fn who_hangs_up_while_his_password_is_looked_at_makes_no_room_for_another_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let (name, hash) = ("alice".to_owned(), password_hash("password of alice").unwrap());
        let mut users = Users::default();
        users.put(User { name, kind: Kind::User, right: Right::Viewer, hash });
        users.write(&path, None).unwrap();
        let idle_time = Duration::from_secs(60);
        let access = Access::new(Settings { users: Some(path), idle_time, secure: false, port: 1 });
        let log_in = access.log_in("alice", "not her password", "192.0.2.7".parse().unwrap());
        assert!(tokio::time::timeout(Duration::ZERO, log_in).await.is_err(), "it takes longer");
        assert!(access.0.one_at_a_time.try_lock().is_err(), "the work goes on");
        assert_eq!(access.0.hashing.available_permits(), HASHING - 1);
        drop(access.0.one_at_a_time.lock().await);
        assert_eq!(access.0.hashing.available_permits(), HASHING);
    }
}
