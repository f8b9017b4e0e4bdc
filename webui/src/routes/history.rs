//! What has happened: the same entries as `avamgr history --json`, and what led to one of them, as `avamgr why`.

use std::sync::Arc;

use avamgr::cli::args::severity;
use avamgr::history::HELD_MAX;
use avamgr::history::why::{Explanation, explain, question};
use avamgr::moment::moment;
use avamgr_core::control::{Filter, HistoryEntry, Request};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use utoipa::ToSchema;

use crate::daemon::Feed;
use crate::problem::Problem;
use crate::questions::{Answer, NoAnswer, Questions};

/// How many are told unless somebody says.
const LAST: usize = 100;

/// What is asked.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// At most so many of the last; 100 unless given, and never more than 1024.
    last: Option<usize>,
    /// Only those with smaller numbers.
    #[param(format = "uint64")]
    before: Option<u64>,
    /// Only from this moment on: RFC 3339, or how long ago.
    since: Option<String>,
    /// Only up to this moment.
    until: Option<String>,
    /// Only what matters at least so much.
    severity: Option<String>,
    /// Only what is about this group.
    group: Option<String>,
    /// Only what has this text in its sentence.
    text: Option<String>,
}

impl Order {
    /// What the daemon is asked; at most `most`, or `last` unless somebody says.
    fn request(self, last: usize, most: usize) -> Result<Request, Problem> {
        let Self { last: wanted, before, since, until, severity: least, group, text } = self;
        // The fields of a form that nobody has filled in say nothing.
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let filter = Filter {
            since: given(since).as_deref().map(moment).transpose().map_err(|why| bad("since", &why))?,
            until: given(until).as_deref().map(moment).transpose().map_err(|why| bad("until", &why))?,
            severity: given(least).as_deref().map(severity).transpose().map_err(|why| bad("severity", &why))?,
            group: given(group),
            text: given(text),
        };
        Ok(Request::History { last: wanted.unwrap_or(last).min(most), follow: false, before, filter })
    }
}

fn bad(what: &str, why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("{what}: {why}"))
}

impl From<NoAnswer> for Problem {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::Full => Self::new(StatusCode::SERVICE_UNAVAILABLE, "too many search at once").retry_after(1),
            NoAnswer::Unknown(why) => Self::new(StatusCode::SERVICE_UNAVAILABLE, why),
            NoAnswer::Refused(why) => Self::new(StatusCode::BAD_REQUEST, why),
        }
    }
}

/// What has happened.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = History)]
struct Document<'a> {
    /// Why the last of what happened may not be here.
    trouble: Option<String>,
    /// The oldest first.
    entries: Vec<&'a HistoryEntry>,
}

/// What has happened, the oldest first
#[utoipa::path(
    get,
    path = "/api/v1/history",
    params(Order),
    responses(
        (status = 200, description = "The last entries", body = Document),
        (status = 400, description = "That cannot be asked"),
        (status = 503, description = "Nothing is known of it, or too many connections"),
    )
)]
pub(super) async fn history(
    State(feed): State<Feed>,
    State(questions): State<Questions>,
    order: Result<Query<Order>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(order) = order.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let request = order.request(LAST, HELD_MAX)?;
    let Request::History { last, before: None, ref filter, .. } = request else {
        return Ok(told(&questions.ask_all(&request).await?));
    };
    if !filter.is_everything() {
        return Ok(told(&questions.ask_all(&request).await?));
    }
    // The last ones are known, also while the daemon is away.
    let (entries, trouble) = (feed.history().last(last), feed.trouble());
    if let Some(why) = trouble.as_ref().filter(|_| entries.is_empty()) {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why.clone()));
    }
    Ok(Json(Document { trouble, entries: entries.iter().map(Arc::as_ref).collect() }).into_response())
}

fn told(entries: &[HistoryEntry]) -> Response {
    Json(Document { trouble: None, entries: entries.iter().collect() }).into_response()
}

/// All that fits as JSON lines, the oldest first
#[utoipa::path(
    get,
    path = "/api/v1/history/export",
    params(Order),
    responses(
        (status = 200, description = "An entry in each line", body = HistoryEntry, content_type = "application/x-ndjson"),
        (status = 400, description = "That cannot be asked"),
        (status = 503, description = "The daemon does not answer, or too many search at once"),
    )
)]
pub(super) async fn export(
    State(questions): State<Questions>,
    order: Result<Query<Order>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(order) = order.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let request = order.request(usize::MAX, usize::MAX)?;
    let place = questions.export()?;
    let answer = questions.ask(&request).await?;
    let lines = unfold((taken(answer), place), |(mut lines, place)| async move {
        let line = lines.recv().await?;
        Some((line, (lines, place)))
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// Takes the answer from the daemon at its pace, whatever the reader's: it waits for nobody. There is no more of it than the
/// store may hold, and not many are under way at once.
fn taken(mut answer: Answer) -> UnboundedReceiver<Result<Bytes, std::io::Error>> {
    let (sender, lines) = unbounded_channel();
    tokio::spawn(async move {
        loop {
            let line = match answer.next().await {
                Ok(Some(entry)) => serde_json::to_vec(&entry).map_err(std::io::Error::other),
                Ok(None) => return,
                // The reader sees that this was not all.
                Err(why) => Err(std::io::Error::other(format!("{why:?}"))),
            };
            let is_over = line.is_err();
            let line = line.map(|mut line| {
                line.push(b'\n');
                Bytes::from(line)
            });
            if sender.send(line).is_err() || is_over {
                return;
            }
        }
    });
    lines
}

/// What led to an event
#[utoipa::path(
    get,
    path = "/api/v1/history/{number}/why",
    params(("number" = u64, Path, description = "Of the event")),
    responses(
        (status = 200, description = "The event, and what led to it", body = Explanation),
        (status = 400, description = "That is no number"),
        (status = 404, description = "There is no such event, or no more"),
        (status = 503, description = "The daemon does not answer, or too many search at once"),
    )
)]
pub(super) async fn why(
    State(questions): State<Questions>,
    number: Result<Path<u64>, PathRejection>,
) -> Result<Json<Explanation>, Problem> {
    let Path(number) = number.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let entries = questions.ask_all(&question(number)).await?;
    explain(number, &entries).map(Json).map_err(|why| Problem::new(StatusCode::NOT_FOUND, why))
}
