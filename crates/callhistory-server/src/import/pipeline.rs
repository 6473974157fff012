//! The import pipeline: splits a stream of any size into records, parses them, and writes them in batches.

use std::{collections::VecDeque, sync::Arc};

use callhistory_model::{CallId, FieldErrors, FieldWarning, Handling, ImportQuery, ImportReport, Timestamp};
use callhistory_store::{CallWrite, ImportBatch, ImportOptions, StoreError};
use tokio::task::JoinHandle;

pub use super::{failure::ImportFailure, parse::Target};
use super::{
    format::ImportFormat,
    parse::{ParsedRecord, RecordParser},
    raw_record::RawRecord,
    record_stream::RecordStream,
    report::{count_call, count_checked, count_rejected, count_skipped},
};
use crate::{
    auth::grant::Grant,
    gunzip::{GZIP_STEP, Gunzip},
};

/// Records of one batch, which is one transaction.
const BATCH_RECORDS: usize = 1000;
/// The size at which a batch is full, in bytes.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The same for its parsed records, which may need far more memory than their text.
const PARSED_BYTES: usize = 16 * 1024 * 1024;
/// The same for an atomic import, which cannot be cut.
const ATOMIC_PARSED_BYTES: usize = 4 * ImportQuery::MAX_ATOMIC_BYTES;

/// What is reported about the place of a record, in the order of the stream.
enum Entry {
    /// It is being written; its outcome is the next one of the batch.
    Sent(Vec<FieldWarning>),
    Checked(Vec<FieldWarning>),
    Skipped(String),
    Invalid(FieldErrors),
    InvalidAgain,
}

/// A batch that is being written: the line and the entry of each record, and the outcomes.
struct BatchInFlight {
    entries: Vec<(u64, Entry)>,
    outcomes: Option<JoinHandle<Result<ImportBatch, StoreError>>>,
}

/// How an import treats its records.
#[derive(Clone, Debug)]
pub struct ImportParameters {
    /// The parameters of the import.
    pub query: ImportQuery,
    /// How it treats records that break a rule.
    pub handling: Handling,
    /// The largest record, in bytes.
    pub max_record_bytes: usize,
}

/// An import in progress: bytes go in, records are written to the store. Its memory does not grow with the stream.
pub struct Import {
    query: ImportQuery,
    parser: RecordParser,
    gzip: Option<Gunzip>,
    stream: RecordStream,
    /// Records that no batch has yet.
    waiting: VecDeque<RawRecord>,
    waiting_bytes: usize,
    /// The previous batch, which is written while this one is read.
    in_flight: Option<BatchInFlight>,
    /// The sequence of the workspace before the import, if a batch has been written.
    began_at: Option<i64>,
    report: ImportReport,
}

impl Import {
    /// An import.
    #[must_use]
    pub fn new(target: Target, format: ImportFormat, gzip: bool, settings: ImportParameters) -> Self {
        let ImportParameters { query, handling, max_record_bytes } = settings;
        Self {
            parser: RecordParser {
                target,
                grant: None,
                handling,
                source: query.source,
                mode: query.mode,
                media_type: format.media_type_of_record(),
                max_record_bytes,
            },
            query,
            gzip: gzip.then(Gunzip::new),
            stream: RecordStream::new(format, max_record_bytes),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            in_flight: None,
            began_at: None,
            report: ImportReport::default(),
        }
    }

    /// The same import, with what the caller may do.
    pub(crate) fn with_grant(mut self, grant: Grant) -> Self {
        self.parser.grant = Some(grant);
        self
    }

    /// The outcome so far, without the last batches.
    #[must_use]
    pub fn report(&self) -> &ImportReport {
        &self.report
    }

    /// The bytes of records that wait to be written.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.waiting_bytes + self.stream.buffered_bytes()
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
            let Some(gzip) = &mut self.gzip else { break };
            let plain = gzip.push(step)?;
            self.split(&plain, now).await?;
        }
        Ok(())
    }

    async fn split(&mut self, bytes: &[u8], now: &Timestamp) -> Result<(), ImportFailure> {
        // In steps, so that a large chunk does not make a large batch.
        for step in bytes.chunks(8 * 1024) {
            let mut records = Vec::new();
            self.stream.push(step, &mut records)?;
            self.wait(records)?;
            while !self.query.is_atomic && self.has_batch() {
                self.write_batch(now).await?;
            }
        }
        Ok(())
    }

    /// Adds records to those that wait to be written.
    fn wait(&mut self, records: Vec<RawRecord>) -> Result<(), ImportFailure> {
        self.waiting_bytes += records.iter().map(RawRecord::size).sum::<usize>();
        self.waiting.extend(records);
        let is_too_large =
            self.waiting.len() > ImportQuery::MAX_ATOMIC_RECORDS || self.waiting_bytes > ImportQuery::MAX_ATOMIC_BYTES;
        if self.query.is_atomic && is_too_large { Err(ImportFailure::TooLargeForAtomic) } else { Ok(()) }
    }

    fn has_batch(&self) -> bool {
        self.waiting.len() >= BATCH_RECORDS || self.waiting_bytes >= BATCH_BYTES
    }

    /// Takes the records of the next batch from those that wait.
    fn next_batch(&mut self) -> Vec<RawRecord> {
        let mut bytes = 0;
        let count = self.waiting.iter().take(BATCH_RECORDS).take_while(|record| {
            let has_room = bytes < BATCH_BYTES;
            bytes += record.size();
            has_room
        });
        let count = if self.query.is_atomic { self.waiting.len() } else { count.count() };
        let batch: Vec<_> = self.waiting.drain(..count).collect();
        self.waiting_bytes -= batch.iter().map(RawRecord::size).sum::<usize>();
        batch
    }

    /// Ends the stream, and waits until all records are on disk.
    ///
    /// # Errors
    ///
    /// The last records could not be written; earlier ones stay.
    pub async fn finish(mut self, now: &Timestamp) -> Result<ImportReport, ImportFailure> {
        if let Some(gzip) = self.gzip.take() {
            let plain = gzip.finish()?;
            self.split(&plain, now).await?;
        }
        let mut records = Vec::new();
        self.stream.finish(&mut records)?;
        self.wait(records)?;
        while !self.waiting.is_empty() {
            self.write_batch(now).await?;
        }
        self.finish_batch().await?;
        Ok(self.report)
    }

    /// Parses the records of the next batch, up to a size; those that it does not reach wait again.
    async fn parse_batch(&mut self, now: &Timestamp) -> Result<Vec<(u64, ParsedRecord)>, ImportFailure> {
        let batch = self.next_batch();
        self.parser.media_type = self.stream.format().media_type_of_record();
        let (parser, time) = (self.parser.clone(), now.clone());
        let max_bytes = if self.query.is_atomic { ATOMIC_PARSED_BYTES } else { PARSED_BYTES };
        // Parsing a batch takes milliseconds, so it must not run on the threads that serve requests.
        let parsing = tokio::task::spawn_blocking(move || {
            let (mut rest, mut parsed, mut bytes) = (batch.into_iter(), Vec::new(), 0);
            while bytes < max_bytes
                && let Some(record) = rest.next()
            {
                let (line, record) = (record.line, parser.parse(record, &time));
                bytes += record.size();
                parsed.push((line, record));
            }
            (parsed, rest)
        });
        let (parsed, rest) = parsing.await.map_err(|error| StoreError::Internal(error.to_string()))?;
        if self.query.is_atomic && rest.len() > 0 {
            return Err(ImportFailure::TooLargeForAtomic);
        }
        for record in rest.rev() {
            self.waiting_bytes += record.size();
            self.waiting.push_front(record);
        }
        Ok(parsed)
    }

    /// Parses the next batch, waits for the previous one, and starts to write it.
    async fn write_batch(&mut self, now: &Timestamp) -> Result<(), ImportFailure> {
        let parsed = self.parse_batch(now).await?;
        self.finish_batch().await?;
        let mut room = ImportReport::MAX_WARNINGS.saturating_sub(self.report.warnings.len());
        let (mut entries, mut calls) = (Vec::with_capacity(parsed.len()), Vec::with_capacity(parsed.len()));
        for (line, record) in parsed {
            let entry = match record {
                ParsedRecord::Call(id, write) => {
                    // As many as the report can list, and one, so that the record counts as one with warnings.
                    let warnings = write.sent.iter().flat_map(|sent| &sent.warnings).take(room.max(1));
                    let warnings: Vec<_> = warnings.cloned().collect();
                    room = room.saturating_sub(warnings.len());
                    calls.push((id, *write));
                    Entry::Sent(warnings)
                }
                ParsedRecord::Checked(warnings) => Entry::Checked(warnings),
                ParsedRecord::Skipped(detail) => Entry::Skipped(detail),
                ParsedRecord::Invalid(errors) => Entry::Invalid(errors),
                ParsedRecord::InvalidAgain => Entry::InvalidAgain,
            };
            entries.push((line, entry));
        }
        let is_aborted = self.query.is_atomic
            && entries.iter().any(|(_, entry)| matches!(entry, Entry::Invalid(_) | Entry::InvalidAgain));
        self.report.aborted = is_aborted;
        let outcomes = if is_aborted || calls.is_empty() { None } else { self.start_write(calls, now) };
        self.in_flight = Some(BatchInFlight { entries, outcomes });
        Ok(())
    }

    fn start_write(
        &self,
        calls: Vec<(CallId, CallWrite)>,
        now: &Timestamp,
    ) -> Option<JoinHandle<Result<ImportBatch, StoreError>>> {
        let Target::Store(store, workspace) = &self.parser.target else { return None };
        let (store, workspace, now) = (Arc::clone(store), workspace.clone(), now.clone());
        let options = ImportOptions {
            mode: self.query.mode,
            restores_deleted: self.query.restores_deleted,
            is_atomic: self.query.is_atomic,
            began_at: self.began_at,
        };
        // In a task of its own: a client that disconnects does not undo it.
        Some(tokio::spawn(async move { store.import_calls(&workspace, calls, options, now).await }))
    }

    /// Waits for the batch that is being written, and counts its outcomes.
    async fn finish_batch(&mut self) -> Result<(), StoreError> {
        let Some(BatchInFlight { entries, outcomes }) = self.in_flight.take() else { return Ok(()) };
        let outcomes = match outcomes {
            None => Vec::new(),
            Some(task) => match task.await.map_err(|error| StoreError::Internal(error.to_string()))? {
                Ok(batch) => {
                    self.began_at.get_or_insert(batch.first_sequence);
                    batch.outcomes
                }
                Err(StoreError::Aborted(errors)) => {
                    self.report.aborted = true;
                    self.count_aborted(&entries, errors);
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
        };
        let mut outcomes = outcomes.into_iter();
        for (line, entry) in entries {
            match entry {
                Entry::Sent(warnings) => match outcomes.next() {
                    Some(Ok(call)) => count_call(&mut self.report, line, warnings, call),
                    Some(Err(errors)) => count_rejected(&mut self.report, line, errors),
                    // A valid record of an atomic import that is aborted.
                    None => {}
                },
                Entry::Checked(warnings) => count_checked(&mut self.report, line, warnings),
                Entry::Skipped(detail) => count_skipped(&mut self.report, line, detail),
                Entry::Invalid(errors) => count_rejected(&mut self.report, line, errors),
                Entry::InvalidAgain => self.report.rejected += 1,
            }
        }
        Ok(())
    }

    /// Counts the errors of an atomic import, given with the positions of their records in the batch, and the values that are no
    /// records.
    fn count_aborted(&mut self, entries: &[(u64, Entry)], errors: Vec<(usize, FieldErrors)>) {
        let lines: Vec<u64> =
            entries.iter().filter(|(_, entry)| matches!(entry, Entry::Sent(_))).map(|(line, _)| *line).collect();
        for (at, errors) in errors {
            let line = lines.get(at).copied().unwrap_or_default();
            count_rejected(&mut self.report, line, errors);
        }
        for (line, entry) in entries {
            if let Entry::Skipped(detail) = entry {
                count_skipped(&mut self.report, *line, detail.clone());
            }
        }
    }
}
