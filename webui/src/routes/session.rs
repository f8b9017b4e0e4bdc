//! Who looks: logging in, staying, logging out.

use std::net::IpAddr;

use avamgr::users::Right;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Access, Session, Who};
use crate::problem::Problem;

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From(pub(crate) IpAddr);

/// Who asks, as far as it is known.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
struct Document<'a> {
    /// Somebody has to say who he is before he may look.
    asks: bool,
    /// His name.
    user: Option<&'a str>,
    /// What he may do.
    right: Option<Right>,
    /// What his page sends with everything that changes something.
    csrf: Option<&'a str>,
}

/// What is said to log in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// Who.
    name: String,
    /// Known to nobody else.
    password: String,
}

/// Who asks
///
/// It counts as a sign of life of whoever sits before the page.
#[utoipa::path(
    get,
    path = "/api/v1/session",
    operation_id = "who_asks",
    responses((status = 200, description = "As far as it is known", body = Document))
)]
pub(super) async fn show(State(access): State<Access>, headers: HeaderMap) -> Response {
    match access.identify(&headers) {
        Ok(who) => {
            access.stays(&who);
            let csrf = who.session.as_ref().map(|session| session.csrf.as_str());
            let document = Document { asks: access.asks(), user: who.name.as_deref(), right: Some(who.right), csrf };
            Json(document).into_response()
        }
        Err(problem) if problem.status() != StatusCode::UNAUTHORIZED => problem.into_response(),
        Err(_) => Json(Document { asks: true, user: None, right: None, csrf: None }).into_response(),
    }
}

/// Log in
///
/// The answer has the session as a cookie. Programs have a token instead, and send it each time.
#[utoipa::path(
    post,
    path = "/api/v1/session",
    operation_id = "log_in",
    request_body = Login,
    responses(
        (status = 204, description = "In", headers(("set-cookie" = String, description = "The session"))),
        (status = 400, description = "That is no JSON"),
        (status = 401, description = "Wrong name or password"),
        (status = 404, description = "Nobody is asked who he is here"),
        (status = 415, description = "The body is not said to be JSON"),
        (status = 422, description = "That is not how one logs in"),
        (status = 429, description = "Too many wrong passwords, or too many at once"),
    )
)]
pub(super) async fn begin(
    State(access): State<Access>,
    Extension(From(address)): Extension<From>,
    login: Result<Json<Login>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Login { name, password }) = login.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let session = access.log_in(&name, &password, address).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(SET_COOKIE, cookie(&access, Some(&session))?);
    Ok(response)
}

/// Log out
#[utoipa::path(
    delete,
    path = "/api/v1/session",
    operation_id = "log_out",
    responses(
        (status = 204, description = "Out", headers(("set-cookie" = String, description = "Takes the session away"))),
        (status = 403, description = "The word of the session is missing, or another site's page wants it"),
    )
)]
pub(super) async fn end(State(access): State<Access>, Extension(who): Extension<Who>) -> Result<Response, Problem> {
    if let Some(session) = &who.session {
        access.log_out(session);
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(SET_COOKIE, cookie(&access, None)?);
    Ok(response)
}

/// `None` takes it away.
fn cookie(access: &Access, session: Option<&Session>) -> Result<HeaderValue, Problem> {
    let (id, more) = session.map_or(("", "; Max-Age=0"), |session| (session.id.as_str(), ""));
    let secure = if access.is_secure() { "; Secure" } else { "" };
    let text = format!("{}={id}; Path=/; HttpOnly; SameSite=Strict{secure}{more}", access.cookie());
    HeaderValue::from_str(&text).map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
