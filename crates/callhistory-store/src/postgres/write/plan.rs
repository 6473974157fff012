//! Applies a group of writes to the records that it read, in memory. It does no I/O and can be repeated.

use std::collections::HashMap;

use bytes::Bytes;
use callhistory_model::{CallId, CallInput, CallPatch, CallRecord, FieldErrors, Timestamp, WorkspaceId};

use crate::{
    domain::mutation::{self, ChangeKind, IdempotencyKey, Precondition, key_expiry_nanos},
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
    /// The record, if the group wrote it.
    pub(crate) record: Option<CallRecord>,
    /// Why the bytes cannot be used. A damaged record can be deleted.
    pub(crate) damage: Option<StoreError>,
}

impl CurrentCall {
    fn read(&self) -> Result<CallRecord, StoreError> {
        if let Some(record) = &self.record {
            return Ok(record.clone());
        }
        if let Some(damage) = &self.damage {
            return Err(damage.clone());
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| StoreError::Internal(format!("a stored record cannot be read: {error}")))
    }

    fn stored(self, base: i64) -> StoredCall {
        StoredCall { sequence: self.sequence.after(base), body: self.body }
    }
}

/// A record before and after the group.
#[derive(Default)]
pub(crate) struct PlannedCall {
    pub(crate) was_there: bool,
    pub(crate) current: Option<CurrentCall>,
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
}

impl GroupPlan {
    fn current(&self, id: &CallId) -> Option<CurrentCall> {
        self.calls.get(id).and_then(|call| call.current.clone())
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
        record: Option<CallRecord>,
        time: &Timestamp,
    ) -> Option<CurrentCall> {
        self.last_change = mutation::last_change(time, record.as_ref());
        self.changes.push(PlannedChange { kind, id: id.clone(), at: self.last_change });
        let sequence = Sequence::Pending(i64::try_from(self.changes.len()).unwrap_or(i64::MAX));
        let made = |record: CallRecord| CurrentCall {
            sequence,
            body: record.to_json().into(),
            record: Some(record),
            damage: None,
        };
        let current = record.map(made);
        self.calls.entry(id.clone()).or_default().current.clone_from(&current);
        current
    }

    fn make(
        &mut self,
        kind: ChangeKind,
        id: &CallId,
        record: CallRecord,
        time: &Timestamp,
    ) -> Result<CurrentCall, StoreError> {
        let made = self.change(kind, id, Some(record), time);
        made.ok_or_else(|| StoreError::Internal("a write produced no record".to_owned()))
    }

    fn time_of_change(&self, now: &Timestamp) -> Timestamp {
        mutation::time_of_change(now, self.last_change)
    }

    /// Creates a record that is not there.
    fn create(
        &mut self,
        id: &CallId,
        input: &CallInput,
        (now, time): (&Timestamp, &Timestamp),
    ) -> Result<CurrentCall, StoreError> {
        let time = self.time_of_change(time);
        let mut record = mutation::created(input.clone(), &self.workspace, id, now)?;
        if input.updated_at.is_none() {
            mutation::date(&mut record, &time);
        }
        self.make(ChangeKind::Created, id, record, &time)
    }

    pub(crate) fn create_call(
        &mut self,
        id: &CallId,
        input: &CallInput,
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
                return Ok(written(first.id.clone(), current, WriteOutcome::Created));
            }
        }
        let time = mutation::time_of_creation(id, now, self.last_change)?;
        if self.current(id).is_some() {
            return Err(StoreError::IdTaken.into());
        }
        let made = self.create(id, input, (now, &time))?;
        if let Some((key, request_hash)) = key {
            let (sequence, body) = (made.sequence, made.body.clone());
            let (request_hash, expires_at, id) = (*request_hash, key_expiry_nanos(now), id.clone());
            self.keys.insert(
                key.0.clone(),
                IdempotencyRecord { request_hash, expires_at, id, sequence, body, damage: None, is_new: true },
            );
        }
        Ok(written(id.clone(), made, WriteOutcome::Created))
    }

    pub(crate) fn replace_call(
        &mut self,
        id: &CallId,
        input: &CallInput,
        precondition: &Precondition,
        now: &Timestamp,
    ) -> Result<Reply<WrittenCall>, Rejection> {
        let current = self.current(id);
        Self::check(precondition, current.as_ref())?;
        let Some(current) = current else {
            let made = self.create(id, input, (now, now))?;
            return Ok(written(id.clone(), made, WriteOutcome::Created));
        };
        let time = self.time_of_change(now);
        match mutation::replaced(input.clone(), &current.read()?, &current.body, &time)? {
            None => Ok(written(id.clone(), current, WriteOutcome::Unchanged)),
            Some(record) => {
                let made = self.make(ChangeKind::Updated, id, record, &time)?;
                Ok(written(id.clone(), made, WriteOutcome::Replaced))
            }
        }
    }

    pub(crate) fn update_call(
        &mut self,
        id: &CallId,
        patch: &CallPatch,
        precondition: &Precondition,
        now: &Timestamp,
    ) -> Result<Reply<Option<WrittenCall>>, Rejection> {
        let Some(current) = self.current(id) else { return Ok(Box::new(|_| None)) };
        Self::check(precondition, Some(&current))?;
        let time = self.time_of_change(now);
        let written = match mutation::patched(patch, precondition, &current.read()?, &current.body, &time)? {
            None => written(id.clone(), current, WriteOutcome::Unchanged),
            Some(record) => {
                let made = self.make(ChangeKind::Updated, id, record, &time)?;
                written(id.clone(), made, WriteOutcome::Replaced)
            }
        };
        Ok(Box::new(|base| Some(written(base))))
    }

    pub(crate) fn delete_call(
        &mut self,
        id: &CallId,
        precondition: &Precondition,
        now: &Timestamp,
    ) -> Result<Reply<bool>, Rejection> {
        let Some(current) = self.current(id) else { return Ok(Box::new(|_| false)) };
        Self::check(precondition, Some(&current))?;
        // The key stays: a late retry of the creation must not create the record again.
        self.keys.values_mut().filter(|key| key.id == *id).for_each(|key| key.body = Bytes::new());
        self.deleted.push(id.clone());
        self.change(ChangeKind::Deleted, id, None, &self.time_of_change(now));
        Ok(Box::new(|_| true))
    }

    /// Writes many records; a record that breaks a rule fails alone, and any other error rolls all of them back.
    pub(crate) fn import_calls(
        &mut self,
        calls: &[(CallId, CallInput)],
        now: &Timestamp,
    ) -> Result<Reply<Vec<Result<WriteOutcome, FieldErrors>>>, Rejection> {
        let any = Precondition::default();
        let mut outcomes = Vec::with_capacity(calls.len());
        for (id, input) in calls {
            match self.replace_call(id, input, &any, now) {
                Ok(written) => outcomes.push(Ok(written(0).outcome)),
                Err(Rejection::Failed(StoreError::Invalid(errors))) => outcomes.push(Err(errors)),
                Err(stop) => return Err(stop),
            }
        }
        Ok(Box::new(|_| outcomes))
    }
}

fn written(id: CallId, current: CurrentCall, outcome: WriteOutcome) -> Reply<WrittenCall> {
    Box::new(move |base| WrittenCall { id, call: current.stored(base), outcome })
}
