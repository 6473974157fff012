//! The originals of a record.

use bytes::Bytes;
use callhistory_model::{CallId, OriginalInfo, WorkspaceId};
use rusqlite::{Connection, Row, params};

use crate::{call_write::Original, domain::original::OriginalRow, error::StoreError, sql::ORIGINAL_COLUMNS};

/// What is known of the last originals of a record, in the order of their numbers; `None` if there is no such record.
pub(crate) fn list_originals(
    db: &Connection,
    workspace: &WorkspaceId,
    id: &CallId,
) -> Result<Option<Vec<OriginalInfo>>, StoreError> {
    let own = [workspace.as_str(), id.as_str()];
    if !db.prepare_cached("SELECT 1 FROM call WHERE workspace_id = ?1 AND id = ?2")?.exists(own)? {
        return Ok(None);
    }
    let text = format!(
        "SELECT {ORIGINAL_COLUMNS} FROM original o WHERE o.workspace_id = ?1 AND o.id = ?2 ORDER BY o.number DESC LIMIT {}",
        OriginalInfo::MAX_LISTED
    );
    let mut statement = db.prepare_cached(&text)?;
    let mut rows = statement.query(own)?;
    let mut infos = Vec::new();
    while let Some(row) = rows.next()? {
        let (original, digest) = original_row(row)?;
        infos.push(original.info((own[0], own[1]), digest)?);
    }
    infos.reverse();
    Ok(Some(infos))
}

/// An original of a record.
pub(crate) fn get_original(
    db: &Connection,
    workspace: &WorkspaceId,
    id: &CallId,
    number: i64,
) -> Result<Option<Original>, StoreError> {
    // An original does not outlive its record.
    let text = format!(
        "SELECT {ORIGINAL_COLUMNS}, o.body FROM original o WHERE o.workspace_id = ?1 AND o.id = ?2 AND o.number = ?3"
    );
    let mut statement = db.prepare_cached(&text)?;
    let mut rows = statement.query(params![workspace.as_str(), id.as_str(), number])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (original, digest) = original_row(row)?;
    let body = Bytes::copy_from_slice(row.get_ref(9)?.as_blob().map_err(rusqlite::Error::from)?);
    OriginalRow { body, ..original }.original((workspace.as_str(), id.as_str()), digest).map(Some)
}

/// An original without its body, and its digest.
pub(crate) fn original_row(row: &Row<'_>) -> rusqlite::Result<(OriginalRow, i64)> {
    let original = OriginalRow {
        number: row.get(0)?,
        received_at: row.get(1)?,
        source: row.get(2)?,
        media_type: row.get(3)?,
        warnings: row.get(4)?,
        bytes: row.get(5)?,
        total_bytes: row.get(6)?,
        hash: row.get(7)?,
        body: Bytes::new(),
    };
    Ok((original, row.get(8)?))
}
