//! Paths and their answers.

use std::sync::{Arc, PoisonError};

use axum::extract::{Path, Query as Params, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::guard::guard;
use super::listener::Scope;
use super::{AlarmRow, DeviceRow, Handle, Query, STALLED, Status, metrics};
use crate::config::access::Door;

/// Most rows in one answer, and how many without `limit`.
pub const LIMIT: usize = 100;
const LIMIT_DEFAULT: usize = 25;

/// Most recent points of a row in a list, and how many without `points`.
pub const POINTS: usize = 120;
const POINTS_DEFAULT: usize = 60;

/// Most bytes of `search`.
pub const SEARCH: usize = 256;

/// What every route has at hand.
#[derive(Clone)]
pub(super) struct App {
    handle: Handle,
    metrics: Arc<Registry>,
    pub(super) scope: Scope,
    pub(super) door: watch::Receiver<Door>,
}

/// All routes. `scope`: where it listens; `door`: what visitors need.
pub(super) fn router(handle: Handle, scope: Scope, door: watch::Receiver<Door>) -> Router {
    let metrics = Arc::new(metrics::registry(Arc::clone(&handle.status)));
    let app = App { handle, metrics, scope, door };
    Router::new()
        .route("/", get(|| file("text/html; charset=utf-8", include_str!("page.html"))))
        .route("/page.js", get(|| file("text/javascript; charset=utf-8", include_str!("page.js"))))
        .route(
            "/chart.js",
            get(|| file("text/javascript; charset=utf-8", include_str!("chart.js"))),
        )
        .route("/page.css", get(|| file("text/css; charset=utf-8", include_str!("page.css"))))
        .route("/icon.svg", get(|| file("image/svg+xml", include_str!("icon.svg"))))
        .route("/metrics", get(scrape))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/status", get(status))
        .route("/api/series", get(series))
        .route("/api/series/{device}/{metric}", get(one))
        .route("/api/alarms", get(alarms))
        .fallback(async || error(StatusCode::NOT_FOUND, "no such path; see / for the page"))
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

async fn file(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

pub(super) fn error(code: StatusCode, text: &str) -> Response {
    (code, Json(serde_json::json!({ "error": text }))).into_response()
}

async fn scrape(State(app): State<App>, headers: HeaderMap) -> Response {
    let open = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("application/openmetrics-text"));
    let page = metrics::open_metrics(&app.metrics)
        .and_then(|page| if open { Ok(page) } else { metrics::classic(&page) });
    let kind = if open { metrics::OPEN_METRICS } else { metrics::CLASSIC };
    match page {
        Ok(page) => ([(header::CONTENT_TYPE, kind)], page).into_response(),
        Err(fault) => error(StatusCode::INTERNAL_SERVER_ERROR, &format!("metrics: {fault}")),
    }
}

/// Why the daemon is not healthy, if it is not.
fn stalled(handle: &Handle) -> Option<String> {
    let stalled = handle.progress.stalled_for();
    (stalled >= STALLED).then(|| {
        format!("the pipeline has made no progress for {} s; see the log", stalled.as_secs())
    })
}

fn health(fault: Option<String>, good: &'static str) -> Response {
    match fault {
        None => good.into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}

async fn healthz(State(app): State<App>) -> Response {
    health(stalled(&app.handle), "ok\n")
}

async fn readyz(State(app): State<App>) -> Response {
    let unready = {
        let status = app.handle.status.read().unwrap_or_else(PoisonError::into_inner);
        (!status.ready)
            .then(|| status.not_ready_reason.clone().unwrap_or_else(|| "not ready".to_owned()))
    };
    health(unready.or_else(|| stalled(&app.handle)), "ready\n")
}

async fn status(State(app): State<App>) -> Response {
    #[derive(Serialize)]
    struct Report<'a> {
        #[serde(flatten)]
        status: &'a Status,
        stalled_s: f64,
    }
    let stalled_s = app.handle.progress.stalled_for().as_secs_f64();
    let status = app.handle.status.read().unwrap_or_else(PoisonError::into_inner);
    Json(Report { status: &status, stalled_s }).into_response()
}

#[derive(Deserialize)]
struct SeriesParams {
    #[serde(default)]
    search: String,
    limit: Option<usize>,
    after: Option<String>,
    points: Option<usize>,
}

#[derive(Serialize)]
struct SeriesPage {
    series: Vec<DeviceRow>,
    next: Option<String>,
}

async fn series(State(app): State<App>, Params(params): Params<SeriesParams>) -> Response {
    if params.search.len() > SEARCH {
        return error(StatusCode::BAD_REQUEST, "search: at most 256 bytes");
    }
    // The mark is JSON, so that any name can be in it; clients hand it back as it came.
    let after = match params.after.as_deref().filter(|after| !after.is_empty()) {
        None => None,
        Some(mark) => match serde_json::from_str::<(String, String)>(mark) {
            Ok(after) => Some(after),
            Err(_) => {
                return error(StatusCode::BAD_REQUEST, "after: take it from `next` of an answer");
            }
        },
    };
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT);
    let points = params.points.unwrap_or(POINTS_DEFAULT).min(POINTS);
    let (reply, answer) = oneshot::channel();
    // One more than wanted tells whether there is a next page.
    let query = Query::Series { search: params.search, after, limit: limit + 1, reply };
    let mut series = match ask(&app.handle, query, answer).await {
        Ok(series) => series,
        Err(response) => return *response,
    };
    let more = series.len() > limit;
    series.truncate(limit);
    let last = series.last().filter(|_| more);
    let next = last.map(|row| serde_json::json!([row.device, row.metric]).to_string());
    for row in &mut series {
        row.history.drain(..row.history.len().saturating_sub(points));
    }
    Json(SeriesPage { series, next }).into_response()
}

#[derive(Deserialize)]
struct AlarmParams {
    limit: Option<usize>,
}

async fn alarms(State(app): State<App>, Params(params): Params<AlarmParams>) -> Response {
    let limit = params.limit.unwrap_or(LIMIT).clamp(1, LIMIT);
    let (reply, answer) = oneshot::channel();
    let mut alarms = match ask(&app.handle, Query::Alarms { limit, reply }, answer).await {
        Ok(alarms) => alarms,
        Err(response) => return *response,
    };
    let status = app.handle.status.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(input) = &status.input_alarm {
        alarms.alarms.insert(0, AlarmRow::of(&input.0));
        alarms.alarms.truncate(limit);
        alarms.total += 1;
    }
    Json(alarms).into_response()
}

async fn one(State(app): State<App>, Path((device, metric)): Path<(String, String)>) -> Response {
    let (reply, answer) = oneshot::channel();
    match ask(&app.handle, Query::One { device, metric, reply }, answer).await {
        Ok(Some(row)) => Json(row).into_response(),
        Ok(None) => error(StatusCode::NOT_FOUND, "no such series; /api/series lists them"),
        Err(response) => *response,
    }
}

/// Asks the pipeline and waits for [`super::PATIENCE`]; else the 503 to answer with.
async fn ask<T>(
    handle: &Handle,
    query: Query,
    answer: oneshot::Receiver<T>,
) -> Result<T, Box<Response>> {
    let busy = |text| Err(Box::new(error(StatusCode::SERVICE_UNAVAILABLE, text)));
    if !(handle.ask)(query) {
        return busy("the pipeline is busy or stopped; ask again");
    }
    match tokio::time::timeout(handle.patience, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => busy("the pipeline gave no answer; it may be stopping"),
        Err(_) => busy("the pipeline did not answer in time; ask again"),
    }
}
