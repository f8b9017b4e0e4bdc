//! How it stands: the same document as `avamgr status --json`.

use avamgr::cli::render::StatusDocument;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use crate::daemon::Feed;

/// How it stands
///
/// As `avamgr status --json` says it. Only what is known to be so now is under `status`.
#[utoipa::path(get, path = "/api/v1/status", responses((status = 200, description = "How it stands", body = StatusDocument)))]
pub(super) async fn status(State(feed): State<Feed>) -> Response {
    Json(feed.said().document()).into_response()
}
