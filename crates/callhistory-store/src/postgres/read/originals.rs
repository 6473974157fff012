//! The originals of a record.

use bytes::Bytes;
use callhistory_model::{CallId, OriginalInfo, WorkspaceId};
use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use crate::{
    call_write::Original, domain::original::OriginalRow, error::StoreError, postgres::error::PgError,
    sql::ORIGINAL_COLUMNS,
};

/// What is known of the last originals of a record, in the order of their numbers; `None` if there is no such record.
pub(crate) async fn list_originals(
    db: &Client,
    workspace: &WorkspaceId,
    id: &CallId,
) -> Result<Option<Vec<OriginalInfo>>, PgError> {
    let own = (workspace.as_str(), id.as_str());
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&own.0, Type::TEXT), (&own.1, Type::TEXT)];
    // One snapshot: without originals, a record has one row of NULLs.
    let text = format!(
        "SELECT {ORIGINAL_COLUMNS} FROM call c LEFT JOIN original o ON o.workspace_id = $1 AND o.id = $2
         WHERE c.workspace_id = $1 AND c.id = $2 ORDER BY o.number DESC LIMIT {}",
        OriginalInfo::MAX_LISTED
    );
    let rows = db.query_typed(&text, &values).await?;
    let mut infos = Vec::new();
    for row in rows.iter().rev() {
        if row.try_get::<_, Option<i64>>(0)?.is_some() {
            let (original, digest) = original_row(row)?;
            infos.push(original.info(own, digest)?);
        }
    }
    Ok((!rows.is_empty()).then_some(infos))
}

/// An original of a record.
pub(crate) async fn get_original(
    db: &Client,
    workspace: &WorkspaceId,
    id: &CallId,
    number: i64,
) -> Result<Option<Original>, PgError> {
    let own = (workspace.as_str(), id.as_str());
    let values: [(&(dyn ToSql + Sync), Type); 3] = [(&own.0, Type::TEXT), (&own.1, Type::TEXT), (&number, Type::INT8)];
    let text = format!(
        "SELECT {ORIGINAL_COLUMNS}, o.body FROM original o WHERE o.workspace_id = $1 AND o.id = $2 AND o.number = $3"
    );
    let rows = db.query_typed(&text, &values).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (original, digest) = original_row(row)?;
    let original = OriginalRow { body: Bytes::copy_from_slice(row.try_get(9)?), ..original };
    Ok(Some(original.original(own, digest)?))
}

/// An original without its body, and its digest.
pub(crate) fn original_row(row: &Row) -> Result<(OriginalRow, i64), PgError> {
    let corrupt = |_| StoreError::Internal("an original has an invalid hash".to_owned());
    let original = OriginalRow {
        number: row.try_get(0)?,
        received_at: row.try_get(1)?,
        source: row.try_get(2)?,
        media_type: row.try_get(3)?,
        warnings: row.try_get(4)?,
        bytes: row.try_get(5)?,
        total_bytes: row.try_get(6)?,
        hash: row.try_get::<_, &[u8]>(7)?.try_into().map_err(corrupt)?,
        body: Bytes::new(),
    };
    Ok((original, row.try_get(8)?))
}
