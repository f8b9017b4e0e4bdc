//! `[web]`.

use std::net::SocketAddr;

use crate::config::WebConfig;
use crate::config::error::Finding;
use crate::config::reader::{Placed, Table};

use super::parsed;

pub(super) fn read(table: &Table<'_>) -> WebConfig {
    let listen: Option<Placed<SocketAddr>> = parsed(table.text("listen"));
    if let Some(listen) = listen.as_ref().filter(|listen| !listen.ip().is_loopback()) {
        let finding =
            Finding::conflict(&listen.place, "must be a loopback address: nobody who looks is asked who he is");
        table
            .findings
            .put(finding.hint("for example \"127.0.0.1:8080\"; from elsewhere: ssh -L 8080:127.0.0.1:8080 NODE"));
    }
    WebConfig {
        listen: listen.map_or(SocketAddr::from(([127, 0, 0, 1], 0)), |listen| listen.value),
        user: table.text("user").map(|user| user.value).unwrap_or_default(),
        names: table.list("names").into_iter().map(|name| name.value).collect(),
    }
}
