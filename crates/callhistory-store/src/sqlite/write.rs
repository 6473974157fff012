//! The writes of the embedded engine: what happens inside a group's transaction.

use bytes::Bytes;
use callhistory_model::{
    Amount, CallId, CallInput, CallPatch, CallRecord, CallStatus, CallType, Direction, FieldErrors, Timestamp,
    WorkspaceId,
};
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};
use sha2::{Digest as _, Sha256};

use super::{
    filter::{POSITIONS_PER_SECOND, first_position, push_text},
    recount::COLUMNS,
    writer::{Batch, Change},
};
use crate::{
    IdempotencyKey, Precondition, StoreError, StoredCall, WriteOutcome, WrittenCall, metrics,
    terms::{Term, Terms, charge},
    write::{self, Kind, key_expiry_nanos},
};

/// How many expired idempotency keys one creation clears away.
const EXPIRED_KEYS_PER_CREATION: i64 = 16;

/// A record with its position.
pub(crate) fn read_call(
    db: &Connection,
    workspace: &WorkspaceId,
    id: &CallId,
) -> rusqlite::Result<Option<(i64, StoredCall)>> {
    db.prepare_cached("SELECT position, sequence, body FROM call WHERE workspace_id = ?1 AND id = ?2")?
        .query_row([workspace.as_str(), id.as_str()], |row| Ok((row.get(0)?, stored_call(row, 1)?)))
        .optional()
}

/// The columns `sequence, body`, from `first` on.
fn stored_call(row: &Row<'_>, first: usize) -> rusqlite::Result<StoredCall> {
    let body = Bytes::copy_from_slice(row.get_ref(first + 1)?.as_blob()?);
    Ok(StoredCall { sequence: row.get(first)?, body })
}

/// A record as it is written where there is none under its id. It is made on the caller's thread: what the one thread that
/// writes does not do, it does not keep others waiting with.
pub(crate) struct NewCall {
    record: CallRecord,
    body: Bytes,
    terms: String,
    position: i64,
}

impl NewCall {
    pub(crate) fn make(
        input: CallInput,
        workspace: &WorkspaceId,
        id: &CallId,
        now: &Timestamp,
    ) -> Result<Self, StoreError> {
        let record = write::created(input, workspace, id, now)?;
        let body = record.to_json().into();
        let terms = text(&Terms::new(workspace).of(&record));
        Ok(Self { body, terms, position: first_choice(&record), record })
    }
}

fn read_record(body: &[u8]) -> Result<CallRecord, StoreError> {
    serde_json::from_slice(body)
        .map_err(|error| StoreError::Internal(format!("a stored record cannot be read: {error}")))
}

pub(crate) fn create_call(
    tx: &Batch<'_>,
    workspace: &WorkspaceId,
    id: &CallId,
    new: NewCall,
    key: Option<(&IdempotencyKey, [u8; 32])>,
    now: &Timestamp,
) -> Result<WrittenCall, StoreError> {
    let Some((key, hash)) = key else {
        return insert_call(tx, new, now);
    };
    clear_expired_keys(tx.db, workspace, now)?;
    let replay = tx
        .db
        .prepare_cached(
            "SELECT request_hash, call_id, sequence, body FROM idempotency
             WHERE workspace_id = ?1 AND key = ?2 AND expires_at > ?3",
        )?
        .query_row(params![workspace.as_str(), key.0, now.unix_nanos()], |row| {
            Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, String>(1)?, stored_call(row, 2)?))
        })
        .optional()?;
    if let Some((first_hash, first_id, call)) = replay {
        if first_hash != hash {
            return Err(StoreError::IdempotencyKeyReused);
        }
        if call.body.is_empty() {
            return Err(StoreError::Deleted);
        }
        let id = first_id.parse().map_err(|_| StoreError::Internal("an idempotency row has no sound id".to_owned()))?;
        return Ok(WrittenCall { id, call, outcome: WriteOutcome::Created });
    }
    let written = insert_call(tx, new, now)?;
    tx.db
        .prepare_cached(
            "INSERT OR REPLACE INTO idempotency (workspace_id, key, request_hash, expires_at, call_id, sequence, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            workspace.as_str(),
            key.0,
            hash,
            key_expiry_nanos(now),
            id.as_str(),
            written.call.sequence,
            written.call.body.as_ref(),
        ])?;
    Ok(written)
}

/// Clears some expired keys of the workspace, more than one creation adds, so that the table stays as small as the keys
/// of a day.
fn clear_expired_keys(db: &Connection, workspace: &WorkspaceId, now: &Timestamp) -> rusqlite::Result<()> {
    let mut delete = db.prepare_cached(
        "DELETE FROM idempotency WHERE rowid IN (
             SELECT rowid FROM idempotency WHERE workspace_id = ?1 AND expires_at <= ?2 ORDER BY expires_at LIMIT ?3)",
    )?;
    delete.execute(params![workspace.as_str(), now.unix_nanos(), EXPIRED_KEYS_PER_CREATION])?;
    Ok(())
}

pub(crate) fn replace_call(
    tx: &Batch<'_>,
    workspace: &WorkspaceId,
    id: &CallId,
    (input, new): Draft,
    precondition: &Precondition,
    now: &Timestamp,
) -> Result<WrittenCall, StoreError> {
    let stored = read_call(tx.db, workspace, id)?;
    precondition.check(stored.as_ref().map(|(_, call)| call.sequence))?;
    let Some((position, stored)) = stored else {
        return insert_call(tx, new?, now);
    };
    let before = read_record(&stored.body)?;
    let Some(record) = write::replaced(input, &before, &stored.body, now)? else {
        return Ok(WrittenCall { id: id.clone(), call: stored, outcome: WriteOutcome::Unchanged });
    };
    replace_row(tx, position, &before, record, now)
}

/// What is to be put, and what it is where there is no record yet.
pub(crate) type Draft = (CallInput, Result<NewCall, StoreError>);

/// Puts many records; one that breaks rules is told apart from a failure, which undoes them all.
pub(crate) fn import_calls(
    tx: &Batch<'_>,
    workspace: &WorkspaceId,
    calls: Vec<(CallId, Draft)>,
    now: &Timestamp,
) -> Result<Vec<Result<WriteOutcome, FieldErrors>>, StoreError> {
    let any = Precondition::default();
    let put = |(id, input): (CallId, Draft)| match replace_call(tx, workspace, &id, input, &any, now) {
        Ok(written) => Ok(Ok(written.outcome)),
        Err(StoreError::Invalid(errors)) => Ok(Err(errors)),
        Err(error) => Err(error),
    };
    calls.into_iter().map(put).collect()
}

pub(crate) fn update_call(
    tx: &Batch<'_>,
    workspace: &WorkspaceId,
    id: &CallId,
    patch: &CallPatch,
    precondition: &Precondition,
    now: &Timestamp,
) -> Result<Option<WrittenCall>, StoreError> {
    let stored = read_call(tx.db, workspace, id)?;
    let Some((position, stored)) = stored else { return Ok(None) };
    precondition.check(Some(stored.sequence))?;
    let before = read_record(&stored.body)?;
    let Some(record) = write::patched(patch, precondition, &before, &stored.body, now)? else {
        return Ok(Some(WrittenCall { id: id.clone(), call: stored, outcome: WriteOutcome::Unchanged }));
    };
    replace_row(tx, position, &before, record, now).map(Some)
}

pub(crate) fn delete_call(
    tx: &Batch<'_>,
    workspace: &WorkspaceId,
    id: &CallId,
    precondition: &Precondition,
    now: &Timestamp,
) -> Result<bool, StoreError> {
    let Some((position, stored)) = read_call(tx.db, workspace, id)? else { return Ok(false) };
    precondition.check(Some(stored.sequence))?;
    // From the columns: a record whose body cannot be read can be deleted.
    tx.db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM call c WHERE c.workspace_id = ?1 AND c.id = ?2"))?
        .query_row([workspace.as_str(), id.as_str()], |row| tx.count(workspace, &metrics::Row::read(row)?, -1))?;
    tx.db
        .prepare_cached("DELETE FROM call WHERE workspace_id = ?1 AND id = ?2")?
        .execute([workspace.as_str(), id.as_str()])?;
    // The key stays, so that a late copy of the creation does not bring the record back.
    tx.db
        .prepare_cached("UPDATE idempotency SET body = x'' WHERE workspace_id = ?1 AND call_id = ?2")?
        .execute([workspace.as_str(), id.as_str()])?;
    tx.index(position, Change::Delete);
    write_change(tx, workspace, id, Kind::Deleted, now)?;
    Ok(true)
}

fn replace_row(
    tx: &Batch<'_>,
    position: i64,
    before: &CallRecord,
    record: CallRecord,
    now: &Timestamp,
) -> Result<WrittenCall, StoreError> {
    let sequence = write_change(tx, &record.workspace_id, &record.id, Kind::Updated, now)?;
    let call = StoredCall { sequence, body: record.to_json().into() };
    let moves = first_position(before.sort_time_nanos()) != first_position(record.sort_time_nanos());
    let new_position = if moves { free_position(tx.db, first_choice(&record))? } else { position };
    write_columns(
        tx.db,
        "UPDATE call SET position = :position, sequence = :sequence, sort_time = :sort_time, created_at = :created_at,
             updated_at = :updated_at, duration = :duration, cost = :cost,
             agent_id = :agent_id, call_flow_id = :call_flow_id, batch_id = :batch_id, call_id = :call_id,
             status = :status, direction = :direction, call_type = :call_type,
             from_phone_number = :from_phone_number, to_phone_number = :to_phone_number, body = :body
         WHERE workspace_id = :workspace_id AND id = :id",
        new_position,
        &record,
        &call,
    )?;
    let (row_before, row_after) = (metrics::Row::of(before), metrics::Row::of(&record));
    if row_before != row_after {
        tx.count(&record.workspace_id, &row_before, -1)?;
        tx.count(&record.workspace_id, &row_after, 1)?;
    }
    let terms = Terms::new(&record.workspace_id);
    let new_terms = terms.of(&record);
    if moves {
        tx.index(position, Change::Delete);
        tx.index(new_position, Change::Insert(text(&new_terms)));
    } else if new_terms != terms.of(before) {
        tx.index(position, Change::Replace(text(&new_terms)));
    }
    Ok(WrittenCall { id: record.id, call, outcome: WriteOutcome::Replaced })
}

fn insert_call(tx: &Batch<'_>, new: NewCall, now: &Timestamp) -> Result<WrittenCall, StoreError> {
    let NewCall { record, body, terms, position } = new;
    let position = free_position(tx.db, position)?;
    let sequence = write_change(tx, &record.workspace_id, &record.id, Kind::Created, now)?;
    let call = StoredCall { sequence, body };
    let inserted = write_columns(
        tx.db,
        "INSERT INTO call (position, workspace_id, id, sequence, sort_time, created_at, updated_at, duration, cost,
             agent_id, call_flow_id, batch_id, call_id, status, direction, call_type,
             from_phone_number, to_phone_number, body)
         VALUES (:position, :workspace_id, :id, :sequence, :sort_time, :created_at, :updated_at, :duration, :cost,
             :agent_id, :call_flow_id, :batch_id, :call_id, :status, :direction, :call_type,
             :from_phone_number, :to_phone_number, :body)
         ON CONFLICT (workspace_id, id) DO NOTHING",
        position,
        &record,
        &call,
    )?;
    if inserted == 0 {
        return Err(StoreError::IdTaken);
    }
    tx.index(position, Change::Insert(terms));
    tx.count(&record.workspace_id, &metrics::Row::of(&record), 1)?;
    Ok(WrittenCall { id: record.id, call, outcome: WriteOutcome::Created })
}

/// The terms as the index takes them.
fn text(terms: &[Term]) -> String {
    let mut text = String::with_capacity(terms.len() * 17);
    for term in terms {
        push_text(&mut text, *term);
        text.push(' ');
    }
    text
}

/// The position that a record takes if it is free: spread over its second by a digest of the id, so that it mostly is.
fn first_choice(record: &CallRecord) -> i64 {
    let digest =
        Sha256::new_with_prefix(record.workspace_id.as_str()).chain_update([0]).chain_update(record.id.as_str());
    let digest = digest.finalize();
    let spread = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    let start = i64::try_from(spread % POSITIONS_PER_SECOND.unsigned_abs()).unwrap_or(0);
    first_position(record.sort_time_nanos()).saturating_add(start)
}

/// A position that no other record has, in the second of another.
fn free_position(db: &Connection, choice: i64) -> Result<i64, StoreError> {
    let start = choice.rem_euclid(POSITIONS_PER_SECOND);
    let first = choice - start;
    // The one statement without the workspace: positions are shared, and nothing of the record behind one is read.
    let mut taken = db.prepare_cached("SELECT 1 FROM call WHERE position = ?1")?;
    for step in 0..POSITIONS_PER_SECOND {
        let position = first + (start + step) % POSITIONS_PER_SECOND;
        if !taken.exists([position])? {
            return Ok(position);
        }
    }
    Err(StoreError::Internal("a second has no free position".to_owned()))
}

/// Takes the next number of the workspace for a change of a record.
fn write_change(
    tx: &Batch<'_>,
    workspace: &WorkspaceId,
    id: &CallId,
    kind: Kind,
    now: &Timestamp,
) -> Result<i64, StoreError> {
    let sequence: i64 = tx
        .db
        .prepare_cached(
            "INSERT INTO workspace (workspace_id, last_sequence) VALUES (?1, ?2 + 1)
             ON CONFLICT (workspace_id) DO UPDATE SET last_sequence = last_sequence + 1
             RETURNING last_sequence",
        )?
        .query_row(params![workspace.as_str(), tx.first_sequence], |row| row.get(0))?;
    tx.db
        .prepare_cached(
            "INSERT INTO change (workspace_id, sequence, kind, id, changed_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![workspace.as_str(), sequence, kind as i64, id.as_str(), now.unix_nanos()])?;
    tx.announce(workspace, id);
    Ok(sequence)
}

/// Runs a statement that takes every column of a record.
fn write_columns(
    db: &Connection,
    sql: &str,
    position: i64,
    record: &CallRecord,
    call: &StoredCall,
) -> rusqlite::Result<usize> {
    db.prepare_cached(sql)?.execute(named_params! {
        ":position": position,
        ":workspace_id": record.workspace_id.as_str(),
        ":id": record.id.as_str(),
        ":sequence": call.sequence,
        ":sort_time": record.sort_time_nanos(),
        ":created_at": record.created_at.unix_nanos(),
        ":updated_at": record.updated_at.unix_nanos(),
        ":duration": record.duration_nanos(),
        ":cost": charge(record).map(Amount::nanos),
        ":agent_id": record.agent_id,
        ":call_flow_id": record.call_flow_id,
        ":batch_id": record.batch_id,
        ":call_id": record.call_id,
        ":status": record.status.as_ref().map(CallStatus::as_str),
        ":direction": record.direction.as_ref().map(Direction::as_str),
        ":call_type": record.call_type.as_ref().map(CallType::as_str),
        ":from_phone_number": record.from_phone_number,
        ":to_phone_number": record.to_phone_number,
        ":body": call.body.as_ref(),
    })
}
