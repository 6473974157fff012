//! Point reads.

use std::sync::Arc;

use callhistory_model::WorkspaceId;
use tokio_postgres::Row;

use crate::{
    domain::{cursor::CursorSigner, record_digest::RecordDigest},
    error::StoreError,
    postgres::{epoch::CurrentEpoch, pipeline::ConnectionPipeline},
    record_bytes::RecordBytes,
    results::StoredCall,
};

const GET_CALL: usize = 0;
const LAST_SEQUENCE: usize = 1;

/// The size of the canonical JSON of a record, in bytes.
pub(crate) const RECORD_BYTES: &str = "octet_length(c.body) + coalesce(octet_length(c.transcript) + 14, 0)";

/// The statements that the pipeline prepares, by their numbers.
pub(crate) const STATEMENTS: [&str; 2] = [
    "SELECT sequence, digest, transcript_digest, body, transcript FROM call WHERE workspace_id = $1 AND id = $2",
    "SELECT s.value, w.last_sequence FROM secret s LEFT JOIN workspace w ON w.workspace_id = $1 WHERE s.name = 'cursor'",
];

pub(crate) async fn get_call(
    pipeline: &ConnectionPipeline,
    workspace: &WorkspaceId,
    id: &str,
) -> Result<Option<StoredCall>, StoreError> {
    let Some(row) = pipeline.query(GET_CALL, &[&workspace.as_str(), &id]).await? else { return Ok(None) };
    let bytes = record_bytes(&row, 3)?;
    record_digest(&row, 1)?.verify(workspace.as_str(), id, bytes)?;
    Ok(Some(StoredCall { sequence: row.try_get(0)?, body: bytes.to_json() }))
}

/// The columns `digest, transcript_digest` of a record, starting at `first`.
pub(crate) fn record_digest(row: &Row, first: usize) -> Result<RecordDigest, tokio_postgres::Error> {
    Ok(RecordDigest { record: row.try_get(first)?, transcript: row.try_get(first + 1)? })
}

/// The columns `body, transcript` of a record, starting at `first`.
pub(crate) fn record_bytes(row: &Row, first: usize) -> Result<RecordBytes<'_>, tokio_postgres::Error> {
    Ok(RecordBytes { body: row.try_get(first)?, transcript: row.try_get(first + 1)? })
}

/// The sequence of the last change of a workspace, 0 before the first, and the signer of the epoch in which it has a meaning.
pub(crate) async fn last_sequence(
    pipeline: &ConnectionPipeline,
    epoch: &CurrentEpoch,
    workspace: &WorkspaceId,
) -> Result<(i64, Arc<CursorSigner>), StoreError> {
    let row = pipeline.query(LAST_SEQUENCE, &[&workspace.as_str()]).await?;
    let row = row.ok_or_else(|| StoreError::Internal("the database has no secret".to_owned()))?;
    Ok((row.try_get::<_, Option<i64>>(1)?.unwrap_or(0), epoch.observe(row.try_get(0)?)))
}
