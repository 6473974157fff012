//! Whether the process lives and whether it can serve.

use std::sync::Arc;

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};

use crate::{app::App, error::ApiError, extract::NoQuery};

/// The routes for operators and their tools. They are not part of the contract with client teams.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

fn status(body: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], body)
}

/// The process answers. Says nothing about the store, so that a supervisor does not restart what waits for a disk.
async fn healthz(_: NoQuery) -> impl IntoResponse {
    status(r#"{"status":"alive"}"#)
}

/// The store reads and writes.
async fn readyz(State(app): State<Arc<App>>, _: NoQuery) -> Result<impl IntoResponse, ApiError> {
    app.store.check().await?;
    Ok(status(r#"{"status":"ready"}"#))
}
