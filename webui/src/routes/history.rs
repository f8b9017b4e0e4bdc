//! What has happened: the same entries as `avamgr history --json`.

use std::sync::Arc;

use avamgr::history::HELD_MAX;
use avamgr_core::control::HistoryEntry;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::daemon::Feed;
use crate::problem::Problem;

/// How many are told unless somebody says.
const LAST: usize = 100;

/// What is asked.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// At most so many of the last; 100 unless given, and never more than 1024.
    last: Option<usize>,
}

/// What has happened.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = History)]
struct Document<'a> {
    /// Why the last of what happened may not be here.
    trouble: Option<String>,
    /// The oldest first.
    entries: Vec<&'a HistoryEntry>,
}

/// What has happened, the oldest first
#[utoipa::path(
    get,
    path = "/api/v1/history",
    params(Order),
    responses(
        (status = 200, description = "The last entries", body = Document),
        (status = 400, description = "That cannot be asked"),
        (status = 503, description = "Nothing is known of it, or too many connections"),
    )
)]
pub(super) async fn history(State(feed): State<Feed>, order: Result<Query<Order>, QueryRejection>) -> Response {
    let last = match order {
        Ok(Query(order)) => order.last.unwrap_or(LAST).min(HELD_MAX),
        Err(error) => return Problem::new(StatusCode::BAD_REQUEST, error.body_text()).into_response(),
    };
    let (entries, trouble) = (feed.history().last(last), feed.trouble());
    if let Some(why) = trouble.as_ref().filter(|_| entries.is_empty()) {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, why.clone()).into_response();
    }
    Json(Document { trouble, entries: entries.iter().map(Arc::as_ref).collect() }).into_response()
}
