//! What the page needs of this host: its program, its account, those who may look, and the port.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use avamgr_core::config::{Config, WebConfig};

use super::facts::find_program;
use super::rules::door;
use super::{Door, Finding};
use crate::account::Account;
use crate::courier::keep::beside;
use crate::users::{Right, Users};
use crate::window::PROGRAM;

/// As it is on this host.
#[derive(Clone, Debug)]
pub struct Web {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether it can; `None` = that is the business of the unit that starts it.
    pub door: Option<Door>,
    /// Where the program is.
    pub program: Result<PathBuf, String>,
    /// Its account; `Err` = why there is none.
    pub account: Result<String, String>,
    /// How many may look, and how many of them steer; `None` = nobody is asked, `Err` = why nobody is let in.
    pub users: Option<Result<(usize, usize), String>>,
}

/// Looks around, if there is to be a page. `runs`: the daemon does, and its page with it.
pub(super) fn gather(config: &Config, runs: bool) -> Option<Web> {
    let WebConfig { start, listen, user, users, .. } = config.web.as_ref()?;
    let own = env::current_exe().ok();
    let program = own.and_then(|own| beside(PROGRAM, &own)).map_or_else(|| find_program(PROGRAM), Ok);
    let account = Account::named(user).map_err(|error| error.to_string());
    let users = users.as_ref().map(|path| look(path, account.as_ref().ok()));
    let account = account.map(|account| account.to_string());
    Some(Web { listen: *listen, door: start.then(|| door(*listen, || runs)), program, account, users })
}

/// Everybody in the file, where the page can read it.
fn look(path: &Path, account: Option<&Account>) -> Result<(usize, usize), String> {
    let users = Users::read(path).map_err(|error| error.to_string())?;
    let group = fs::metadata(path).map_err(|error| error.to_string())?.gid();
    match account.filter(|account| account.gid.as_raw() != group) {
        Some(account) => Err(format!("{}: {} cannot read it: it is of group {group}", path.display(), account.name)),
        None => Ok(count(&users)),
    }
}

fn count(users: &Users) -> (usize, usize) {
    (users.all().len(), users.all().iter().filter(|user| user.right == Right::Operator).count())
}

/// Every finding about it.
pub(super) fn judge(found: &Web) -> Vec<Finding> {
    let mut findings = vec![
        match &found.program {
            Ok(path) => Finding::ok(PROGRAM, format!("is {}", path.display())),
            Err(why) => Finding::error(
                PROGRAM,
                format!("{why}: there would be no page"),
                "install it beside avamgrd, or where PATH leads; or remove [web]",
            ),
        },
        match &found.account {
            Ok(account) => Finding::ok("account of the page", account.clone()),
            Err(why) => {
                let hint = "useradd --system --no-create-home --shell /usr/sbin/nologin NAME, or correct web.user";
                Finding::error("account of the page", why.clone(), hint)
            }
        },
    ];
    findings.extend(found.users.as_ref().map(|users| match users {
        Ok((0, _)) => Finding::warning(
            "users of the page",
            "nobody may look: there is nobody in the file",
            "avamgr user add NAME --right operator",
        ),
        Ok((all, steer)) => Finding::ok("users of the page", format!("{all} may look, {steer} of them steer")),
        Err(why) => {
            let hint = "avamgr user add NAME --right operator; or chgrp to the group of web.user and chmod 0640";
            Finding::error("users of the page", why.clone(), hint)
        }
    }));
    let subject = format!("port of the page {}", found.listen);
    findings.push(match &found.door {
        None => Finding::ok("port of the page", "is of the unit that starts it"),
        Some(Door::Free) => Finding::ok(subject, "is free"),
        Some(Door::Ours) => Finding::ok(subject, "is in use, and the daemon runs"),
        Some(Door::Taken) => Finding::error(subject, "is used by another program", "stop that, or set web.listen"),
        Some(Door::Closed(why)) => Finding::error(subject, format!("cannot be had: {why}"), "set web.listen"),
    });
    findings
}
