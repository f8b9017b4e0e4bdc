//! The page: files that are part of the program.

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::problem::Problem;

/// Name, type and content of each file.
const FILES: [(&str, &str, &[u8]); 10] = [
    ("style.css", "text/css; charset=utf-8", include_bytes!("../assets/style.css")),
    ("page.js", "text/javascript; charset=utf-8", include_bytes!("../assets/page.js")),
    ("timeline.js", "text/javascript; charset=utf-8", include_bytes!("../assets/timeline.js")),
    ("view.js", "text/javascript; charset=utf-8", include_bytes!("../assets/view.js")),
    ("steer.js", "text/javascript; charset=utf-8", include_bytes!("../assets/steer.js")),
    ("orders.js", "text/javascript; charset=utf-8", include_bytes!("../assets/orders.js")),
    ("rules.js", "text/javascript; charset=utf-8", include_bytes!("../assets/rules.js")),
    ("chart.js", "text/javascript; charset=utf-8", include_bytes!("../assets/chart.js")),
    ("words.js", "text/javascript; charset=utf-8", include_bytes!("../assets/words.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("../assets/icon.svg")),
];

/// Where they are.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(index)).route("/assets/{name}", get(asset))
}

async fn index() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], include_str!("../assets/index.html"))
}

async fn asset(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(file, _, _)| *file == name) {
        Some((_, kind, content)) => ([(CONTENT_TYPE, *kind)], *content).into_response(),
        None => Problem::new(StatusCode::NOT_FOUND, format!("there is no file {name:?}")).into_response(),
    }
}
