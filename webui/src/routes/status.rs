//! How it stands: the same document as `avamgr status --json`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use crate::daemon::Feed;

pub(super) async fn status(State(feed): State<Feed>) -> Response {
    Json(feed.said().document()).into_response()
}
