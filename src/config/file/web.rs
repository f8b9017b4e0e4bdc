//! `[web]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::WebConfig;
use crate::config::error::Finding;
use crate::config::reader::{Placed, Table};

use super::parsed;

/// Whoever is refused elsewhere runs as this account: it is nobody's own.
const NOBODY: &str = "nobody";

/// What the program is told by whoever starts it.
const TOLD: [&str; 5] = ["listen", "names", "idle_time", "tls", "certificate"];

pub(super) fn read(table: &Table<'_>) -> WebConfig {
    let start = table.flag("start").is_none_or(|start| start.value);
    for key in TOLD.into_iter().filter(|key| !start && table.has(key)) {
        let finding = Finding::conflict(
            &table.place_of(key),
            "must not be there with start = false: the daemon tells the program nothing",
        );
        table.findings.put(finding.hint("say it in the unit that starts avamgr-webui, as its option"));
    }
    let listen: Option<Placed<SocketAddr>> = parsed(table.text("listen"));
    let users = table.text("users");
    let user = table.text("user");
    let elsewhere = listen.as_ref().filter(|listen| !listen.ip().is_loopback());
    if let (Some(listen), None) = (elsewhere, &users) {
        let finding =
            Finding::conflict(&listen.place, "must be a loopback address: nobody who looks is asked who he is");
        table
            .findings
            .put(finding.hint("say who may look, as in users = \"/etc/avamgr/users\", or listen on 127.0.0.1"));
    }
    if let (Some(user), Some(_)) = (user.as_ref().filter(|user| user.value == NOBODY), &users) {
        let finding = Finding::conflict(&user.place, "must be an account of its own: it steers in the name of users");
        table.findings.put(finding.hint("for example \"avamgr-web\", made with: useradd --system avamgr-web"));
    }
    let tls = table.flag("tls").map_or(elsewhere.is_some(), |tls| tls.value);
    let certificate = table.text("certificate").filter(|_| tls);
    WebConfig {
        start,
        user: user.map(|user| user.value).unwrap_or_default(),
        names: table.list("names").into_iter().map(|name| name.value).collect(),
        users: users.map(|users| PathBuf::from(users.value)),
        idle_time: table.time("idle_time").map(|time| time.value).unwrap_or_default(),
        certificate: certificate.map(|path| PathBuf::from(path.value)),
        listen: listen.map_or(SocketAddr::from(([127, 0, 0, 1], 0)), |listen| listen.value),
    }
}
