//! Lists: the SQL of a page, and the ways to find its records.

use callhistory_model::{CallFilter, FieldError, ListQuery, MetricsQuery, Sort, SortKey, WorkspaceId};
use rusqlite::{Connection, Row, params_from_iter};

use super::{
    changes::last_sequence,
    fulltext::{CompiledFilter, NO_DURATION, new_statement},
};
use crate::{
    domain::{
        cursor::{CursorSigner, ListPosition},
        metrics_aggregator::MetricsAggregator,
        options::StoreOptions,
        page::{self, PAGE_BYTES, Page, PageWindow},
        predicate::{self, Range},
        record_digest::RecordDigest,
        strategy::{ListShape, Strategy},
    },
    error::StoreError,
    record_bytes::RecordBytes,
    results::CallPage,
    sql::Sql,
    sqlite::columnar::scan,
};

/// Reading one record costs as much as scanning this number of calls in the columns. A filter with fewer records reads them.
const COLUMN_CALLS_PER_ROW: i64 = 300;
const MIN_ROWS: i64 = 50;

/// A list: a filter and an order.
pub(crate) struct Listing<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) workspace: &'a WorkspaceId,
    pub(crate) filter: CompiledFilter,
    pub(crate) sort: Sort,
    pub(crate) index: &'static str,
    pub(crate) key: &'static str,
    /// Whether the records are read with their transcripts.
    pub(crate) has_transcripts: bool,
    pub(crate) options: StoreOptions,
}

/// Collects the records of a page.
struct PageBuilder<'a> {
    page: Page,
    listing: &'a Listing<'a>,
    limit: usize,
    key: Option<i64>,
    id: String,
}

/// The columns of a row that follow the body and the key.
const PAGE_COLUMNS: &str = "c.id, c.digest, c.transcript_digest, c.position";

impl<'a> PageBuilder<'a> {
    fn new(listing: &'a Listing<'a>, limit: usize) -> Self {
        Self { page: Page::default(), listing, limit, key: None, id: String::new() }
    }

    /// Adds a record, with its key and [`PAGE_COLUMNS`] in the following columns of the row; false if the page is full.
    fn take(&mut self, body: &[u8], row: &Row<'_>) -> Result<bool, StoreError> {
        let Self { page, listing, limit, key, id } = self;
        if page.calls.len() == *limit || page.calls.bytes() >= PAGE_BYTES {
            page.more = true;
            return Ok(false);
        }
        if page.calls.is_empty() {
            page.calls.reserve(*limit, body.len());
        }
        id.clear();
        id.push_str(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?);
        let digest = RecordDigest { record: row.get(3)?, transcript: row.get(4)? };
        digest.verify_body(listing.workspace.as_str(), id, body)?;
        if listing.has_transcripts && digest.transcript.is_some() {
            // A statement of its own: SQLite reads all columns of a row before it knows whether the page needs it.
            let transcript = "SELECT transcript FROM call WHERE position = ?1";
            let mut transcript = listing.db.prepare_cached(transcript)?;
            let mut rows = transcript.query([row.get::<_, i64>(5)?])?;
            let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            let transcript = row.get_ref(0)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
            digest.verify_transcript(transcript)?;
            page.calls.push(RecordBytes { body, transcript });
        } else {
            page.calls.push(RecordBytes::without_transcript(body));
        }
        *key = Some(row.get(1)?);
        Ok(true)
    }

    fn finish(self) -> Result<Page, StoreError> {
        let Self { mut page, key, id, .. } = self;
        if let Some(key) = key {
            page.last = Some(ListPosition { key, id: id.parse().map_err(corrupt_id)? });
        }
        Ok(page)
    }
}

pub(crate) fn list_calls(
    db: &Connection,
    workspace: &WorkspaceId,
    query: &ListQuery,
    after: Option<&ListPosition>,
    (signer, options): (&CursorSigner, StoreOptions),
) -> Result<CallPage, StoreError> {
    let listing = Listing {
        has_transcripts: page::has_transcripts(query),
        ..Listing::new(db, workspace, &query.filter, query.sort, options)
    };
    let page = match query.sort.key {
        SortKey::Duration | SortKey::Cost => page_in_parts(&listing, after, query)?,
        _ => listing.page(PageWindow { after, limit: query.page_size(), offset: query.offset() })?,
    };
    let total = query.include_total.then(|| listing.count()).transpose()?;
    page.finish(workspace, query, total, signer)
}

fn corrupt_id(_: FieldError) -> StoreError {
    StoreError::Internal("a record has an invalid ID".to_owned())
}

/// A page in the order of a number that not every record has: those with it and those without are two lists.
fn page_in_parts(listing: &Listing<'_>, after: Option<&ListPosition>, query: &ListQuery) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let (limit, mut offset) = (query.page_size(), query.offset());
    let none = if query.sort.key == SortKey::Cost { predicate::NO_COST } else { NO_DURATION };
    let absent = |position: &ListPosition| position.key == none;
    for expected in [!query.sort.ascending, query.sort.ascending] {
        let after = after.filter(|after| absent(after) != expected);
        // The cursor is in the other part; this part is complete if it comes first.
        if expected != query.sort.ascending && query.cursor.is_some() && after.is_none() {
            continue;
        }
        let part = listing.having(&query.filter, expected);
        let left = limit - page.calls.len();
        if left == 0 || page.calls.bytes() >= PAGE_BYTES {
            page.more = page.more || !part.page(PageWindow { after, limit: 1, offset: 0 })?.calls.is_empty();
            break;
        }
        let found = part.page(PageWindow { after, limit: left, offset })?;
        if found.calls.is_empty() && offset > 0 {
            offset = offset.saturating_sub(usize::try_from(part.count()?).unwrap_or(usize::MAX));
        } else {
            offset = 0;
        }
        found.calls.iter().for_each(|call| page.calls.push(RecordBytes::without_transcript(call)));
        page.strategy = found.strategy;
        page.last = found.last.or(page.last);
        page.more = found.more;
        if found.more {
            break;
        }
    }
    Ok(page)
}

impl<'a> Listing<'a> {
    pub(crate) fn new(
        db: &'a Connection,
        workspace: &'a WorkspaceId,
        filter: &CallFilter,
        sort: Sort,
        options: StoreOptions,
    ) -> Self {
        let (index, key) = predicate::sort_index(sort.key);
        let filter = CompiledFilter::new(workspace, filter, options.plan());
        Self { db, workspace, filter, sort, index, key, has_transcripts: true, options }
    }

    /// The same list of records with, or without, the sort key.
    pub(crate) fn having(&self, filter: &CallFilter, expected: bool) -> Self {
        let filter =
            CompiledFilter::having(self.workspace, filter, (self.index, self.key), (expected, self.options.plan()));
        Self { filter, ..*self }
    }

    /// The records of a window.
    pub(crate) fn page(&self, window: PageWindow<'_>) -> Result<Page, StoreError> {
        self.run(Strategy::sqlite_plan(self.shape(), window.wanted(), self.options.thresholds), window)
    }

    /// The next part of an export.
    pub(crate) fn next_part(&self, after: Option<&ListPosition>, limit: usize) -> Result<Page, StoreError> {
        let window = PageWindow { after, limit, offset: 0 };
        self.run(Strategy::sqlite_export_plan(self.shape(), window.wanted(), self.options.thresholds), window)
    }

    fn shape(&self) -> ListShape {
        let has_filter = self.filter.has_terms()
            || self.other_ranges().next().is_some()
            || !self.filter.predicate.clauses.is_empty();
        ListShape {
            has_filter,
            has_terms: self.filter.has_terms(),
            has_columns_only: self.filter.is_of_columns(),
            is_in_time_order: self.sort.key == SortKey::StartTime,
        }
    }

    /// The page of the first strategy of a plan that does not give up.
    fn run(&self, plan: Vec<Strategy>, window: PageWindow<'_>) -> Result<Page, StoreError> {
        for strategy in plan {
            if let Some(page) = self.execute(strategy, window)? {
                return Ok(Page { strategy: Some(strategy), ..page });
            }
        }
        Err(StoreError::Internal("no strategy found a page".to_owned()))
    }

    /// Runs a strategy; `None` if it gives up.
    fn execute(&self, strategy: Strategy, window: PageWindow<'_>) -> Result<Option<Page>, StoreError> {
        match strategy {
            Strategy::SortIndex => self.page_by_index(self.index, window).map(Some),
            Strategy::NarrowRange { max_records } => {
                let range = self.narrow_range(max_records)?;
                range.map(|range| self.page_by_index(range.index, window)).transpose()
            }
            Strategy::FilterThenSort { max_records } => self.page_by_filter_then_sort(max_records, window),
            Strategy::OrderedTerms { row_budget } => self.page_by_ordered_terms(window, row_budget),
            Strategy::BoundedScan { row_budget } => self.page_by_bounded_scan(window, row_budget),
            Strategy::PositionSet { max_positions } => self.page_by_position_set(window, max_positions),
        }
    }

    /// Fetches and sorts the records of a filter; `None` if there are more than `few`.
    fn page_by_filter_then_sort(&self, few: usize, window: PageWindow<'_>) -> Result<Option<Page>, StoreError> {
        if self.filter.has_terms() && self.count_terms(few)? <= few {
            return self.page_by_terms(window).map(Some);
        }
        let range = self.narrow_range(few)?;
        range.map(|range| self.page_by_index(range.index, window)).transpose()
    }

    /// Scans the index of the sort; `None` if the page is not full after `row_budget` rows.
    pub(crate) fn page_by_bounded_scan(
        &self,
        window: PageWindow<'_>,
        row_budget: usize,
    ) -> Result<Option<Page>, StoreError> {
        let PageWindow { after, limit, offset } = window;
        let mut sql = new_statement();
        let conditions = self.filter.without_terms(&mut sql, Some(self.index));
        let holds = if conditions.is_empty() { "TRUE".to_owned() } else { conditions.join(" AND ") };
        let bounds = self.bounds(&mut sql, after);
        let (start, key, index, order) =
            (self.position_clause(&mut sql, bounds, after), self.key, self.index, self.order());
        let most = sql.bind(row_budget as i64 + 1);
        // A record before the page is counted by its position, without its body.
        let found = if offset > 0 { "c.position" } else { "c.body" };
        let text = format!(
            "SELECT CASE WHEN {holds} THEN {found} END, {key}, {PAGE_COLUMNS} FROM call c INDEXED BY {index}
             WHERE {start} ORDER BY {order} LIMIT {most}"
        );
        let mut statement = self.db.prepare_cached(&text)?;
        let mut rows = statement.query(params_from_iter(sql.values))?;
        let (mut builder, mut rows_read, mut positions) = (PageBuilder::new(self, limit), 0, Vec::new());
        while let Some(row) = rows.next()? {
            if rows_read == row_budget {
                return Ok(None);
            }
            rows_read += 1;
            if offset > 0 {
                positions.extend(row.get::<_, Option<i64>>(0)?);
                if positions.len() == window.wanted() {
                    break;
                }
                continue;
            }
            let Some(body) = row.get_ref(0)?.as_blob_or_null().map_err(rusqlite::Error::from)? else { continue };
            if !builder.take(body, row)? {
                break;
            }
        }
        if offset > 0 { self.page_in_order(&positions, window).map(Some) } else { builder.finish().map(Some) }
    }

    fn page_by_terms(&self, window: PageWindow<'_>) -> Result<Page, StoreError> {
        let mut sql = new_statement();
        let expression = sql.bind(self.filter.terms());
        let from = format!("call_term t CROSS JOIN call c ON c.position = t.rowid AND t.call_term MATCH {expression}");
        let conditions = self.filter.after_terms(&mut sql, false);
        self.fetch((sql, &from, false), conditions, window)
    }

    /// A page by an index: that of the sort, or another one with a narrow range.
    pub(crate) fn page_by_index(&self, index: &str, window: PageWindow<'_>) -> Result<Page, StoreError> {
        let PageWindow { after, .. } = window;
        let mut sql = new_statement();
        let bounded = (index == self.index).then_some(index);
        let mut conditions = self.filter.without_terms(&mut sql, bounded);
        if bounded.is_some() {
            conditions.extend(self.bounds(&mut sql, after));
        }
        self.fetch((sql, &format!("call c INDEXED BY {index}"), bounded.is_some()), conditions, window)
    }

    /// The bounds of a scan of the index of the sort. Of several bounds on one side SQLite takes any for the search, and reads
    /// all rows between it and the others.
    pub(crate) fn bounds(&self, sql: &mut Sql, after: Option<&ListPosition>) -> Vec<String> {
        let (low, high) = self.filter.bounds_of(self.index);
        let after = after.map(|after| after.key);
        let (above, below) = if self.sort.ascending { (after, None) } else { (None, after) };
        let own = self.key;
        if self.filter.is_one_tie() {
            // A range of the sort key can exclude all of them.
            let guard = if low == high { "" } else { " AND FALSE" };
            return vec![format!("{own} = {}{guard}", sql.bind(low))];
        }
        // An index on columns serves the comparison with a cursor, an index on an expression does not.
        let is_column = !own.starts_with("coalesce");
        let mut side = |bound: i64, operator: &str, is_open: bool, cursor: Option<i64>| match cursor {
            Some(_) if is_column && is_open => None,
            Some(_) if is_column => Some(format!("+{own} {operator} {}", sql.bind(bound))),
            None if is_open => None,
            _ => Some(format!("{own} {operator} {}", sql.bind(bound))),
        };
        let low = side(low.max(above.filter(|_| !is_column).unwrap_or(low)), ">=", low == i64::MIN, above);
        let high = side(high.min(below.filter(|_| !is_column).unwrap_or(high)), "<=", high == i64::MAX, below);
        low.into_iter().chain(high).collect()
    }

    /// A range other than that of the sort with at most `few` records.
    fn narrow_range(&self, few: usize) -> Result<Option<Range>, StoreError> {
        let few = i64::try_from(few).unwrap_or(i64::MAX);
        for range in self.other_ranges() {
            let mut sql = new_statement();
            let workspace = sql.bind(self.workspace.as_str().to_owned());
            let Some(condition) = range.sql(&mut sql) else { continue };
            let limit = sql.bind(few.saturating_add(1));
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

    /// The ranges other than that of the sort.
    pub(crate) fn other_ranges(&self) -> impl Iterator<Item = &Range> {
        let is_bounded = |range: &Range| range.low.is_some() || range.high.is_some();
        self.filter.predicate.every_range().filter(move |range| range.index != self.index && is_bounded(range))
    }

    /// The number of records of the terms, counted up to `most` + 1.
    fn count_terms(&self, most: usize) -> Result<usize, StoreError> {
        let mut sql = new_statement();
        let (low, high) = self.filter.positions();
        let term_match = self.term_match(&mut sql, low, high);
        let limit = sql.bind(i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1));
        let text = format!("SELECT count(*) FROM (SELECT 1 FROM call_term t WHERE {term_match} LIMIT {limit})");
        Ok(usize::try_from(self.number(&text, sql)?).unwrap_or(usize::MAX))
    }

    fn number(&self, text: &str, sql: Sql) -> Result<i64, StoreError> {
        Ok(self.db.prepare_cached(text)?.query_row(params_from_iter(sql.values), |row| row.get(0))?)
    }

    /// Adds the workspace and the position of the cursor to conditions.
    pub(crate) fn position_clause(
        &self,
        sql: &mut Sql,
        mut conditions: Vec<String>,
        after: Option<&ListPosition>,
    ) -> String {
        let workspace = sql.bind(self.workspace.as_str().to_owned());
        conditions.insert(0, format!("c.workspace_id = {workspace}"));
        let Some(after) = after else { return conditions.join(" AND ") };
        conditions.push(self.after(sql, after));
        conditions.join(" AND ")
    }

    /// The condition of records after a position.
    fn after(&self, sql: &mut Sql, position: &ListPosition) -> String {
        let side = if self.sort.ascending { ">" } else { "<" };
        let id = sql.bind(position.id.as_str().to_owned());
        if self.filter.is_one_tie() {
            return format!("c.id {side} {id}");
        }
        let (key, own) = (sql.bind(position.key), self.key);
        format!("({own}, c.id) {side} ({key}, {id})")
    }

    pub(crate) fn order(&self) -> String {
        let (key, direction) = (self.key, if self.sort.ascending { "ASC" } else { "DESC" });
        // If all keys are equal, ordering by the key would make SQLite sort the rows.
        let by_key = if self.filter.is_one_tie() { String::new() } else { format!("{key} {direction}, ") };
        format!("{by_key}c.id {direction}")
    }

    /// The page of a source. Rows of an unordered source are sorted without their bodies.
    pub(crate) fn fetch(
        &self,
        (mut sql, from, is_in_order): (Sql, &str, bool),
        conditions: Vec<String>,
        window: PageWindow<'_>,
    ) -> Result<Page, StoreError> {
        let PageWindow { after, limit, offset } = window;
        let conditions = self.position_clause(&mut sql, conditions, after);
        let (key, direction) = (self.key, if self.sort.ascending { "ASC" } else { "DESC" });
        let order = self.order();
        // One more row tells whether there is a next page.
        let (most, offset) = (sql.bind(limit as i64 + 1), sql.bind(offset as i64));
        let rest = format!("FROM {from} WHERE {conditions} ORDER BY {order} LIMIT {most} OFFSET {offset}");
        let text = if is_in_order {
            format!("SELECT c.body, {key}, {PAGE_COLUMNS} {rest}")
        } else {
            format!(
                "SELECT c.body, k, {PAGE_COLUMNS} FROM (SELECT c.position AS p, {key} AS k, c.id AS i {rest})
                 CROSS JOIN call c ON c.position = p ORDER BY k {direction}, i {direction}"
            )
        };
        let mut statement = self.db.prepare_cached(&text)?;
        let mut rows = statement.query(params_from_iter(sql.values))?;
        let mut builder = PageBuilder::new(self, limit);
        while let Some(row) = rows.next()? {
            if !builder.take(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?, row)? {
                break;
            }
        }
        builder.finish()
    }

    /// The full-text match between two positions.
    pub(crate) fn term_match(&self, sql: &mut Sql, low: i64, high: i64) -> String {
        let (expression, low, high) = (sql.bind(self.filter.terms()), sql.bind(low), sql.bind(high));
        format!("t.call_term MATCH {expression} AND t.rowid BETWEEN {low} AND {high}")
    }

    fn terms_between(&self, sql: &mut Sql, low: i64, high: i64) -> (String, Vec<String>) {
        let term_match = self.term_match(sql, low, high);
        let from = format!("call_term t CROSS JOIN call c ON c.position = t.rowid AND {term_match}");
        (from, self.filter.after_terms(sql, true))
    }

    /// Whether the columns are the cheapest source of metrics. A filter with few records is faster.
    pub(crate) fn prefers_columns(&self) -> Result<bool, StoreError> {
        if !self.filter.is_of_metric_columns() {
            return Ok(false);
        }
        let few = self.few()?;
        Ok(self.narrow_range(few)?.is_none() && (!self.filter.has_terms() || self.count_terms(few)? > few))
    }

    /// Up to this number of records, metrics are aggregated from the rows.
    fn few(&self) -> Result<usize, StoreError> {
        // There are at least as many changes as records.
        let few = (last_sequence(self.db, self.workspace)? / COLUMN_CALLS_PER_ROW).max(MIN_ROWS);
        Ok(usize::try_from(few).unwrap_or(usize::MAX))
    }

    fn count(&self) -> Result<u64, StoreError> {
        if self.prefers_columns()? {
            let mut aggregator = MetricsAggregator::new(&MetricsQuery::default());
            scan::aggregate(self.db, self.workspace, &self.filter, &mut aggregator)?;
            return Ok(aggregator.calls());
        }
        let mut sql = new_statement();
        let (from, conditions) = self.cheapest(&mut sql)?;
        let conditions = self.position_clause(&mut sql, conditions, None);
        let count = self.number(&format!("SELECT count(*) FROM {from} WHERE {conditions}"), sql)?;
        Ok(count.unsigned_abs())
    }

    /// The cheapest source of all records of the filter, in any order.
    pub(crate) fn cheapest(&self, sql: &mut Sql) -> Result<(String, Vec<String>), StoreError> {
        if let Some(range) = self.narrow_range(self.few()?)? {
            let conditions = self.filter.without_terms(sql, None);
            return Ok((format!("call c INDEXED BY {}", range.index), conditions));
        }
        if self.filter.has_terms() {
            let (low, high) = self.filter.positions();
            return Ok(self.terms_between(sql, low, high));
        }
        let conditions = self.filter.without_terms(sql, None);
        Ok((format!("call c INDEXED BY {}", predicate::TIME.0), conditions))
    }
}
