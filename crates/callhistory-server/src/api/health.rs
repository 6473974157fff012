//! Health checks and metrics of the process.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use callhistory_model::ProblemCode;
use callhistory_store::StoreError;

use crate::{error::ApiError, http::extract::NoQuery, state::AppState};

/// The routes for operators and their tools. They are not part of the contract with client teams.
pub(crate) fn routes() -> Router<Arc<AppState>> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

/// Health checks and metrics, for the operations address.
pub(crate) fn operations_routes() -> Router<Arc<AppState>> {
    routes().route("/metrics", get(metrics))
}

/// Liveness: says nothing about the store, so that a supervisor does not restart a process that waits for a disk.
async fn healthz(_: NoQuery) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], r#"{"status":"alive"}"#)
}

/// The service accepts requests: the store reads and writes, keys can be read, and no shutdown is in progress.
async fn readyz(State(app): State<Arc<AppState>>, _: NoQuery) -> Result<impl IntoResponse, ApiError> {
    let mut reasons = Vec::new();
    if app.stop.is_cancelled() {
        reasons.push("service: is stopping");
    }
    if let Err(error) = app.store.check().await {
        reasons.push(reason(&error));
    }
    if let Some(keys) = &app.keys
        && !keys.can_be_read().await
    {
        reasons.push("keys: cannot be read; no caller can be authorized");
    }
    if reasons.is_empty() {
        return Ok(([(header::CONTENT_TYPE, "application/json")], r#"{"status":"ready"}"#));
    }
    Err(ApiError::new(ProblemCode::Unavailable, reasons.join("; ")))
}

/// What is wrong with the store, without what only the log may say.
fn reason(error: &StoreError) -> &'static str {
    match error {
        StoreError::Full(_) => "store: the disk is full; reads and deletions go on, other writes do not",
        StoreError::ReadOnly(_) => "store: the disk does not accept writes; reads go on",
        StoreError::Io(_) => "store: the disk failed; look at it and restart the service",
        StoreError::Unavailable(_) | StoreError::Busy(_) => "store: does not take work; the log says why",
        _ => "store: failed; the log says why",
    }
}

async fn metrics(State(app): State<Arc<AppState>>, _: NoQuery) -> Response {
    let Some(metrics) = &app.metrics else { return StatusCode::NOT_FOUND.into_response() };
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, media_type)], metrics.render(&*app.store)).into_response()
}
