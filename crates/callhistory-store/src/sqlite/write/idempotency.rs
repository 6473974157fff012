//! The responses to creations with idempotency keys.

use bytes::Bytes;
use callhistory_model::{Timestamp, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::{
    domain::{
        mutation::{self, IdempotencyKey, key_expiry_nanos, unneeded_expiry_nanos},
        record_digest::RecordDigest,
    },
    error::StoreError,
    record_bytes::RecordBytes,
    results::{StoredCall, WriteOutcome, WrittenCall},
};

/// Maximum number of expired keys that one creation deletes.
const EXPIRED_KEYS_PER_CREATION: i64 = 16;

/// The response to the first creation with this key and content, if there was one.
pub(crate) fn find_replay(
    db: &Connection,
    workspace: &WorkspaceId,
    (key, hash): (&IdempotencyKey, [u8; 32]),
    now: &Timestamp,
) -> Result<Option<WrittenCall>, StoreError> {
    let stored = db
        .prepare_cached(
            "SELECT request_hash, call_id, sequence, digest, body, expires_at FROM idempotency
             WHERE workspace_id = ?1 AND key = ?2",
        )?
        .query_row(params![workspace.as_str(), key.0], |row| {
            let first_id: String = row.get(1)?;
            let is_deleted = row.get_ref(4)?.as_blob()?.is_empty();
            let call = (!is_deleted).then(|| response(row, (workspace.as_str(), &first_id)));
            Ok((row.get::<_, [u8; 32]>(0)?, call.transpose(), first_id, row.get(5)?))
        })
        .optional()?;
    let Some((first_hash, call, first_id, expires_at)) = stored else { return Ok(None) };
    if !mutation::is_replay(first_hash == hash, expires_at, now)? {
        return Ok(None);
    }
    let call = call?.ok_or(StoreError::Deleted)?;
    let id =
        first_id.parse().map_err(|_| StoreError::Internal("an idempotency key has an invalid record ID".to_owned()))?;
    Ok(Some(WrittenCall { id, call, outcome: WriteOutcome::Created, warnings: Vec::new() }))
}

/// Reads and verifies the columns `sequence, digest, body` of a response, which has the record in one piece.
fn response(row: &Row<'_>, (workspace, id): (&str, &str)) -> Result<StoredCall, StoreError> {
    let body = row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
    let digest = RecordDigest { record: row.get(3)?, transcript: None };
    digest.verify_body(workspace, id, body)?;
    Ok(StoredCall { sequence: row.get(2)?, body: Bytes::copy_from_slice(body) })
}

/// Stores the response to a creation.
pub(crate) fn store(
    db: &Connection,
    workspace: &WorkspaceId,
    (key, hash): (&IdempotencyKey, [u8; 32]),
    written: &WrittenCall,
    now: &Timestamp,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO idempotency (workspace_id, key, request_hash, expires_at, call_id, sequence, digest, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        workspace.as_str(),
        key.0,
        hash,
        key_expiry_nanos(now),
        written.id.as_str(),
        written.call.sequence,
        RecordDigest::of(
            workspace.as_str(),
            written.id.as_str(),
            RecordBytes::without_transcript(&written.call.body)
        )
        .record,
        written.call.body.as_ref(),
    ])?;
    Ok(())
}

/// Deletes some keys of the workspace that are not needed any more, more than one creation adds: the table holds about the keys of
/// two days.
pub(crate) fn clear_expired_keys(db: &Connection, workspace: &WorkspaceId, now: &Timestamp) -> rusqlite::Result<()> {
    let mut delete = db.prepare_cached(
        "DELETE FROM idempotency WHERE rowid IN (
             SELECT rowid FROM idempotency WHERE workspace_id = ?1 AND expires_at <= ?2 ORDER BY expires_at LIMIT ?3)",
    )?;
    let unneeded = unneeded_expiry_nanos(now.unix_nanos());
    delete.execute(params![workspace.as_str(), unneeded, EXPIRED_KEYS_PER_CREATION])?;
    Ok(())
}
