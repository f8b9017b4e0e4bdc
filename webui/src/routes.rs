//! The list of URLs.

mod events;
mod health;
mod history;
mod metrics;
mod status;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::get;

use crate::daemon::Feed;
use crate::problem::Problem;
use crate::{host, page};

/// Everything that can be asked. `names`: what we may be called by besides addresses and `localhost`.
pub fn router(feed: Feed, names: Vec<String>) -> Router {
    let streams =
        Router::new().route("/api/v1/events", get(events::events)).with_state(events::Streams::over(feed.clone()));
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{name}", get(page::asset))
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/history", get(history::history))
        .merge(streams)
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/active/{group}", get(health::active))
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .layer(from_fn_with_state(names.into(), host::check))
        .with_state(feed)
}

async fn nothing(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

async fn not_so(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} cannot be done to {}", uri.path()))
}
