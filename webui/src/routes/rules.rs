//! The rules: what waits for a word of an operator.

use avamgr_core::control::{Reply, Request};
use avamgr_core::courier::{self, KeptStatus};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::daemon::Feed;
use crate::problem::Problem;
use crate::questions::{NoAnswer, Questions};

/// Versions that lost when two nodes changed the same rule at once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Conflicts {
    /// The oldest first.
    conflicts: Vec<KeptStatus>,
    /// How many older ones there are.
    omitted: u64,
}

/// Versions of rules that lost when two nodes changed the same one at once
///
/// The youngest 50 of those that wait for a word: `rules_restore` or `rules_settle`.
#[utoipa::path(
    get,
    path = "/api/v1/rules/conflicts",
    responses(
        (status = 200, description = "What lost, the oldest first", body = Conflicts),
        (status = 404, description = "No rules are replicated"),
        (status = 503, description = "The daemon or rules-sync does not answer"),
    )
)]
pub(super) async fn conflicts(
    State(feed): State<Feed>,
    State(questions): State<Questions>,
) -> Result<Json<Conflicts>, Problem> {
    if feed.said().document().status.is_some_and(|status| status.rules.is_none()) {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no rules are replicated here: the config has no [rules]"));
    }
    let order = courier::Request::Kept { conflicts: true };
    match questions.ask(&Request::Rules { order }).await?.reply().await? {
        Reply::Rules { said: courier::Reply::Kept { kept, omitted } } => {
            Ok(Json(Conflicts { conflicts: kept, omitted }))
        }
        Reply::Rules { said: courier::Reply::Refused { reason } } => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason))
        }
        Reply::Rules {
            said:
                courier::Reply::Status { .. }
                | courier::Reply::Differences { .. }
                | courier::Reply::Progress { .. }
                | courier::Reply::Done { .. },
        }
        | Reply::Status { .. }
        | Reply::Event { .. }
        | Reply::EndOfHistory
        | Reply::Pending { .. }
        | Reply::Answer { .. }
        | Reply::Config { .. }
        | Reply::Error { .. } => Err(NoAnswer::other().into()),
    }
}
