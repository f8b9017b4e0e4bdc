//! Who we were called by, and what every answer says to the browser.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::problem::Problem;

/// Nothing but our own files, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Names we may be called by besides addresses and `localhost`. Another name that leads here is a page elsewhere which has
/// turned its own name to our address, to read what only this machine may read.
pub(crate) type Names = Arc<[String]>;

/// Turns away who calls somebody else.
pub(crate) async fn check(State(names): State<Names>, request: Request, next: Next) -> Response {
    let called = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut response = if is_ours(called, &names) {
        next.run(request).await
    } else {
        let detail = format!("{called:?} is no name of this node: use its address, its name or localhost");
        Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response()
    };
    protect(response.headers_mut());
    response
}

/// An address can only be ours: nobody else's page is called by it.
fn is_ours(called: &str, names: &[String]) -> bool {
    let host = match called.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => called,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| host.eq_ignore_ascii_case(name))
}

fn protect(headers: &mut HeaderMap) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(REFERRER_POLICY, "no-referrer");
    // What is told is true now, and not later.
    set(CACHE_CONTROL, "no-store");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_our_names_are_ours() {
        let names = ["hadev1".to_owned(), "hadev1.example".to_owned()];
        for called in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:8080",
            "localhost:8080",
            "LOCALHOST",
            "hadev1:1",
            "HAdev1.example",
        ] {
            assert!(is_ours(called, &names), "{called}");
        }
        for called in
            ["", "evil.example", "evil.example:8080", "localhost.evil.example", "hadev1.evil", "127.0.0.1.evil"]
        {
            assert!(!is_ours(called, &names), "{called}");
        }
    }
}
