//! Pages by positions: the records are found in indexes before their rows are read.

use rusqlite::params_from_iter;

use super::{
    fulltext::{first_position, last_position, new_statement},
    list::Listing,
};
use crate::{
    domain::{
        cursor::ListPosition,
        page::{Page, PageWindow},
        predicate::{Range, TIME},
    },
    error::StoreError,
    sql::Sql,
};

/// Candidates per record of a page that are read first, the growth of each further batch, and its maximum.
const CANDIDATES_PER_RECORD: usize = 2;
const GROWTH: usize = 4;
const MAX_CANDIDATES: usize = 10_000;

/// Whether a position is in the second of the cursor: its record can be on the previous page.
fn starts_in_second_of(window: PageWindow<'_>, position: i64) -> bool {
    window.after.is_some_and(|after| first_position(after.key) == first_position(position))
}

impl Listing<'_> {
    /// The full-text index is in the order of seconds: a first scan finds the second in which the page ends, a second one sorts
    /// the records up to it. `None` if conditions that terms do not answer exclude too many rows.
    pub(crate) fn page_by_ordered_terms(
        &self,
        window: PageWindow<'_>,
        row_budget: usize,
    ) -> Result<Option<Page>, StoreError> {
        let after = window.after;
        let (low, high) = self.positions_after(after);
        let direction = if self.sort.ascending { "ASC" } else { "DESC" };
        let mut sql = new_statement();
        let (term_match, conditions) = (self.term_match(&mut sql, low, high), self.filter.after_terms(&mut sql, false));
        let text = if conditions.is_empty() {
            // Terms are those of the workspace, so no record is read yet.
            format!("SELECT t.rowid, TRUE FROM call_term t WHERE {term_match} ORDER BY t.rowid {direction}")
        } else {
            let workspace = sql.bind(self.workspace.as_str().to_owned());
            let holds = conditions.join(" AND ");
            format!(
                "SELECT t.rowid, {holds} FROM call_term t CROSS JOIN call c ON c.position = t.rowid AND {term_match}
                 WHERE c.workspace_id = {workspace} ORDER BY t.rowid {direction}"
            )
        };
        let mut statement = self.db.prepare_cached(&text)?;
        let mut rows = statement.query(params_from_iter(sql.values))?;
        let (mut positions, mut beyond, mut rows_read): (Vec<i64>, _, _) = (Vec::new(), 0, 0);
        while let Some(row) = rows.next()? {
            if rows_read == row_budget && !conditions.is_empty() {
                return Ok(None);
            }
            rows_read += 1;
            if row.get::<_, Option<bool>>(1)? != Some(true) {
                continue;
            }
            let position = row.get(0)?;
            // Positions are in the order of the list, except within a second.
            let is_new = positions.last().is_none_or(|last| first_position(*last) != first_position(position));
            if beyond >= window.wanted() && is_new {
                break;
            }
            positions.push(position);
            beyond += usize::from(!starts_in_second_of(window, position));
        }
        self.page_by_seconds(&positions, window).map(Some)
    }

    /// The page of the records at positions that are in the order of the list: those before the page are not read.
    pub(crate) fn page_in_order(&self, positions: &[i64], window: PageWindow<'_>) -> Result<Page, StoreError> {
        let of_page = positions.get(window.offset..).unwrap_or_default();
        self.page_at(of_page, PageWindow { offset: 0, ..window })
    }

    /// The page of the records at positions that are in the order of the seconds of the list: those of seconds before the page
    /// are not read.
    fn page_by_seconds(&self, positions: &[i64], window: PageWindow<'_>) -> Result<Page, StoreError> {
        // A record in the second of the cursor can be on the previous page.
        let mut skipped = if window.after.is_none() { window.offset.min(positions.len()) } else { 0 };
        let is_cut = |at: usize| {
            let second = |position: Option<&i64>| position.map(|position| first_position(*position));
            second(positions.get(at)) == second(positions.get(at - 1))
        };
        while skipped > 0 && is_cut(skipped) {
            skipped -= 1;
        }
        self.page_at(&positions[skipped..], PageWindow { offset: window.offset - skipped, ..window })
    }

    /// The page of the records at positions.
    fn page_at(&self, positions: &[i64], window: PageWindow<'_>) -> Result<Page, StoreError> {
        let mut sql = new_statement();
        let list = sql.bind(format!("{positions:?}"));
        let from = format!("json_each({list}) CROSS JOIN call c ON c.position = json_each.value");
        self.fetch((sql, &from, false), Vec::new(), window)
    }

    /// The range of positions after the cursor of a list in time order.
    fn positions_after(&self, after: Option<&ListPosition>) -> (i64, i64) {
        let (low, high) = self.filter.positions();
        match (after, self.sort.ascending) {
            (Some(after), true) => (low.max(first_position(after.key)), high),
            (Some(after), false) => (low, high.min(last_position(after.key))),
            (None, _) => (low, high),
        }
    }

    /// The page of a filter whose clauses have positions; `None` if each has more than `max_positions`.
    pub(crate) fn page_by_position_set(
        &self,
        window: PageWindow<'_>,
        max_positions: usize,
    ) -> Result<Option<Page>, StoreError> {
        let Some(positions) = self.positions(window.after, max_positions)? else { return Ok(None) };
        let page = if self.index == TIME.0 {
            self.page_by_time_positions(positions, window)
        } else {
            self.page_by_index_positions(&positions, window)
        };
        page.map(Some)
    }

    /// The sorted positions of the records that match terms and ranges other than that of the sort; `None` if there are too many
    /// to hold in memory, or no such clause.
    fn positions(&self, after: Option<&ListPosition>, max_positions: usize) -> Result<Option<Vec<i64>>, StoreError> {
        let mut common: Option<Vec<i64>> = None;
        let by_terms = self.filter.has_terms();
        if by_terms {
            let mut sql = new_statement();
            let (low, high) = if self.index == TIME.0 { self.positions_after(after) } else { self.filter.positions() };
            let term_match = self.term_match(&mut sql, low, high);
            let text = format!("SELECT t.rowid FROM call_term t WHERE {term_match}");
            common = self.collect(&text, sql, max_positions)?;
            // What follows checks the positions of ranges against the records, but not the terms.
            if common.is_none() {
                return Ok(None);
            }
        }
        // The positions of terms include the time range.
        for range in self.other_ranges().filter(|range| !by_terms || range.index != TIME.0) {
            let Some((text, sql)) = self.within(range) else { continue };
            // Ranges are checked again later in any case.
            let Some(positions) = self.collect(&text, sql, max_positions)? else { continue };
            common = Some(match common {
                None => positions,
                Some(mut common) => {
                    let mut others = positions.into_iter().peekable();
                    common.retain(|position| {
                        while others.next_if(|other| other < position).is_some() {}
                        others.peek() == Some(position)
                    });
                    common
                }
            });
        }
        Ok(common)
    }

    fn within(&self, range: &Range) -> Option<(String, Sql)> {
        let mut sql = new_statement();
        let workspace = sql.bind(self.workspace.as_str().to_owned());
        let (index, condition) = (range.index, range.sql(&mut sql)?);
        let text = format!(
            "SELECT c.position FROM call c INDEXED BY {index} WHERE c.workspace_id = {workspace} AND {condition}"
        );
        Some((text, sql))
    }

    /// The sorted positions of a statement; `None` if there are more than `max`.
    fn collect(&self, text: &str, mut sql: Sql, max: usize) -> Result<Option<Vec<i64>>, StoreError> {
        let most = sql.bind(i64::try_from(max).unwrap_or(i64::MAX).saturating_add(1));
        let mut statement = self.db.prepare_cached(&format!("{text} LIMIT {most}"))?;
        let mut rows = statement.query(params_from_iter(sql.values))?;
        let mut positions = Vec::new();
        while let Some(row) = rows.next()? {
            positions.push(row.get(0)?);
        }
        positions.sort_unstable();
        Ok((positions.len() <= max).then_some(positions))
    }

    /// A page in time order, which is the order of positions except within a second.
    fn page_by_time_positions(&self, mut positions: Vec<i64>, window: PageWindow<'_>) -> Result<Page, StoreError> {
        let after = window.after;
        let (low, high) = self.positions_after(after);
        positions.retain(|position| (low..=high).contains(position));
        if !self.sort.ascending {
            positions.reverse();
        }
        let (mut matched, mut beyond, mut size) = (Vec::new(), 0, CANDIDATES_PER_RECORD * window.wanted());
        let mut rest = positions.as_slice();
        while beyond < window.wanted() && !rest.is_empty() {
            let second = rest.get(size).map(|next| first_position(*next));
            let same = rest.iter().skip(size).take_while(|next| Some(first_position(**next)) == second).count();
            let (candidates, others) = rest.split_at(rest.len().min(size + same));
            for position in self.matching(candidates)? {
                beyond += usize::from(!starts_in_second_of(window, position));
                matched.push(position);
            }
            (rest, size) = (others, (size * GROWTH).min(MAX_CANDIDATES));
        }
        self.page_by_seconds(&matched, window)
    }

    /// A page in another order: its index gives the positions without reading rows.
    fn page_by_index_positions(&self, positions: &[i64], window: PageWindow<'_>) -> Result<Page, StoreError> {
        let after = window.after;
        let mut sql = new_statement();
        let bounds = self.bounds(&mut sql, after);
        let (start, index, order) = (self.position_clause(&mut sql, bounds, after), self.index, self.order());
        let text = format!("SELECT c.position FROM call c INDEXED BY {index} WHERE {start} ORDER BY {order}");
        let mut statement = self.db.prepare_cached(&text)?;
        let mut rows = statement.query(params_from_iter(sql.values))?;
        let (mut matched, mut found, mut is_over) = (Vec::new(), 0, false);
        let mut size = CANDIDATES_PER_RECORD * window.wanted();
        while matched.len() < window.wanted() && found < positions.len() && !is_over {
            let mut candidates = Vec::new();
            while candidates.len() < size.min(positions.len() - found) && !is_over {
                match rows.next()? {
                    Some(row) => {
                        let position = row.get(0)?;
                        if positions.binary_search(&position).is_ok() {
                            candidates.push(position);
                        }
                    }
                    None => is_over = true,
                }
            }
            found += candidates.len();
            matched.extend(self.matching(&candidates)?);
            size = (size * GROWTH).min(MAX_CANDIDATES);
        }
        self.page_in_order(&matched, window)
    }

    /// The positions whose records match the remaining conditions, in their order.
    fn matching(&self, positions: &[i64]) -> Result<Vec<i64>, StoreError> {
        let mut sql = new_statement();
        let (list, workspace) = (sql.bind(format!("{positions:?}")), sql.bind(self.workspace.as_str().to_owned()));
        let conditions = self.remaining_conditions(&mut sql);
        if conditions.is_empty() {
            return Ok(positions.to_vec());
        }
        let text = format!(
            "SELECT c.position FROM json_each({list}) CROSS JOIN call c ON c.position = json_each.value
             WHERE c.workspace_id = {workspace} AND {}",
            conditions.join(" AND ")
        );
        let mut statement = self.db.prepare_cached(&text)?;
        let met = statement.query_map(params_from_iter(sql.values), |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(met)
    }

    /// The conditions that the positions do not answer.
    fn remaining_conditions(&self, sql: &mut Sql) -> Vec<String> {
        if self.filter.has_terms() { self.filter.after_terms(sql, false) } else { self.filter.without_terms(sql, None) }
    }
}
