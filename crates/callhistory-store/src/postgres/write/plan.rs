//! Applies a group of writes to the records that it read, in memory. It does no I/O and can be repeated.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use callhistory_model::{CallId, CallRecord, Timestamp, WorkspaceId};

use super::prepare::{PatchReply, PatchRequest, WriteRequest};
use crate::{
    call_write::{ImportBatch, ImportOptions, ImportOutcome, ImportedCall},
    domain::{
        mutation::{self, Change, ChangeKind, IdempotencyKey, Precondition, WriteWarnings, key_expiry_nanos},
        options::StoreOptions,
        original::{ContentHash, OriginalRow, OriginalTotals, PreparedDocument},
        prepared::PreparedTerms,
    },
    error::StoreError,
    results::{StoredCall, WriteOutcome, WrittenCall},
};

/// The sequence of a change. Those of the group are known only at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sequence {
    Stored(i64),
    /// Position in the group, starting at 1.
    Pending(i64),
}

impl Sequence {
    /// The sequence in the workspace, if those of the group start after `base`.
    pub(crate) fn after(self, base: i64) -> i64 {
        match self {
            Self::Stored(sequence) => sequence,
            Self::Pending(sequence) => base + sequence,
        }
    }
}

/// Why a write is not part of the group.
#[derive(Clone, Debug)]
pub(crate) enum Rejection {
    Failed(StoreError),
    /// Its precondition needs a sequence that is not known yet: it belongs to the next group.
    Defer,
}

impl From<StoreError> for Rejection {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<Rejection> for StoreError {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Failed(error) => error,
            Rejection::Defer => Self::Internal("a write was not run again".to_owned()),
        }
    }
}

/// The reply of a write, computed from the sequence before the group.
pub(crate) type Reply<T> = Box<dyn FnOnce(i64) -> T + Send>;

/// A record at some point of the group.
#[derive(Clone)]
pub(crate) struct CurrentCall {
    pub(crate) sequence: Sequence,
    pub(crate) body: Bytes,
    /// The record, if it was read or written.
    pub(crate) record: Option<Arc<CallRecord>>,
    /// Why the bytes cannot be used. A damaged record can be deleted.
    pub(crate) damage: Option<StoreError>,
}

impl CurrentCall {
    fn stored(self, base: i64) -> StoredCall {
        StoredCall { sequence: self.sequence.after(base), body: self.body }
    }
}

/// A record before and after the group.
#[derive(Default)]
pub(crate) struct PlannedCall {
    pub(crate) was_there: bool,
    /// The record before the group, if it was read: its row has its terms.
    pub(crate) before: Option<Arc<CallRecord>>,
    pub(crate) current: Option<CurrentCall>,
    /// The terms that the last write expected.
    pub(crate) expected: Option<Arc<PreparedTerms>>,
    pub(crate) originals: PlannedOriginals,
    /// Whether the feed has a deletion of it.
    pub(crate) was_deleted: bool,
}

/// The originals of a record.
#[derive(Default)]
pub(crate) struct PlannedOriginals {
    pub(crate) totals: OriginalTotals,
    /// The documents of writes of the group that the record has.
    pub(crate) known: HashSet<ContentHash>,
    pub(crate) new: Vec<OriginalRow>,
}

impl PlannedCall {
    /// The current record, parsed once.
    fn read(&mut self) -> Result<Option<(CurrentCall, Arc<CallRecord>)>, StoreError> {
        let Some(current) = &mut self.current else { return Ok(None) };
        if let Some(damage) = &current.damage {
            return Err(damage.clone());
        }
        if current.record.is_none() {
            let record: CallRecord = serde_json::from_slice(&current.body)
                .map_err(|error| StoreError::Internal(format!("a stored record cannot be read: {error}")))?;
            current.record = Some(Arc::new(record));
            self.before.clone_from(&current.record);
        }
        let record = current.record.clone();
        let record = record.ok_or_else(|| StoreError::Internal("a record was not read".to_owned()))?;
        Ok(Some((current.clone(), record)))
    }
}

/// The stored response of an idempotency key.
#[derive(Clone)]
pub(crate) struct IdempotencyRecord {
    pub(crate) request_hash: [u8; 32],
    pub(crate) expires_at: i64,
    pub(crate) id: CallId,
    pub(crate) sequence: Sequence,
    /// Empty if the record was deleted.
    pub(crate) body: Bytes,
    pub(crate) damage: Option<StoreError>,
    pub(crate) is_new: bool,
}

/// A change of a record.
pub(crate) struct PlannedChange {
    pub(crate) kind: ChangeKind,
    pub(crate) id: CallId,
    pub(crate) at: i64,
}

/// The records and keys of a group, and its changes.
pub(crate) struct GroupPlan {
    pub(crate) workspace: WorkspaceId,
    /// The sequence before the first change of a new workspace.
    pub(crate) first_sequence: i64,
    pub(crate) calls: HashMap<CallId, PlannedCall>,
    pub(crate) keys: HashMap<String, IdempotencyRecord>,
    /// In the order of their sequences.
    pub(crate) changes: Vec<PlannedChange>,
    /// Records that were deleted, also if they were created again.
    pub(crate) deleted: Vec<CallId>,
    /// The latest time of a creation with a key: keys that have expired by then are deleted.
    pub(crate) expired_by: Option<i64>,
    /// The time of the last change, in nanoseconds since 1970.
    pub(crate) last_change: i64,
    /// The sequence before the group, exactly if the workspace exists: then it is locked.
    pub(crate) last_sequence: i64,
    /// The maximum size of a record with its originals.
    pub(crate) options: StoreOptions,
}

/// The current and the earlier state of a record that a write changes.
struct Found {
    current: CurrentCall,
    record: Arc<CallRecord>,
}

/// What a write did, before its sequence is known.
struct Outcome {
    current: CurrentCall,
    outcome: WriteOutcome,
    warnings: WriteWarnings,
}

impl Outcome {
    fn reply(self, id: CallId) -> Reply<WrittenCall> {
        let Self { current, outcome, warnings } = self;
        Box::new(move |base| WrittenCall { id, call: current.stored(base), outcome, warnings: warnings.list })
    }
}

impl GroupPlan {
    fn current(&self, id: &CallId) -> Option<&CurrentCall> {
        self.calls.get(id).and_then(|call| call.current.as_ref())
    }

    fn found(&mut self, id: &CallId) -> Result<Option<Found>, StoreError> {
        let read = self.calls.get_mut(id).map(PlannedCall::read).transpose()?.flatten();
        Ok(read.map(|(current, record)| Found { current, record }))
    }

    /// Checks a precondition, which can need the sequence.
    fn check(precondition: &Precondition, current: Option<&CurrentCall>) -> Result<(), Rejection> {
        match current.map(|current| current.sequence) {
            Some(Sequence::Pending(_)) if precondition.is_any() => Ok(()),
            Some(Sequence::Pending(_)) => Err(Rejection::Defer),
            Some(Sequence::Stored(sequence)) => Ok(precondition.check(Some(sequence))?),
            None => Ok(precondition.check(None)?),
        }
    }

    /// The last step of every write: a failure before it changes nothing.
    fn change(
        &mut self,
        kind: ChangeKind,
        id: &CallId,
        record: Option<(CallRecord, Bytes)>,
        time: &Timestamp,
    ) -> Sequence {
        self.last_change = mutation::last_change(time, record.as_ref().map(|(record, _)| record));
        self.changes.push(PlannedChange { kind, id: id.clone(), at: self.last_change });
        let sequence = Sequence::Pending(i64::try_from(self.changes.len()).unwrap_or(i64::MAX));
        let made = |(record, body)| CurrentCall { sequence, body, record: Some(Arc::new(record)), damage: None };
        self.calls.entry(id.clone()).or_default().current = record.map(made);
        sequence
    }

    fn time_of_change(&self, now: &Timestamp) -> Timestamp {
        mutation::time_of_change(now, self.last_change)
    }

    /// The row of a document if it is kept, and a check of the size of the record with its originals. It changes nothing.
    fn original(
        &self,
        id: &CallId,
        document: Option<&PreparedDocument>,
        warnings: &WriteWarnings,
        (now, record_bytes): (&Timestamp, usize),
    ) -> Result<Option<OriginalRow>, StoreError> {
        let (totals, max_bytes) = (self.totals(id), self.options.max_record_bytes);
        match self.kept(id, document, warnings) {
            Some(document) => document.row(warnings, totals, now, (record_bytes, max_bytes)).map(Some),
            None => {
                mutation::check_size(record_bytes, usize::try_from(totals.bytes).unwrap_or(0), max_bytes)?;
                Ok(None)
            }
        }
    }

    /// The document of a write, if it is kept and the record does not have it.
    fn kept<'a>(
        &self,
        id: &CallId,
        document: Option<&'a PreparedDocument>,
        warnings: &WriteWarnings,
    ) -> Option<&'a PreparedDocument> {
        let known = self.calls.get(id).map(|call| &call.originals.known);
        let is_known = |document: &PreparedDocument| known.is_some_and(|known| known.contains(document.hash()));
        document.filter(|document| document.is_kept(warnings) && !is_known(document))
    }

    /// What a record has of originals.
    fn totals(&self, id: &CallId) -> OriginalTotals {
        self.calls.get(id).map(|call| call.originals.totals).unwrap_or_default()
    }

    /// Adds what a write leaves besides the record.
    fn keep(&mut self, id: &CallId, original: Option<OriginalRow>, expected: Option<&Arc<PreparedTerms>>) {
        let call = self.calls.entry(id.clone()).or_default();
        call.expected = expected.cloned();
        if let Some(row) = original {
            call.originals.totals = row.totals();
            call.originals.known.insert(row.hash);
            call.originals.new.push(row);
        }
    }

    /// Creates a record that is not there.
    fn create(
        &mut self,
        id: &CallId,
        request: &WriteRequest,
        (now, time): (&Timestamp, &Timestamp),
    ) -> Result<Outcome, StoreError> {
        let WriteRequest { write, document, warnings, expected } = request;
        mutation::check_extra(&write.input, write.handling, None)?;
        let time = self.time_of_change(time);
        let (mut record, mut body) =
            mutation::create(write.input.clone(), (&self.workspace, id), now, self.options.max_record_bytes)?;
        if write.input.updated_at.is_none() && mutation::set_date(&mut record, &time) {
            body = record.to_json().into();
        }
        let original = self.original(id, document.as_deref(), warnings, (now, body.len()))?;
        let sequence = self.change(ChangeKind::Created, id, Some((record, body.clone())), &time);
        self.keep(id, original, expected.as_ref());
        let current = CurrentCall { sequence, body, record: None, damage: None };
        Ok(Outcome { current, outcome: WriteOutcome::Created, warnings: warnings.clone() })
    }

    /// Applies a change to a record, and keeps the document that it came from.
    fn apply(
        &mut self,
        id: &CallId,
        found: Found,
        change: Change,
        (document, expected): (Option<&PreparedDocument>, Option<&Arc<PreparedTerms>>),
        (now, time): (&Timestamp, &Timestamp),
    ) -> Result<Outcome, StoreError> {
        let Change { record, warnings } = change;
        let Some((record, body)) = record else {
            // Nothing is checked if nothing is written: the maximum size can be lower than when the record was.
            if let Some(document) = self.kept(id, document, &warnings) {
                let row = document.row(
                    &warnings,
                    self.totals(id),
                    now,
                    (found.current.body.len(), self.options.max_record_bytes),
                )?;
                let expected = self.calls.get(id).and_then(|call| call.expected.clone());
                self.keep(id, Some(row), expected.as_ref());
            }
            return Ok(Outcome { current: found.current, outcome: WriteOutcome::Unchanged, warnings });
        };
        let original = self.original(id, document, &warnings, (now, body.len()))?;
        let sequence = self.change(ChangeKind::Updated, id, Some((record, body.clone())), time);
        self.keep(id, original, expected);
        let current = CurrentCall { sequence, body, record: None, damage: None };
        Ok(Outcome { current, outcome: WriteOutcome::Replaced, warnings })
    }

    pub(crate) fn create_call(
        &mut self,
        id: &CallId,
        request: &WriteRequest,
        key: Option<&(IdempotencyKey, [u8; 32])>,
        now: &Timestamp,
    ) -> Result<Reply<WrittenCall>, Rejection> {
        if let Some((key, hash)) = key {
            self.expired_by = self.expired_by.max(Some(now.unix_nanos()));
            if let Some(first) = self.keys.get(&key.0)
                && mutation::is_replay(first.request_hash == *hash, first.expires_at, now)?
            {
                if first.body.is_empty() {
                    return Err(StoreError::Deleted.into());
                }
                if let Some(damage) = &first.damage {
                    return Err(damage.clone().into());
                }
                let current =
                    CurrentCall { sequence: first.sequence, body: first.body.clone(), record: None, damage: None };
                let first_outcome =
                    Outcome { current, outcome: WriteOutcome::Created, warnings: WriteWarnings::default() };
                return Ok(first_outcome.reply(first.id.clone()));
            }
        }
        let time = mutation::time_of_creation(id, now, self.last_change)?;
        if self.current(id).is_some() {
            return Err(StoreError::IdTaken.into());
        }
        let made = self.create(id, request, (now, &time))?;
        if let Some((key, request_hash)) = key {
            let (sequence, body) = (made.current.sequence, made.current.body.clone());
            let (request_hash, expires_at, id) = (*request_hash, key_expiry_nanos(now), id.clone());
            self.keys.insert(
                key.0.clone(),
                IdempotencyRecord { request_hash, expires_at, id, sequence, body, damage: None, is_new: true },
            );
        }
        Ok(made.reply(id.clone()))
    }

    pub(crate) fn replace_call(
        &mut self,
        id: &CallId,
        request: &WriteRequest,
        precondition: &Precondition,
        now: &Timestamp,
    ) -> Result<Reply<WrittenCall>, Rejection> {
        Self::check(precondition, self.current(id))?;
        let Some(found) = self.found(id)? else {
            return Ok(self.create(id, request, (now, now))?.reply(id.clone()));
        };
        let time = self.time_of_change(now);
        let change = mutation::replace(
            request.write.clone(),
            precondition,
            &found.record,
            &time,
            self.options.max_record_bytes,
        )?;
        let prepared = (request.document.as_deref(), request.expected.as_ref());
        Ok(self.apply(id, found, change, prepared, (now, &time))?.reply(id.clone()))
    }

    pub(crate) fn update_call(
        &mut self,
        id: &CallId,
        request: &PatchRequest,
        precondition: &Precondition,
        now: &Timestamp,
    ) -> Result<Reply<PatchReply>, Rejection> {
        if self.current(id).is_none() {
            let Some(created) = &request.created else { return Ok(Box::new(|_| PatchReply::Written(None))) };
            Self::check(precondition, None)?;
            let created = created.clone()?;
            let reply = self.create(id, &created, (now, now))?.reply(id.clone());
            return Ok(Box::new(|base| PatchReply::Written(Some(reply(base)))));
        }
        Self::check(precondition, self.current(id))?;
        let Some(found) = self.found(id)? else { return Ok(Box::new(|_| PatchReply::Written(None))) };
        let time = self.time_of_change(now);
        let change =
            mutation::patch(&request.write, precondition, &found.record, &time, self.options.max_record_bytes)?;
        if let Some(record) = request.wanted_terms(&found.record, change.record.as_ref()) {
            return Ok(Box::new(|_| PatchReply::WantsTerms(record)));
        }
        let prepared = (request.document.as_deref(), request.expected.as_ref());
        let reply = self.apply(id, found, change, prepared, (now, &time))?.reply(id.clone());
        Ok(Box::new(|base| PatchReply::Written(Some(reply(base)))))
    }

    pub(crate) fn delete_call(
        &mut self,
        id: &CallId,
        precondition: &Precondition,
        now: &Timestamp,
    ) -> Result<Reply<bool>, Rejection> {
        let Some(current) = self.current(id) else { return Ok(Box::new(|_| false)) };
        Self::check(precondition, Some(current))?;
        // The key stays: a late retry of the creation must not create the record again.
        self.keys.values_mut().filter(|key| key.id == *id).for_each(|key| key.body = Bytes::new());
        self.deleted.push(id.clone());
        self.change(ChangeKind::Deleted, id, None, &self.time_of_change(now));
        let call = self.calls.entry(id.clone()).or_default();
        call.originals = PlannedOriginals::default();
        call.was_deleted = true;
        Ok(Box::new(|_| true))
    }

    /// Imports many records. An invalid record is a result of its own, unless the batch writes all or none; any other error rolls
    /// back all.
    pub(crate) fn import_calls(
        &mut self,
        calls: &[(CallId, WriteRequest)],
        options: ImportOptions,
        now: &Timestamp,
    ) -> Result<Reply<ImportBatch>, Rejection> {
        let last_sequence = self.last_sequence + i64::try_from(self.changes.len()).unwrap_or(0);
        let first_sequence = options.began_at.unwrap_or(last_sequence);
        let options = ImportOptions { began_at: Some(first_sequence), ..options };
        let mut outcomes = Vec::with_capacity(calls.len());
        for (id, request) in calls {
            outcomes.push(match self.import_call(id, request, options, now) {
                Err(StoreError::Invalid(errors)) => Err(errors),
                outcome => Ok(outcome?),
            });
        }
        mutation::check_atomic(&outcomes, options)?;
        Ok(Box::new(move |_| ImportBatch { first_sequence, outcomes }))
    }

    fn import_call(
        &mut self,
        id: &CallId,
        request: &WriteRequest,
        options: ImportOptions,
        now: &Timestamp,
    ) -> Result<ImportedCall, StoreError> {
        let Some(found) = self.found(id)? else {
            if !options.restores_deleted && self.calls.get(id).is_some_and(|call| call.was_deleted) {
                return Ok(ImportedCall { outcome: ImportOutcome::Deleted, is_repeated: false, warnings: Vec::new() });
            }
            let Outcome { warnings, .. } = self.create(id, request, (now, now))?;
            return Ok(ImportedCall { outcome: ImportOutcome::Created, is_repeated: false, warnings: warnings.list });
        };
        let sequence = found.current.sequence.after(self.last_sequence);
        let is_repeated = options.began_at.is_some_and(|began| sequence > began);
        let time = self.time_of_change(now);
        let (change, outcome) =
            mutation::import(request.write.clone(), options.mode, &found.record, &time, self.options.max_record_bytes)?;
        let prepared = (request.document.as_deref(), request.expected.as_ref());
        let Outcome { warnings, .. } = self.apply(id, found, change, prepared, (now, &time))?;
        Ok(ImportedCall { outcome, is_repeated, warnings: warnings.list })
    }
}
