//! What a write means, the same for every engine.

use std::{sync::Arc, time::Duration};

use callhistory_model::{
    CallId, CallInput, CallPatch, CallRecord, CallStatus, ChangeType, FieldError, FieldErrorCode, FieldErrors,
    Timestamp, WorkspaceId,
};
use sha2::{Digest, Sha256};

use crate::StoreError;

/// How long a keyed creation is replayed.
pub const IDEMPOTENCY_KEY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The key under which a creation may be sent again, as the caller chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub String);

/// What happened to a record, as the table of changes says it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Created = 1,
    Updated = 2,
    Deleted = 3,
}

impl Kind {
    pub(crate) fn read(stored: impl Into<i64>) -> ChangeType {
        match stored.into() {
            1 => ChangeType::Created,
            2 => ChangeType::Updated,
            _ => ChangeType::Deleted,
        }
    }
}

/// The state that a record must be in for a write to take effect; by default, any.
#[derive(Clone, Default)]
pub struct Precondition {
    holds: Option<Arc<dyn Fn(Option<i64>) -> bool + Send + Sync>>,
    seen: bool,
}

impl Precondition {
    /// A condition on the sequence of the record's last change, or on there being no record. It may be asked more than
    /// once: an engine repeats a transaction that collided with another.
    pub fn new(holds: impl Fn(Option<i64>) -> bool + Send + Sync + 'static) -> Self {
        Self { holds: Some(Arc::new(holds)), seen: false }
    }

    /// The same condition, which also says that the caller has seen the version that it names.
    #[must_use]
    pub fn seen(mut self) -> Self {
        self.seen = true;
        self
    }

    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "the other engine has no use for it"))]
    pub(crate) fn is_any(&self) -> bool {
        self.holds.is_none()
    }

    pub(crate) fn check(&self, current: Option<i64>) -> Result<(), StoreError> {
        match &self.holds {
            Some(holds) if !holds(current) => Err(StoreError::PreconditionFailed),
            _ => Ok(()),
        }
    }
}

/// The record that a creation makes.
pub(crate) fn created(
    input: CallInput,
    workspace: &WorkspaceId,
    id: &CallId,
    now: &Timestamp,
) -> Result<CallRecord, StoreError> {
    let earliest = match &input.updated_at {
        Some(updated) if updated.unix_nanos() < now.unix_nanos() => updated.clone(),
        _ => now.clone(),
    };
    let created_at = input.created_at.clone().unwrap_or(earliest);
    let updated_at = input.updated_at.clone().unwrap_or_else(|| later(now, &created_at));
    finish(input, workspace, id, created_at, updated_at)
}

/// Whether a store would take an input as a new record, as far as that does not depend on what it holds.
///
/// # Errors
///
/// [`StoreError::Invalid`] with the errors with which an import would reject it, and [`StoreError::Internal`].
pub fn check_new_call(
    workspace: &WorkspaceId,
    id: &CallId,
    input: CallInput,
    now: &Timestamp,
) -> Result<(), StoreError> {
    created(input, workspace, id, now).map(drop)
}

/// The record that a replacement makes of a stored one; `None` where it would change nothing.
pub(crate) fn replaced(
    input: CallInput,
    stored: &CallRecord,
    stored_body: &[u8],
    now: &Timestamp,
) -> Result<Option<CallRecord>, StoreError> {
    let stamped = input.updated_at.clone();
    // A record is not created after its last change, here as in a new one.
    let before = |stamp: &&Timestamp| stamp.unix_nanos() < stored.created_at.unix_nanos();
    let earliest = stamped.as_ref().filter(before).unwrap_or(&stored.created_at).clone();
    let created_at = input.created_at.clone().unwrap_or(earliest);
    let updated_at = stamped.clone().unwrap_or_else(|| stored.updated_at.clone());
    let mut record = finish(input, &stored.workspace_id, &stored.id, created_at, updated_at)?;
    if record.to_json() == stored_body {
        return Ok(None);
    }
    if stamped.is_none() {
        // A clock that was set back must not make a change look older than the one before it.
        record.updated_at = later(&later(now, &stored.updated_at), &record.created_at);
    }
    Ok(Some(record))
}

/// The record that a patch makes of a stored one; `None` where it would change nothing.
pub(crate) fn patched(
    patch: &CallPatch,
    precondition: &Precondition,
    stored: &CallRecord,
    stored_body: &[u8],
    now: &Timestamp,
) -> Result<Option<CallRecord>, StoreError> {
    let input = patch.apply(stored).map_err(StoreError::Invalid)?;
    let identity = [
        (input.id.as_ref() != Some(&stored.id), "/_id"),
        (input.workspace_id.as_ref() != Some(&stored.workspace_id), "/workspaceId"),
    ];
    if let Some((_, pointer)) = identity.iter().find(|(differs, _)| *differs) {
        let error =
            FieldError::new(FieldErrorCode::Mismatch, "is another than that of the record; it cannot be changed");
        return Err(StoreError::Invalid(FieldErrors(vec![error.prefix_pointer(pointer)])));
    }
    let was_final = stored.status.as_ref().and_then(CallStatus::is_final) == Some(true);
    // Taking the status away undoes it as well; a value of the caller's own is the caller's business.
    let undone = input.status.as_ref().map_or(Some(false), CallStatus::is_final) == Some(false);
    if was_final && undone && !precondition.seen {
        return Err(StoreError::TerminalStatus);
    }
    replaced(input, stored, stored_body, now)
}

fn later(one: &Timestamp, other: &Timestamp) -> Timestamp {
    if one.unix_nanos() >= other.unix_nanos() { one.clone() } else { other.clone() }
}

fn finish(
    mut input: CallInput,
    workspace: &WorkspaceId,
    id: &CallId,
    created_at: Timestamp,
    updated_at: Timestamp,
) -> Result<CallRecord, StoreError> {
    input.id = Some(id.clone());
    input.workspace_id = Some(workspace.clone());
    input.created_at = Some(created_at);
    input.updated_at = Some(updated_at);
    let record = input.into_record().map_err(|error| StoreError::Internal(error.to_string()))?;
    let bytes = record.to_json().len();
    if bytes > CallRecord::MAX_BYTES {
        // Else patches could make what no request may bring, and an export could not be imported again.
        let detail = format!("has {bytes} bytes as it would be stored; at most {} are kept", CallRecord::MAX_BYTES);
        return Err(StoreError::Invalid(FieldErrors(vec![
            FieldError::new(FieldErrorCode::TooManyBytes, detail).prefix_pointer(""),
        ])));
    }
    Ok(record)
}

/// Tells whether two keyed creations ask for the same.
pub(crate) fn request_hash(input: &CallInput) -> Result<[u8; 32], StoreError> {
    let json = serde_json::to_vec(input).map_err(|error| StoreError::Internal(error.to_string()))?;
    Ok(Sha256::digest(json).into())
}

/// The time at which an idempotency key that is used now expires, in nanoseconds since 1970.
pub(crate) fn key_expiry_nanos(now: &Timestamp) -> i64 {
    let lifetime = i64::try_from(IDEMPOTENCY_KEY_LIFETIME.as_nanos()).unwrap_or(i64::MAX);
    now.unix_nanos().saturating_add(lifetime)
}
