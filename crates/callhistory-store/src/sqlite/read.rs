//! The reads of the embedded engine that go through many records beside lists: exports, numbers, changes.

use bytes::Bytes;
use callhistory_model::{
    AnalysisClause, CallFilter, CallMetrics, CallRecord, MetricsQuery, Sort, Timestamp, WorkspaceId,
};
use rusqlite::{Connection, OptionalExtension as _, functions::FunctionFlags, params, params_from_iter};

use super::{filter::new_sql, list::Listing, numbers, recount};
use crate::{
    Change, ChangeBatch, StoreError,
    cursor::{Seal, after_the_end},
    exports,
    filter::BodyTest,
    metrics::{self, Totals},
    page::{PAGE_BYTES, Page},
    write::Kind,
};

/// The tests of filters that need a look at the body.
pub(crate) fn register_functions(db: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("call_digits", 2, flags, |context| {
        let (body, digits) = (context.get_raw(0).as_blob()?, context.get_raw(1).as_str()?);
        // Few bodies need more than a look: in a phone number other characters may stand between the digits, and in what is
        // kept as it came, a digit may be written as an escape sequence.
        let all: String = body.iter().copied().filter(u8::is_ascii_digit).map(char::from).collect();
        if !all.contains(digits) && !body.windows(2).any(|two| two == b"\\u") {
            return Ok(false);
        }
        let record: Option<CallRecord> = serde_json::from_slice(body).ok();
        let test = BodyTest::Digits(digits.to_owned());
        Ok(record.is_some_and(|record| test.holds(&record)))
    })?;
    db.create_scalar_function("call_analysis", 2, flags, |context| {
        let record: Option<CallRecord> = serde_json::from_slice(context.get_raw(0).as_blob()?).ok();
        // The same for all records of a query, so it is read once.
        let conditions = context.get_or_create_aux(1, |text| -> rusqlite::Result<_> {
            Ok(AnalysisClause::parse(text.as_str()?).unwrap_or_default())
        })?;
        let Some((record, condition)) = record.zip(conditions.first()) else { return Ok(false) };
        Ok(BodyTest::Analysis(condition.clone()).holds(&record))
    })
}

/// Sends every record of the filter in chunks, until there are no more or `send` says that nobody takes them.
pub(crate) fn export_calls(
    db: &Connection,
    workspace: &WorkspaceId,
    filter: &CallFilter,
    mut send: impl FnMut(Bytes) -> bool,
) -> Result<(), StoreError> {
    let listing = Listing::new(db, workspace, filter, Sort::default());
    let mut after = None;
    let new_chunk = || Vec::with_capacity(exports::CHUNK_BYTES * 9 / 8);
    let mut chunk: Vec<u8> = new_chunk();
    loop {
        let Page { calls, last, more } = listing.part(after.as_ref(), exports::PAGE)?;
        for call in calls.iter() {
            chunk.extend_from_slice(call);
            chunk.push(b'\n');
            if chunk.len() >= exports::CHUNK_BYTES && !send(std::mem::replace(&mut chunk, new_chunk()).into()) {
                return Err(StoreError::Unavailable("the reader of an export is gone or too slow".to_owned()));
            }
        }
        after = last;
        if !more {
            break;
        }
    }
    if !chunk.is_empty() {
        send(chunk.into());
    }
    Ok(())
}

pub(crate) fn get_call_metrics(
    db: &Connection,
    workspace: &WorkspaceId,
    query: &MetricsQuery,
) -> Result<CallMetrics, StoreError> {
    let mut totals = Totals::new(&query.group_by, query.time_zone.as_deref())?;
    let listing = Listing::new(db, workspace, &query.filter, Sort::default());
    if listing.counts_from_segments()? {
        numbers::count(db, workspace, &listing.filter, &mut totals)?;
        return totals.finish(&query.filter);
    }
    let mut sql = new_sql();
    let (from, conditions) = listing.cheapest(&mut sql)?;
    let conditions = listing.place(&mut sql, conditions, None);
    let text = format!("SELECT {} FROM {from} WHERE {conditions}", recount::COLUMNS);
    let mut statement = db.prepare_cached(&text)?;
    let mut rows = statement.query(params_from_iter(sql.values))?;
    while let Some(row) = rows.next()? {
        totals.add(&metrics::Row::read(row)?)?;
    }
    totals.finish(&query.filter)
}

/// The number of the last change of a workspace; 0 before the first.
pub(crate) fn last_sequence(db: &Connection, workspace: &WorkspaceId) -> rusqlite::Result<i64> {
    let mut last = db.prepare_cached("SELECT last_sequence FROM workspace WHERE workspace_id = ?1")?;
    Ok(last.query_row([workspace.as_str()], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// The changes after a number, or none at the end of the feed.
pub(crate) fn list_call_changes(
    db: &Connection,
    workspace: &WorkspaceId,
    after: Option<i64>,
    limit: usize,
    seal: &Seal,
) -> Result<ChangeBatch, StoreError> {
    let last = last_sequence(db, workspace)?;
    let after = after.unwrap_or(last);
    if after > last {
        return Err(after_the_end());
    }
    let (mut changes, mut bytes) = (Vec::new(), 0);
    let mut statement = db.prepare_cached(
        "SELECT h.sequence, h.kind, h.id, h.changed_at, c.body
         FROM change h LEFT JOIN call c ON c.workspace_id = h.workspace_id AND c.id = h.id AND c.sequence = h.sequence
         WHERE h.workspace_id = ?1 AND h.sequence > ?2 ORDER BY h.sequence LIMIT ?3",
    )?;
    let mut rows = statement.query(params![workspace.as_str(), after, limit as i64])?;
    while let Some(row) = rows.next()?.filter(|_| bytes < PAGE_BYTES) {
        let sequence = row.get(0)?;
        let body = row.get_ref(4)?.as_blob_or_null().map_err(rusqlite::Error::from)?.map(Bytes::copy_from_slice);
        bytes += body.as_ref().map_or(0, Bytes::len);
        let unsound = |_| StoreError::Internal("a change has no sound id".to_owned());
        changes.push(Change {
            kind: Kind::read(row.get::<_, i64>(1)?),
            id: row.get::<_, String>(2)?.parse().map_err(unsound)?,
            sequence,
            at: Timestamp::from_unix_nanos(row.get(3)?),
            body,
            cursor: seal.feed(workspace, sequence),
        });
    }
    let reached = changes.last().map_or(after, |change| change.sequence);
    let start = seal.feed(workspace, after);
    Ok(ChangeBatch { start, changes, cursor: seal.feed(workspace, reached), has_more: reached < last })
}
