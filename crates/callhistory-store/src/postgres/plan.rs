//! What a group of writes makes of the records that it found: no statement, no waiting, and nothing done that could not be
//! done again.

use std::collections::HashMap;

use bytes::Bytes;
use callhistory_model::{CallId, CallInput, CallPatch, CallRecord, FieldErrors, Timestamp, WorkspaceId};

use crate::{
    IdempotencyKey, Precondition, StoreError, StoredCall, WriteOutcome, WrittenCall,
    write::{self, Kind, key_expiry_nanos},
};

/// The number of a change. Those of the group are only known when it takes them, at its very end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Stored(i64),
    /// From 1 on.
    OfGroup(i64),
}

impl Number {
    /// The number in the workspace, where the group's begin after `base`.
    pub(super) fn after(self, base: i64) -> i64 {
        match self {
            Self::Stored(number) => number,
            Self::OfGroup(number) => base + number,
        }
    }
}

/// Why a write has no place in the group.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(StoreError),
    /// Its condition asks for a number that is not known yet: it belongs to the next group.
    Later,
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// What a write answers, once it is known after which number the group's begin.
pub(super) type Answer<T> = Box<dyn FnOnce(i64) -> T + Send>;

/// A record as it stands at some point of the group.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) number: Number,
    pub(super) body: Bytes,
    /// Of a record that the group made.
    pub(super) record: Option<CallRecord>,
}

impl Current {
    fn read(&self) -> Result<CallRecord, StoreError> {
        if let Some(record) = &self.record {
            return Ok(record.clone());
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| StoreError::Internal(format!("a stored record cannot be read: {error}")))
    }

    fn stored(self, base: i64) -> StoredCall {
        StoredCall { sequence: self.number.after(base), body: self.body }
    }
}

/// One record before and after the group.
#[derive(Default)]
pub(super) struct Call {
    pub(super) was_there: bool,
    pub(super) current: Option<Current>,
}

/// The answer that a key stands for.
#[derive(Clone)]
pub(super) struct Keyed {
    pub(super) request_hash: [u8; 32],
    pub(super) expires_at: i64,
    pub(super) id: CallId,
    pub(super) number: Number,
    /// Empty once the record was deleted.
    pub(super) body: Bytes,
    pub(super) is_new: bool,
}

/// One change of one record.
pub(super) struct Change {
    pub(super) kind: Kind,
    pub(super) id: CallId,
    pub(super) at: i64,
}

/// The records and keys that a group touches, and what it does to them.
pub(super) struct Plan {
    pub(super) workspace: WorkspaceId,
    pub(super) calls: HashMap<CallId, Call>,
    pub(super) keys: HashMap<String, Keyed>,
    /// In the order of their numbers.
    pub(super) changes: Vec<Change>,
    /// Records that were deleted, if only for a while.
    pub(super) deleted: Vec<CallId>,
    /// The latest time of a keyed creation: keys that have expired by then may go.
    pub(super) expired_by: Option<i64>,
}

impl Plan {
    fn current(&self, id: &CallId) -> Option<Current> {
        self.calls.get(id).and_then(|call| call.current.clone())
    }

    /// Checks a condition, which may ask for the number.
    fn check(precondition: &Precondition, current: Option<&Current>) -> Result<(), Stop> {
        match current.map(|current| current.number) {
            Some(Number::OfGroup(_)) if precondition.is_any() => Ok(()),
            Some(Number::OfGroup(_)) => Err(Stop::Later),
            Some(Number::Stored(number)) => Ok(precondition.check(Some(number))?),
            None => Ok(precondition.check(None)?),
        }
    }

    /// The last step of every write: what fails before it has changed nothing.
    fn change(&mut self, kind: Kind, id: &CallId, record: Option<CallRecord>, now: &Timestamp) -> Option<Current> {
        self.changes.push(Change { kind, id: id.clone(), at: now.unix_nanos() });
        let number = Number::OfGroup(i64::try_from(self.changes.len()).unwrap_or(i64::MAX));
        let made = |record: CallRecord| Current { number, body: record.to_json().into(), record: Some(record) };
        let current = record.map(made);
        self.calls.entry(id.clone()).or_default().current.clone_from(&current);
        current
    }

    fn make(&mut self, kind: Kind, id: &CallId, record: CallRecord, now: &Timestamp) -> Result<Current, StoreError> {
        let made = self.change(kind, id, Some(record), now);
        made.ok_or_else(|| StoreError::Internal("a write made no record".to_owned()))
    }

    pub(super) fn create(
        &mut self,
        id: &CallId,
        input: &CallInput,
        key: Option<&(IdempotencyKey, [u8; 32])>,
        now: &Timestamp,
    ) -> Result<Answer<WrittenCall>, Stop> {
        if let Some((key, hash)) = key {
            self.expired_by = self.expired_by.max(Some(now.unix_nanos()));
            if let Some(first) = self.keys.get(&key.0).filter(|first| first.expires_at > now.unix_nanos()) {
                if first.request_hash != *hash {
                    return Err(StoreError::IdempotencyKeyReused.into());
                }
                if first.body.is_empty() {
                    return Err(StoreError::Deleted.into());
                }
                let current = Current { number: first.number, body: first.body.clone(), record: None };
                return Ok(written(first.id.clone(), current, WriteOutcome::Created));
            }
        }
        let record = write::created(input.clone(), &self.workspace, id, now)?;
        if self.current(id).is_some() {
            return Err(StoreError::IdTaken.into());
        }
        let made = self.make(Kind::Created, id, record, now)?;
        if let Some((key, request_hash)) = key {
            let (number, body) = (made.number, made.body.clone());
            let (request_hash, expires_at, id) = (*request_hash, key_expiry_nanos(now), id.clone());
            self.keys.insert(key.0.clone(), Keyed { request_hash, expires_at, id, number, body, is_new: true });
        }
        Ok(written(id.clone(), made, WriteOutcome::Created))
    }

    pub(super) fn put(
        &mut self,
        id: &CallId,
        input: &CallInput,
        precondition: &Precondition,
        now: &Timestamp,
    ) -> Result<Answer<WrittenCall>, Stop> {
        let current = self.current(id);
        Self::check(precondition, current.as_ref())?;
        let Some(current) = current else {
            let record = write::created(input.clone(), &self.workspace, id, now)?;
            let made = self.make(Kind::Created, id, record, now)?;
            return Ok(written(id.clone(), made, WriteOutcome::Created));
        };
        match write::replaced(input.clone(), &current.read()?, &current.body, now)? {
            None => Ok(written(id.clone(), current, WriteOutcome::Unchanged)),
            Some(record) => {
                let made = self.make(Kind::Updated, id, record, now)?;
                Ok(written(id.clone(), made, WriteOutcome::Replaced))
            }
        }
    }

    pub(super) fn patch(
        &mut self,
        id: &CallId,
        patch: &CallPatch,
        precondition: &Precondition,
        now: &Timestamp,
    ) -> Result<Answer<Option<WrittenCall>>, Stop> {
        let Some(current) = self.current(id) else { return Ok(Box::new(|_| None)) };
        Self::check(precondition, Some(&current))?;
        let written = match write::patched(patch, precondition, &current.read()?, &current.body, now)? {
            None => written(id.clone(), current, WriteOutcome::Unchanged),
            Some(record) => {
                let made = self.make(Kind::Updated, id, record, now)?;
                written(id.clone(), made, WriteOutcome::Replaced)
            }
        };
        Ok(Box::new(|base| Some(written(base))))
    }

    pub(super) fn delete(
        &mut self,
        id: &CallId,
        precondition: &Precondition,
        now: &Timestamp,
    ) -> Result<Answer<bool>, Stop> {
        let Some(current) = self.current(id) else { return Ok(Box::new(|_| false)) };
        Self::check(precondition, Some(&current))?;
        // The key stays, so that a late copy of the creation does not bring the record back.
        self.keys.values_mut().filter(|key| key.id == *id).for_each(|key| key.body = Bytes::new());
        self.deleted.push(id.clone());
        self.change(Kind::Deleted, id, None, now);
        Ok(Box::new(|_| true))
    }

    /// Puts many records; one that breaks rules is told apart from a failure, which undoes them all.
    pub(super) fn import(
        &mut self,
        calls: &[(CallId, CallInput)],
        now: &Timestamp,
    ) -> Result<Answer<Vec<Result<WriteOutcome, FieldErrors>>>, Stop> {
        let any = Precondition::default();
        let mut outcomes = Vec::with_capacity(calls.len());
        for (id, input) in calls {
            match self.put(id, input, &any, now) {
                Ok(written) => outcomes.push(Ok(written(0).outcome)),
                Err(Stop::Failed(StoreError::Invalid(errors))) => outcomes.push(Err(errors)),
                Err(stop) => return Err(stop),
            }
        }
        Ok(Box::new(|_| outcomes))
    }
}

fn written(id: CallId, current: Current, outcome: WriteOutcome) -> Answer<WrittenCall> {
    Box::new(move |base| WrittenCall { id, call: current.stored(base), outcome })
}
