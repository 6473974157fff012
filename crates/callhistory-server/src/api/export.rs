//! Whole histories, streamed from one snapshot.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use callhistory_model::{ExportFormat, ExportQuery};
use futures_util::{StreamExt as _, stream};

use crate::{
    auth::caller::{Caller, Exports},
    error::ApiError,
    export_csv::{csv_header, csv_rows},
    http::extract::Parameters,
    openapi::responses::ScanProblems,
    state::AppState,
};

/// Export calls
///
/// Streams every record that matches the filters of the list, newest first, from one consistent snapshot. `ndjson` is one
/// record on each line, exactly as it is stored; the lines can be imported again. `csv` has a header line and one column
/// for each member in the order of the record, with `cost.customer_charge` after `cost`, and the unknown members in the last
/// one, `extra`; columns of later versions are added before it. It can be imported again: each cell is quoted, and a text is
/// exact, also one that a spreadsheet would interpret as a formula. A workspace can run two exports at a time, each for at
/// most an hour; a failed export is aborted without the end of its body.
#[utoipa::path(
    get,
    path = "/v2/api/call-history/export",
    operation_id = "export_calls",
    tag = "Import and export",
    params(Caller<Exports>, Parameters<ExportQuery>),
    security((), ("apiKey" = ["calls:export"]), ("bearer" = ["calls:export"])),
    extensions(("x-group-parameters" = json!(true))),
    responses(
        (status = 200, description = "One `CallRecord` per line for `format=ndjson`, a table (RFC 4180) for `format=csv`.",
            headers(("Content-Disposition")),
            content(("application/x-ndjson"), ("text/csv"))),
        ScanProblems,
    ),
)]
pub(crate) async fn export_calls(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Exports>,
    Parameters(query): Parameters<ExportQuery>,
) -> Result<Response, ApiError> {
    grant.check_filter(&query.filter)?;
    let mut chunks = app.store.export_calls(&workspace, &query.filter).await?;
    // An error before the first record gets an error status instead of an aborted 200.
    let first = chunks.recv().await.transpose()?;
    let format = query.format;
    let head = match format {
        ExportFormat::Ndjson => Bytes::new(),
        ExportFormat::Csv => csv_header()?,
    };
    let rest = stream::unfold(chunks, |mut chunks| async move { Some((chunks.recv().await?, chunks)) });
    let reader = grant.clone();
    let parts = stream::iter(first.map(Ok)).chain(rest).then(move |chunk| {
        let grant = reader.clone();
        async move {
            let lines = chunk?;
            grant.throttle(|| lines.iter().filter(|byte| **byte == b'\n').count()).await;
            let lines = grant.redact_lines(lines)?;
            if format == ExportFormat::Csv { csv_rows(&lines) } else { Ok(lines) }
        }
    });
    // A key that is revoked aborts the export: it must not look complete.
    let parts = stream::unfold(Some((Box::pin(parts), grant)), |state| async move {
        let (mut parts, grant) = state?;
        tokio::select! {
            part = parts.next() => Some((part?.map_err(aborted), Some((parts, grant)))),
            () = grant.ended() => Some((Err(std::io::Error::other("the key has expired or is revoked")), None)),
        }
    });
    let body = stream::iter([Ok(head)]).chain(parts);
    let (media_type, name) = match format {
        ExportFormat::Ndjson => ("application/x-ndjson", "attachment; filename=\"call-history.ndjson\""),
        ExportFormat::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"call-history.csv\""),
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static(name)),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// Aborts the body, so that it does not look complete. The log has the reason.
fn aborted(_: ApiError) -> std::io::Error {
    std::io::Error::other("the export was aborted")
}
