//! Point reads.

use bytes::Bytes;
use callhistory_model::WorkspaceId;
use tokio_postgres::{Client, Error};

use crate::{
    domain::record_digest::verify_record, error::StoreError, postgres::pipeline::ConnectionPipeline,
    results::StoredCall,
};

const GET_CALL: usize = 0;
const LAST_SEQUENCE: usize = 1;

/// The statements that the pipeline prepares, by their numbers.
pub(crate) const STATEMENTS: [&str; 2] = [
    "SELECT sequence, digest, body FROM call WHERE workspace_id = $1 AND id = $2",
    "SELECT last_sequence FROM workspace WHERE workspace_id = $1",
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

/// The sequence of the last change of a workspace; 0 before the first.
pub(crate) async fn last_sequence(pipeline: &ConnectionPipeline, workspace: &WorkspaceId) -> Result<i64, StoreError> {
    let row = pipeline.query(LAST_SEQUENCE, &[&workspace.as_str()]).await?;
    Ok(row.map_or(Ok(0), |row| row.try_get(0))?)
}

/// Reads the secret that cursors are signed with.
pub(crate) async fn cursor_secret(db: &Client) -> Result<Vec<u8>, Error> {
    db.query_one("SELECT value FROM secret WHERE name = 'cursor'", &[]).await?.try_get(0)
}
