//! Lists of the embedded engine: which index gives the records of a filter in the order of a sort, at the least cost.

use callhistory_model::{CallFilter, FieldError, ListQuery, Sort, SortKey, WorkspaceId};
use rusqlite::{Connection, Row, params_from_iter};

use super::{
    filter::{Indexed, NO_DURATION, first_position, new_sql},
    numbers,
    read::last_sequence,
};
use crate::{
    CallPage, StoreError,
    cursor::{ListPosition, Seal},
    filter::{self as keys, Range, Sql},
    metrics::Totals,
    page::{PAGE_BYTES, Page},
};

/// For each record of a page, up to so many that a filter has are fetched and sorted at once; and so many where an index in
/// the order of the list has not filled the page.
const FETCHED_PER_RECORD: usize = 2;
const SORTED_PER_RECORD: usize = if cfg!(debug_assertions) { 5 } else { 100 };
/// The same for pages of any size.
const SORTED_AT_MOST: usize = 5_000;
/// Records in the order of the list that are looked at before those of the filter are looked for elsewhere, and at least so
/// many for each record of the page. Tests have few.
const LOOKED_THROUGH: usize = if cfg!(debug_assertions) { 20 } else { 1_000 };
const LOOKS_PER_RECORD: usize = if cfg!(debug_assertions) { 2 } else { 20 };
/// To look at one record costs as much as to go through so many in what is kept for the numbers. A filter that has fewer
/// records than that has its records looked at.
const CALLS_PER_LOOK: i64 = 300;
const LEAST_LOOKS: i64 = 50;

/// Which records of which order: what a page and its cursor are made of.
pub(super) struct Listing<'a> {
    pub(super) db: &'a Connection,
    pub(super) workspace: &'a WorkspaceId,
    pub(super) filter: Indexed,
    pub(super) sort: Sort,
    pub(super) index: &'static str,
    pub(super) key: &'static str,
}

/// Which records of a list: so many, after a place and some more of them.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    pub(super) after: Option<&'a ListPosition>,
    pub(super) limit: usize,
    pub(super) offset: usize,
}

impl Span<'_> {
    /// How many records it takes; one more than the page has tells whether there is a next one.
    pub(super) fn wanted(self) -> usize {
        self.limit + self.offset + 1
    }

    /// Whether a position is of the second of the place: in the order of time, what lies there may be over already.
    pub(super) fn begins_in_second_of(self, position: i64) -> bool {
        self.after.is_some_and(|after| first_position(after.key) == first_position(position))
    }
}

/// A page in the making.
struct Filling {
    page: Page,
    limit: usize,
    key: Option<i64>,
    id: String,
}

impl Filling {
    fn new(limit: usize) -> Self {
        Self { page: Page::default(), limit, key: None, id: String::new() }
    }

    /// Adds a record, whose key and id are the second and the third column of a row; or says that it is one too many.
    fn take(&mut self, body: &[u8], row: &Row<'_>) -> Result<bool, StoreError> {
        let Self { page, limit, key, id } = self;
        if page.calls.len() == *limit || page.calls.bytes() >= PAGE_BYTES {
            page.more = true;
            return Ok(false);
        }
        if page.calls.is_empty() {
            page.calls.reserve(*limit, body);
        }
        page.calls.push(body);
        *key = Some(row.get(1)?);
        id.clear();
        id.push_str(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?);
        Ok(true)
    }

    fn finish(self) -> Result<Page, StoreError> {
        let Self { mut page, key, id, .. } = self;
        if let Some(key) = key {
            page.last = Some(ListPosition { key, id: id.parse().map_err(unsound_id)? });
        }
        Ok(page)
    }
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
        SortKey::Duration | SortKey::CallCost => page_in_parts(&listing, after, query)?,
        _ => listing.page(Span { after, limit: query.page_size(), offset: query.offset() })?,
    };
    let total = query.include_total.then(|| listing.count()).transpose()?;
    page.answer(workspace, query, total, seal)
}

fn unsound_id(_: FieldError) -> StoreError {
    StoreError::Internal("a record has no sound id".to_owned())
}

/// A page in the order of a number that not every record has: those with it and those without are looked for apart.
fn page_in_parts(listing: &Listing<'_>, after: Option<&ListPosition>, query: &ListQuery) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let (limit, mut offset) = (query.page_size(), query.offset());
    let none = if query.sort.key == SortKey::CallCost { keys::NO_COST } else { NO_DURATION };
    let absent = |position: &ListPosition| position.key == none;
    for expected in [!query.sort.ascending, query.sort.ascending] {
        let after = after.filter(|after| absent(after) != expected);
        // The place to go on at lies in the other part, and this one is done with if it comes first.
        if expected != query.sort.ascending && query.cursor.is_some() && after.is_none() {
            continue;
        }
        let part = listing.having(&query.filter, expected);
        let left = limit - page.calls.len();
        if left == 0 || page.calls.bytes() >= PAGE_BYTES {
            page.more = page.more || !part.page(Span { after, limit: 1, offset: 0 })?.calls.is_empty();
            break;
        }
        let found = part.page(Span { after, limit: left, offset })?;
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

impl<'a> Listing<'a> {
    pub(super) fn new(db: &'a Connection, workspace: &'a WorkspaceId, filter: &CallFilter, sort: Sort) -> Self {
        let (index, key) = keys::of_sort(sort.key);
        Self { db, workspace, filter: Indexed::new(workspace, filter), sort, index, key }
    }

    /// The same list of records that have the number of the sort, or of those that have not.
    fn having(&self, filter: &CallFilter, expected: bool) -> Self {
        let filter = Indexed::having(self.workspace, filter, (self.index, self.key), expected);
        Self { filter, ..*self }
    }

    /// The records after a place. Where the filter has very few records, they are fetched and sorted. Otherwise an index in
    /// the order of the list is gone through, which fills most pages soon. Where it does not, the records that the filter
    /// lets through lie elsewhere in that order, and are looked for there.
    pub(super) fn page(&self, span: Span<'_>) -> Result<Page, StoreError> {
        let wanted = span.wanted();
        let (very_few, few) = (FETCHED_PER_RECORD * wanted, (SORTED_PER_RECORD * wanted).min(SORTED_AT_MOST));
        let by_terms = self.filter.has_terms();
        if !by_terms && self.other_ranges().next().is_none() && self.filter.predicate.conditions.is_empty() {
            return self.page_by_index(self.index, span);
        }
        let looks = LOOKED_THROUGH.max(LOOKS_PER_RECORD * wanted);
        if by_terms && self.sort.key == SortKey::StartTime {
            if let Some(range) = self.narrow_range(very_few)? {
                return self.page_by_index(range.index, span);
            }
            if let Some(page) = self.page_by_terms_in_order(span, looks)? {
                return Ok(page);
            }
        } else {
            if let Some(page) = self.page_of_few(very_few, span)? {
                return Ok(page);
            }
            // Where a condition has terms alone, each look would be one into their index.
            if self.filter.is_of_columns()
                && let Some(page) = self.page_by_looks(span, looks)?
            {
                return Ok(page);
            }
        }
        if let Some(page) = self.page_of_few(few, span)? {
            return Ok(page);
        }
        self.page_from_afar(span)
    }

    /// The next part of all records in the order of time: what is gone through for one is not gone through for the next.
    pub(super) fn part(&self, after: Option<&ListPosition>, limit: usize) -> Result<Page, StoreError> {
        let span = Span { after, limit, offset: 0 };
        if self.filter.has_terms() && self.narrow_range(SORTED_AT_MOST)?.is_none() {
            return self.page_in_order(span);
        }
        self.page(span)
    }

    /// The page of a filter by terms, or by a range, that has no more records than that.
    fn page_of_few(&self, few: usize, span: Span<'_>) -> Result<Option<Page>, StoreError> {
        if self.filter.has_terms() && self.count_terms(few)? <= few {
            return self.page_by_terms(span).map(Some);
        }
        let range = self.narrow_range(few)?;
        range.map(|range| self.page_by_index(range.index, span)).transpose()
    }

    /// Goes through the index of the sort, and gives up where the page is not full after so many looks at a record.
    pub(super) fn page_by_looks(&self, span: Span<'_>, looks: usize) -> Result<Option<Page>, StoreError> {
        let Span { after, limit, offset } = span;
        let mut sql = new_sql();
        let conditions = self.filter.without_terms(&mut sql, Some(self.index));
        let holds = if conditions.is_empty() { "TRUE".to_owned() } else { conditions.join(" AND ") };
        let bounds = self.bounds(&mut sql, after);
        let (place, key, index, order) = (self.place(&mut sql, bounds, after), self.key, self.index, self.order());
        let most = sql.bind(looks as i64 + 1);
        let text = format!(
            "SELECT CASE WHEN {holds} THEN c.body END, {key}, c.id FROM call c INDEXED BY {index}
             WHERE {place} ORDER BY {order} LIMIT {most}"
        );
        let mut statement = self.db.prepare_cached(&text)?;
        let mut rows = statement.query(params_from_iter(sql.values))?;
        let (mut filling, mut looked, mut skipped) = (Filling::new(limit), 0, 0);
        while let Some(row) = rows.next()? {
            if looked == looks {
                return Ok(None);
            }
            looked += 1;
            let Some(body) = row.get_ref(0)?.as_blob_or_null().map_err(rusqlite::Error::from)? else { continue };
            if skipped < offset {
                skipped += 1;
            } else if !filling.take(body, row)? {
                break;
            }
        }
        filling.finish().map(Some)
    }

    fn page_by_terms(&self, span: Span<'_>) -> Result<Page, StoreError> {
        let mut sql = new_sql();
        let expression = sql.bind(self.filter.terms());
        let from = format!("call_term t CROSS JOIN call c ON c.position = t.rowid AND t.call_term MATCH {expression}");
        let conditions = self.filter.after_terms(&mut sql);
        self.take((sql, &from, false), conditions, span)
    }

    /// Through an index: that of the sort, or another whose range has few records.
    pub(super) fn page_by_index(&self, index: &str, span: Span<'_>) -> Result<Page, StoreError> {
        let Span { after, .. } = span;
        let mut sql = new_sql();
        let bounded = (index == self.index).then_some(index);
        let mut conditions = self.filter.without_terms(&mut sql, bounded);
        if bounded.is_some() {
            conditions.extend(self.bounds(&mut sql, after));
        }
        self.take((sql, &format!("call c INDEXED BY {index}"), bounded.is_some()), conditions, span)
    }

    /// The part of the index of the sort that is gone through. Of several bounds on one side SQLite takes any for the search,
    /// and looks at all records between it and the others.
    pub(super) fn bounds(&self, sql: &mut Sql, after: Option<&ListPosition>) -> Vec<String> {
        let (low, high) = self.filter.bounds_of(self.index);
        let after = after.map(|after| after.key);
        let (above, below) = if self.sort.ascending { (after, None) } else { (None, after) };
        let own = self.key;
        if self.filter.is_one_tie() {
            // A range of the number itself may let none of them through.
            let is_let_through = if low == high { "" } else { " AND FALSE" };
            return vec![format!("{own} = {}{is_let_through}", sql.bind(low))];
        }
        // The comparison with a place is served by an index over columns, and not by one over an expression.
        let is_column = !own.starts_with("coalesce");
        let mut side = |bound: i64, operator: &str, is_open: bool, place: Option<i64>| match place {
            Some(_) if is_column && is_open => None,
            Some(_) if is_column => Some(format!("+{own} {operator} {}", sql.bind(bound))),
            None if is_open => None,
            _ => Some(format!("{own} {operator} {}", sql.bind(bound))),
        };
        let low = side(low.max(above.filter(|_| !is_column).unwrap_or(low)), ">=", low == i64::MIN, above);
        let high = side(high.min(below.filter(|_| !is_column).unwrap_or(high)), "<=", high == i64::MAX, below);
        low.into_iter().chain(high).collect()
    }

    /// A range of another number than that of the sort that has few records.
    fn narrow_range(&self, few: usize) -> Result<Option<Range>, StoreError> {
        let few = i64::try_from(few).unwrap_or(i64::MAX);
        for range in self.other_ranges() {
            let mut sql = new_sql();
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

    /// The ranges of other numbers than that of the sort.
    pub(super) fn other_ranges(&self) -> impl Iterator<Item = &Range> {
        let is_bounded = |range: &Range| range.low.is_some() || range.high.is_some();
        self.filter.predicate.every_range().filter(move |range| range.index != self.index && is_bounded(range))
    }

    /// How many records the terms give, counted up to one more than `most`.
    fn count_terms(&self, most: usize) -> Result<usize, StoreError> {
        let mut sql = new_sql();
        let (low, high) = self.filter.positions();
        let matched = self.matched(&mut sql, low, high);
        let limit = sql.bind(i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1));
        let text = format!("SELECT count(*) FROM (SELECT 1 FROM call_term t WHERE {matched} LIMIT {limit})");
        Ok(usize::try_from(self.number(&text, sql)?).unwrap_or(usize::MAX))
    }

    fn number(&self, text: &str, sql: Sql) -> Result<i64, StoreError> {
        Ok(self.db.prepare_cached(text)?.query_row(params_from_iter(sql.values), |row| row.get(0))?)
    }

    /// Adds the workspace and the place to go on at.
    pub(super) fn place(&self, sql: &mut Sql, mut conditions: Vec<String>, after: Option<&ListPosition>) -> String {
        let workspace = sql.bind(self.workspace.as_str().to_owned());
        conditions.insert(0, format!("c.workspace_id = {workspace}"));
        let Some(after) = after else { return conditions.join(" AND ") };
        conditions.push(self.beside(sql, after));
        conditions.join(" AND ")
    }

    /// Whether a record comes after a place.
    fn beside(&self, sql: &mut Sql, place: &ListPosition) -> String {
        let side = if self.sort.ascending { ">" } else { "<" };
        let id = sql.bind(place.id.as_str().to_owned());
        if self.filter.is_one_tie() {
            return format!("c.id {side} {id}");
        }
        let (key, own) = (sql.bind(place.key), self.key);
        format!("({own}, c.id) {side} ({key}, {id})")
    }

    pub(super) fn order(&self) -> String {
        let (key, direction) = (self.key, if self.sort.ascending { "ASC" } else { "DESC" });
        // Where all are equal, an order by the equal value would make SQLite sort them.
        let by_key = if self.filter.is_one_tie() { String::new() } else { format!("{key} {direction}, ") };
        format!("{by_key}c.id {direction}")
    }

    /// The page of a source of records. Those of a source that is not in order are sorted without their bodies.
    pub(super) fn take(
        &self,
        (mut sql, from, is_in_order): (Sql, &str, bool),
        conditions: Vec<String>,
        span: Span<'_>,
    ) -> Result<Page, StoreError> {
        let Span { after, limit, offset } = span;
        let conditions = self.place(&mut sql, conditions, after);
        let (key, direction) = (self.key, if self.sort.ascending { "ASC" } else { "DESC" });
        let order = self.order();
        // One more tells whether there is a next page.
        let (most, offset) = (sql.bind(limit as i64 + 1), sql.bind(offset as i64));
        let rest = format!("FROM {from} WHERE {conditions} ORDER BY {order} LIMIT {most} OFFSET {offset}");
        let text = if is_in_order {
            format!("SELECT c.body, {key}, c.id {rest}")
        } else {
            format!(
                "SELECT c.body, k, i FROM (SELECT c.position AS p, {key} AS k, c.id AS i {rest})
                 CROSS JOIN call c ON c.position = p ORDER BY k {direction}, i {direction}"
            )
        };
        let mut statement = self.db.prepare_cached(&text)?;
        let mut rows = statement.query(params_from_iter(sql.values))?;
        let mut filling = Filling::new(limit);
        while let Some(row) = rows.next()? {
            if !filling.take(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?, row)? {
                break;
            }
        }
        filling.finish()
    }

    /// What is in the index of terms between two positions.
    pub(super) fn matched(&self, sql: &mut Sql, low: i64, high: i64) -> String {
        let (expression, low, high) = (sql.bind(self.filter.terms()), sql.bind(low), sql.bind(high));
        format!("t.call_term MATCH {expression} AND t.rowid BETWEEN {low} AND {high}")
    }

    fn terms_between(&self, sql: &mut Sql, low: i64, high: i64) -> (String, Vec<String>) {
        let matched = self.matched(sql, low, high);
        let from = format!("call_term t CROSS JOIN call c ON c.position = t.rowid AND {matched}");
        (from, self.filter.after_terms(sql))
    }

    /// Whether the numbers are best counted from what is kept for that. Where a filter lets few through, it is faster.
    pub(super) fn counts_from_segments(&self) -> Result<bool, StoreError> {
        if !self.filter.is_of_numbers() {
            return Ok(false);
        }
        let few = self.few()?;
        Ok(self.narrow_range(few)?.is_none() && (!self.filter.has_terms() || self.count_terms(few)? > few))
    }

    /// How many records are better looked at one by one when numbers are counted.
    fn few(&self) -> Result<usize, StoreError> {
        // There were at least as many changes as there are records.
        let few = (last_sequence(self.db, self.workspace)? / CALLS_PER_LOOK).max(LEAST_LOOKS);
        Ok(usize::try_from(few).unwrap_or(usize::MAX))
    }

    fn count(&self) -> Result<u64, StoreError> {
        if self.counts_from_segments()? {
            let mut totals = Totals::new(&[], None)?;
            numbers::count(self.db, self.workspace, &self.filter, &mut totals)?;
            return Ok(totals.calls());
        }
        let mut sql = new_sql();
        let (from, conditions) = self.cheapest(&mut sql)?;
        let conditions = self.place(&mut sql, conditions, None);
        let count = self.number(&format!("SELECT count(*) FROM {from} WHERE {conditions}"), sql)?;
        Ok(count.unsigned_abs())
    }

    /// Where all records of the filter come from at the least cost, in no order.
    pub(super) fn cheapest(&self, sql: &mut Sql) -> Result<(String, Vec<String>), StoreError> {
        if let Some(range) = self.narrow_range(self.few()?)? {
            let conditions = self.filter.without_terms(sql, None);
            return Ok((format!("call c INDEXED BY {}", range.index), conditions));
        }
        if self.filter.has_terms() {
            let (low, high) = self.filter.positions();
            return Ok(self.terms_between(sql, low, high));
        }
        let conditions = self.filter.without_terms(sql, None);
        Ok((format!("call c INDEXED BY {}", keys::TIME.0), conditions))
    }
}
