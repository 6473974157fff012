//! Point reads.

use bytes::Bytes;
use callhistory_model::{CallId, WorkspaceId};
use rusqlite::{Connection, Row};

use crate::{domain::record_digest::verify_record, error::StoreError, results::StoredCall};

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
    let mut statement =
        db.prepare_cached("SELECT position, sequence, digest, body FROM call WHERE workspace_id = ?1 AND id = ?2")?;
    let mut rows = statement.query([workspace, id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some((row.get(0)?, stored_call(row, 1, (workspace, id))?)))
}

/// Reads and verifies the columns `sequence, digest, body` of a record, starting at `first`.
pub(crate) fn stored_call(
    row: &Row<'_>,
    first: usize,
    (workspace, id): (&str, &str),
) -> Result<StoredCall, StoreError> {
    let body = row.get_ref(first + 2)?.as_blob().map_err(rusqlite::Error::from)?;
    verify_record(workspace, id, body, row.get(first + 1)?)?;
    Ok(StoredCall { sequence: row.get(first)?, body: Bytes::copy_from_slice(body) })
}
