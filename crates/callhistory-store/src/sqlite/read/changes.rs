//! The change feed.

use bytes::Bytes;
use callhistory_model::{CallId, Timestamp, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::get::stored_call;
use crate::{
    domain::{cursor::CursorSigner, mutation::ChangeKind, page::PAGE_BYTES},
    error::StoreError,
    results::{ChangeBatch, StoredChange},
};

/// The sequence of the last change of a workspace; 0 before the first.
pub(crate) fn last_sequence(db: &Connection, workspace: &WorkspaceId) -> rusqlite::Result<i64> {
    let mut last = db.prepare_cached("SELECT last_sequence FROM workspace WHERE workspace_id = ?1")?;
    Ok(last.query_row([workspace.as_str()], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// The changes after a sequence; `None` is the end of the feed.
pub(crate) fn list_call_changes(
    db: &Connection,
    workspace: &WorkspaceId,
    after: Option<i64>,
    limit: usize,
    signer: &CursorSigner,
) -> Result<ChangeBatch, StoreError> {
    let last = last_sequence(db, workspace)?;
    let after = after.unwrap_or(last);
    if after > last {
        return Err(StoreError::CursorExpired);
    }
    let (mut changes, mut bytes) = (Vec::new(), 0);
    let mut statement = db.prepare_cached(
        "SELECT h.sequence, h.kind, h.id, h.changed_at, c.sequence, c.digest, c.transcript_digest, c.body, c.transcript
         FROM change h LEFT JOIN call c ON c.workspace_id = h.workspace_id AND c.id = h.id AND c.sequence = h.sequence
         WHERE h.workspace_id = ?1 AND h.sequence > ?2 ORDER BY h.sequence LIMIT ?3",
    )?;
    // One more row tells whether changes follow: the last sequence does not, after it was raised by a restore.
    let mut rows = statement.query(params![workspace.as_str(), after, limit as i64 + 1])?;
    let mut is_cut = false;
    while let Some(row) = rows.next()? {
        if bytes >= PAGE_BYTES || changes.len() == limit {
            is_cut = true;
            break;
        }
        let sequence = row.get(0)?;
        let corrupt = |_| StoreError::Internal("a change has an invalid ID".to_owned());
        let id: CallId = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?.parse().map_err(corrupt)?;
        let is_current = row.get::<_, Option<i64>>(4)?.is_some();
        let call = is_current.then(|| stored_call(row, 4, (workspace.as_str(), id.as_str()))).transpose()?;
        let body = call.map(|call| call.body);
        bytes += body.as_ref().map_or(0, Bytes::len);
        changes.push(StoredChange {
            kind: ChangeKind::read(row.get::<_, i64>(1)?),
            id,
            sequence,
            at: Timestamp::from_unix_nanos(row.get(3)?),
            body,
            cursor: signer.sign_feed(workspace, sequence),
        });
    }
    let reached = changes.last().filter(|_| is_cut).map_or(last, |change| change.sequence);
    let start = signer.sign_feed(workspace, after);
    Ok(ChangeBatch { start, changes, cursor: signer.sign_feed(workspace, reached), has_more: reached < last })
}
