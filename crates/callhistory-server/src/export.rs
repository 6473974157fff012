//! Whole histories, streamed from one snapshot.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use callhistory_model::{CallRecord, ExportFormat, ExportQuery, WorkspaceId};
use futures_util::stream;
use serde_json::value::RawValue;

use crate::{
    app::App,
    auth::{Caller, Exports},
    error::{ApiError, ScanProblems},
    extract::Parameters,
    parameters::ExportParameters,
};

/// Export call records
///
/// Streams every record that meets the conditions of the list, newest call first, as it is at one moment, whatever is
/// written meanwhile. `ndjson` is one record on each line, exactly as it is stored; the lines can be imported again.
/// `csv` has a header line and a column for each member in the order of the record, and `cost.customer_charge` after
/// `cost`; columns of later versions come last. Each cell is in quotes; a text that a spreadsheet would take for a
/// formula, one that starts with `=`, `+`, `-`, `@`, a tab or a line break, has an apostrophe in front. Two exports of a
/// workspace run at a time, each for at most an hour; an export that fails is broken off without the end of its body.
#[utoipa::path(
    get,
    path = "/v2/api/call-history/export",
    operation_id = "export_calls",
    tag = "Transfer",
    params(
        ("x-workspace-id" = inline(WorkspaceId), Header, description = "The workspace, exactly once: 1 to 128 characters of `[A-Za-z0-9_-]`."),
        ExportParameters,
    ),
    responses(
        (status = 200, description = "The records: with `format=ndjson` a `CallRecord` on each line, with `format=csv` a table (RFC 4180).",
            headers(("content-disposition" = String, description = "The name of a file to keep it under.")),
            content(("application/x-ndjson"), ("text/csv"))),
        ScanProblems,
    ),
)]
pub(crate) async fn export_calls(
    State(app): State<Arc<App>>,
    Caller { workspace, access, .. }: Caller<Exports>,
    Parameters(query): Parameters<ExportQuery>,
) -> Result<Response, ApiError> {
    access.check_filter(&query.filter)?;
    let mut chunks = app.store.export_calls(&workspace, &query.filter).await?;
    // What fails before the first record is answered as an error, and not as the break-off of a success.
    let first = chunks.recv().await.transpose()?;
    let format = query.format;
    let head = match format {
        ExportFormat::Ndjson => Bytes::new(),
        ExportFormat::Csv => csv_header()?,
    };
    let rest = stream::unfold(chunks, |mut chunks| async move { Some((chunks.recv().await?, chunks)) });
    let records = stream::StreamExt::chain(stream::iter(first.map(Ok)), rest);
    let (shown, paced) = (access.clone(), access.clone());
    let records = stream::StreamExt::then(records, move |chunk| {
        let access = paced.clone();
        async move {
            if let Ok(lines) = &chunk {
                access.pace(|| lines.iter().filter(|byte| **byte == b'\n').count()).await;
            }
            chunk
        }
    });
    let written = stream::StreamExt::map(records, move |chunk| {
        let lines = shown.show_lines(chunk?)?;
        if format == ExportFormat::Csv { csv_rows(&lines) } else { Ok(lines) }
    });
    let written = stream::StreamExt::map(written, |chunk| chunk.map_err(broken_off));
    // A key that is revoked in the middle breaks the export off: it must not look complete.
    let parts = (Box::pin(written), access);
    let written = stream::unfold(Some(parts), |parts| async move {
        let (mut written, access) = parts?;
        tokio::select! {
            chunk = stream::StreamExt::next(&mut written) => Some((chunk?, Some((written, access)))),
            () = access.ended() => Some((Err(std::io::Error::other("the key is over")), None)),
        }
    });
    let body = stream::StreamExt::chain(stream::iter([Ok(head)]), written);
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

/// Ends the body without its end, so that nobody takes it for the whole. Why is in the log.
fn broken_off(_: ApiError) -> std::io::Error {
    std::io::Error::other("the export was broken off")
}

/// The column of the one amount that everyone reads.
const CHARGE: &str = "cost.customer_charge";

fn columns() -> impl Iterator<Item = &'static str> {
    CallRecord::MEMBERS.iter().flat_map(|name| std::iter::once(*name).chain((*name == "cost").then_some(CHARGE)))
}

fn write_csv(rows: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> csv::Result<()>) -> Result<Bytes, ApiError> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        // Whatever a spreadsheet takes for the separator stays inside its cell.
        .quote_style(csv::QuoteStyle::Always)
        .from_writer(Vec::new());
    rows(&mut writer).map_err(|error| ApiError::internal(&error))?;
    writer.into_inner().map(Bytes::from).map_err(|error| ApiError::internal(&error))
}

/// The first line of the table.
pub(crate) fn csv_header() -> Result<Bytes, ApiError> {
    write_csv(|writer| writer.write_record(columns()))
}

/// The lines of records as rows of the table.
pub(crate) fn csv_rows(lines: &[u8]) -> Result<Bytes, ApiError> {
    let records: Result<Vec<CallRecord>, _> =
        serde_json::Deserializer::from_slice(lines).into_iter::<CallRecord>().collect();
    let records = records.map_err(|error| ApiError::internal(&error))?;
    let cells: Result<Vec<Vec<String>>, serde_json::Error> = records.iter().map(cells).collect();
    let cells = cells.map_err(|error| ApiError::internal(&error))?;
    write_csv(|writer| cells.iter().try_for_each(|row| writer.write_record(row)))
}

fn cells(record: &CallRecord) -> Result<Vec<String>, serde_json::Error> {
    let json = record.to_json();
    let members: std::collections::HashMap<&str, &RawValue> = serde_json::from_slice(&json)?;
    let charge = record.cost.as_ref().and_then(|cost| cost.customer_charge()).map(ToString::to_string);
    let cell = |name| match name {
        CHARGE => Ok(charge.clone().unwrap_or_default()),
        name => match members.get(name).map(|value| value.get()) {
            None => Ok(String::new()),
            Some(text) if text.starts_with('"') => serde_json::from_str(text).map(unformula),
            Some(json) => Ok(json.to_owned()),
        },
    };
    columns().map(cell).collect()
}

/// A text that no spreadsheet takes for a formula, in wide characters and behind blanks included.
fn unformula(text: String) -> String {
    let is_blank = |c: char| c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}');
    let starts = text
        .trim_start_matches(is_blank)
        .starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    if starts || text.starts_with(['\t', '\r', '\n']) { format!("'{text}") } else { text }
}
