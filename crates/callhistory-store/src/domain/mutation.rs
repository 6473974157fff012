//! The meaning of writes, the same for every engine.

use std::time::Duration;

use bytes::Bytes;
use callhistory_model::{
    CallId, CallInput, CallRecord, CallStatus, ChangeType, FieldError, FieldErrorCode, FieldErrors, FieldWarning,
    Handling, ImportMode, ParsedCall, Timestamp, WarningCode, WorkspaceId,
};
use sha2::{Digest, Sha256};

use crate::{
    call_write::{CallWrite, ImportOptions, ImportOutcome, ImportedCall, PatchWrite},
    error::StoreError,
};

/// How long an idempotency key is not accepted for another creation.
pub const IDEMPOTENCY_KEY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How much longer the same creation is replayed. A clock that jumps a day ahead, and is corrected, causes no second record.
const EXPIRED_KEY_GRACE_NANOS: i64 = 24 * 60 * 60 * 1_000_000_000;

/// The smallest step between two times that the service gives a record, in nanoseconds.
const TIME_STEP_NANOS: i64 = 1_000;

/// How far the time in a generated ID may be behind the last change of the workspace, in milliseconds: the difference between the
/// clocks of several servers.
const ID_TOLERANCE_MILLIS: i64 = 1_000;

/// The idempotency key of a creation, as the caller chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub String);

/// The type of a change, as the table of changes stores it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ChangeKind {
    Created = 1,
    Updated = 2,
    Deleted = 3,
}

impl ChangeKind {
    pub(crate) fn read(stored: impl Into<i64>) -> ChangeType {
        match stored.into() {
            1 => ChangeType::Created,
            2 => ChangeType::Updated,
            _ => ChangeType::Deleted,
        }
    }
}

/// A set of versions, as `If-Match` and `If-None-Match` name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionSet {
    /// `*`: any version.
    Any,
    /// The versions with these sequence numbers.
    OneOf(Vec<i64>),
}

impl VersionSet {
    fn contains(&self, sequence: i64) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(sequences) => sequences.contains(&sequence),
        }
    }
}

/// The state that a record must have for a write to take effect. The default allows any state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// The record exists in one of these versions.
    pub if_match: Option<VersionSet>,
    /// The record does not exist in one of these versions.
    pub if_none_match: Option<VersionSet>,
}

impl Precondition {
    /// Whether the precondition allows any state.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "the other engine does not need it"))]
    pub(crate) fn is_any(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Whether the caller has seen the version that it writes over. `*` only says that a record exists.
    fn names_version(&self) -> bool {
        matches!(self.if_match, Some(VersionSet::OneOf(_)))
    }

    /// Checks the sequence of the last change of a record; `None` if the record does not exist.
    pub(crate) fn check(&self, current: Option<i64>) -> Result<(), StoreError> {
        let holds = match current {
            None => self.if_match.is_none(),
            Some(sequence) => {
                self.if_match.as_ref().is_none_or(|versions| versions.contains(sequence))
                    && self.if_none_match.as_ref().is_none_or(|versions| !versions.contains(sequence))
            }
        };
        if holds { Ok(()) } else { Err(StoreError::PreconditionFailed) }
    }
}

/// The time of the next change of a workspace, given that of its last one: it does not go back with the clock of the machine, and
/// not with that of another server. A reader who continues at the last `updatedAt` that it has seen misses no change.
pub(crate) fn time_of_change(now: &Timestamp, last_change: i64) -> Timestamp {
    if now.unix_nanos() >= last_change { now.clone() } else { Timestamp::from_unix_nanos(last_change) }
}

/// The time after a change at this time: no later change of the workspace gets an earlier one.
pub(crate) fn last_change(time: &Timestamp, record: Option<&CallRecord>) -> i64 {
    let time = time.unix_nanos();
    match record.map(|record| record.updated_at.unix_nanos()) {
        // A step ahead, because the record had this time already. A time of the caller can be anywhere.
        Some(updated) if (time..=time + TIME_STEP_NANOS).contains(&updated) => updated,
        Some(_) => time,
        // A record that is created again after its deletion is newer than it was before.
        None => time.saturating_add(TIME_STEP_NANOS),
    }
}

/// Checks that a generated ID is not from before the last change of the workspace, so that IDs sort by time although a clock was
/// set back. Returns the time of the creation: that of the ID, if the clock is behind it. The ID of a caller has no time.
pub(crate) fn time_of_creation(id: &CallId, now: &Timestamp, last_change: i64) -> Result<Timestamp, StoreError> {
    let is_generated = id.as_str().len() == 24 && id.as_str().bytes().all(|byte| byte.is_ascii_hexdigit());
    let millis = is_generated.then(|| i64::from_str_radix(&id.as_str()[..12], 16).ok()).flatten();
    match millis {
        Some(millis) if millis.saturating_add(ID_TOLERANCE_MILLIS) < last_change / 1_000_000 => {
            Err(StoreError::ClockBehind(Timestamp::from_unix_nanos(last_change)))
        }
        Some(millis) if millis > now.unix_nanos() / 1_000_000 => {
            Ok(Timestamp::from_unix_nanos(millis.saturating_mul(1_000_000)))
        }
        _ => Ok(now.clone()),
    }
}

/// Dates a new record without an `updatedAt` of its caller; returns whether that changed it.
pub(crate) fn set_date(record: &mut CallRecord, time: &Timestamp) -> bool {
    let is_later = time.unix_nanos() > record.updated_at.unix_nanos();
    if is_later {
        record.updated_at = time.clone();
    }
    is_later
}

/// The record of a creation, and its canonical JSON.
pub(crate) fn create(
    input: CallInput,
    (workspace, id): (&WorkspaceId, &CallId),
    now: &Timestamp,
    max_bytes: usize,
) -> Result<(CallRecord, Bytes), StoreError> {
    let earliest = match &input.updated_at {
        Some(updated) if updated.unix_nanos() < now.unix_nanos() => updated.clone(),
        _ => now.clone(),
    };
    let created_at = input.created_at.clone().unwrap_or(earliest);
    let updated_at = input.updated_at.clone().unwrap_or_else(|| later(now, &created_at));
    with_json(complete(input, (workspace, id), (created_at, updated_at))?, max_bytes)
}

/// Checks a record as an import does, apart from what depends on stored records.
///
/// # Errors
///
/// [`StoreError::Invalid`] with the errors of an import, and [`StoreError::Internal`].
pub fn check_new_call(
    workspace: &WorkspaceId,
    id: &CallId,
    input: CallInput,
    now: &Timestamp,
    max_record_bytes: usize,
) -> Result<(), StoreError> {
    create(input, (workspace, id), now, max_record_bytes).map(drop)
}

/// What a write itself changed or left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteWarnings {
    pub(crate) list: Vec<FieldWarning>,
    /// Whether the record has less than what was sent, or something else.
    pub(crate) is_lossy: bool,
}

impl WriteWarnings {
    /// The input of a document, and the warnings about it.
    pub(crate) fn split(parsed: ParsedCall) -> (CallInput, Self) {
        let ParsedCall { input, warnings, is_changed, .. } = parsed;
        (input, Self { list: warnings, is_lossy: is_changed })
    }
}

/// What a write does to a record that exists.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// The record after the write and its canonical JSON; `None` if it changes nothing.
    pub(crate) record: Option<(CallRecord, Bytes)>,
    pub(crate) warnings: WriteWarnings,
}

/// Checks that a strict write has no unknown members other than those of the stored record.
pub(crate) fn check_extra(
    input: &CallInput,
    handling: Handling,
    stored: Option<&CallRecord>,
) -> Result<(), StoreError> {
    match handling {
        Handling::Strict => input.check_extra(stored).map_err(StoreError::Invalid),
        Handling::Lenient => Ok(()),
    }
}

/// The change by a replacement.
pub(crate) fn replace(
    write: CallWrite,
    precondition: &Precondition,
    before: &CallRecord,
    time: &Timestamp,
    max_bytes: usize,
) -> Result<Change, StoreError> {
    check_extra(&write.input, write.handling, Some(before))?;
    if undoes_final_status(&write.input, before) && !precondition.names_version() {
        return Err(StoreError::FinalStatus);
    }
    let record = write_over(write.input, before, time, max_bytes)?;
    Ok(Change { record, warnings: WriteWarnings::default() })
}

/// The change by a patch.
pub(crate) fn patch(
    patch: &PatchWrite,
    precondition: &Precondition,
    before: &CallRecord,
    time: &Timestamp,
    max_bytes: usize,
) -> Result<Change, StoreError> {
    let parsed = patch.patch.apply(before, patch.handling).map_err(StoreError::Invalid)?;
    let (input, warnings) = WriteWarnings::split(parsed);
    check_identity(&input, &before.workspace_id, &before.id)?;
    if undoes_final_status(&input, before) && !precondition.names_version() {
        return Err(StoreError::FinalStatus);
    }
    let record = write_over(input, before, time, max_bytes)?;
    Ok(Change { record, warnings })
}

/// The record that a patch creates where there is none, as a write.
pub(crate) fn patch_of_nothing(
    patch: &PatchWrite,
    workspace: &WorkspaceId,
    id: &CallId,
) -> Result<(CallInput, WriteWarnings), StoreError> {
    let mut parsed = patch.patch.create(patch.handling).map_err(StoreError::Invalid)?;
    parsed.input.id.get_or_insert_with(|| id.clone());
    parsed.input.workspace_id.get_or_insert_with(|| workspace.clone());
    check_identity(&parsed.input, workspace, id)?;
    Ok(WriteWarnings::split(parsed))
}

/// The change by a record of an import, and its outcome if it changes nothing.
pub(crate) fn import(
    write: CallWrite,
    mode: ImportMode,
    before: &CallRecord,
    time: &Timestamp,
    max_bytes: usize,
) -> Result<(Change, ImportOutcome), StoreError> {
    check_extra(&write.input, write.handling, Some(before))?;
    let (input, warnings) = match mode {
        ImportMode::Merge => WriteWarnings::split(write.input.merge_into(before).map_err(StoreError::Invalid)?),
        ImportMode::Replace if undoes_final_status(&write.input, before) => {
            let detail = "is not stored, because the stored record has a final status";
            let stale = FieldWarning::new(WarningCode::Stale, detail).prefix_pointer("/status");
            let warnings = WriteWarnings { list: vec![stale], is_lossy: true };
            return Ok((Change { record: None, warnings }, ImportOutcome::Stale));
        }
        ImportMode::Replace | ImportMode::Create => (write.input, WriteWarnings::default()),
    };
    let record = write_over(input, before, time, max_bytes)?;
    let outcome = match (&record, mode) {
        (None, _) => ImportOutcome::Unchanged,
        (Some(_), ImportMode::Replace) => ImportOutcome::Replaced,
        (Some(_), ImportMode::Merge) => ImportOutcome::Merged,
        (Some(_), ImportMode::Create) => {
            let detail = "is the ID of another record; send mode=replace or mode=merge to change it";
            let error = FieldError::new(FieldErrorCode::Conflict, detail).prefix_pointer("/_id");
            return Err(StoreError::Invalid(FieldErrors(vec![error])));
        }
    };
    Ok((Change { record, warnings }, outcome))
}

/// Fails if a record of a batch that is written as a whole is invalid.
pub(crate) fn check_atomic(
    outcomes: &[Result<ImportedCall, FieldErrors>],
    options: ImportOptions,
) -> Result<(), StoreError> {
    let invalid = outcomes.iter().enumerate().filter_map(|(at, outcome)| Some((at, outcome.as_ref().err()?.clone())));
    let invalid: Vec<_> = invalid.filter(|_| options.is_atomic).collect();
    if invalid.is_empty() { Ok(()) } else { Err(StoreError::Aborted(invalid)) }
}

/// Checks that an input does not name another record.
fn check_identity(input: &CallInput, workspace: &WorkspaceId, id: &CallId) -> Result<(), StoreError> {
    let identity =
        [(input.id.as_ref() != Some(id), "/_id"), (input.workspace_id.as_ref() != Some(workspace), "/workspaceId")];
    match identity.iter().find(|(differs, _)| *differs) {
        None => Ok(()),
        Some((_, pointer)) => {
            let detail = "differs from that of the record; it cannot be changed";
            let error = FieldError::new(FieldErrorCode::Mismatch, detail).prefix_pointer(pointer);
            Err(StoreError::Invalid(FieldErrors(vec![error])))
        }
    }
}

/// Whether a write would take a final status back: to a live one, or to none, as an empty one is. An unknown status is not judged.
fn undoes_final_status(input: &CallInput, stored: &CallRecord) -> bool {
    let was_final = stored.status.as_ref().and_then(CallStatus::is_final) == Some(true);
    let sent = input.status.as_ref().filter(|status| !status.as_str().trim().is_empty());
    was_final && sent.map_or(Some(false), CallStatus::is_final) == Some(false)
}

/// The record after an input is written over it; `None` if that changes nothing.
fn write_over(
    input: CallInput,
    before: &CallRecord,
    time: &Timestamp,
    max_bytes: usize,
) -> Result<Option<(CallRecord, Bytes)>, StoreError> {
    let stamped = input.updated_at.clone();
    // As in a new record, creation is not after the last change.
    let is_before = |stamp: &&Timestamp| stamp.unix_nanos() < before.created_at.unix_nanos();
    let earliest = stamped.as_ref().filter(is_before).unwrap_or(&before.created_at).clone();
    let created_at = input.created_at.clone().unwrap_or(earliest);
    let updated_at = stamped.clone().unwrap_or_else(|| before.updated_at.clone());
    let mut record = complete(input, (&before.workspace_id, &before.id), (created_at, updated_at))?;
    // Equal records have equal bytes.
    if record == *before {
        return Ok(None);
    }
    if stamped.is_none() {
        // Two changes of a record never have the same time.
        let after = Timestamp::from_unix_nanos(before.updated_at.unix_nanos().saturating_add(TIME_STEP_NANOS));
        let is_new = time.unix_nanos() > before.updated_at.unix_nanos();
        record.updated_at = later(if is_new { time } else { &after }, &record.created_at);
    }
    with_json(record, max_bytes).map(Some)
}

fn later(one: &Timestamp, other: &Timestamp) -> Timestamp {
    if one.unix_nanos() >= other.unix_nanos() { one.clone() } else { other.clone() }
}

fn complete(
    mut input: CallInput,
    (workspace, id): (&WorkspaceId, &CallId),
    (created_at, updated_at): (Timestamp, Timestamp),
) -> Result<CallRecord, StoreError> {
    input.id = Some(id.clone());
    input.workspace_id = Some(workspace.clone());
    input.created_at = Some(created_at);
    input.updated_at = Some(updated_at);
    input.into_record().map_err(|error| StoreError::Internal(error.to_string()))
}

/// A record and its canonical JSON, if that is not too large.
fn with_json(record: CallRecord, max_bytes: usize) -> Result<(CallRecord, Bytes), StoreError> {
    // Otherwise patches could grow a record beyond what a request may contain, and its export could not be imported.
    let json = record.to_json();
    check_size(json.len(), 0, max_bytes)?;
    Ok((record, json.into()))
}

/// Checks the size of a record together with that of its originals.
pub(crate) fn check_size(record_bytes: usize, original_bytes: usize, max_bytes: usize) -> Result<(), StoreError> {
    let bytes = record_bytes.saturating_add(original_bytes);
    if bytes <= max_bytes {
        return Ok(());
    }
    let with = if original_bytes == 0 { "" } else { " with its originals" };
    let detail = format!("would have {bytes} bytes{with}; at most {max_bytes} are stored");
    let error = FieldError::new(FieldErrorCode::TooManyBytes, detail).prefix_pointer("");
    Err(StoreError::Invalid(FieldErrors(vec![error])))
}

/// The digest by which two creations with one key are compared.
pub(crate) fn request_hash(input: &CallInput) -> Result<[u8; 32], StoreError> {
    let json = serde_json::to_vec(input).map_err(|error| StoreError::Internal(error.to_string()))?;
    Ok(Sha256::digest(json).into())
}

/// Expiry of an idempotency key that is used now, in nanoseconds since 1970.
pub(crate) fn key_expiry_nanos(now: &Timestamp) -> i64 {
    let lifetime = i64::try_from(IDEMPOTENCY_KEY_LIFETIME.as_nanos()).unwrap_or(i64::MAX);
    now.unix_nanos().saturating_add(lifetime)
}

/// The expiry up to which keys are not needed any more, in nanoseconds since 1970.
pub(crate) fn unneeded_expiry_nanos(now: i64) -> i64 {
    now.saturating_sub(EXPIRED_KEY_GRACE_NANOS)
}

/// Whether the first response of a stored key is the response to this request; otherwise the key is free.
pub(crate) fn is_replay(is_same_request: bool, expires_at: i64, now: &Timestamp) -> Result<bool, StoreError> {
    if is_same_request {
        return Ok(expires_at > unneeded_expiry_nanos(now.unix_nanos()));
    }
    if expires_at > now.unix_nanos() { Err(StoreError::IdempotencyKeyReused) } else { Ok(false) }
}
