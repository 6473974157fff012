//! Point reads.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use callhistory_model::{CallId, WorkspaceId};
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
const CALL_SIZES: usize = 2;

/// The size of the canonical JSON of a record, in bytes.
pub(crate) const RECORD_BYTES: &str = "octet_length(c.body) + coalesce(octet_length(c.transcript) + 14, 0)";

/// The statements that the pipeline prepares, by their numbers.
pub(crate) const STATEMENTS: [&str; 3] = [
    "SELECT sequence, digest, transcript_digest, body, transcript FROM call WHERE workspace_id = $1 AND id = $2",
    "SELECT s.value, w.last_sequence FROM secret s LEFT JOIN workspace w ON w.workspace_id = $1 WHERE s.name = 'cursor'",
    // One row; the size of a value is known without reading it.
    "SELECT array_agg(c.id), array_agg((octet_length(c.body) + coalesce(octet_length(c.transcript), 0))::bigint) FROM call c
     WHERE c.workspace_id = $1 AND c.id = ANY($2)",
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

/// About the size of each record that exists, in bytes.
pub(crate) async fn call_sizes(
    pipeline: &ConnectionPipeline,
    workspace: &WorkspaceId,
    ids: &HashSet<&CallId>,
) -> Result<HashMap<CallId, usize>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_str()).collect();
    let Some(row) = pipeline.query(CALL_SIZES, &[&workspace.as_str(), &ids]).await? else { return Ok(HashMap::new()) };
    let (found, sizes): (Option<Vec<&str>>, Option<Vec<i64>>) = (row.try_get(0)?, row.try_get(1)?);
    let corrupt = |_| StoreError::Internal("a row has an invalid ID".to_owned());
    let found = found.unwrap_or_default().into_iter().zip(sizes.unwrap_or_default());
    found.map(|(id, size)| Ok((id.parse().map_err(corrupt)?, usize::try_from(size).unwrap_or(0)))).collect()
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
