//! The list of URLs.

mod commands;
mod events;
mod health;
mod history;
mod metrics;
mod openapi;
mod rules;
mod session;
mod status;

use axum::Router;
use axum::extract::{FromRef, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{Access, Settings};
use crate::daemon::Feed;
use crate::orders::Orders;
use crate::problem::Problem;
use crate::questions::Questions;
use crate::{host, page};
use openapi::Description;
pub(crate) use session::From;

/// What answers are made of.
#[derive(Clone, Debug)]
struct Desk {
    feed: Feed,
    access: Access,
    orders: Orders,
    questions: Questions,
    description: Description,
}

impl FromRef<Desk> for Questions {
    fn from_ref(desk: &Desk) -> Self {
        desk.questions.clone()
    }
}

impl FromRef<Desk> for Feed {
    fn from_ref(desk: &Desk) -> Self {
        desk.feed.clone()
    }
}

impl FromRef<Desk> for Access {
    fn from_ref(desk: &Desk) -> Self {
        desk.access.clone()
    }
}

impl FromRef<Desk> for Orders {
    fn from_ref(desk: &Desk) -> Self {
        desk.orders.clone()
    }
}

impl FromRef<Desk> for Description {
    fn from_ref(desk: &Desk) -> Self {
        desk.description.clone()
    }
}

/// Everything that can be asked. `names`: what we may be called by besides addresses and `localhost`.
pub fn router(feed: Feed, names: Vec<String>, settings: Settings) -> Router {
    let (access, orders) = (Access::new(settings), Orders::to(feed.socket().to_owned()));
    let questions = Questions::to(feed.socket().to_owned());
    let streams = OpenApiRouter::new()
        .routes(routes!(events::events))
        .with_state(events::Streams::over(feed.clone(), access.clone()));
    let mut closed = OpenApiRouter::new()
        .routes(routes!(status::status))
        .routes(routes!(history::history))
        .routes(routes!(history::export))
        .routes(routes!(history::why))
        .routes(routes!(commands::give))
        .routes(routes!(commands::follow))
        .routes(routes!(rules::conflicts))
        .routes(routes!(metrics::metrics))
        .routes(routes!(session::end))
        .merge(streams)
        .layer(from_fn_with_state(access.clone(), guard));
    openapi::guarded(closed.get_openapi_mut());
    let (router, api) = OpenApiRouter::with_openapi(openapi::empty())
        .routes(routes!(session::show, session::begin))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::active))
        .routes(routes!(openapi::document))
        .merge(closed)
        .split_for_parts();
    let description = openapi::finish(api, access.cookie());
    let names: host::Names = names.into();
    router
        .merge(page::routes())
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .layer(from_fn_with_state(names, host::check))
        .with_state(Desk { feed, access, orders, questions, description })
}

/// Lets in who may look, and lets change something who knows the word of his session.
async fn guard(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    let who = match access.identify(request.headers()) {
        Ok(who) => who,
        Err(problem) => {
            let mut response = problem.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                let how = HeaderValue::from_static("Bearer realm=\"avamgr\"");
                response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, how);
            }
            return response;
        }
    };
    if !request.method().is_safe()
        && let Err(problem) = who.may_change(request.headers())
    {
        return problem.into_response();
    }
    request.extensions_mut().insert(who);
    next.run(request).await
}

async fn nothing(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

async fn not_so(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} cannot be done to {}", uri.path()))
}
