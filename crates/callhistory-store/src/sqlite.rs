//! The embedded engine: SQLite in WAL mode, one writer that commits in groups, readers on connections of their own.

use std::{
    fs::File,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use callhistory_model::{Amount, CallDraft, CallId, CallRecord, Cost, Timestamp, UnixSeconds, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, Row, ffi, named_params, params};

use crate::{
    CallStore, Effect, IdempotencyKey, Precondition, StoreError, StoredCall, Written, sqlite_open,
    sqlite_writer::Writer,
    write::{self, key_expiry_nanos, request_hash},
};

/// Point reads take microseconds and run on the caller's thread; a few connections keep callers from waiting for each
/// other.
const READERS: usize = 8;

/// I/O errors that are no failed sync: the group is rolled back and nobody was answered, so writes may go on.
const PASSING_IO_ERRORS: [i32; 2] = [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE];

/// How many expired idempotency keys one creation clears away.
const EXPIRED_KEYS_PER_CREATION: i64 = 16;

pub(crate) struct SqliteStore {
    writer: Writer,
    readers: Vec<Mutex<Connection>>,
    /// Held while the store is open: two processes would each believe to be the only writer.
    _lock: File,
}

impl SqliteStore {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let (lock, connection) = sqlite_open::open_writer(path)?;
        let readers = (0..READERS).map(|_| sqlite_open::open_reader(path).map(Mutex::new));
        let readers = readers.collect::<Result<_, _>>()?;
        Ok(Self { writer: Writer::start(connection, path)?, readers, _lock: lock })
    }

    /// A reader that is free, or the first one as soon as it is. A lock is held for one statement and never across a
    /// wait.
    fn reader(&self) -> MutexGuard<'_, Connection> {
        let free = self.readers.iter().find_map(|reader| reader.try_lock().ok());
        free.unwrap_or_else(|| self.readers[0].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl CallStore for SqliteStore {
    async fn get_call(&self, workspace: &WorkspaceId, id: &CallId) -> Result<Option<StoredCall>, StoreError> {
        Ok(read_call(&self.reader(), workspace, id)?)
    }

    async fn create_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        draft: CallDraft,
        key: Option<IdempotencyKey>,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        let (workspace, id) = (workspace.clone(), id.clone());
        self.writer.run(move |tx| create_call(tx, &workspace, &id, draft, key.as_ref(), &now)).await
    }

    async fn put_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        draft: CallDraft,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        let (workspace, id) = (workspace.clone(), id.clone());
        self.writer.run(move |tx| put_call(tx, &workspace, &id, draft, &precondition, &now)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.reader().query_row("SELECT count(*) FROM (SELECT 1 FROM workspace LIMIT 1)", [], |_| Ok(()))?;
        self.writer.run(|_| Ok(())).await
    }

    async fn close(&self) {
        self.writer.close().await;
    }
}

fn read_call(db: &Connection, workspace: &WorkspaceId, id: &CallId) -> rusqlite::Result<Option<StoredCall>> {
    db.prepare_cached("SELECT sequence, body FROM call WHERE workspace_id = ?1 AND id = ?2")?
        .query_row([workspace.as_str(), id.as_str()], |row| stored_call(row, 0))
        .optional()
}

/// The columns `sequence, body`, from `first` on.
fn stored_call(row: &Row<'_>, first: usize) -> rusqlite::Result<StoredCall> {
    let body = Bytes::copy_from_slice(row.get_ref(first + 1)?.as_blob()?);
    Ok(StoredCall { sequence: row.get(first)?, body })
}

fn create_call(
    tx: &Connection,
    workspace: &WorkspaceId,
    id: &CallId,
    draft: CallDraft,
    key: Option<&IdempotencyKey>,
    now: &Timestamp,
) -> Result<Written, StoreError> {
    let Some(key) = key else {
        return insert_call(tx, workspace, write::created(draft, workspace, id, now)?);
    };
    let hash = request_hash(&draft)?;
    clear_expired_keys(tx, workspace, now)?;
    let replay = tx
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
        let id = first_id.parse().map_err(|_| StoreError::Internal("an idempotency row has no sound id".to_owned()))?;
        return Ok(Written { id, call, effect: Effect::Created });
    }
    let written = insert_call(tx, workspace, write::created(draft, workspace, id, now)?)?;
    tx.prepare_cached(
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
fn clear_expired_keys(tx: &Connection, workspace: &WorkspaceId, now: &Timestamp) -> rusqlite::Result<()> {
    let mut delete = tx.prepare_cached(
        "DELETE FROM idempotency WHERE rowid IN (
             SELECT rowid FROM idempotency WHERE workspace_id = ?1 AND expires_at <= ?2 ORDER BY expires_at LIMIT ?3)",
    )?;
    delete.execute(params![workspace.as_str(), now.unix_nanos(), EXPIRED_KEYS_PER_CREATION])?;
    Ok(())
}

fn put_call(
    tx: &Connection,
    workspace: &WorkspaceId,
    id: &CallId,
    draft: CallDraft,
    precondition: &Precondition,
    now: &Timestamp,
) -> Result<Written, StoreError> {
    let stored = read_call(tx, workspace, id)?;
    precondition.check(stored.as_ref().map(|call| call.sequence))?;
    let Some(stored) = stored else {
        return insert_call(tx, workspace, write::created(draft, workspace, id, now)?);
    };
    let before: CallRecord = serde_json::from_slice(&stored.body)
        .map_err(|error| StoreError::Internal(format!("a stored record cannot be read: {error}")))?;
    let Some(record) = write::replaced(draft, &before, &stored.body, now)? else {
        return Ok(Written { id: id.clone(), call: stored, effect: Effect::Unchanged });
    };
    let call = StoredCall { sequence: next_sequence(tx, workspace)?, body: record.to_json().into() };
    write_columns(
        tx,
        "UPDATE call SET sequence = :sequence, sort_time = :sort_time, created_at = :created_at,
             updated_at = :updated_at, start_time = :start_time, duration = :duration, cost = :cost,
             agent_id = :agent_id, call_flow_id = :call_flow_id, batch_id = :batch_id, call_id = :call_id,
             status = :status, direction = :direction, call_type = :call_type,
             from_phone_number = :from_phone_number, to_phone_number = :to_phone_number, body = :body
         WHERE workspace_id = :workspace_id AND id = :id",
        &record,
        &call,
    )?;
    Ok(Written { id: record.id, call, effect: Effect::Replaced })
}

fn insert_call(tx: &Connection, workspace: &WorkspaceId, record: CallRecord) -> Result<Written, StoreError> {
    let call = StoredCall { sequence: next_sequence(tx, workspace)?, body: record.to_json().into() };
    let inserted = write_columns(
        tx,
        "INSERT INTO call (workspace_id, id, sequence, sort_time, created_at, updated_at, start_time, duration, cost,
             agent_id, call_flow_id, batch_id, call_id, status, direction, call_type,
             from_phone_number, to_phone_number, body)
         VALUES (:workspace_id, :id, :sequence, :sort_time, :created_at, :updated_at, :start_time, :duration, :cost,
             :agent_id, :call_flow_id, :batch_id, :call_id, :status, :direction, :call_type,
             :from_phone_number, :to_phone_number, :body)
         ON CONFLICT (workspace_id, id) DO NOTHING",
        &record,
        &call,
    )?;
    if inserted == 0 {
        return Err(StoreError::IdTaken);
    }
    Ok(Written { id: record.id, call, effect: Effect::Created })
}

fn next_sequence(tx: &Connection, workspace: &WorkspaceId) -> rusqlite::Result<i64> {
    tx.prepare_cached(
        "INSERT INTO workspace (workspace_id, last_sequence) VALUES (?1, 1)
         ON CONFLICT (workspace_id) DO UPDATE SET last_sequence = last_sequence + 1
         RETURNING last_sequence",
    )?
    .query_row([workspace.as_str()], |row| row.get(0))
}

/// Runs a statement that takes every column of a record.
fn write_columns(tx: &Connection, sql: &str, record: &CallRecord, call: &StoredCall) -> rusqlite::Result<usize> {
    let start_time = record.start_time.as_ref().map(UnixSeconds::nanos);
    tx.prepare_cached(sql)?.execute(named_params! {
        ":workspace_id": record.workspace_id.as_str(),
        ":id": record.id.as_str(),
        ":sequence": call.sequence,
        ":sort_time": start_time.unwrap_or(record.created_at.unix_nanos()),
        ":created_at": record.created_at.unix_nanos(),
        ":updated_at": record.updated_at.unix_nanos(),
        ":start_time": start_time,
        ":duration": record.duration_nanos(),
        ":cost": record.cost.as_ref().and_then(Cost::customer_charge).map(Amount::nanos),
        ":agent_id": record.agent_id,
        ":call_flow_id": record.call_flow_id,
        ":batch_id": record.batch_id,
        ":call_id": record.call_id,
        ":status": record.status.as_ref().map(callhistory_model::CallStatus::as_str),
        ":direction": record.direction.as_ref().map(callhistory_model::Direction::as_str),
        ":call_type": record.call_type.as_ref().map(callhistory_model::CallType::as_str),
        ":from_phone_number": record.from_phone_number,
        ":to_phone_number": record.to_phone_number,
        ":body": call.body.as_ref(),
    })
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{
            DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase, SystemIoFailure,
        };
        // The library's message may quote a value of the row; its code says all that an operator needs.
        let message = error.sqlite_error().map_or_else(|| "unexpected row".to_owned(), ToString::to_string);
        let extended = error.sqlite_error().map(|error| error.extended_code);
        match error.sqlite_error_code() {
            // A quota, or memory for the index of the log: the group failed whole, and the next one may not.
            Some(SystemIoFailure) if extended.is_some_and(|code| PASSING_IO_ERRORS.contains(&code)) => {
                Self::Unavailable(message)
            }
            Some(DiskFull) => Self::Full(message),
            Some(SystemIoFailure | DatabaseCorrupt | NotADatabase) => Self::Io(message),
            Some(DatabaseBusy | DatabaseLocked) => Self::Unavailable(message),
            _ => Self::Internal(message),
        }
    }
}
