//! Errors as documents: `application/problem+json`, RFC 9457.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The type of such a document.
pub(crate) const KIND: &str = "application/problem+json";

/// What is wrong and what to do, in words.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    /// Seconds after which it may be otherwise.
    retry_after: Option<u64>,
}

/// An error as it is sent: RFC 9457.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document<'a> {
    /// The words of the status.
    title: &'a str,
    /// The status of the answer.
    status: u16,
    /// What is wrong, and what to do.
    detail: &'a str,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after: None }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("error");
        let document = Document { title, status: self.status.as_u16(), detail: &self.detail };
        // Strings and a number are always a document.
        let text = serde_json::to_string(&document).unwrap_or_default();
        let kind = (CONTENT_TYPE, HeaderValue::from_static(KIND));
        let mut response = (self.status, [kind], text).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
