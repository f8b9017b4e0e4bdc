//! What the API looks like, for programs that read OpenAPI. Each operation is described where it is answered, each document
//! where its type is; here is what holds for many of them, because a layer around them sees to it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::IntoResponse;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Components, Content, Header, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response, Schema,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use super::commands::Wish;
use crate::access::CSRF;
use crate::problem;

const ABOUT: &str = "How a node of the cluster stands, what has happened, and orders to it. Without a users file (`web.users`) \
                     nobody is asked who he is, and nobody steers. Every error is a document of the type \
                     `application/problem+json`.";
/// Names of what somebody shows to be let in.
const SESSION: &str = "session";
const WORD: &str = "csrf";
const TOKEN: &str = "token";

/// The description of everything, as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Description(Arc<str>);

/// This document
///
/// It is open to whoever may load the page: it says nothing about this node but the name of its cookie.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value))
)]
pub(super) async fn document(State(Description(text)): State<Description>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], text.to_string())
}

/// Nothing but what it is about.
pub(super) fn empty() -> OpenApi {
    let info = InfoBuilder::new().title("avamgr").version(env!("CARGO_PKG_VERSION")).description(Some(ABOUT));
    OpenApiBuilder::new().info(info.build()).build()
}

/// What holds for those who are asked who they are.
pub(super) fn guarded(api: &mut OpenApi) {
    each(api, |is_safe, operation| {
        let session = SecurityRequirement::new::<_, [&str; 0], &str>(SESSION, []);
        let session = if is_safe { session } else { session.add::<_, [&str; 0], &str>(WORD, []) };
        let token = SecurityRequirement::new::<_, [&str; 0], &str>(TOKEN, []);
        operation.security = Some(vec![session, token]);
        may_answer(operation, StatusCode::UNAUTHORIZED, "Nobody is let in who is not known: log in, or send a token");
        let how = header("How to show who you are");
        if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(StatusCode::UNAUTHORIZED.as_str()) {
            response.headers.insert(WWW_AUTHENTICATE.to_string(), how.into());
        }
    });
}

/// What holds for all, and the description as it is sent. `cookie`: its name.
pub(super) fn finish(mut api: OpenApi, cookie: &str) -> Description {
    each(&mut api, |is_safe, operation| {
        may_answer(operation, StatusCode::MISDIRECTED_REQUEST, "The `Host` is no name of this node");
        may_answer(
            operation,
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many connections, or the users file cannot be used",
        );
        if !is_safe {
            may_answer(operation, StatusCode::FORBIDDEN, "Another site's page wants something changed here");
            may_answer(operation, StatusCode::REQUEST_TIMEOUT, "The body has not come in time");
            may_answer(operation, StatusCode::PAYLOAD_TOO_LARGE, "The body is broken, or too long");
        }
        let errors = operation.responses.responses.iter_mut().filter(|(status, _)| status.as_str() >= "400");
        for (status, error) in errors {
            if let RefOr::T(error) = error {
                is_problem(status, error);
            }
        }
    });
    let components = api.components.get_or_insert_with(Components::new);
    if let Some(RefOr::T(Schema::OneOf(wishes))) = components.schemas.get_mut(&*Wish::name()) {
        wishes.items.iter_mut().for_each(has_nothing_else);
    }
    components.schemas.insert(problem::Document::name().into_owned(), problem::Document::schema());
    components.security_schemes.extend(securities(cookie));
    // A document of strings and numbers always has a text. What Rust calls `None` is called otherwise there.
    Description(api.to_json().unwrap_or_default().replace("`None`", "`null`").into())
}

fn securities(cookie: &str) -> impl Iterator<Item = (String, RefOr<SecurityScheme>)> {
    let session = ApiKeyValue::with_description(cookie, "The session of a user, from `POST /api/v1/session`.");
    let word =
        ApiKeyValue::with_description(CSRF, "What `GET /api/v1/session` says under `csrf`: goes with a session.");
    let token =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A token, from `avamgr user token`."));
    let all = [
        (SESSION, SecurityScheme::ApiKey(ApiKey::Cookie(session))),
        (WORD, SecurityScheme::ApiKey(ApiKey::Header(word))),
        (TOKEN, SecurityScheme::Http(token.build())),
    ];
    all.into_iter().map(|(name, scheme)| (name.to_owned(), scheme.into()))
}

/// Whoever asks for more than is described is refused: serde's word for that is not heard at the variants of an enum.
fn has_nothing_else(schema: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::Object(object)) = schema {
        object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    }
}

/// Every operation, and whether it changes nothing.
fn each(api: &mut OpenApi, mut change: impl FnMut(bool, &mut Operation)) {
    for PathItem { get, head, options, trace, put, post, delete, patch, .. } in api.paths.paths.values_mut() {
        [get, head, options, trace].into_iter().flatten().for_each(|operation| change(true, operation));
        [put, post, delete, patch].into_iter().flatten().for_each(|operation| change(false, operation));
    }
}

/// Unless the operation itself has said more about it.
fn may_answer(operation: &mut Operation, status: StatusCode, when: &str) {
    let response = || Response::new(when).into();
    operation.responses.responses.entry(status.as_str().to_owned()).or_insert_with(response);
}

fn is_problem(status: &str, error: &mut Response) {
    let schema = Ref::from_schema_name(problem::Document::name());
    error.content.insert(problem::KIND.to_owned(), Content::new(Some(schema)).into());
    if [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].iter().any(|it| it.as_str() == status) {
        error.headers.insert(RETRY_AFTER.to_string(), header("Seconds after which it may be otherwise").into());
    }
}

fn header(about: &str) -> Header {
    HeaderBuilder::new().description(Some(about)).build()
}
