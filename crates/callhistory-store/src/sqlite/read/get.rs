//! Point reads.

use callhistory_model::{CallId, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::{domain::record_digest::RecordDigest, error::StoreError, record_bytes::RecordBytes, results::StoredCall};

/// Checks that the database can be read.
pub(crate) fn check(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("SELECT count(*) FROM (SELECT 1 FROM workspace LIMIT 1)", [], |_| Ok(()))
}

/// Reads the secret that cursors are signed with.
pub(crate) fn cursor_secret(db: &Connection) -> rusqlite::Result<Vec<u8>> {
    db.query_row("SELECT value FROM secret WHERE name = 'cursor'", [], |row| row.get(0))
}

/// Reads a record, with its position.
pub(crate) fn get_call(
    db: &Connection,
    workspace: &WorkspaceId,
    id: &CallId,
) -> Result<Option<(i64, StoredCall)>, StoreError> {
    let (workspace, id) = (workspace.as_str(), id.as_str());
    let mut statement = db.prepare_cached(
        "SELECT position, sequence, digest, transcript_digest, body, transcript FROM call
         WHERE workspace_id = ?1 AND id = ?2",
    )?;
    let mut rows = statement.query([workspace, id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some((row.get(0)?, stored_call(row, 1, (workspace, id))?)))
}

/// About the size of a record, without reading it.
pub(crate) fn call_bytes(db: &Connection, workspace: &WorkspaceId, id: &CallId) -> rusqlite::Result<usize> {
    let size = "SELECT length(body) + coalesce(length(transcript), 0) FROM call WHERE workspace_id = ?1 AND id = ?2";
    let mut size = db.prepare_cached(size)?;
    let bytes: Option<i64> = size.query_row([workspace.as_str(), id.as_str()], |row| row.get(0)).optional()?;
    Ok(bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0))
}

/// Reads and verifies the columns `sequence, digest, transcript_digest, body, transcript` of a record, starting at `first`.
pub(crate) fn stored_call(
    row: &Row<'_>,
    first: usize,
    (workspace, id): (&str, &str),
) -> Result<StoredCall, StoreError> {
    let bytes = record_bytes(row, first + 3)?;
    let digest = RecordDigest { record: row.get(first + 1)?, transcript: row.get(first + 2)? };
    digest.verify(workspace, id, bytes)?;
    Ok(StoredCall { sequence: row.get(first)?, body: bytes.to_json() })
}

/// The columns `body, transcript` of a record, starting at `first`.
pub(crate) fn record_bytes<'a>(row: &'a Row<'_>, first: usize) -> rusqlite::Result<RecordBytes<'a>> {
    Ok(RecordBytes { body: row.get_ref(first)?.as_blob()?, transcript: row.get_ref(first + 1)?.as_blob_or_null()? })
}
