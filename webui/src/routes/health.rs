//! For whoever asks a yes-or-no question over and over: supervisors and load balancers. The answer is the status code; the
//! text says why.

use avamgr_core::cluster::Role;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::daemon::{Feed, Said};
use crate::problem::Problem;

/// This program answers.
pub(super) async fn alive() -> &'static str {
    "alive\n"
}

/// The daemon answers and its decision goes on.
pub(super) async fn ready(State(feed): State<Feed>) -> Result<&'static str, Problem> {
    known(&feed.said()).map(|_| "ready\n")
}

/// This node is ACTIVE in the group, as of now: nobody is told so who asks a daemon that is not known to be well.
pub(super) async fn active(State(feed): State<Feed>, Path(group): Path<String>) -> Result<String, Problem> {
    let said = feed.said();
    let status = known(&said)?;
    let found = status.groups.iter().find(|it| it.group == group);
    let found = found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no group {group:?}")))?;
    let text = format!("{} is {} in {group}\n", status.node, found.role);
    match found.role {
        Role::Active => Ok(text),
        Role::Standby | Role::Activating | Role::Deactivating | Role::Fault => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, text.trim_end()))
        }
    }
}

fn known(said: &Said) -> Result<&avamgr_core::control::Status, Problem> {
    let document = said.document();
    let reason = || document.reason.clone().unwrap_or_default();
    document.status.ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason()))
}
