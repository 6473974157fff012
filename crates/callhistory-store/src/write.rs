//! What a write means, the same for every engine.

use std::{sync::Arc, time::Duration};

use callhistory_model::{CallDraft, CallId, CallRecord, Timestamp, WorkspaceId};
use sha2::{Digest, Sha256};

use crate::StoreError;

/// How long a keyed creation is replayed.
pub const IDEMPOTENCY_KEY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The key under which a creation may be sent again, as the caller chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub String);

/// The state that a record must be in for a write to take effect; by default, any.
#[derive(Clone, Default)]
pub struct Precondition(Option<Arc<dyn Fn(Option<i64>) -> bool + Send + Sync>>);

impl Precondition {
    /// A condition on the sequence of the record's last change, or on there being no record. It may be asked more than
    /// once: an engine repeats a transaction that collided with another.
    pub fn new(holds: impl Fn(Option<i64>) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(holds)))
    }

    pub(crate) fn check(&self, current: Option<i64>) -> Result<(), StoreError> {
        match &self.0 {
            Some(holds) if !holds(current) => Err(StoreError::PreconditionFailed),
            _ => Ok(()),
        }
    }
}

/// The record that a creation makes.
pub(crate) fn created(
    draft: CallDraft,
    workspace: &WorkspaceId,
    id: &CallId,
    now: &Timestamp,
) -> Result<CallRecord, StoreError> {
    let earliest = match &draft.updated_at {
        Some(updated) if updated.unix_nanos() < now.unix_nanos() => updated.clone(),
        _ => now.clone(),
    };
    let created_at = draft.created_at.clone().unwrap_or(earliest);
    let updated_at = draft.updated_at.clone().unwrap_or_else(|| later(now, &created_at));
    finish(draft, workspace, id, created_at, updated_at)
}

/// The record that a replacement makes of a stored one; `None` where it would change nothing.
pub(crate) fn replaced(
    draft: CallDraft,
    stored: &CallRecord,
    stored_body: &[u8],
    now: &Timestamp,
) -> Result<Option<CallRecord>, StoreError> {
    let stamped = draft.updated_at.clone();
    // A record is not created after its last change, here as in a new one.
    let before = |stamp: &&Timestamp| stamp.unix_nanos() < stored.created_at.unix_nanos();
    let earliest = stamped.as_ref().filter(before).unwrap_or(&stored.created_at).clone();
    let created_at = draft.created_at.clone().unwrap_or(earliest);
    let updated_at = stamped.clone().unwrap_or_else(|| stored.updated_at.clone());
    let mut record = finish(draft, &stored.workspace_id, &stored.id, created_at, updated_at)?;
    if record.to_json() == stored_body {
        return Ok(None);
    }
    if stamped.is_none() {
        // A clock that was set back must not make a change look older than the one before it.
        record.updated_at = later(&later(now, &stored.updated_at), &record.created_at);
    }
    Ok(Some(record))
}

fn later(one: &Timestamp, other: &Timestamp) -> Timestamp {
    if one.unix_nanos() >= other.unix_nanos() { one.clone() } else { other.clone() }
}

fn finish(
    mut draft: CallDraft,
    workspace: &WorkspaceId,
    id: &CallId,
    created_at: Timestamp,
    updated_at: Timestamp,
) -> Result<CallRecord, StoreError> {
    draft.id = Some(id.clone());
    draft.workspace_id = Some(workspace.clone());
    draft.created_at = Some(created_at);
    draft.updated_at = Some(updated_at);
    draft.into_record().map_err(|fault| StoreError::Internal(fault.to_string()))
}

/// Tells whether two keyed creations ask for the same.
pub(crate) fn request_hash(draft: &CallDraft) -> Result<[u8; 32], StoreError> {
    let json = serde_json::to_vec(draft).map_err(|error| StoreError::Internal(error.to_string()))?;
    Ok(Sha256::digest(json).into())
}

/// The time at which an idempotency key that is used now expires, in nanoseconds since 1970.
pub(crate) fn key_expiry_nanos(now: &Timestamp) -> i64 {
    let lifetime = i64::try_from(IDEMPOTENCY_KEY_LIFETIME.as_nanos()).unwrap_or(i64::MAX);
    now.unix_nanos().saturating_add(lifetime)
}
