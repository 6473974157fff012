//! Writes the columns and the terms of stored records again, if this version or its numbering plan makes others.

use callhistory_model::CallRecord;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{
    columns::{has_columns, write_columns},
    prepare::term_text,
    statements::UPDATE_CALL,
};
use crate::{
    domain::{index_texts::INDEX_FORMAT, phone_number::NumberingPlan},
    error::StoreError,
    sqlite::{columnar::rebuild, read::get::stored_call},
};

/// Records of one transaction.
const BATCH: i64 = 500;

/// The format of the columns and terms of a database: a version, and the country of the numbering plan.
fn stored_format(db: &Connection) -> rusqlite::Result<Option<(i64, String)>> {
    let format = "SELECT version, country FROM index_format";
    db.query_row(format, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// The numbering plan that the records of a database were written with.
pub(crate) fn numbering_plan(db: &Connection) -> Result<NumberingPlan, StoreError> {
    let country = stored_format(db)?.map(|(_, country)| country).filter(|country| !country.is_empty());
    country.map_or(Ok(NumberingPlan::default()), |country| {
        country.parse().map_err(|_| StoreError::Damaged(format!("the numbering plan {country:?} is unknown")))
    })
}

/// Brings the columns, the terms and the segments of a database to the format of this program and of a numbering plan, by default of
/// its own.
pub(crate) fn ensure(db: &Connection, plan: Option<NumberingPlan>) -> Result<(), StoreError> {
    let plan = plan.map_or_else(|| numbering_plan(db), Ok)?;
    let (stored, country) = (stored_format(db)?, plan.country().unwrap_or_default());
    if stored.as_ref().is_some_and(|(version, known)| (*version, known.as_str()) == (INDEX_FORMAT, country)) {
        return rebuild::ensure(db);
    }
    let is_known = stored.is_some_and(|(version, _)| version == INDEX_FORMAT);
    let (mut after, mut calls) = (Some(i64::MIN), 0_u64);
    while let Some(position) = after {
        db.execute_batch("BEGIN IMMEDIATE")?;
        let batch = rewrite(db, plan, (position, is_known), &mut calls);
        db.execute_batch(if batch.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
        after = batch?;
    }
    rebuild::rebuild(db)?;
    // Last: an interrupted run begins again.
    db.execute_batch("BEGIN IMMEDIATE; DELETE FROM index_format")?;
    db.execute("INSERT INTO index_format (version, country) VALUES (?1, ?2)", (INDEX_FORMAT, country))?;
    db.execute_batch("COMMIT")?;
    if calls > 0 {
        tracing::info!(calls, "the indexes of records were rewritten");
    }
    Ok(())
}

/// Rewrites the records of a batch; returns the position of the last one, if there was one.
fn rewrite(
    db: &Connection,
    plan: NumberingPlan,
    (after, is_known): (i64, bool),
    calls: &mut u64,
) -> Result<Option<i64>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT position, workspace_id, id, sequence, digest, transcript_digest, body, transcript FROM call
         WHERE position > ?1 ORDER BY position LIMIT ?2",
    )?;
    let (mut rows, mut last) = (statement.query([after, BATCH])?, None);
    while let Some(row) = rows.next()? {
        last = Some(row.get(0)?);
        match rewrite_record(db, plan, row, is_known) {
            Ok(is_rewritten) => *calls += u64::from(is_rewritten),
            // Other records are served all the same.
            Err(StoreError::Damaged(error)) => tracing::error!(error, "a record cannot be read"),
            Err(error) => return Err(error),
        }
    }
    Ok(last)
}

/// Rewrites one record, unless its columns say that its terms are current as well; returns whether it did.
fn rewrite_record(db: &Connection, plan: NumberingPlan, row: &Row<'_>, is_known: bool) -> Result<bool, StoreError> {
    let (position, workspace, id): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let call = stored_call(row, 3, (&workspace, &id))?;
    let damaged = |_| StoreError::Damaged("a stored record is not one".to_owned());
    let record: CallRecord = serde_json::from_slice(&call.body).map_err(damaged)?;
    if is_known && has_columns(db, position, (&record, plan), &call)? {
        return Ok(false);
    }
    write_columns(db, UPDATE_CALL, position, (&record, plan), &call)?;
    db.prepare_cached("INSERT OR REPLACE INTO call_term (rowid, terms) VALUES (?1, ?2)")?
        .execute((position, term_text(&record, plan)))?;
    Ok(true)
}
