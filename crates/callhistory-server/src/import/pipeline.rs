//! The import pipeline: splits a stream of any size into records, parses them strictly, and writes them in batches.

use std::{io::Write as _, sync::Arc};

use callhistory_model::{
    CallId, CallInput, CallRecord, FieldError, FieldErrorCode, FieldErrors, ImportError, ImportReport, ProblemCode,
    Timestamp, WorkspaceId,
};
use callhistory_store::{CallStore, StoreError, WriteOutcome, check_new_call};
use flate2::write::MultiGzDecoder;
use tokio::task::JoinHandle;

use super::{
    format::ImportFormat,
    record_splitter::{RawRecord, RecordSplitter},
};
use crate::{auth::grant::Grant, error::ApiError};

/// Records of one batch, which is one transaction.
const BATCH_RECORDS: usize = 1000;
/// The size at which a batch is full, in bytes.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Compressed bytes that are decompressed at a time, to at most a thousand times as many.
const GZIP_STEP: usize = 1024;
/// The largest compression ratio of a body. It does not apply to the first decompressed bytes, which are few: each of their
/// records is processed before the body is refused.
const GZIP_RATIO: u64 = 100;
const GZIP_FREE_BYTES: u64 = 1024 * 1024;

/// Why an import was aborted.
#[derive(Debug, thiserror::Error)]
pub enum ImportFailure {
    /// The store failed; what was written before stays.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream is not an array of records, but should be.
    #[error("the body is not a JSON array of records")]
    NotAnArray,
    /// The stream is not gzip, but should be.
    #[error("the body is not gzip: {0}")]
    Gzip(std::io::Error),
    /// The compression ratio of the stream is too high.
    #[error("the body decompresses to more than {GZIP_RATIO} times its size")]
    Bomb,
}

impl From<ImportFailure> for ApiError {
    fn from(failure: ImportFailure) -> Self {
        match failure {
            ImportFailure::Store(StoreError::Full(reason)) => {
                tracing::error!(reason, "the disk is full");
                Self::new(
                    ProblemCode::StorageFull,
                    "The disk is full; records written so far stay. Send the import again when there is space.",
                )
            }
            ImportFailure::Store(error) => error.into(),
            ImportFailure::NotAnArray => {
                Self::new(ProblemCode::MalformedJson, "The body is not a JSON array of records.")
            }
            ImportFailure::Gzip(_) => {
                Self::new(ProblemCode::InvalidRequest, "The body is not gzip, as Content-Encoding says.")
            }
            ImportFailure::Bomb => Self::new(
                ProblemCode::BodyTooLarge,
                format!("The body decompresses to more than {GZIP_RATIO} times its size; send it uncompressed."),
            ),
        }
    }
}

/// A batch that is being written: the line of each record, and its outcome.
struct BatchInFlight {
    lines: Vec<u64>,
    outcomes: JoinHandle<Result<Vec<Result<WriteOutcome, FieldErrors>>, StoreError>>,
}

/// What an import does with its records.
#[derive(Clone)]
pub enum Target {
    /// Writes them to a workspace.
    Store(Arc<dyn CallStore>, WorkspaceId),
    /// Only checks them, for a workspace or for the one that each names. Valid records count as created.
    Check(Option<WorkspaceId>),
}

impl Target {
    fn workspace(&self) -> Option<&WorkspaceId> {
        match self {
            Self::Store(_, workspace) => Some(workspace),
            Self::Check(workspace) => workspace.as_ref(),
        }
    }
}

/// An import in progress: bytes go in, records are written to the store. Its memory does not grow with the stream.
pub struct Import {
    target: Target,
    /// What the caller may do; `None` for the operator.
    pub(crate) grant: Option<Grant>,
    gzip: Option<MultiGzDecoder<Vec<u8>>>,
    compressed_bytes: u64,
    decompressed_bytes: u64,
    splitter: RecordSplitter,
    batch: Vec<RawRecord>,
    batch_bytes: usize,
    /// The previous batch, which is written while this one is read.
    in_flight: Option<BatchInFlight>,
    report: ImportReport,
}

impl Import {
    /// An import.
    #[must_use]
    pub fn new(target: Target, form: ImportFormat, gzip: bool) -> Self {
        Self {
            target,
            grant: None,
            gzip: gzip.then(|| MultiGzDecoder::new(Vec::new())),
            compressed_bytes: 0,
            decompressed_bytes: 0,
            splitter: RecordSplitter::new(form, CallRecord::DEFAULT_MAX_BYTES),
            batch: Vec::new(),
            batch_bytes: 0,
            in_flight: None,
            report: ImportReport::default(),
        }
    }

    /// The outcome so far, without the last batches.
    #[must_use]
    pub fn report(&self) -> &ImportReport {
        &self.report
    }

    /// The bytes of records that wait to be written.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.batch_bytes + self.splitter.buffered_bytes()
    }

    /// Processes the next bytes of the stream.
    ///
    /// # Errors
    ///
    /// The import is aborted; records that were written stay.
    pub async fn push(&mut self, bytes: &[u8], now: &Timestamp) -> Result<(), ImportFailure> {
        if self.gzip.is_none() {
            return self.split(bytes, now).await;
        }
        for step in bytes.chunks(GZIP_STEP) {
            let plain = self.decompress(step)?;
            self.split(&plain, now).await?;
        }
        Ok(())
    }

    fn decompress(&mut self, compressed: &[u8]) -> Result<Vec<u8>, ImportFailure> {
        let Some(decoder) = &mut self.gzip else { return Ok(Vec::new()) };
        decoder.write_all(compressed).map_err(ImportFailure::Gzip)?;
        decoder.flush().map_err(ImportFailure::Gzip)?;
        let plain = std::mem::take(decoder.get_mut());
        self.compressed_bytes += compressed.len() as u64;
        self.decompressed_bytes += plain.len() as u64;
        if self.decompressed_bytes > GZIP_FREE_BYTES + GZIP_RATIO * self.compressed_bytes {
            return Err(ImportFailure::Bomb);
        }
        Ok(plain)
    }

    async fn split(&mut self, bytes: &[u8], now: &Timestamp) -> Result<(), ImportFailure> {
        // In steps, so that a large chunk does not make a large batch.
        for step in bytes.chunks(8 * 1024) {
            let before = self.batch.len();
            self.splitter.push(step, &mut self.batch);
            if self.splitter.is_no_array {
                return Err(ImportFailure::NotAnArray);
            }
            self.batch_bytes += self.batch[before..].iter().map(RawRecord::size).sum::<usize>();
            if self.batch.len() >= BATCH_RECORDS || self.batch_bytes >= BATCH_BYTES {
                self.write_batch(now).await?;
            }
        }
        Ok(())
    }

    /// Ends the stream, and waits until all records are on disk.
    ///
    /// # Errors
    ///
    /// The last records could not be written; earlier ones stay.
    pub async fn finish(mut self, now: &Timestamp) -> Result<ImportReport, ImportFailure> {
        if let Some(mut decoder) = self.gzip.take() {
            decoder.try_finish().map_err(ImportFailure::Gzip)?;
            let plain = std::mem::take(decoder.get_mut());
            self.split(&plain, now).await?;
        }
        self.splitter.finish(&mut self.batch);
        if self.splitter.is_no_array {
            return Err(ImportFailure::NotAnArray);
        }
        self.write_batch(now).await?;
        self.finish_batch().await?;
        Ok(self.report)
    }

    /// Parses the batch, waits for the previous one, and starts to write it.
    async fn write_batch(&mut self, now: &Timestamp) -> Result<(), ImportFailure> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let (target, grant, time) = (self.target.clone(), self.grant.clone(), now.clone());
        // Parsing a batch takes milliseconds, so it must not run on the threads that serve requests.
        let parsed = tokio::task::spawn_blocking(move || {
            let parse = |record: RawRecord| (record.line, parse_record(record, &target, grant.as_ref(), &time));
            batch.into_iter().map(parse).collect::<Vec<_>>()
        });
        let parsed = parsed.await.map_err(|error| StoreError::Internal(error.to_string()))?;
        self.finish_batch().await?;
        let (mut lines, mut calls) = (Vec::with_capacity(parsed.len()), Vec::with_capacity(parsed.len()));
        for (line, call) in parsed {
            match call {
                Ok(call) => {
                    lines.push(line);
                    calls.push(call);
                }
                Err(errors) => self.reject(line, errors),
            }
        }
        if calls.is_empty() {
            return Ok(());
        }
        let Target::Store(store, workspace) = self.target.clone() else {
            self.report.created += calls.len() as u64;
            return Ok(());
        };
        let now = now.clone();
        let outcomes = tokio::spawn(async move {
            let calls = calls.into_iter().map(|(id, input)| (id, input.into())).collect();
            let batch = store.import_calls(&workspace, calls, callhistory_store::ImportOptions::default(), now).await?;
            Ok(batch
                .outcomes
                .into_iter()
                .map(|outcome| {
                    outcome.map(|call| match call.outcome {
                        callhistory_store::ImportOutcome::Created => WriteOutcome::Created,
                        callhistory_store::ImportOutcome::Unchanged => WriteOutcome::Unchanged,
                        _ => WriteOutcome::Replaced,
                    })
                })
                .collect())
        });
        self.in_flight = Some(BatchInFlight { lines, outcomes });
        Ok(())
    }

    /// Waits for the batch that is being written, and counts its outcomes.
    async fn finish_batch(&mut self) -> Result<(), StoreError> {
        let Some(BatchInFlight { lines, outcomes }) = self.in_flight.take() else { return Ok(()) };
        let outcomes = outcomes.await.map_err(|error| StoreError::Internal(error.to_string()))??;
        for (line, outcome) in lines.into_iter().zip(outcomes) {
            match outcome {
                Ok(WriteOutcome::Created) => self.report.created += 1,
                Ok(WriteOutcome::Replaced) => self.report.replaced += 1,
                Ok(WriteOutcome::Unchanged) => self.report.unchanged += 1,
                Err(errors) => self.reject(line, errors),
            }
        }
        Ok(())
    }

    fn reject(&mut self, line: u64, FieldErrors(errors): FieldErrors) {
        self.report.rejected += 1;
        let room = ImportReport::MAX_ERRORS.saturating_sub(self.report.errors.len());
        let errors = errors.into_iter().take(room);
        self.report.errors.extend(errors.map(|FieldError { pointer, code, detail, .. }| ImportError {
            line,
            pointer,
            code,
            detail,
        }));
    }
}

/// Parses and checks one record.
fn parse_record(
    record: RawRecord,
    target: &Target,
    grant: Option<&Grant>,
    now: &Timestamp,
) -> Result<(CallId, CallInput), FieldErrors> {
    let input = CallInput::from_json(&record.text.map_err(|error| FieldErrors(vec![error]))?)?;
    let grant_errors = grant.and_then(|grant| grant.check_input(&input).err());
    let mut errors = grant_errors.map_or(Vec::new(), |errors| errors.0);
    if let Some((named, workspace)) = input.workspace_id.as_ref().zip(target.workspace())
        && named != workspace
    {
        let detail = format!("is {:?}, but the import goes to {:?}", named.as_str(), workspace.as_str());
        errors.push(FieldError::new(FieldErrorCode::Mismatch, detail).prefix_pointer("/workspaceId"));
    }
    if input.id.is_none() {
        let detail = "is missing; each record of an import has its id, so that it can be sent again";
        errors.push(FieldError::new(FieldErrorCode::Missing, detail).prefix_pointer("/_id"));
    }
    let Some(id) = input.id.clone().filter(|_| errors.is_empty()) else { return Err(FieldErrors(errors)) };
    if let Target::Check(workspace) = target {
        check(workspace.as_ref(), &id, input.clone(), now)?;
    }
    Ok((id, input))
}

/// Checks a record without a store. If neither the caller nor the record names a workspace, any workspace will do.
fn check(workspace: Option<&WorkspaceId>, id: &CallId, input: CallInput, now: &Timestamp) -> Result<(), FieldErrors> {
    let named = workspace.or(input.workspace_id.as_ref()).cloned();
    let workspace = named.map_or_else(|| "w".parse(), Ok).map_err(|error| FieldErrors(vec![error]))?;
    check_new_call(&workspace, id, input, now, CallRecord::DEFAULT_MAX_BYTES).map_err(|error| match error {
        StoreError::Invalid(errors) => errors,
        other => FieldErrors(vec![FieldError::new(FieldErrorCode::Malformed, format!("cannot be stored: {other}"))]),
    })
}
