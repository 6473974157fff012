//! The import pipeline: a stream of any size is split into records, parsed strictly, and written in groups.

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

/// Records of one transaction.
const GROUP_RECORDS: usize = 1000;
/// The size at which a transaction is full, in bytes.
const GROUP_BYTES: usize = 4 * 1024 * 1024;
/// Compressed bytes that are unpacked at a time: at most a thousand times as many come out.
const GZIP_STEP: usize = 1024;
/// How many times its size a compressed body may unpack to, beyond what is small anyway.
const GZIP_RATIO: u64 = 100;
const GZIP_FREE_BYTES: u64 = 8 * 1024 * 1024;

/// Why an import ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum ImportFailure {
    /// The store failed; what was written before stays.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream is to be an array of records, and is none.
    #[error("the body is not a JSON array of records")]
    NotAnArray,
    /// The compressed stream is none.
    #[error("the body is not gzip: {0}")]
    Gzip(std::io::Error),
    /// The compressed stream unpacks to more than is plausible.
    #[error("the body unpacks to more than {GZIP_RATIO} times its size")]
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
                format!("The body unpacks to more than {GZIP_RATIO} times its size; send it in another form."),
            ),
        }
    }
}

/// A group on its way to the disk: the line of each record, and what became of it.
struct Writing {
    lines: Vec<u64>,
    outcomes: JoinHandle<Result<Vec<Result<WriteOutcome, FieldErrors>>, StoreError>>,
}

/// What becomes of the records of an import.
#[derive(Clone)]
pub enum Target {
    /// They are written to a workspace.
    Store(Arc<dyn CallStore>, WorkspaceId),
    /// They are checked and not written: those of one workspace, or each one as it is. What passes counts as created.
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
    /// What the caller may do; `None` where the operator imports.
    pub(crate) grant: Option<Grant>,
    gzip: Option<MultiGzDecoder<Vec<u8>>>,
    packed_bytes: u64,
    unpacked_bytes: u64,
    splitter: RecordSplitter,
    group: Vec<RawRecord>,
    group_bytes: usize,
    /// The group before, on its way to the disk while the next one is read.
    writing: Option<Writing>,
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
            packed_bytes: 0,
            unpacked_bytes: 0,
            splitter: RecordSplitter::new(form, CallRecord::MAX_BYTES),
            group: Vec::new(),
            group_bytes: 0,
            writing: None,
            report: ImportReport::default(),
        }
    }

    /// What has been written so far; the last groups may still be missing.
    #[must_use]
    pub fn report(&self) -> &ImportReport {
        &self.report
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    ///
    /// The import cannot go on; what was written stays.
    pub async fn push(&mut self, bytes: &[u8], now: &Timestamp) -> Result<(), ImportFailure> {
        if self.gzip.is_none() {
            return self.take(bytes, now).await;
        }
        for step in bytes.chunks(GZIP_STEP) {
            let plain = self.unpack(step)?;
            self.take(&plain, now).await?;
        }
        Ok(())
    }

    fn unpack(&mut self, packed: &[u8]) -> Result<Vec<u8>, ImportFailure> {
        let Some(decoder) = &mut self.gzip else { return Ok(Vec::new()) };
        decoder.write_all(packed).map_err(ImportFailure::Gzip)?;
        decoder.flush().map_err(ImportFailure::Gzip)?;
        let plain = std::mem::take(decoder.get_mut());
        self.packed_bytes += packed.len() as u64;
        self.unpacked_bytes += plain.len() as u64;
        if self.unpacked_bytes > GZIP_FREE_BYTES + GZIP_RATIO * self.packed_bytes {
            return Err(ImportFailure::Bomb);
        }
        Ok(plain)
    }

    async fn take(&mut self, bytes: &[u8], now: &Timestamp) -> Result<(), ImportFailure> {
        // In steps, so that a large chunk does not become a large group.
        for step in bytes.chunks(8 * 1024) {
            let before = self.group.len();
            self.splitter.push(step, &mut self.group);
            if self.splitter.is_no_array {
                return Err(ImportFailure::NotAnArray);
            }
            self.group_bytes += self.group[before..].iter().map(RawRecord::size).sum::<usize>();
            if self.group.len() >= GROUP_RECORDS || self.group_bytes >= GROUP_BYTES {
                self.write_group(now).await?;
            }
        }
        Ok(())
    }

    /// Takes the end of the stream, and waits until all of it is on disk.
    ///
    /// # Errors
    ///
    /// The end could not be written; what was written before stays.
    pub async fn finish(mut self, now: &Timestamp) -> Result<ImportReport, ImportFailure> {
        if let Some(mut decoder) = self.gzip.take() {
            decoder.try_finish().map_err(ImportFailure::Gzip)?;
            let plain = std::mem::take(decoder.get_mut());
            self.take(&plain, now).await?;
        }
        self.splitter.finish(&mut self.group);
        if self.splitter.is_no_array {
            return Err(ImportFailure::NotAnArray);
        }
        self.write_group(now).await?;
        self.settle().await?;
        Ok(self.report)
    }

    /// Reads the group, and hands it over once the one before is on disk.
    async fn write_group(&mut self, now: &Timestamp) -> Result<(), ImportFailure> {
        let group = std::mem::take(&mut self.group);
        self.group_bytes = 0;
        let (target, grant, moment) = (self.target.clone(), self.grant.clone(), now.clone());
        // Reading takes milliseconds for a group: off the threads that serve requests.
        let read = tokio::task::spawn_blocking(move || {
            group.into_iter().map(|item| read_item(item, &target, grant.as_ref(), &moment)).collect::<Vec<_>>()
        });
        let read = read.await.map_err(|error| StoreError::Internal(error.to_string()))?;
        self.settle().await?;
        let (mut lines, mut calls) = (Vec::with_capacity(read.len()), Vec::with_capacity(read.len()));
        for item in read {
            match item {
                Ok((line, call)) => {
                    lines.push(line);
                    calls.push(call);
                }
                Err((line, errors)) => self.reject(line, errors),
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
        let outcomes = tokio::spawn(async move { store.import_calls(&workspace, calls, now).await });
        self.writing = Some(Writing { lines, outcomes });
        Ok(())
    }

    /// Waits for the group that is being written, and counts what it did.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let Some(Writing { lines, outcomes }) = self.writing.take() else { return Ok(()) };
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

/// The record of one line, or why it is none.
fn read_item(
    item: RawRecord,
    target: &Target,
    grant: Option<&Grant>,
    now: &Timestamp,
) -> Result<(u64, (CallId, CallInput)), (u64, FieldErrors)> {
    let RawRecord { line, text } = item;
    let text = text.map_err(|error| (line, FieldErrors(vec![error])))?;
    let input = CallInput::from_json(&text).map_err(|errors| (line, errors))?;
    let mut errors =
        grant.map_or(Ok(()), |grant| grant.check_input(&input)).err().map_or(Vec::new(), |errors| errors.0);
    let named = input.workspace_id.as_ref().zip(target.workspace());
    if let Some((other, workspace)) = named.filter(|(other, workspace)| other != workspace) {
        let detail = format!("is {:?}, but the import goes to {:?}", other.as_str(), workspace.as_str());
        errors.push(FieldError::new(FieldErrorCode::Mismatch, detail).prefix_pointer("/workspaceId"));
    }
    match input.id.clone() {
        Some(id) if errors.is_empty() => {
            if let Target::Check(workspace) = target {
                check(workspace.as_ref(), &id, input.clone(), now).map_err(|errors| (line, errors))?;
            }
            return Ok((line, (id, input)));
        }
        Some(_) => {}
        None => {
            let detail = "is missing; each record of an import has its id, so that it can be sent again";
            errors.push(FieldError::new(FieldErrorCode::Missing, detail).prefix_pointer("/_id"));
        }
    }
    Err((line, FieldErrors(errors)))
}

/// Whether a record would be stored. Where nobody says for which workspace, any name of one does.
fn check(workspace: Option<&WorkspaceId>, id: &CallId, input: CallInput, now: &Timestamp) -> Result<(), FieldErrors> {
    let named = workspace.or(input.workspace_id.as_ref()).cloned();
    let workspace = named.map_or_else(|| "w".parse(), Ok).map_err(|error| FieldErrors(vec![error]))?;
    check_new_call(&workspace, id, input, now).map_err(|error| match error {
        StoreError::Invalid(errors) => errors,
        other => FieldErrors(vec![FieldError::new(FieldErrorCode::Malformed, format!("cannot be stored: {other}"))]),
    })
}
