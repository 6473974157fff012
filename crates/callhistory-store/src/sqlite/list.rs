//! Lists of the embedded engine: which index gives the records of a filter in the order of a sort, at the least cost.

use callhistory_model::{CallFilter, Fault, ListQuery, Sort, SortKey, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use super::{
    filter::{Indexed, NO_DURATION, first_position, last_position, new_sql},
    read::last_sequence,
    segments,
};
use crate::{
    CallPage, StoreError,
    cursor::{ListPosition, Seal},
    filter::{self as keys, Range, Sql},
    metrics::Totals,
    page::{PAGE_BYTES, Page},
};

/// For each record of a page, up to so many are fetched by a filter and sorted; where a filter has more, the index of the
/// sort is gone through until the page is full.
const SORTED_PER_RECORD: usize = 100;
/// The same for pages of any size.
const SORTED_AT_MOST: usize = 5_000;
/// Records of the index of the sort that are looked at before all that a filter has are fetched and sorted. Tests have few.
const LOOKED_THROUGH: i64 = if cfg!(debug_assertions) { 20 } else { 20_000 };
/// To look at one record costs as much as to go through so many in what is kept for the numbers. A filter that has fewer
/// records than that has its records looked at.
const CALLS_PER_LOOK: i64 = 300;
const LEAST_LOOKS: i64 = 50;

/// Which records of which order: what a page and its cursor are made of.
pub(super) struct Listing<'a> {
    db: &'a Connection,
    workspace: &'a WorkspaceId,
    pub(super) filter: Indexed,
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

fn unsound_id(_: Fault) -> StoreError {
    StoreError::Internal("a record has no sound id".to_owned())
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

    /// The records after a place. Where the filter has few records, they are fetched and sorted; where it has many, an
    /// index in the order of the list is gone through, which fills the page soon unless the many lie at its far end: then
    /// all of them are fetched and sorted.
    pub(super) fn page(&self, after: Option<&ListPosition>, limit: usize, offset: usize) -> Result<Page, StoreError> {
        let few = i64::try_from(SORTED_AT_MOST.min(SORTED_PER_RECORD * (limit + offset))).unwrap_or(i64::MAX);
        let by_time = self.sort.key == SortKey::StartTime;
        let by_terms = self.filter.has_terms();
        if by_time && by_terms && self.narrow_range(few)?.is_none() {
            return self.page_by_terms_in_order(after, limit, offset);
        }
        if by_terms && !by_time && self.count_terms(few)? <= few {
            return self.page_by_terms(after, limit, offset);
        }
        if let Some(range) = self.narrow_range(few)? {
            return self.page_by_index(range.index, None, after, limit, offset);
        }
        if !by_terms {
            return self.page_by_index(self.index, None, after, limit, offset);
        }
        let near = self.place_behind(after)?;
        let page = self.page_by_index(self.index, near.as_ref(), after, limit, offset)?;
        if near.is_none() || page.more { Ok(page) } else { self.page_by_terms(after, limit, offset) }
    }

    fn page_by_terms(&self, after: Option<&ListPosition>, limit: usize, offset: usize) -> Result<Page, StoreError> {
        let mut sql = new_sql();
        let expression = sql.bind(self.filter.terms());
        let from = format!("call_term t CROSS JOIN call c ON c.position = t.rowid AND t.call_term MATCH {expression}");
        let conditions = self.filter.after_terms(&mut sql);
        self.take((sql, &from, false), conditions, after, limit, offset)
    }

    /// Through an index, and not beyond a place.
    fn page_by_index(
        &self,
        index: &str,
        until: Option<&ListPosition>,
        after: Option<&ListPosition>,
        limit: usize,
        offset: usize,
    ) -> Result<Page, StoreError> {
        let mut sql = new_sql();
        let bounded = (index == self.index).then_some(index);
        let mut conditions = self.filter.without_terms(&mut sql, bounded);
        if bounded.is_some() {
            conditions.extend(self.bounds(&mut sql, after, until));
        }
        if let Some(until) = until {
            conditions.push(self.beside(&mut sql, until, if self.sort.ascending { "<" } else { ">" }, true));
        }
        self.take((sql, &format!("call c INDEXED BY {index}"), bounded.is_some()), conditions, after, limit, offset)
    }

    /// The part of the index of the sort that is gone through. Of several bounds on one side SQLite takes any for the search,
    /// and looks at all records between it and the others.
    fn bounds(&self, sql: &mut Sql, after: Option<&ListPosition>, until: Option<&ListPosition>) -> Vec<String> {
        let (low, high) = self.filter.bounds_of(self.index);
        let (above, below) = if self.sort.ascending { (after, until) } else { (until, after) };
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
        let (above, below) = (above.map(|place| place.key), below.map(|place| place.key));
        let low = side(low.max(above.filter(|_| !is_column).unwrap_or(low)), ">=", low == i64::MIN, above);
        let high = side(high.min(below.filter(|_| !is_column).unwrap_or(high)), "<=", high == i64::MAX, below);
        low.into_iter().chain(high).collect()
    }

    /// The place up to which the index of the sort is gone through before other ways are taken, unless it ends before.
    fn place_behind(&self, after: Option<&ListPosition>) -> Result<Option<ListPosition>, StoreError> {
        let mut sql = new_sql();
        let bounds = self.bounds(&mut sql, after, None);
        let conditions = self.place(&mut sql, bounds, after);
        let (skipped, key, index, order) = (sql.bind(LOOKED_THROUGH), self.key, self.index, self.order());
        let text = format!(
            "SELECT {key}, c.id FROM call c INDEXED BY {index} WHERE {conditions}
             ORDER BY {order} LIMIT 1 OFFSET {skipped}"
        );
        let place: Option<(i64, String)> = self
            .db
            .prepare_cached(&text)?
            .query_row(params_from_iter(sql.values), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        place.map(|(key, id)| Ok(ListPosition { key, id: id.parse().map_err(unsound_id)? })).transpose()
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
    pub(super) fn place(&self, sql: &mut Sql, mut conditions: Vec<String>, after: Option<&ListPosition>) -> String {
        let workspace = sql.bind(self.workspace.as_str().to_owned());
        conditions.insert(0, format!("c.workspace_id = {workspace}"));
        let Some(after) = after else { return conditions.join(" AND ") };
        conditions.push(self.beside(sql, after, if self.sort.ascending { ">" } else { "<" }, false));
        conditions.join(" AND ")
    }

    /// On which side of a place a record lies, or whether in that place.
    fn beside(&self, sql: &mut Sql, place: &ListPosition, side: &str, or_there: bool) -> String {
        let id = sql.bind(place.id.as_str().to_owned());
        let equal = if or_there { "=" } else { "" };
        if self.filter.is_one_tie() {
            return format!("c.id {side}{equal} {id}");
        }
        let (key, own) = (sql.bind(place.key), self.key);
        format!("({own}, c.id) {side}{equal} ({key}, {id})")
    }

    fn order(&self) -> String {
        let (key, direction) = (self.key, if self.sort.ascending { "ASC" } else { "DESC" });
        // Where all are equal, an order by the equal value would make SQLite sort them.
        let by_key = if self.filter.is_one_tie() { String::new() } else { format!("{key} {direction}, ") };
        format!("{by_key}c.id {direction}")
    }

    /// The page of a source of records. Those of a source that is not in order are sorted without their bodies.
    fn take(
        &self,
        (mut sql, from, is_in_order): (Sql, &str, bool),
        conditions: Vec<String>,
        after: Option<&ListPosition>,
        limit: usize,
        offset: usize,
    ) -> Result<Page, StoreError> {
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
        if let Some(key) = key {
            page.last = Some(ListPosition { key, id: id.parse().map_err(unsound_id)? });
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
        let text = format!("SELECT t.rowid FROM {from} WHERE {conditions} ORDER BY t.rowid {direction}");
        let mut statement = self.db.prepare_cached(&text)?;
        let mut rows = statement.query(params_from_iter(sql.values))?;
        let mut positions: Vec<i64> = Vec::new();
        while let Some(row) = rows.next()? {
            let position = row.get(0)?;
            // The order of positions is that of the list, but for those of one second.
            if positions.get(offset + limit).is_some_and(|last| first_position(*last) != first_position(position)) {
                break;
            }
            positions.push(position);
        }
        let mut sql = new_sql();
        let list = sql.bind(format!("{positions:?}"));
        let from = format!("json_each({list}) CROSS JOIN call c ON c.position = json_each.value");
        self.take((sql, &from, false), Vec::new(), after, limit, offset)
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
    pub(super) fn counts_from_segments(&self) -> Result<bool, StoreError> {
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
