//! Who we were called by, and what every answer says to the browser.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::problem::Problem;

/// Nothing but our own files, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What we may be called by, and how we are reached.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Names we may be called by besides addresses and `localhost`. Another name that leads here is a page elsewhere which has
    /// turned its own name to our address, to read what only this machine may read.
    pub(crate) names: Arc<[String]>,
    /// Over an encrypted way only.
    pub(crate) secure: bool,
}

/// Turns away who calls somebody else, and what another site's page wants changed.
pub(crate) async fn check(State(host): State<Host>, request: Request, next: Next) -> Response {
    let called = text(request.headers(), &HOST);
    let mut response = if !is_ours(called, &host.names) {
        let detail = format!("{called:?} is no name of this node: use its address, its name or localhost");
        Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response()
    } else if !request.method().is_safe() && !is_own_page(request.headers(), called) {
        Problem::new(StatusCode::FORBIDDEN, "another site's page wants something changed here").into_response()
    } else {
        next.run(request).await
    };
    protect(response.headers_mut(), host.secure);
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

fn protect(headers: &mut HeaderMap, secure: bool) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(REFERRER_POLICY, "no-referrer");
    // What is told is true now, and not later.
    set(CACHE_CONTROL, "no-store");
    if secure {
        set(STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
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
