//! The originals of records.

use callhistory_model::{CallId, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::domain::original::{ContentHash, OriginalRow, OriginalTotals};

/// What a record has of originals.
pub(crate) fn totals(db: &Connection, (workspace, id): (&WorkspaceId, &CallId)) -> rusqlite::Result<OriginalTotals> {
    let last =
        "SELECT number, total_bytes FROM original WHERE workspace_id = ?1 AND id = ?2 ORDER BY number DESC LIMIT 1";
    let totals = db.prepare_cached(last)?.query_row([workspace.as_str(), id.as_str()], |row| {
        Ok(OriginalTotals { last_number: row.get(0)?, bytes: row.get(1)? })
    });
    Ok(totals.optional()?.unwrap_or_default())
}

/// Whether a record has this document already.
pub(crate) fn exists(
    db: &Connection,
    (workspace, id): (&WorkspaceId, &CallId),
    hash: &ContentHash,
) -> rusqlite::Result<bool> {
    let same = "SELECT 1 FROM original WHERE workspace_id = ?1 AND id = ?2 AND content_hash = ?3";
    db.prepare_cached(same)?.exists(params![workspace.as_str(), id.as_str(), hash])
}

pub(crate) fn insert(
    db: &Connection,
    (workspace, id): (&WorkspaceId, &CallId),
    row: &OriginalRow,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO original (workspace_id, id, number, received_at, source, media_type, warnings, bytes, total_bytes,
             content_hash, digest, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        workspace.as_str(),
        id.as_str(),
        row.number,
        row.received_at,
        row.source,
        row.media_type,
        row.warnings,
        row.bytes,
        row.total_bytes,
        row.hash,
        row.digest(workspace.as_str(), id.as_str()),
        row.body.as_ref(),
    ])?;
    Ok(())
}

/// Deletes all originals of a record.
pub(crate) fn delete(db: &Connection, (workspace, id): (&WorkspaceId, &CallId)) -> rusqlite::Result<()> {
    let every = "DELETE FROM original WHERE workspace_id = ?1 AND id = ?2";
    db.prepare_cached(every)?.execute([workspace.as_str(), id.as_str()])?;
    Ok(())
}
