//! Exports.

use bytes::Bytes;
use callhistory_model::{ExportQuery, WorkspaceId};
use futures_util::{StreamExt as _, TryStreamExt as _, pin_mut};
use tokio::sync::mpsc;
use tokio_postgres::Client;

use super::{
    get::{record_bytes, record_digest},
    list::{NO_TRANSCRIPT, PgListing, all, new_statement, parameters, passes},
};
use crate::{
    concurrency::export_stream, domain::phone_number::NumberingPlan, error::StoreError, postgres::error::PgError,
};

/// Sends all matching records in chunks, from one snapshot, until there are no more or the reader is gone.
pub(crate) async fn export_calls(
    db: &Client,
    workspace: &WorkspaceId,
    query: &ExportQuery,
    plan: NumberingPlan,
    chunks: &mpsc::Sender<Result<Bytes, StoreError>>,
) -> Result<(), PgError> {
    let mut listing = PgListing::new(workspace, &query.filter, query.sort, plan);
    listing.has_transcripts = query.has_transcripts();
    let mut sql = new_statement();
    let (start, rest) = (listing.start(&mut sql, None), all(listing.rest(&mut sql, true)));
    // The first rows are needed soon: makes the planner prefer a plan in order.
    db.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL cursor_tuple_fraction = 0.01").await?;
    let (order, transcript_column) = (listing.order(), listing.transcript_column());
    let text = format!(
        "DECLARE export NO SCROLL CURSOR FOR
         SELECT c.id, c.digest, c.transcript_digest, c.body, {transcript_column} FROM call c WHERE {start} AND {rest} ORDER BY {order}"
    );
    let declared = db.query_typed_raw(&text, parameters(&sql)).await?;
    pin_mut!(declared);
    while declared.next().await.transpose()?.is_some() {}
    let fetch = db.prepare(&format!("FETCH {} FROM export", export_stream::PAGE)).await?;
    let mut chunk = Vec::new();
    loop {
        let rows = db.query_raw(&fetch, std::iter::empty::<i64>()).await?;
        pin_mut!(rows);
        let mut count = 0;
        while let Some(row) = rows.try_next().await? {
            count += 1;
            let bytes = record_bytes(&row, 3)?;
            let digest = record_digest(&row, 1)?;
            digest.verify_body(workspace.as_str(), row.try_get(0)?, bytes.body)?;
            if transcript_column != NO_TRANSCRIPT {
                digest.verify_transcript(bytes.transcript)?;
            }
            if !listing.bodies.is_empty() && !passes(&listing.bodies, bytes) {
                continue;
            }
            listing.shown(bytes).append_to(&mut chunk);
            chunk.push(b'\n');
            if chunk.len() >= export_stream::CHUNK_BYTES {
                let full = Ok(std::mem::take(&mut chunk).into());
                chunks.send(full).await.map_err(|_| slow_reader())?;
            }
        }
        if count < export_stream::PAGE {
            break;
        }
    }
    if !chunk.is_empty() {
        chunks.send(Ok(chunk.into())).await.map_err(|_| slow_reader())?;
    }
    Ok(db.batch_execute("COMMIT").await?)
}

/// The error of an export without a reader.
pub(crate) fn slow_reader() -> PgError {
    StoreError::Unavailable("the reader of an export is gone or too slow".to_owned()).into()
}
