//! For whoever asks a yes-or-no question over and over: supervisors and load balancers. The answer is the status code; the
//! text says why.

use std::time::Duration;

use avamgr::clock;
use avamgr_core::cluster::Role;
use avamgr_core::control::{GroupStatus, Status};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::daemon::{Feed, Said};
use crate::problem::Problem;

/// A daemon that is well says every second how it stands: who is ACTIVE is not believed for longer than this without it.
const FRESH: Duration = Duration::from_secs(2);

/// This program answers
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "It does", body = String)))]
pub(super) async fn alive() -> &'static str {
    "alive\n"
}

/// The daemon answers and its decision goes on
#[utoipa::path(
    get,
    path = "/readyz",
    responses(
        (status = 200, description = "It does", body = String),
        (status = 503, description = "It does not, or it is not known"),
    )
)]
pub(super) async fn ready(State(feed): State<Feed>) -> Result<&'static str, Problem> {
    known(&feed.said()).map(|_| "ready\n")
}

/// This node is ACTIVE in the group, as of now
///
/// For load balancers. Nobody is told so who asks a daemon that is not known to be well.
#[utoipa::path(
    get,
    path = "/active/{group}",
    params(("group" = String, Path, description = "The group")),
    responses(
        (status = 200, description = "It is", body = String),
        (status = 400, description = "That is no text"),
        (status = 404, description = "There is no such group"),
        (status = 503, description = "It is not, or it is not known"),
    )
)]
pub(super) async fn active(
    State(feed): State<Feed>,
    group: Result<Path<String>, PathRejection>,
) -> Result<String, Problem> {
    let Path(group) = group.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let said = feed.said();
    let status = known(&said)?;
    let found = status.groups.iter().find(|it| it.group == group);
    let found = found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no group {group:?}")))?;
    let text = format!("{} is {} in {group}\n", status.node, found.role);
    if let Some(doubt) = doubt(status, found) {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{}, but {doubt}", text.trim_end())));
    }
    match found.role {
        Role::Active => Ok(text),
        Role::Standby | Role::Activating | Role::Deactivating | Role::Fault => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, text.trim_end()))
        }
    }
}

/// Why a role may be over by now.
fn doubt(status: &Status, group: &GroupStatus) -> Option<&'static str> {
    let now = clock::now();
    if now.since(status.now) > FRESH {
        return Some("that was some time ago");
    }
    let lease = group.lease.as_ref().filter(|_| group.role == Role::Active)?;
    lease.held_until.is_none_or(|until| until <= now).then_some("its lease is over")
}

fn known(said: &Said) -> Result<&Status, Problem> {
    let document = said.document();
    let reason = || document.reason.clone().unwrap_or_default();
    document.status.ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason()))
}
