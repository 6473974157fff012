//! Writes the columns and the terms of stored records again, if this version or its numbering plan makes others.

use callhistory_model::CallRecord;
use tokio_postgres::Client;

use super::{prepare::term_array, rows::CallColumns, statements::REINDEX_CALLS};
use crate::{
    domain::{index_texts::INDEX_FORMAT, phone_number::NumberingPlan},
    error::StoreError,
    postgres::{
        error::PgError,
        read::get::{record_bytes, record_digest},
    },
};

/// Records of one statement.
const BATCH: i64 = 500;
/// The key of the lock under which one server writes the records again while the others wait: "CALLINDX".
const REINDEX_LOCK: i64 = 0x4341_4c4c_494e_4458;

/// The plan to use, by default that of the database, and whether the database has its format.
async fn state(db: &Client, plan: Option<NumberingPlan>) -> Result<(NumberingPlan, bool), PgError> {
    let row = db.query_opt("SELECT version, country FROM index_format", &[]).await?;
    let stored: Option<(i64, &str)> =
        row.as_ref().map(|row| Ok::<_, PgError>((row.try_get(0)?, row.try_get(1)?))).transpose()?;
    let country = stored.map(|(_, country)| country).filter(|country| !country.is_empty());
    let own = country.map_or(Ok(NumberingPlan::default()), |country| {
        country.parse().map_err(|_| StoreError::Damaged(format!("the numbering plan {country:?} is unknown")))
    });
    let plan = plan.map_or(own, Ok)?;
    Ok((plan, stored == Some((INDEX_FORMAT, plan.country().unwrap_or_default()))))
}

/// Brings the columns and the terms of a database to the format of this program and of a numbering plan, by default of its own; returns
/// the plan. The session ends after it.
pub(crate) async fn ensure(db: &Client, plan: Option<NumberingPlan>) -> Result<NumberingPlan, PgError> {
    if let (plan, true) = state(db, plan).await? {
        return Ok(plan);
    }
    db.execute("SELECT pg_advisory_lock($1)", &[&REINDEX_LOCK]).await?;
    let (plan, is_current) = state(db, plan).await?;
    if is_current {
        return Ok(plan);
    }
    let country = plan.country().unwrap_or_default();
    let mut calls = 0;
    for row in db.query("SELECT workspace_id FROM workspace", &[]).await? {
        calls += rewrite(db, plan, row.try_get(0)?).await?;
    }
    // Last: an interrupted run begins again.
    db.execute("DELETE FROM index_format", &[]).await?;
    db.execute("INSERT INTO index_format (version, country) VALUES ($1, $2)", &[&INDEX_FORMAT, &country]).await?;
    if calls > 0 {
        tracing::info!(calls, "the indexes of records were rewritten");
    }
    Ok(plan)
}

/// Rewrites the records of a workspace; returns their number.
async fn rewrite(db: &Client, plan: NumberingPlan, workspace: String) -> Result<u64, PgError> {
    let read = db
        .prepare(
            "SELECT id, sequence, digest, transcript_digest, body, transcript FROM call
             WHERE workspace_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        )
        .await?;
    let (mut after, mut calls, unused) = (String::new(), 0, 0_i64);
    loop {
        let rows = db.query(&read, &[&workspace, &after, &BATCH]).await?;
        let Some(last) = rows.last() else { return Ok(calls) };
        after = last.try_get(0)?;
        let mut columns = CallColumns::default();
        for row in &rows {
            let bytes = record_bytes(row, 4)?;
            if let Err(error) = record_digest(row, 2)?.verify(&workspace, row.try_get(0)?, bytes) {
                // Other records are served all the same.
                tracing::error!(%error, "a record cannot be read");
                continue;
            }
            let body = bytes.to_json();
            let corrupt = |_| StoreError::Internal("a stored record is not one".to_owned());
            let record: CallRecord = serde_json::from_slice(&body).map_err(corrupt)?;
            columns.push(Some(term_array(&record, plan)), row.try_get(1)?, (&record, &body), plan);
        }
        let bytes = columns.bytes();
        calls += db.execute(&**REINDEX_CALLS, &columns.values((&workspace, &unused), &bytes)).await?;
    }
}
