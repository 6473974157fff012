//! Pages whose records are found before they are looked at: in the order of the index of terms; or, where the filter and the
//! sort contradict each other and they lie far away in the order of the list, from what takes nanoseconds a record.

use rusqlite::params_from_iter;

use super::{
    filter::{first_position, last_position, new_sql},
    list::{Listing, Span},
    numbers::{self, Best},
};
use crate::{
    StoreError,
    cursor::ListPosition,
    filter::{Range, Sql, TIME},
    page::Page,
};

/// Candidates for each record of a page that are looked at first, and how many times more then, up to so many at a time.
const CANDIDATES_PER_RECORD: usize = 2;
const GROWTH: usize = 4;
const MOST_CANDIDATES: usize = 10_000;
/// Positions of one condition in memory, 16 MiB of them. Tests have few.
const MOST_POSITIONS: i64 = if cfg!(debug_assertions) { 60 } else { 2 << 20 };
/// Looks where very many records are equal in the number of the sort.
const LOOKS_AMONG_EQUALS: usize = if cfg!(debug_assertions) { 40 } else { 50_000 };
/// No id comes before the first, and none behind so many of the second as an id may have.
const LEAST_ID: &str = "-";
const GREATEST_IN_ID: &str = "z";

impl Listing<'_> {
    /// The index of terms is in the order of seconds: a first look finds the second in which the page ends, a second one
    /// sorts what lies up to it. Gives up where what terms cannot say lets too few of so many records through.
    pub(super) fn page_by_terms_in_order(&self, span: Span<'_>, looks: usize) -> Result<Option<Page>, StoreError> {
        let after = span.after;
        let (low, high) = self.positions_after(after);
        let direction = if self.sort.ascending { "ASC" } else { "DESC" };
        let mut sql = new_sql();
        let (matched, conditions) = (self.matched(&mut sql, low, high), self.filter.after_terms(&mut sql));
        let text = if conditions.is_empty() {
            // Terms are those of the workspace, so the records need not be looked at yet.
            format!("SELECT t.rowid, TRUE FROM call_term t WHERE {matched} ORDER BY t.rowid {direction}")
        } else {
            let workspace = sql.bind(self.workspace.as_str().to_owned());
            let holds = conditions.join(" AND ");
            format!(
                "SELECT t.rowid, {holds} FROM call_term t CROSS JOIN call c ON c.position = t.rowid AND {matched}
                 WHERE c.workspace_id = {workspace} ORDER BY t.rowid {direction}"
            )
        };
        let mut statement = self.db.prepare_cached(&text)?;
        let mut rows = statement.query(params_from_iter(sql.values))?;
        let (mut positions, mut beyond, mut looked): (Vec<i64>, _, _) = (Vec::new(), 0, 0);
        while let Some(row) = rows.next()? {
            if looked == looks && !conditions.is_empty() {
                return Ok(None);
            }
            looked += 1;
            if row.get::<_, Option<bool>>(1)? != Some(true) {
                continue;
            }
            let position = row.get(0)?;
            // The order of positions is that of the list, but for those of one second.
            let is_new = positions.last().is_none_or(|last| first_position(*last) != first_position(position));
            if beyond >= span.wanted() && is_new {
                break;
            }
            positions.push(position);
            beyond += usize::from(!span.begins_in_second_of(position));
        }
        self.page_of(&positions, span).map(Some)
    }

    /// The page of what lies at positions.
    fn page_of(&self, positions: &[i64], span: Span<'_>) -> Result<Page, StoreError> {
        let mut sql = new_sql();
        let list = sql.bind(format!("{positions:?}"));
        let from = format!("json_each({list}) CROSS JOIN call c ON c.position = json_each.value");
        self.take((sql, &from, false), Vec::new(), span)
    }

    /// The positions of the seconds that a list in the order of time has still before it.
    fn positions_after(&self, after: Option<&ListPosition>) -> (i64, i64) {
        let (low, high) = self.filter.positions();
        match (after, self.sort.ascending) {
            (Some(after), true) => (low.max(first_position(after.key)), high),
            (Some(after), false) => (low, high.min(last_position(after.key))),
            (None, _) => (low, high),
        }
    }

    pub(super) fn page_from_afar(&self, span: Span<'_>) -> Result<Page, StoreError> {
        let after = span.after;
        if self.filter.is_covered()
            && let Some(page) = self.page_by_numbers(span)?
        {
            return Ok(page);
        }
        match self.positions(after)? {
            Some(positions) if self.index == TIME.0 => self.page_in_time(positions, span),
            Some(positions) => self.page_through(&positions, span),
            None => self.page_in_order(span),
        }
    }

    /// A page in the order of the list, however many records have to be looked at.
    pub(super) fn page_in_order(&self, span: Span<'_>) -> Result<Page, StoreError> {
        if self.index == TIME.0
            && self.filter.has_terms()
            && let Some(page) = self.page_by_terms_in_order(span, usize::MAX)?
        {
            return Ok(page);
        }
        self.page_by_index(self.index, span)
    }

    /// The page of a filter and a sort that need nothing but what the numbers of calls are counted from.
    fn page_by_numbers(&self, span: Span<'_>) -> Result<Option<Page>, StoreError> {
        let after = span.after;
        let Some(order) = numbers::Order::new(self.sort) else { return Ok(None) };
        let bounds = self.filter.bounds_of(self.index);
        let after_key = after.map(|after| after.key);
        let best = numbers::best(self.db, self.workspace, &self.filter, order, (bounds, after_key), span.wanted())?;
        match best {
            Best::Times(times) => {
                let mut sql = new_sql();
                let list = sql.bind(format!("{times:?}"));
                let workspace = sql.bind(self.workspace.as_str().to_owned());
                let from = format!(
                    "json_each({list}) CROSS JOIN call c INDEXED BY {}
                     ON c.workspace_id = {workspace} AND c.sort_time = json_each.value",
                    TIME.0
                );
                let conditions = self.filter.without_terms(&mut sql, None);
                self.take((sql, &from, false), conditions, span).map(Some)
            }
            Best::From(key) => {
                let start = self.place_before(key)?.filter(|_| after_key != Some(key) && !self.filter.is_one_tie());
                self.page_by_looks(Span { after: start.as_ref().or(after), ..span }, LOOKS_AMONG_EQUALS)
            }
        }
    }

    /// The place before all records with this key, and behind all that come before them in the list.
    fn place_before(&self, key: i64) -> Result<Option<ListPosition>, StoreError> {
        let (key, id) = if self.sort.ascending {
            (key.checked_sub(1), GREATEST_IN_ID.repeat(128))
        } else {
            (key.checked_add(1), LEAST_ID.to_owned())
        };
        let Some(key) = key else { return Ok(None) };
        let id = id.parse().map_err(|_| StoreError::Internal("a place has no sound id".to_owned()))?;
        Ok(Some(ListPosition { key, id }))
    }

    /// Where the records lie that terms and ranges other than that of the sort let through, in order; `None` where that are
    /// too many to have in memory, or there is nothing of the kind.
    fn positions(&self, after: Option<&ListPosition>) -> Result<Option<Vec<i64>>, StoreError> {
        let mut common: Option<Vec<i64>> = None;
        let by_terms = self.filter.has_terms();
        if by_terms {
            let mut sql = new_sql();
            let (low, high) = if self.index == TIME.0 { self.positions_after(after) } else { self.filter.positions() };
            let matched = self.matched(&mut sql, low, high);
            common = self.collect(&format!("SELECT t.rowid FROM call_term t WHERE {matched}"), sql)?;
            // Nothing looks at them again where they have been looked at.
            if common.is_none() {
                return Ok(None);
            }
        }
        // The positions of terms have the range of time in them.
        for range in self.other_ranges().filter(|range| !by_terms || range.index != TIME.0) {
            let Some((text, sql)) = self.within(range) else { continue };
            // Ranges are looked at in any case.
            let Some(positions) = self.collect(&text, sql)? else { continue };
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
        let mut sql = new_sql();
        let workspace = sql.bind(self.workspace.as_str().to_owned());
        let (index, condition) = (range.index, range.sql(&mut sql)?);
        let text = format!(
            "SELECT c.position FROM call c INDEXED BY {index} WHERE c.workspace_id = {workspace} AND {condition}"
        );
        Some((text, sql))
    }

    fn collect(&self, text: &str, mut sql: Sql) -> Result<Option<Vec<i64>>, StoreError> {
        let most = sql.bind(MOST_POSITIONS + 1);
        let mut statement = self.db.prepare_cached(&format!("{text} LIMIT {most}"))?;
        let mut rows = statement.query(params_from_iter(sql.values))?;
        let mut positions = Vec::new();
        while let Some(row) = rows.next()? {
            positions.push(row.get(0)?);
        }
        positions.sort_unstable();
        Ok((positions.len() as i64 <= MOST_POSITIONS).then_some(positions))
    }

    /// A page in the order of time, which is that of the positions but for those of one second.
    fn page_in_time(&self, mut positions: Vec<i64>, span: Span<'_>) -> Result<Page, StoreError> {
        let after = span.after;
        let (low, high) = self.positions_after(after);
        positions.retain(|position| (low..=high).contains(position));
        if !self.sort.ascending {
            positions.reverse();
        }
        let (mut passed, mut beyond, mut size) = (Vec::new(), 0, CANDIDATES_PER_RECORD * span.wanted());
        let mut rest = positions.as_slice();
        while beyond < span.wanted() && !rest.is_empty() {
            let second = rest.get(size).map(|next| first_position(*next));
            let same = rest.iter().skip(size).take_while(|next| Some(first_position(**next)) == second).count();
            let (candidates, others) = rest.split_at(rest.len().min(size + same));
            for position in self.meeting(candidates)? {
                beyond += usize::from(!span.begins_in_second_of(position));
                passed.push(position);
            }
            (rest, size) = (others, (size * GROWTH).min(MOST_CANDIDATES));
        }
        self.page_of(&passed, span)
    }

    /// A page in another order: its index alone says where a record lies, without a look at the record.
    fn page_through(&self, positions: &[i64], span: Span<'_>) -> Result<Page, StoreError> {
        let after = span.after;
        let mut sql = new_sql();
        let bounds = self.bounds(&mut sql, after);
        let (place, index, order) = (self.place(&mut sql, bounds, after), self.index, self.order());
        let text = format!("SELECT c.position FROM call c INDEXED BY {index} WHERE {place} ORDER BY {order}");
        let mut statement = self.db.prepare_cached(&text)?;
        let mut rows = statement.query(params_from_iter(sql.values))?;
        let (mut passed, mut found, mut is_over) = (Vec::new(), 0, false);
        let mut size = CANDIDATES_PER_RECORD * span.wanted();
        while passed.len() < span.wanted() && found < positions.len() && !is_over {
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
            passed.extend(self.meeting(&candidates)?);
            size = (size * GROWTH).min(MOST_CANDIDATES);
        }
        self.page_of(&passed, span)
    }

    /// Those of the positions whose records meet what is not looked at yet, in their order.
    fn meeting(&self, positions: &[i64]) -> Result<Vec<i64>, StoreError> {
        let mut sql = new_sql();
        let (list, workspace) = (sql.bind(format!("{positions:?}")), sql.bind(self.workspace.as_str().to_owned()));
        let conditions = self.unchecked(&mut sql);
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

    /// What is still to be looked at where a record lies at one of the positions.
    fn unchecked(&self, sql: &mut Sql) -> Vec<String> {
        if self.filter.has_terms() { self.filter.after_terms(sql) } else { self.filter.without_terms(sql, None) }
    }
}
