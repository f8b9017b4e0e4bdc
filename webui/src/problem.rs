//! Errors as documents: `application/problem+json`, RFC 9457.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// What is wrong and what to do, in words.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
}

#[derive(Serialize)]
struct Document<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("error");
        let document = Document { title, status: self.status.as_u16(), detail: &self.detail };
        // Strings and a number are always a document.
        let text = serde_json::to_string(&document).unwrap_or_default();
        let kind = (CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        (self.status, [kind], text).into_response()
    }
}
