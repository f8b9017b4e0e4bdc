//! Orders to the cluster: given once, followed until their end.

use std::time::Duration;

use avamgr_core::control::{Command, Errand, ResourceVerb};
use avamgr_core::courier;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::session::From;
use crate::access::{Access, Who};
use crate::orders::{NotTaken, Order, Orderer, Orders};
use crate::problem::Problem;

/// Header with the name of an order, so that one that is sent twice is carried out once.
const KEY: &str = "idempotency-key";
/// Longest name of an order.
const KEY_MAX: usize = 64;
/// Longest wait for the end of one.
const WAIT_MAX: u64 = 60;

/// What may be ordered.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "command", deny_unknown_fields)]
pub(super) enum Wish {
    /// Move a group to another node.
    Switchover {
        /// The only one unless given.
        group: Option<String>,
        /// The best one unless given.
        to: Option<String>,
        /// Only say what would be done and what stands in the way.
        #[serde(default)]
        dry_run: bool,
    },
    /// Take this node out.
    Offline {
        /// For so many seconds; until `online` unless given.
        #[schema(maximum = 4_294_967_295_u32, format = Int64)]
        seconds: Option<u32>,
    },
    /// Let this node take part again.
    Online {},
    /// Switch automatic actions off or on.
    Maintenance {
        /// On or off.
        on: bool,
    },
    /// An order for one resource.
    Resource {
        /// `group/resource`.
        resource: String,
        /// What.
        verb: ResourceVerb,
    },
    /// Read every rule again, compare with the other nodes and send what they lack.
    RulesResync {},
    /// Put a version of a rule that lost a conflict back in its place.
    RulesRestore {
        /// The name it is kept under.
        name: String,
    },
    /// Accept what won a conflict.
    RulesSettle {
        /// The name the loser is kept under.
        name: String,
    },
}

impl Wish {
    fn errand(self) -> Errand {
        Errand::Command(match self {
            Self::Switchover { group, to, dry_run } => Command::Switchover { group, to, dry_run },
            Self::Offline { seconds } => {
                Command::Offline { duration: seconds.map(|seconds| Duration::from_secs(seconds.into())) }
            }
            Self::Online {} => Command::Online,
            Self::Maintenance { on } => Command::Maintenance { on },
            Self::Resource { resource, verb } => Command::Resource { resource, verb },
            // That a directory has lost everything is passed on by somebody who sits at the node and has seen it.
            Self::RulesResync {} => return Errand::Rules(courier::Request::Resync { force: false }),
            Self::RulesRestore { name } => return Errand::Rules(courier::Request::Restore { name }),
            Self::RulesSettle { name } => return Errand::Rules(courier::Request::Settle { name: Some(name) }),
        })
    }
}

/// How long to wait for the end.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    /// For so many seconds the answer waits for the end: 0 unless given, and never more than 60.
    #[param(format = "uint64")]
    wait: Option<u64>,
}

/// Give an order
///
/// To whoever may steer. Names of nodes, groups and resources are looked at by the daemon: what it refuses is `refused` in
/// `answer`.
#[utoipa::path(
    post,
    path = "/api/v1/commands",
    operation_id = "give_order",
    params(
        Wait,
        (
            "idempotency-key" = Option<String>,
            Header,
            description = "A name for the order: the same one twice is carried out once",
            pattern = "^[A-Za-z0-9_-]{1,64}$"
        )
    ),
    request_body = Wish,
    responses(
        (status = 200, description = "Its end", body = Order),
        (status = 202, description = "It is under way", body = Order),
        (status = 400, description = "That is no JSON, or no name of an order, or no time"),
        (status = 403, description = "You may look, and not steer; or the word of your session is missing"),
        (status = 409, description = "There was another order of this name"),
        (status = 415, description = "The body is not said to be JSON"),
        (status = 422, description = "That is no order"),
        (status = 429, description = "Many orders are under way"),
    )
)]
pub(super) async fn give(
    State(access): State<Access>,
    State(orders): State<Orders>,
    Extension(who): Extension<Who>,
    Extension(From(address)): Extension<From>,
    wait: Result<Query<Wait>, QueryRejection>,
    headers: HeaderMap,
    wish: Result<Json<Wish>, JsonRejection>,
) -> Result<Response, Problem> {
    let user = who.operator()?.to_owned();
    let wait = waits(wait)?;
    let Json(wish) = wish.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let id = match headers.get(KEY) {
        Some(key) => key.to_str().ok().filter(|key| is_key(key)).map(str::to_owned).ok_or_else(|| {
            let detail = format!("{KEY}: 1 to {KEY_MAX} letters, digits, '-' or '_' are a name of an order");
            Problem::new(StatusCode::BAD_REQUEST, detail)
        })?,
        None => crate::random::word().map_err(|why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why))?,
    };
    access.stays(&who);
    let order = orders.give(id, Orderer { user, address }, wish.errand()).map_err(|why| match why {
        NotTaken::Other => Problem::new(StatusCode::CONFLICT, format!("{KEY}: there was another order of this name")),
        NotTaken::Full => Problem::new(StatusCode::TOO_MANY_REQUESTS, "many orders are under way: wait").retry_after(2),
    })?;
    Ok(told(order, wait).await)
}

/// How an order stands
#[utoipa::path(
    get,
    path = "/api/v1/commands/{id}",
    operation_id = "follow_order",
    params(("id" = String, Path, description = "Its name"), Wait),
    responses(
        (status = 200, description = "Its end", body = Order),
        (status = 202, description = "It is under way", body = Order),
        (status = 400, description = "That is no text, or no time"),
        (status = 404, description = "There is no order of this name, or no more"),
    )
)]
pub(super) async fn follow(
    State(orders): State<Orders>,
    id: Result<Path<String>, PathRejection>,
    wait: Result<Query<Wait>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let wait = waits(wait)?;
    let order = orders.find(&id);
    let order =
        order.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no order of this name, or no more"))?;
    Ok(told(order, wait).await)
}

fn waits(wait: Result<Query<Wait>, QueryRejection>) -> Result<Duration, Problem> {
    let Query(Wait { wait }) = wait.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    Ok(Duration::from_secs(wait.unwrap_or_default().min(WAIT_MAX)))
}

/// 200 with its end, 202 as long as there is none.
async fn told(mut order: watch::Receiver<Order>, wait: Duration) -> Response {
    // Whoever does not want to wait any longer is told how it stands.
    let _ = timeout(wait, order.wait_for(|order| order.answer.is_some())).await;
    let order = order.borrow().now();
    let status = if order.answer.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, Json(order)).into_response()
}

fn is_key(key: &str) -> bool {
    (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
