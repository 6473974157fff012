//! Imports over HTTP.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use callhistory_model::{CallInput, Handling, ImportQuery, ImportReport, ProblemCode, WorkspaceId};
use callhistory_store::{Exhausted, Permit};
use futures_util::StreamExt as _;

use crate::{
    auth::caller::{Caller, Writes},
    error::ApiError,
    http::extract::{ImportBody, Parameters, PreferredHandling},
    import::pipeline::{Import, ImportParameters, Target},
    openapi::responses::ImportProblems,
    state::AppState,
};

/// How long the sender may send nothing.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(30);

/// What an import has in memory beyond two usual batches has a share of the budget of bodies, in bytes.
const LARGE_BYTES: usize = 8 * 1024 * 1024;
/// What an import reserves at a time, in bytes.
const STEP_BYTES: usize = 1024 * 1024;
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

/// The shares of the budget of bodies that an import holds.
#[derive(Default)]
struct ImportBudget {
    permits: Vec<Permit>,
    reserved_bytes: usize,
}

impl ImportBudget {
    /// Reserves as much as an import needs that has this number of bytes in memory.
    async fn cover(&mut self, app: &AppState, workspace: &WorkspaceId, buffered_bytes: usize) -> Result<(), ApiError> {
        let budget = &app.body_budget;
        let needed = buffered_bytes.saturating_sub(LARGE_BYTES).min(budget.share_bytes());
        if needed <= self.reserved_bytes {
            return Ok(());
        }
        // Most imports of large records need no more than one of them. Further shares are waited for while holding the first ones:
        // most often a single write has them, and imports that wait for each other are refused in the end.
        let at_least = if self.reserved_bytes == 0 { app.max_record_bytes } else { STEP_BYTES };
        let room = budget.share_bytes() - self.reserved_bytes;
        // Whole units of the budget, which would be rounded up otherwise, beyond the share in the end.
        let more = (needed - self.reserved_bytes).max(at_least).next_multiple_of(1024).min(room);
        self.permits.extend(budget.reserve(workspace, more).await?);
        self.reserved_bytes += more;
        Ok(())
    }
}

/// Import calls
///
/// Accepts a stream of any size. JSON (`application/x-ndjson`, `application/json`) is one record on each line, an array, a
/// page that wraps a list (`{"calls": […]}`), or records one after the other; the first line of CSV (`text/csv`) names the
/// members, and an export of this service is accepted. The text is UTF-8 or UTF-16, with or without a byte order mark; gzip
/// is accepted up to a compression ratio of 100:1 beyond the first MiB.
///
/// Each record is created, replaced or merged, as `mode` says; `createdAt` and `updatedAt` are kept where they are given. By
/// default the handling is lenient: what can be understood is read, unknown members are kept, and the report names what was
/// changed or left out. A record without an `_id` gets one that is derived from its `callId` or, with `source=generic`, from its
/// ID at the platform or its content. The record of another workspace is written to this one. A record that cannot be read is rejected with its line and its errors;
/// the others are written, unless `atomic=true`. If nothing was taken and something was rejected, the status is 422, with the
/// same report.
///
/// Records are written in batches: if the connection is lost, those written so far stay, each of them complete, and the same
/// import can be sent again, in which records that are already stored count as unchanged. An import that sends no byte for 30
/// seconds is aborted. A workspace can run four imports of more than 64 KiB at a time; further ones wait for five seconds.
#[utoipa::path(
    post,
    path = "/v2/api/call-history/batch",
    operation_id = "import_calls",
    tag = "Import and export",
    params(Caller<Writes>, ImportBody, PreferredHandling, Parameters<ImportQuery>),
    security((), ("apiKey" = ["calls:write"]), ("bearer" = ["calls:write"])),
    request_body(
        content(("application/x-ndjson"), (Vec<CallInput> = "application/json"), ("text/csv")),
        description = "A `CallInput` with its `_id` on each line, an array of them, or CSV.",
    ),
    responses(
        (status = 200, description = "Counts of the records, and the errors of rejected ones.", body = ImportReport,
            headers(("Preference-Applied"))),
        ImportProblems,
    ),
)]
pub(crate) async fn import_calls(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Writes>,
    Parameters(query): Parameters<ImportQuery>,
    preference: PreferredHandling,
    ImportBody { format, gzip, body }: ImportBody,
) -> Result<Response, ApiError> {
    let target = Target::Store(Arc::clone(&app.store), workspace.clone());
    let handling = preference.or(Handling::Lenient);
    let settings = ImportParameters { query, handling, max_record_bytes: app.max_record_bytes };
    let mut import = Import::new(target, format, gzip, settings).with_grant(grant.clone());
    let (mut permit, mut budget) = (None, ImportBudget::default());
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
                budget.cover(&app, &workspace, import.buffered_bytes()).await?;
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
    let is_failure = report.aborted || report.is_failure();
    let status = if is_failure { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut response = (status, [content_type], body).into_response();
    preference.add_to(response.headers_mut());
    Ok(response)
}
