//! Whole histories, streamed from one snapshot.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use callhistory_model::{ExportFormat, ExportQuery, ProblemCode};
use callhistory_store::{Exhausted, Permit, StoreError};
use futures_util::{StreamExt as _, stream};
use tokio::{
    fs::File,
    io::AsyncReadExt as _,
    sync::mpsc,
    time::{Instant, timeout_at},
};

use crate::{
    auth::{
        caller::{Caller, Exports},
        grant::Grant,
    },
    error::ApiError,
    export::{Encoded, Encoder},
    http::extract::Parameters,
    openapi::responses::ScanProblems,
    state::AppState,
};

/// From the start of an export, when a workbook must have been written and sent: its records and its transfer have an hour each.
const FILE_TIMEOUT: Duration = Duration::from_secs(2 * 3600);
const FILE_PART_BYTES: usize = 256 * 1024;

/// Export calls
///
/// Streams every record that matches the filters of the list, newest first or in the order of `sort`, from one consistent
/// snapshot. `ndjson` is one record on each line, exactly as it is stored; the lines can be imported again. `csv` is for programs: a
/// header line and one column for each member in the order of the record; after a time in Unix seconds the same time as RFC 3339
/// (`startTimeIso`), after `cost` the columns `cost.customer_charge` and `cost.currency`, and the unknown members in the last one,
/// `extra`. Texts are exact and quoted, absent values are empty and not quoted; `duration` is filled from start and end. It can be
/// imported again. With `Accept-Encoding: gzip` the body is compressed. A workspace can run two exports at a time, each for at most
/// an hour; a failed export is aborted without the end of its body.
#[utoipa::path(
    get,
    path = "/v2/api/call-history/export",
    operation_id = "export_calls",
    tag = "Import and export",
    params(Caller<Exports>, Parameters<ExportQuery>),
    security((), ("apiKey" = ["calls:export"]), ("bearer" = ["calls:export"])),
    extensions(("x-group-parameters" = json!(true))),
    responses(
        (status = 200, description = "One `CallRecord` per line, or the `fields` of it, for `format=ndjson`, a table (RFC 4180) for `format=csv`, a workbook \
            for `format=xlsx`, Apache Parquet for `format=parquet`.",
            headers(("Content-Disposition")),
            content(
                ("application/x-ndjson"),
                ("text/csv"),
                ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
                ("application/vnd.apache.parquet"),
            )),
        ScanProblems,
    ),
)]
pub(crate) async fn export_calls(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Exports>,
    Parameters(query): Parameters<ExportQuery>,
) -> Result<Response, ApiError> {
    grant.check_filter(&query.filter)?;
    let permit = match query.format {
        ExportFormat::Xlsx => Some(app.workbooks.try_acquire(&workspace, 1).map_err(exhausted)?),
        _ => None,
    };
    let (encoder, head) = Encoder::new(&query)?;
    let mut chunks = app.store.export_calls(&workspace, &query).await?;
    // An error before the first record gets an error status instead of an aborted 200.
    let first = chunks.recv().await.transpose()?;
    let mut export = Export {
        chunks,
        first,
        encoder: Some(encoder),
        file: None,
        deadline: Instant::now() + FILE_TIMEOUT,
        grant,
        _permit: permit,
    };
    let mut headers = headers(query.format);
    if export.has_file() {
        let length = export.write_file().await?;
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let parts = stream::unfold(Some(export), |export| async move {
        let mut export = export?;
        match export.next().await {
            Ok(part) => Some((Ok(part), (!export.is_done()).then_some(export))),
            // Aborts the body, so that it does not look complete. The log has the reason.
            Err(_) => Some((Err(std::io::Error::other("the export was aborted")), None)),
        }
    });
    let body = stream::iter([Ok(head)]).chain(parts);
    Ok((headers, Body::from_stream(body)).into_response())
}

fn exhausted(reason: Exhausted) -> ApiError {
    let (name, detail) = match reason {
        Exhausted::Share => {
            ("workspace_exports", "Two workbooks of this workspace are in progress already; wait for one.")
        }
        Exhausted::Total => ("exports", "Eight workbooks are in progress already; retry."),
    };
    ApiError::refused(name, detail)
}

fn headers(format: ExportFormat) -> HeaderMap {
    let (media_type, name) = match format {
        ExportFormat::Ndjson => ("application/x-ndjson", "attachment; filename=\"call-history.ndjson\""),
        ExportFormat::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"call-history.csv\""),
        ExportFormat::Xlsx => (format.media_type(), "attachment; filename=\"call-history.xlsx\""),
        ExportFormat::Parquet => (format.media_type(), "attachment; filename=\"call-history.parquet\""),
    };
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static(name)),
    ])
}

/// An export in progress.
struct Export {
    chunks: mpsc::Receiver<Result<Bytes, StoreError>>,
    first: Option<Bytes>,
    /// `None` after the last record.
    encoder: Option<Encoder>,
    /// What is sent after the last record.
    file: Option<File>,
    /// When a client must have read the file.
    deadline: Instant,
    grant: Grant,
    _permit: Option<Permit>,
}

impl Export {
    fn has_file(&self) -> bool {
        self.encoder.as_ref().is_some_and(Encoder::has_file)
    }

    fn is_done(&self) -> bool {
        self.encoder.is_none() && self.file.is_none()
    }

    /// The next part of the body, while the key is accepted: an aborted export does not look complete.
    async fn next(&mut self) -> Result<Bytes, ApiError> {
        let grant = self.grant.clone();
        tokio::select! {
            part = async { if self.file.is_some() { self.read_file().await } else { self.encode().await } } => part,
            () = grant.ended() => Err(ApiError::new(ProblemCode::KeyRevoked, "The key has expired or is revoked.")),
        }
    }

    /// Encodes all records to a file, and returns its size. An error gets an error status.
    async fn write_file(&mut self) -> Result<u64, ApiError> {
        while self.encoder.is_some() {
            self.next().await?;
        }
        let Some(file) = &self.file else { return Ok(0) };
        Ok(file.metadata().await.map_err(|error| ApiError::internal(&error))?.len())
    }

    async fn encode(&mut self) -> Result<Bytes, ApiError> {
        let lines = match self.first.take() {
            Some(first) => Some(first),
            None => self.chunks.recv().await.transpose()?,
        };
        let lines = match lines {
            Some(lines) => {
                self.grant.throttle(|| lines.iter().filter(|byte| **byte == b'\n').count()).await;
                Some(self.grant.redact_lines(lines)?)
            }
            None => None,
        };
        let Some(mut encoder) = self.encoder.take() else { return Ok(Bytes::new()) };
        if let Some(lines) = lines.clone().filter(|_| encoder.is_identity()) {
            self.encoder = Some(encoder);
            return Ok(lines);
        }
        // Not on a thread that other requests wait for.
        let encoded = tokio::task::spawn_blocking(move || match lines {
            Some(lines) => encoder.push(lines).map(|part| (Encoded::Rest(part), Some(encoder))),
            None => encoder.finish().map(|end| (end, None)),
        });
        let (end, encoder) = encoded.await.map_err(|error| ApiError::internal(&error))??;
        self.encoder = encoder;
        Ok(match end {
            Encoded::Rest(part) => part,
            Encoded::File(file) => {
                self.file = Some(file.into());
                Bytes::new()
            }
        })
    }

    async fn read_file(&mut self) -> Result<Bytes, ApiError> {
        let Some(file) = &mut self.file else { return Ok(Bytes::new()) };
        let mut part = BytesMut::with_capacity(FILE_PART_BYTES);
        let read = timeout_at(self.deadline, file.read_buf(&mut part)).await;
        let read = read.map_err(|_| ApiError::internal(&"a workbook was read too slowly"))?;
        if read.map_err(|error| ApiError::internal(&error))? == 0 {
            self.file = None;
        }
        Ok(part.freeze())
    }
}
