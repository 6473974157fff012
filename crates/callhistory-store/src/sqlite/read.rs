//! The reads of the embedded engine that go through many records: lists, numbers, exports, changes.

use bytes::Bytes;
use callhistory_model::{
    AnalysisCondition, CallFilter, CallMetrics, CallRecord, ListQuery, MetricsQuery, Sort, SortKey, Timestamp,
    WorkspaceId,
};
use rusqlite::{Connection, OptionalExtension as _, functions::FunctionFlags, params, params_from_iter};

use super::{
    filter::{Indexed, NO_DURATION, first_position, last_position, new_sql},
    recount, segments,
};
use crate::{
    CallPage, Change, ChangeBatch, StoreError,
    cursor::{ListPosition, Seal, after_the_end},
    exports,
    filter::{self as keys, BodyTest, Range, Sql},
    metrics::{self, Totals},
    page::{PAGE_BYTES, Page},
    write::Kind,
};

/// For each record of a page, up to so many are fetched by a filter and sorted; where a filter has more, the index of the
/// sort is gone through until the page is full.
const SORTED_PER_RECORD: usize = 100;
/// The same for pages of any size.
const SORTED_AT_MOST: usize = 5_000;
/// To look at one record costs as much as to go through so many in what is kept for the numbers. A filter that has fewer
/// records than that has its records looked at.
const CALLS_PER_LOOK: i64 = 300;
const LEAST_LOOKS: i64 = 50;
/// The tests of filters that need a look at the body.
pub(crate) fn register_functions(db: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("call_digits", 2, flags, |context| {
        let record: Option<CallRecord> = serde_json::from_slice(context.get_raw(0).as_blob()?).ok();
        let digits = context.get_raw(1).as_str()?;
        let test = BodyTest::Digits(digits.to_owned());
        Ok(record.is_some_and(|record| test.holds(&record)))
    })?;
    db.create_scalar_function("call_analysis", 2, flags, |context| {
        let record: Option<CallRecord> = serde_json::from_slice(context.get_raw(0).as_blob()?).ok();
        // The same for all records of a query, so it is read once.
        let conditions = context.get_or_create_aux(1, |text| -> rusqlite::Result<_> {
            Ok(AnalysisCondition::parse(text.as_str()?).unwrap_or_default())
        })?;
        let Some((record, condition)) = record.zip(conditions.first()) else { return Ok(false) };
        Ok(BodyTest::Analysis(condition.clone()).holds(&record))
    })
}

/// Which records of which order: what a page and its cursor are made of.
struct Listing<'a> {
    db: &'a Connection,
    workspace: &'a WorkspaceId,
    filter: Indexed,
    sort: Sort,
    index: &'static str,
    key: &'static str,
}

pub(crate) fn list_calls(
    db: &Connection,
    workspace: &WorkspaceId,
    query: &ListQuery,
    after: Option<&ListPosition>,
    seal: &Seal,
) -> Result<CallPage, StoreError> {
    let listing = Listing::new(db, workspace, &query.filter, query.sort);
    let page = match query.sort.key {
        SortKey::Duration | SortKey::Cost => page_in_parts(&listing, after, query)?,
        _ => listing.page(after, query.page_size(), query.offset())?,
    };
    let total = query.include_total.then(|| listing.count()).transpose()?;
    page.answer(workspace, query, total, seal)
}

/// A page in the order of a number that not every record has: those with it and those without are looked for apart.
fn page_in_parts(listing: &Listing<'_>, after: Option<&ListPosition>, query: &ListQuery) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let (limit, mut offset) = (query.page_size(), query.offset());
    let none = if query.sort.key == SortKey::Cost { keys::NO_COST } else { NO_DURATION };
    let absent = |position: &ListPosition| position.key == none;
    for expected in [!query.sort.ascending, query.sort.ascending] {
        let after = after.filter(|after| absent(after) != expected);
        // The place to go on at lies in the other part, and this one is done with if it comes first.
        if expected != query.sort.ascending && query.cursor.is_some() && after.is_none() {
            continue;
        }
        let part = listing.having(&query.filter, expected);
        let left = limit - page.calls.len();
        if left == 0 {
            page.more = page.more || !part.page(after, 1, 0)?.calls.is_empty();
            break;
        }
        let found = part.page(after, left, offset)?;
        if found.calls.is_empty() && offset > 0 {
            offset = offset.saturating_sub(usize::try_from(part.count()?).unwrap_or(usize::MAX));
        } else {
            offset = 0;
        }
        found.calls.iter().for_each(|call| page.calls.push(call));
        page.last = found.last.or(page.last);
        page.more = found.more;
        if found.more {
            break;
        }
    }
    Ok(page)
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
    let mut chunk = Vec::new();
    loop {
        let Page { calls, last, more } = listing.page(after.as_ref(), exports::PAGE, 0)?;
        for call in calls.iter() {
            chunk.extend_from_slice(call);
            chunk.push(b'\n');
            if chunk.len() >= exports::CHUNK_BYTES && !send(std::mem::take(&mut chunk).into()) {
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

impl<'a> Listing<'a> {
    fn new(db: &'a Connection, workspace: &'a WorkspaceId, filter: &CallFilter, sort: Sort) -> Self {
        let (index, key) = keys::of_sort(sort.key);
        Self { db, workspace, filter: Indexed::new(workspace, filter), sort, index, key }
    }

    /// The same list of records that have the number of the sort, or of those that have not.
    fn having(&self, filter: &CallFilter, expected: bool) -> Self {
        let filter = Indexed::having(self.workspace, filter, (self.index, self.key), expected);
        Self { filter, ..*self }
    }

    /// The records after a place. Where the filter has few records, they are fetched and sorted; where it has many, an
    /// index in the order of the list is gone through, which fills the page soon unless the many lie at its far end.
    fn page(&self, after: Option<&ListPosition>, limit: usize, offset: usize) -> Result<Page, StoreError> {
        let few = i64::try_from(SORTED_AT_MOST.min(SORTED_PER_RECORD * (limit + offset))).unwrap_or(i64::MAX);
        let by_time = self.sort.key == SortKey::StartTime;
        let by_terms = self.filter.has_terms();
        if by_time && by_terms && self.narrow_range(few)?.is_none() {
            return self.page_by_terms_in_order(after, limit, offset);
        }
        if by_terms && !by_time && self.count_terms(few)? <= few {
            let mut sql = new_sql();
            let expression = sql.bind(self.filter.terms());
            let from =
                format!("call_term t CROSS JOIN call c ON c.position = t.rowid AND t.call_term MATCH {expression}");
            let conditions = self.filter.after_terms(&mut sql);
            return self.sorted(sql, &from, conditions, after, limit, offset);
        }
        let index = self.narrow_range(few)?.map_or(self.index, |range| range.index);
        let mut sql = new_sql();
        let conditions = self.filter.without_terms(&mut sql);
        self.sorted(sql, &format!("call c INDEXED BY {index}"), conditions, after, limit, offset)
    }

    /// A range of another number than that of the sort that has few records.
    fn narrow_range(&self, few: i64) -> Result<Option<Range>, StoreError> {
        for range in self.filter.predicate.every_range() {
            let mut sql = new_sql();
            let workspace = sql.bind(self.workspace.as_str().to_owned());
            let Some(condition) = range.sql(&mut sql).filter(|_| range.index != self.index) else { continue };
            let limit = sql.bind(few + 1);
            let index = range.index;
            let text = format!(
                "SELECT count(*) FROM (SELECT 1 FROM call c INDEXED BY {index}
                 WHERE c.workspace_id = {workspace} AND {condition} LIMIT {limit})"
            );
            if self.number(&text, sql)? <= few {
                return Ok(Some(*range));
            }
        }
        Ok(None)
    }

    /// How many records the terms give, counted up to one more than `most`.
    fn count_terms(&self, most: i64) -> Result<i64, StoreError> {
        let mut sql = new_sql();
        let (low, high) = self.filter.positions();
        let (expression, low, high) = (sql.bind(self.filter.terms()), sql.bind(low), sql.bind(high));
        let limit = sql.bind(most.saturating_add(1));
        let text = format!(
            "SELECT count(*) FROM (SELECT 1 FROM call_term
             WHERE call_term MATCH {expression} AND rowid BETWEEN {low} AND {high} LIMIT {limit})"
        );
        self.number(&text, sql)
    }

    fn number(&self, text: &str, sql: Sql) -> Result<i64, StoreError> {
        Ok(self.db.prepare_cached(text)?.query_row(params_from_iter(sql.values), |row| row.get(0))?)
    }

    /// Adds the workspace and the place to go on at.
    fn place(&self, sql: &mut Sql, mut conditions: Vec<String>, after: Option<&ListPosition>) -> String {
        let workspace = sql.bind(self.workspace.as_str().to_owned());
        conditions.insert(0, format!("c.workspace_id = {workspace}"));
        let Some(after) = after else { return conditions.join(" AND ") };
        let id = sql.bind(after.id.as_str().to_owned());
        let beyond = if self.sort.ascending { ">" } else { "<" };
        if self.filter.is_one_tie() {
            conditions.push(format!("c.id {beyond} {id}"));
        } else {
            let (key, own) = (sql.bind(after.key), self.key);
            // The first comparison says nothing new, but an index over an expression serves it, and not the second.
            conditions.push(format!("{own} {beyond}= {key} AND ({own}, c.id) {beyond} ({key}, {id})"));
        }
        conditions.join(" AND ")
    }

    /// The page of a source of records, in order. The records are sorted without their bodies, and not at all where the
    /// source is in order.
    fn sorted(
        &self,
        mut sql: Sql,
        from: &str,
        conditions: Vec<String>,
        after: Option<&ListPosition>,
        limit: usize,
        offset: usize,
    ) -> Result<Page, StoreError> {
        let conditions = self.place(&mut sql, conditions, after);
        let (key, direction) = (self.key, if self.sort.ascending { "ASC" } else { "DESC" });
        // Where all are equal, an order by the equal value would make SQLite sort them.
        let order = if self.filter.is_one_tie() { String::new() } else { format!("{key} {direction}, ") };
        // One more tells whether there is a next page.
        let (most, offset) = (sql.bind(limit as i64 + 1), sql.bind(offset as i64));
        let text = format!(
            "SELECT c.body, k, i FROM (
                 SELECT c.position AS p, {key} AS k, c.id AS i FROM {from} WHERE {conditions}
                 ORDER BY {order}c.id {direction} LIMIT {most} OFFSET {offset}
             ) CROSS JOIN call c ON c.position = p ORDER BY k {direction}, i {direction}"
        );
        let mut statement = self.db.prepare_cached(&text)?;
        let mut rows = statement.query(params_from_iter(sql.values))?;
        let (mut page, mut key, mut id) = (Page::default(), None, String::new());
        while let Some(row) = rows.next()? {
            if page.calls.len() == limit || page.calls.bytes() >= PAGE_BYTES {
                page.more = true;
                break;
            }
            page.calls.push(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
            key = Some(row.get(1)?);
            id.clear();
            id.push_str(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?);
        }
        let unsound = |_| StoreError::Internal("a record has no sound id".to_owned());
        if let Some(key) = key {
            page.last = Some(ListPosition { key, id: id.parse().map_err(unsound)? });
        }
        Ok(page)
    }

    /// The index of terms is in the order of seconds: a first look finds the second in which the page ends, a second one
    /// sorts what lies up to it.
    fn page_by_terms_in_order(
        &self,
        after: Option<&ListPosition>,
        limit: usize,
        offset: usize,
    ) -> Result<Page, StoreError> {
        let (mut low, mut high) = self.filter.positions();
        match (after, self.sort.ascending) {
            (Some(after), true) => low = low.max(first_position(after.key)),
            (Some(after), false) => high = high.min(last_position(after.key)),
            (None, _) => {}
        }
        let direction = if self.sort.ascending { "ASC" } else { "DESC" };
        let mut sql = new_sql();
        let (from, conditions) = self.terms_between(&mut sql, low, high);
        let conditions = self.place(&mut sql, conditions, after);
        let skipped = sql.bind((offset + limit) as i64);
        let text = format!(
            "SELECT t.rowid FROM {from} WHERE {conditions} ORDER BY t.rowid {direction} LIMIT 1 OFFSET {skipped}"
        );
        let last: Option<i64> =
            self.db.prepare_cached(&text)?.query_row(params_from_iter(sql.values), |row| row.get(0)).optional()?;
        match (last, self.sort.ascending) {
            (Some(last), true) => high = last_position(last),
            (Some(last), false) => low = first_position(last),
            (None, _) => {}
        }
        let mut sql = new_sql();
        let (from, conditions) = self.terms_between(&mut sql, low, high);
        self.sorted(sql, &from, conditions, after, limit, offset)
    }

    fn terms_between(&self, sql: &mut Sql, low: i64, high: i64) -> (String, Vec<String>) {
        let (expression, low, high) = (sql.bind(self.filter.terms()), sql.bind(low), sql.bind(high));
        let from = format!(
            "call_term t CROSS JOIN call c
             ON c.position = t.rowid AND t.call_term MATCH {expression} AND t.rowid BETWEEN {low} AND {high}"
        );
        (from, self.filter.after_terms(sql))
    }

    /// Whether the numbers are best counted from what is kept for that. Where a filter lets few through, it is faster.
    fn counts_from_segments(&self) -> Result<bool, StoreError> {
        if !self.filter.is_of_numbers() {
            return Ok(false);
        }
        let few = self.few()?;
        Ok(self.narrow_range(few)?.is_none() && (!self.filter.has_terms() || self.count_terms(few)? > few))
    }

    /// How many records are better looked at one by one when numbers are counted.
    fn few(&self) -> Result<i64, StoreError> {
        // There were at least as many changes as there are records.
        Ok((last_sequence(self.db, self.workspace)? / CALLS_PER_LOOK).max(LEAST_LOOKS))
    }

    fn count(&self) -> Result<u64, StoreError> {
        if self.counts_from_segments()? {
            let mut totals = Totals::new(&[], None)?;
            segments::count(self.db, self.workspace, &self.filter, &mut totals)?;
            return Ok(totals.calls());
        }
        let mut sql = new_sql();
        let (from, conditions) = self.cheapest(&mut sql)?;
        let conditions = self.place(&mut sql, conditions, None);
        let count = self.number(&format!("SELECT count(*) FROM {from} WHERE {conditions}"), sql)?;
        Ok(count.unsigned_abs())
    }

    /// Where all records of the filter come from at the least cost, in no order.
    fn cheapest(&self, sql: &mut Sql) -> Result<(String, Vec<String>), StoreError> {
        if let Some(range) = self.narrow_range(self.few()?)? {
            let conditions = self.filter.without_terms(sql);
            return Ok((format!("call c INDEXED BY {}", range.index), conditions));
        }
        if self.filter.has_terms() {
            let (low, high) = self.filter.positions();
            return Ok(self.terms_between(sql, low, high));
        }
        let conditions = self.filter.without_terms(sql);
        Ok((format!("call c INDEXED BY {}", keys::TIME.0), conditions))
    }
}

pub(crate) fn call_metrics(
    db: &Connection,
    workspace: &WorkspaceId,
    query: &MetricsQuery,
) -> Result<CallMetrics, StoreError> {
    let mut totals = Totals::new(&query.group_by, query.time_zone.as_deref())?;
    let listing = Listing::new(db, workspace, &query.filter, Sort::default());
    if listing.counts_from_segments()? {
        segments::count(db, workspace, &listing.filter, &mut totals)?;
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
pub(crate) fn call_changes(
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
