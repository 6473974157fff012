//! Point reads.

use std::sync::Arc;

use bytes::Bytes;
use callhistory_model::WorkspaceId;

use crate::{
    domain::{cursor::CursorSigner, record_digest::verify_record},
    error::StoreError,
    postgres::{epoch::CurrentEpoch, pipeline::ConnectionPipeline},
    results::StoredCall,
};

const GET_CALL: usize = 0;
const LAST_SEQUENCE: usize = 1;

/// The statements that the pipeline prepares, by their numbers.
pub(crate) const STATEMENTS: [&str; 2] = [
    "SELECT sequence, digest, body FROM call WHERE workspace_id = $1 AND id = $2",
    "SELECT s.value, w.last_sequence FROM secret s LEFT JOIN workspace w ON w.workspace_id = $1 WHERE s.name = 'cursor'",
];

pub(crate) async fn get_call(
    pipeline: &ConnectionPipeline,
    workspace: &WorkspaceId,
    id: &str,
) -> Result<Option<StoredCall>, StoreError> {
    let Some(row) = pipeline.query(GET_CALL, &[&workspace.as_str(), &id]).await? else { return Ok(None) };
    let body: &[u8] = row.try_get(2)?;
    verify_record(workspace.as_str(), id, body, row.try_get(1)?)?;
    Ok(Some(StoredCall { sequence: row.try_get(0)?, body: Bytes::copy_from_slice(body) }))
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
