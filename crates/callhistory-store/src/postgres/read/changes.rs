//! The change feed.

use std::ops::Range;

use callhistory_model::{CallId, Timestamp, WorkspaceId};
use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use super::get::{RECORD_BYTES, record_bytes, record_digest};
use crate::{
    domain::{cursor::CursorSigner, mutation::ChangeKind, page::PAGE_BYTES},
    error::StoreError,
    postgres::error::PgError,
    record_bytes::RecordBytes,
    results::{ChangeBatch, StoredChange},
};

/// The changes after a sequence, up to the last one when it was read.
pub(crate) async fn list_call_changes(
    db: &Client,
    workspace: &WorkspaceId,
    Range { start: after, end: last }: Range<i64>,
    limit: usize,
    signer: &CursorSigner,
) -> Result<ChangeBatch, PgError> {
    if after > last {
        return Err(StoreError::CursorExpired.into());
    }
    // One more row tells whether changes follow: the last sequence does not, after it was raised by a new epoch.
    let text = format!(
        "SELECT f.sequence, f.kind, f.id, f.changed_at, f.fits, f.digest, f.transcript_digest,
             CASE WHEN f.fits THEN f.body END, CASE WHEN f.fits THEN f.transcript END
         FROM (SELECT p.*, row_number() OVER before <= $4
             AND coalesce(sum(p.bytes) OVER before, 0) - coalesce(p.bytes, 0) < {PAGE_BYTES} AS fits
         FROM (
             SELECT h.sequence, h.kind, h.id, h.changed_at, c.digest, c.transcript_digest, c.body, c.transcript,
                 {RECORD_BYTES} AS bytes
             FROM change h LEFT JOIN call c ON c.workspace_id = $1 AND c.id = h.id AND c.sequence = h.sequence
             WHERE h.workspace_id = $1 AND h.sequence > $2 AND h.sequence <= $3 ORDER BY h.sequence LIMIT $4 + 1
         ) p WINDOW before AS (ORDER BY p.sequence ROWS UNBOUNDED PRECEDING)) f ORDER BY f.sequence"
    );
    let limit = limit as i64;
    let values: [(&(dyn ToSql + Sync), Type); 4] =
        [(&workspace.as_str(), Type::TEXT), (&after, Type::INT8), (&last, Type::INT8), (&limit, Type::INT8)];
    let rows = db.query_typed(&text, &values).await?;
    let (mut changes, mut is_cut) = (Vec::new(), false);
    for row in &rows {
        if !row.try_get::<_, bool>(4)? {
            is_cut = true;
            break;
        }
        changes.push(change(row, workspace, signer)?);
    }
    let reached = changes.last().filter(|_| is_cut).map_or(last, |change: &StoredChange| change.sequence);
    let start = signer.sign_feed(workspace, after);
    Ok(ChangeBatch { start, changes, cursor: signer.sign_feed(workspace, reached), has_more: reached < last })
}

fn change(row: &Row, workspace: &WorkspaceId, signer: &CursorSigner) -> Result<StoredChange, PgError> {
    let sequence = row.try_get(0)?;
    let corrupt = |_| StoreError::Internal("a change has an invalid ID".to_owned());
    let id: CallId = row.try_get::<_, &str>(2)?.parse().map_err(corrupt)?;
    let is_current = row.try_get::<_, Option<i64>>(5)?.is_some();
    let bytes = is_current.then(|| record_bytes(row, 7)).transpose()?;
    if let Some(bytes) = bytes {
        record_digest(row, 5)?.verify(workspace.as_str(), id.as_str(), bytes)?;
    }
    Ok(StoredChange {
        kind: ChangeKind::read(row.try_get::<_, i16>(1)?),
        id,
        sequence,
        at: Timestamp::from_unix_nanos(row.try_get(3)?),
        body: bytes.map(RecordBytes::to_json),
        cursor: signer.sign_feed(workspace, sequence),
    })
}
