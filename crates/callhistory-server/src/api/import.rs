//! Imports over HTTP.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use callhistory_model::{CallInput, ImportReport, ProblemCode};
use callhistory_store::Exhausted;
use futures_util::StreamExt as _;

use crate::{
    auth::caller::{Caller, Writes},
    error::ApiError,
    http::extract::{ImportBody, NoQuery},
    import::pipeline::{Import, Target},
    openapi::responses::ImportProblems,
    state::AppState,
};

/// How long the sender may send nothing.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Imports with less in memory do not count, in bytes: the limit of connections bounds them.
const FREE_BYTES: usize = 64 * 1024;

fn exhausted(reason: Exhausted) -> ApiError {
    let (name, detail) = match reason {
        Exhausted::Share => {
            ("workspace_imports", "Four imports of this workspace are in progress already; wait for one.")
        }
        Exhausted::Total => ("imports", "Sixteen imports are in progress already; retry."),
    };
    ApiError::refused(name, detail)
}

/// Import calls
///
/// Accepts a stream of any size: one record on each line (`application/x-ndjson`), or an array of records
/// (`application/json`); gzip is accepted up to a compression ratio of 100:1 beyond the first MiB. Each record has an
/// `_id` and is created or replaced as by `replace_call`; `createdAt` and `updatedAt` are kept where they are given. A
/// record that breaks a rule is rejected with its line and its errors; the others are written. Records are written in
/// batches: if the connection is lost, those written so far stay, each of them complete, and the same import can be sent
/// again, in which records that are already stored count as unchanged. A record has at most 1,048,576 bytes. An import
/// that sends no byte for 30 seconds is aborted. A workspace can run four imports of more than 64 KiB at a time; further
/// ones wait for five seconds.
#[utoipa::path(
    post,
    path = "/v2/api/call-history/batch",
    operation_id = "import_calls",
    tag = "Import and export",
    params(Caller<Writes>, ImportBody),
    security((), ("apiKey" = ["calls:write"]), ("bearer" = ["calls:write"])),
    request_body(
        content(("application/x-ndjson"), (Vec<CallInput> = "application/json")),
        description = "A `CallInput` with its `_id` on each line, or an array of them.",
    ),
    responses(
        (status = 200, description = "Counts of the records, and the errors of rejected ones.", body = ImportReport),
        ImportProblems,
    ),
)]
pub(crate) async fn import_calls(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Writes>,
    _: NoQuery,
    ImportBody { format, gzip, body }: ImportBody,
) -> Result<Response, ApiError> {
    let mut import = Import::new(Target::Store(Arc::clone(&app.store), workspace.clone()), format, gzip);
    let mut permit = None;
    import.grant = Some(grant.clone());
    let mut chunks = body.into_data_stream();
    let mut ended = std::pin::pin!(grant.ended());
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(PAUSE_TIMEOUT, chunks.next()) => next,
            () = &mut ended => {
                let detail = "The key has expired or is revoked; the records before it stay.";
                return Err(ApiError::new(ProblemCode::KeyRevoked, detail));
            }
        };
        match next {
            Ok(Some(Ok(chunk))) => {
                import.push(&chunk, &app.now()).await?;
                if permit.is_none() && import.buffered_bytes() > FREE_BYTES {
                    permit = Some(app.imports.acquire_many(&workspace, 1).await.map_err(exhausted)?);
                }
            }
            Ok(None) => break,
            Ok(Some(Err(_))) => {
                return Err(ApiError::new(ProblemCode::InvalidRequest, "The body ended early."));
            }
            Err(_) => {
                return Err(ApiError::new(ProblemCode::RequestTimeout, "No byte of the body arrived for 30 seconds."));
            }
        }
    }
    let report = import.finish(&app.now()).await?;
    let body = serde_json::to_vec(&report).map_err(|error| ApiError::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}
