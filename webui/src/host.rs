//! Who we were called by, and what every answer says to the browser.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::time::timeout;

use crate::problem::Problem;

/// Nothing but our own files, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Names we may be called by besides addresses and `localhost`. Another name that leads here is a page elsewhere which has
/// turned its own name to our address, to read what only this machine may read.
pub(crate) type Names = Arc<[String]>;

/// Longest body of a request: an order, or a name with its password.
const BODY_MAX: usize = 16 * 1024;
/// A client has so long for it.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Takes the body of a request in, before anybody waits for it.
async fn take_in(request: Request) -> Result<Request, Problem> {
    let (head, body) = request.into_parts();
    let body = timeout(BODY_TIME, to_bytes(body, BODY_MAX)).await;
    let body = body.map_err(|_| {
        let detail = format!("the body of the request has not come within {} s", BODY_TIME.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
    })?;
    let body = body.map_err(|_| {
        let detail = format!("the body of the request is broken, or has more than {BODY_MAX} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    })?;
    Ok(Request::from_parts(head, Body::from(body)))
}

/// Turns away who calls somebody else, and what another site's page wants changed.
pub(crate) async fn check(State(names): State<Names>, request: Request, next: Next) -> Response {
    let called = text(request.headers(), &HOST);
    let mut response = if !is_ours(called, &names) {
        let detail = format!("{called:?} is no name of this node: use its address, its name or localhost");
        Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response()
    } else if !request.method().is_safe() && !is_own_page(request.headers(), called) {
        Problem::new(StatusCode::FORBIDDEN, "another site's page wants something changed here").into_response()
    } else if request.method().is_safe() {
        next.run(request).await
    } else {
        match take_in(request).await {
            Ok(request) => next.run(request).await,
            Err(problem) => problem.into_response(),
        }
    };
    protect(response.headers_mut());
    response
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A browser says from which site's page a request comes; whoever is no browser says nothing.
fn is_own_page(headers: &HeaderMap, called: &str) -> bool {
    match headers.contains_key(ORIGIN) {
        true => text(headers, &ORIGIN).split_once("://").is_some_and(|(_, host)| host.eq_ignore_ascii_case(called)),
        false => true,
    }
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
    fn only_our_own_page_changes_something() {
        let page = |origin: &'static str| HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]);
        assert!(is_own_page(&HeaderMap::new(), "node:8443"));
        assert!(is_own_page(&page("https://node:8443"), "node:8443"));
        for other in ["https://evil.example", "https://node:9000", "null", "", "https://node:8443.evil.example"] {
            assert!(!is_own_page(&page(other), "node:8443"), "{other}");
        }
    }

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
