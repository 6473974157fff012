//! Point reads.

use bytes::Bytes;
use callhistory_model::{CallId, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::results::StoredCall;

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
) -> rusqlite::Result<Option<(i64, StoredCall)>> {
    db.prepare_cached("SELECT position, sequence, body FROM call WHERE workspace_id = ?1 AND id = ?2")?
        .query_row([workspace.as_str(), id.as_str()], |row| Ok((row.get(0)?, stored_call(row, 1)?)))
        .optional()
}

/// Reads the columns `sequence, body`, starting at `first`.
pub(crate) fn stored_call(row: &Row<'_>, first: usize) -> rusqlite::Result<StoredCall> {
    let body = Bytes::copy_from_slice(row.get_ref(first + 1)?.as_blob()?);
    Ok(StoredCall { sequence: row.get(first)?, body })
}
