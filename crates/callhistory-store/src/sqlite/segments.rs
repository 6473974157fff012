//! What the numbers of calls are counted from: a copy of the few values that they need, in columns, kept with every write.
//! Going through it takes some nanoseconds for a call; through an index, some hundred.

use std::collections::BTreeMap;

use callhistory_model::WorkspaceId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::columns::{self, Reader, unsound};
use crate::{StoreError, metrics::Row};

/// Raised when the rows that are written here change: those of another shape are made anew at the next start.
pub(super) const SHAPE: i64 = 1;
/// Calls in a row, which is written anew as a whole; and in one that is split off.
pub(super) const MOST: usize = if cfg!(test) { 8 } else { 512 };
const FILL: usize = MOST * 3 / 4;

/// What the numbers need of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) time: i64,
    pub(super) group: i64,
    pub(super) duration: Option<i64>,
    pub(super) cost: Option<i64>,
}

/// How often calls of each kind come or go in a transaction, by workspace and time.
pub(super) type Changes = BTreeMap<(String, Entry), i64>;

/// The entry of a call, whose group is made where it is the first of it.
pub(super) fn entry(db: &Connection, workspace: &WorkspaceId, row: &Row<'_>) -> rusqlite::Result<Entry> {
    let values = params![workspace.as_str(), row.agent_id, row.status, row.call_flow_id, row.direction, row.call_type];
    let known = db
        .prepare_cached(
            "SELECT group_id FROM metric_group
             WHERE workspace_id = ?1 AND agent_id IS ?2 AND status IS ?3 AND call_flow_id IS ?4 AND direction IS ?5
                 AND call_type IS ?6",
        )?
        .query_row(values, |row| row.get(0))
        .optional()?;
    let group = match known {
        Some(group) => group,
        None => db
            .prepare_cached(
                "INSERT INTO metric_group (workspace_id, agent_id, status, call_flow_id, direction, call_type, group_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6,
                     (SELECT coalesce(max(group_id), 0) + 1 FROM metric_group WHERE workspace_id = ?1))
                 RETURNING group_id",
            )?
            .query_row(values, |row| row.get(0))?,
    };
    Ok(Entry { time: row.sort_time, group, duration: row.duration, cost: row.cost })
}

/// Where a row of the table is, and up to which time it goes.
struct Place {
    start: i64,
    part: i64,
    end: Option<i64>,
}

/// Brings the rows up to date with the changes of a transaction.
pub(super) fn apply(db: &Connection, changes: &Changes) -> Result<(), StoreError> {
    let mut changes = changes.iter().filter(|(_, by)| **by != 0).peekable();
    while let Some(((workspace, first), _)) = changes.peek() {
        let workspace = workspace.clone();
        let (place, mut entries) = last_part(db, &workspace, first.time)?;
        let mut elsewhere = Vec::new();
        let here = |other: &str, entry: &Entry| other == workspace && place.end.is_none_or(|end| entry.time < end);
        while let Some(((_, entry), by)) = changes.next_if(|((other, entry), _)| here(other, entry)) {
            for _ in 0..by.unsigned_abs() {
                match entries.binary_search(entry) {
                    Ok(at) | Err(at) if *by > 0 => entries.insert(at, *entry),
                    Ok(at) => drop(entries.remove(at)),
                    Err(_) => elsewhere.push(*entry),
                }
            }
        }
        write(db, &workspace, place.start, place.part, &entries)?;
        for entry in elsewhere {
            remove_from_parts(db, &workspace, &place, &entry)?;
        }
    }
    Ok(())
}

/// The row that a call of this time belongs to, or would.
fn last_part(db: &Connection, workspace: &str, time: i64) -> Result<(Place, Vec<Entry>), StoreError> {
    let found = db
        .prepare_cached(
            "SELECT start, part, calls, columns FROM metric_segment WHERE workspace_id = ?1 AND start <= ?2
             ORDER BY start DESC, part DESC LIMIT 1",
        )?
        .query_row(params![workspace, time], |row| {
            Ok((row.get(0)?, row.get(1)?, read(row.get::<_, u32>(2)?, row.get_ref(3)?.as_blob()?)))
        })
        .optional()?;
    let (start, part, entries) = found.unwrap_or((i64::MIN, 0, Ok(Vec::new())));
    let end = db
        .prepare_cached("SELECT min(start) FROM metric_segment WHERE workspace_id = ?1 AND start > ?2")?
        .query_row(params![workspace, start], |row| row.get(0))?;
    Ok((Place { start, part, end }, entries?))
}

/// Takes a call out of another part of those that begin at one moment.
fn remove_from_parts(db: &Connection, workspace: &str, place: &Place, entry: &Entry) -> Result<(), StoreError> {
    for part in (0..place.part).rev() {
        let found = db
            .prepare_cached(
                "SELECT calls, columns FROM metric_segment WHERE workspace_id = ?1 AND start = ?2 AND part = ?3",
            )?
            .query_row(params![workspace, place.start, part], |row| {
                Ok(read(row.get::<_, u32>(0)?, row.get_ref(1)?.as_blob()?))
            })
            .optional()?;
        let Some(mut entries) = found.transpose()? else { continue };
        if let Ok(at) = entries.binary_search(entry) {
            entries.remove(at);
            return write(db, workspace, place.start, part, &entries);
        }
    }
    Err(unsound())
}

/// The columns of a row, as long as all of them, and reused for the next.
#[derive(Default)]
pub(super) struct Columns {
    times: Vec<i64>,
    groups: Vec<i64>,
    durations: Vec<Option<i64>>,
    costs: Vec<Option<i64>>,
    buffer: Vec<i64>,
}

impl Columns {
    pub(super) fn read(&mut self, count: u32, bytes: &[u8]) -> Result<(), StoreError> {
        let (count, mut reader) = (count as usize, Reader(bytes));
        reader.read(count, &mut self.times)?;
        reader.read(count, &mut self.groups)?;
        reader.read_optional(count, &mut self.buffer, &mut self.durations)?;
        reader.read_optional(count, &mut self.buffer, &mut self.costs)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let entry = |at: usize| Entry {
            time: self.times[at],
            group: self.groups[at],
            duration: self.durations[at],
            cost: self.costs[at],
        };
        (0..self.times.len()).map(entry)
    }
}

fn read(count: u32, bytes: &[u8]) -> Result<Vec<Entry>, StoreError> {
    let mut columns = Columns::default();
    columns.read(count, bytes)?;
    Ok(columns.entries().collect())
}

/// Writes entries in the place of a row, as several rows where they are too many for one.
pub(super) fn write(
    db: &Connection,
    workspace: &str,
    start: i64,
    part: i64,
    entries: &[Entry],
) -> Result<(), StoreError> {
    if entries.len() <= MOST {
        return write_one(db, workspace, start, part, entries);
    }
    let (mut start, mut part, mut rest) = (start, part, entries);
    while !rest.is_empty() {
        let end = cut(rest);
        let (row, after) = rest.split_at(end);
        // Where all are of one moment, their parts are found by that moment.
        if end > MOST && start != row[0].time {
            write_one(db, workspace, start, part, &[])?;
            (start, part) = (row[0].time, 0);
        }
        for chunk in row.chunks(MOST) {
            write_one(db, workspace, start, part, chunk)?;
            part += 1;
        }
        rest = after;
        if let Some(first) = rest.first() {
            (start, part) = (first.time, 0);
        }
    }
    Ok(())
}

/// How many entries make one row: those of one moment stay together.
fn cut(entries: &[Entry]) -> usize {
    if entries.len() <= FILL {
        return entries.len();
    }
    let time = entries[FILL].time;
    match entries.partition_point(|entry| entry.time < time) {
        // All up to here are of one moment.
        0 => entries.partition_point(|entry| entry.time <= time),
        before => before,
    }
}

fn write_one(db: &Connection, workspace: &str, start: i64, part: i64, entries: &[Entry]) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        db.prepare_cached("DELETE FROM metric_segment WHERE workspace_id = ?1 AND start = ?2 AND part = ?3")?
            .execute(params![workspace, start, part])?;
        return Ok(());
    };
    let column = |value: fn(&Entry) -> i64| entries.iter().map(value).collect::<Vec<_>>();
    let optional = |value: fn(&Entry) -> Option<i64>| entries.iter().map(value).collect::<Vec<_>>();
    let (durations, costs) = (optional(|entry| entry.duration), optional(|entry| entry.cost));
    let mut columns = Vec::with_capacity(16 * entries.len());
    columns::push(&mut columns, &column(|entry| entry.time));
    columns::push(&mut columns, &column(|entry| entry.group));
    columns::push_optional(&mut columns, &durations);
    columns::push_optional(&mut columns, &costs);
    let sum =
        |numbers: &[Option<i64>]| numbers.iter().flatten().try_fold(0_i64, |sum, number| sum.checked_add(*number));
    let mut of_status = [0_i64; 2];
    let mut status = db.prepare_cached("SELECT status FROM metric_group WHERE workspace_id = ?1 AND group_id = ?2")?;
    let mut groups = column(|entry| entry.group);
    groups.sort_unstable();
    for same in groups.chunk_by(|one, other| one == other) {
        let status: Option<String> = status.query_row(params![workspace, same[0]], |row| row.get(0))?;
        match status.as_deref() {
            Some("completed") => of_status[0] += same.len() as i64,
            Some("failed") => of_status[1] += same.len() as i64,
            _ => {}
        }
    }
    db.prepare_cached(
        "INSERT OR REPLACE INTO metric_segment
             (workspace_id, start, part, first, last, calls, completed, failed, timed, duration, cost, columns)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        workspace,
        start,
        part,
        first.time,
        last.time,
        entries.len() as i64,
        of_status[0],
        of_status[1],
        durations.iter().flatten().count() as i64,
        sum(&durations),
        sum(&costs),
        columns,
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use callhistory_model::{CallFilter, MetricsQuery};

    use super::*;
    use crate::{
        metrics::Totals,
        sqlite::{filter::Indexed, numbers::count, open},
    };

    const START: i64 = 1_000_000_000;
    const STATUS: [Option<&str>; 4] = [Some("completed"), Some("failed"), None, Some("")];

    /// The numbers under bounds of time, counted here and by hand.
    fn compare(db: &Connection, calls: &[Row<'static>], low: i64, high: i64, status: Option<&'static str>) {
        let workspace: WorkspaceId = "w".parse().unwrap();
        let mut query = format!("startedAfter={low}&startedBefore={high}");
        query.extend(status.map(|status| format!("&status={status}")));
        let filter = Indexed::new(&workspace, &MetricsQuery::from_query(&query).unwrap().filter);
        let mut totals = Totals::new(&[], None).unwrap();
        count(db, &workspace, &filter, &mut totals).unwrap();
        let mut by_hand = Totals::new(&[], None).unwrap();
        let is_in = |call: &&Row<'_>| {
            let second = 1_000_000_000;
            (low * second..high * second).contains(&call.sort_time)
                && status.is_none_or(|status| call.status == Some(status))
        };
        calls.iter().filter(is_in).for_each(|call| by_hand.add(call).unwrap());
        let all = CallFilter::default();
        assert_eq!(totals.finish(&all).unwrap(), by_hand.finish(&all).unwrap(), "{query}");
    }

    #[test]
    fn the_numbers_are_those_of_the_calls_after_any_changes() {
        let directory = tempfile::tempdir().unwrap();
        let (_lock, db) = open::open_writer(&directory.path().join("a.db")).unwrap();
        let workspace: WorkspaceId = "w".parse().unwrap();
        let mut random = fastrand::Rng::with_seed(11);
        let mut calls: Vec<Row<'static>> = Vec::new();
        for round in 0..400 {
            let mut changes = Changes::new();
            for _ in 0..random.usize(1..30) {
                // Many of one moment, so that they have parts; sometimes all go.
                let second = START + if random.bool() { 500 } else { random.i64(0..1000) };
                let time = second * 1_000_000_000 + random.i64(0..2);
                let shrinks = round % 100 > 60;
                let (call, by) = if random.u8(0..10) < if shrinks { 9 } else { 4 } && !calls.is_empty() {
                    (calls.swap_remove(random.usize(0..calls.len())), -1)
                } else {
                    let call = Row {
                        sort_time: time,
                        duration: random.bool().then(|| random.i64(0..1000) * 1_000_000),
                        cost: random.bool().then(|| if random.u8(0..50) == 0 { i64::MAX } else { random.i64(-50..50) }),
                        status: STATUS[random.usize(0..4)],
                        agent_id: [None, Some("a"), Some("b")][random.usize(0..3)],
                        call_flow_id: None,
                        direction: None,
                        call_type: None,
                    };
                    calls.push(call);
                    (call, 1)
                };
                *changes.entry(("w".to_owned(), entry(&db, &workspace, &call).unwrap())).or_default() += by;
            }
            apply(&db, &changes).unwrap();
            if round % 100 == 50 {
                let largest: i64 = db.query_row("SELECT max(calls) FROM metric_segment", [], |row| row.get(0)).unwrap();
                assert!(largest <= MOST as i64);
            }
            let low = START + random.i64(0..1000);
            compare(&db, &calls, low, low + random.i64(1..700), STATUS[random.usize(0..3)]);
            compare(&db, &calls, START, START + 1001, None);
        }
        assert!(
            apply(
                &db,
                &Changes::from([(("w".to_owned(), Entry { time: 1, group: 1, duration: None, cost: None }), -1)])
            )
            .is_err()
        );
    }
}
