//! Figures for Prometheus, made from the last snapshot whenever they are asked for.

mod figures;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::daemon::{Feed, Said};
use crate::problem::Problem;
use figures::Figures;

/// As [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/) wants it.
const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Figures for Prometheus
///
/// While the daemon is not known to be well there is only `avamgr_up 0`.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = 200, description = "OpenMetrics", body = String, content_type = KIND))
)]
pub(super) async fn metrics(State(feed): State<Feed>) -> Response {
    match text(feed.said()) {
        Ok(text) => ([(CONTENT_TYPE, KIND)], text).into_response(),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// All figures; an error only where the name of one is wrong.
fn text(said: Said) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("avamgr");
    registry.register_collector(Box::new(Figures(said)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}
