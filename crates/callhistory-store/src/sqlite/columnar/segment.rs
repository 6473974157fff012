//! Segments: the values that metrics need of up to 512 calls, as columns that every write keeps up to date.

use std::collections::BTreeMap;

use callhistory_model::WorkspaceId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::encoding::{self, ColumnReader, corrupt};
use crate::{domain::aggregate::MetricsRow, error::StoreError};

/// Raised when the format of segments changes: a database with another format is rebuilt at the next start.
pub(crate) const FORMAT_VERSION: i64 = 2;
/// Maximum number of calls in a segment, which is rewritten as a whole.
pub(crate) const MAX_CALLS: usize = 512;

/// The values that metrics need of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallValues {
    pub(crate) time: i64,
    pub(crate) group: i64,
    pub(crate) duration: Option<i64>,
    pub(crate) cost: Option<i64>,
}

/// How many calls with equal values a transaction adds or removes, by workspace and time.
pub(crate) type SegmentChanges = BTreeMap<(String, CallValues), i64>;

/// The values of a call. Inserts its group if it is new.
pub(crate) fn call_values(
    db: &Connection,
    workspace: &WorkspaceId,
    row: &MetricsRow<'_>,
) -> rusqlite::Result<CallValues> {
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
                "INSERT INTO metric_group (workspace_id, agent_id, status, call_flow_id, direction, call_type, calls, group_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0,
                     (SELECT coalesce(max(group_id), 0) + 1 FROM metric_group WHERE workspace_id = ?1))
                 RETURNING group_id",
            )?
            .query_row(values, |row| row.get(0))?,
    };
    Ok(CallValues { time: row.sort_time, group, duration: row.duration, cost: row.cost })
}

/// The key of a segment, and the end of its time range.
struct SegmentKey {
    start: i64,
    part: i64,
    end: Option<i64>,
}

/// Applies the changes of a transaction to segments of at most `max_calls` calls.
pub(crate) fn apply(db: &Connection, changes: &SegmentChanges, max_calls: usize) -> Result<(), StoreError> {
    let mut groups = BTreeMap::new();
    for ((workspace, call_values), by) in changes {
        *groups.entry((workspace.as_str(), call_values.group)).or_default() += by;
    }
    let mut changes = changes.iter().filter(|(_, by)| **by != 0).peekable();
    while let Some(((workspace, first), _)) = changes.peek() {
        let workspace = workspace.clone();
        let (key, mut entries) = last_part(db, &workspace, first.time)?;
        let mut elsewhere = Vec::new();
        let here = |other: &str, call_values: &CallValues| {
            other == workspace && key.end.is_none_or(|end| call_values.time < end)
        };
        while let Some(((_, call_values), by)) = changes.next_if(|((other, call_values), _)| here(other, call_values)) {
            for _ in 0..by.unsigned_abs() {
                match entries.binary_search(call_values) {
                    Ok(at) | Err(at) if *by > 0 => entries.insert(at, *call_values),
                    Ok(at) => drop(entries.remove(at)),
                    Err(_) => elsewhere.push(*call_values),
                }
            }
        }
        write(db, &workspace, (key.start, key.part), &entries, max_calls)?;
        for call_values in elsewhere {
            remove_from_parts(db, &workspace, &key, &call_values, max_calls)?;
        }
    }
    // Last: a segment that is written above can still have a call that leaves it later.
    groups.into_iter().try_for_each(|((workspace, group), by)| count_group(db, workspace, group, by))
}

/// Changes the number of calls of a group, and deletes a group without calls.
pub(crate) fn count_group(db: &Connection, workspace: &str, group: i64, by: i64) -> Result<(), StoreError> {
    let calls: Option<i64> = db
        .prepare_cached(
            "UPDATE metric_group SET calls = calls + ?3 WHERE workspace_id = ?1 AND group_id = ?2 RETURNING calls",
        )?
        .query_row(params![workspace, group, by], |row| row.get(0))
        .optional()?;
    match calls {
        Some(0) => {
            db.prepare_cached("DELETE FROM metric_group WHERE workspace_id = ?1 AND group_id = ?2")?
                .execute(params![workspace, group])?;
            Ok(())
        }
        Some(calls) if calls > 0 => Ok(()),
        _ => Err(corrupt()),
    }
}

/// The segment of a time.
fn last_part(db: &Connection, workspace: &str, time: i64) -> Result<(SegmentKey, Vec<CallValues>), StoreError> {
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
    Ok((SegmentKey { start, part, end }, entries?))
}

/// Removes a call from another part of the segments that start at one time.
fn remove_from_parts(
    db: &Connection,
    workspace: &str,
    key: &SegmentKey,
    call_values: &CallValues,
    max_calls: usize,
) -> Result<(), StoreError> {
    for part in (0..key.part).rev() {
        let found = db
            .prepare_cached(
                "SELECT calls, columns FROM metric_segment WHERE workspace_id = ?1 AND start = ?2 AND part = ?3",
            )?
            .query_row(params![workspace, key.start, part], |row| {
                Ok(read(row.get::<_, u32>(0)?, row.get_ref(1)?.as_blob()?))
            })
            .optional()?;
        let Some(mut entries) = found.transpose()? else { continue };
        if let Ok(at) = entries.binary_search(call_values) {
            entries.remove(at);
            return write(db, workspace, (key.start, part), &entries, max_calls);
        }
    }
    Err(corrupt())
}

/// The decoded columns of a segment, reused for the next one.
#[derive(Default)]
pub(crate) struct Columns {
    times: Vec<i64>,
    groups: Vec<i64>,
    durations: Vec<Option<i64>>,
    costs: Vec<Option<i64>>,
    buffer: Vec<i64>,
}

impl Columns {
    pub(crate) fn read(&mut self, count: u32, bytes: &[u8]) -> Result<(), StoreError> {
        let (count, mut reader) = (count as usize, ColumnReader(bytes));
        reader.read(count, &mut self.times)?;
        reader.read(count, &mut self.groups)?;
        reader.read_optional(count, &mut self.buffer, &mut self.durations)?;
        reader.read_optional(count, &mut self.buffer, &mut self.costs)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = CallValues> {
        let call_values = |at: usize| CallValues {
            time: self.times[at],
            group: self.groups[at],
            duration: self.durations[at],
            cost: self.costs[at],
        };
        (0..self.times.len()).map(call_values)
    }
}

fn read(count: u32, bytes: &[u8]) -> Result<Vec<CallValues>, StoreError> {
    let mut columns = Columns::default();
    columns.read(count, bytes)?;
    Ok(columns.entries().collect())
}

/// Replaces a segment, by several if there are too many calls for one.
pub(crate) fn write(
    db: &Connection,
    workspace: &str,
    (start, part): (i64, i64),
    entries: &[CallValues],
    max_calls: usize,
) -> Result<(), StoreError> {
    if entries.len() <= max_calls {
        return write_one(db, workspace, start, part, entries);
    }
    let (mut start, mut part, mut rest) = (start, part, entries);
    while !rest.is_empty() {
        let end = cut(rest, max_calls);
        let (row, after) = rest.split_at(end);
        // Parts of one time are found by that time.
        if end > max_calls && start != row[0].time {
            write_one(db, workspace, start, part, &[])?;
            (start, part) = (row[0].time, 0);
        }
        for chunk in row.chunks(max_calls) {
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

/// The number of calls of the next segment: calls of one time stay together. Segments are filled to three quarters.
fn cut(entries: &[CallValues], max_calls: usize) -> usize {
    let fill = max_calls * 3 / 4;
    if entries.len() <= fill {
        return entries.len();
    }
    let time = entries[fill].time;
    match entries.partition_point(|call_values| call_values.time < time) {
        // All up to here have one time.
        0 => entries.partition_point(|call_values| call_values.time <= time),
        before => before,
    }
}

fn write_one(
    db: &Connection,
    workspace: &str,
    start: i64,
    part: i64,
    entries: &[CallValues],
) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        db.prepare_cached("DELETE FROM metric_segment WHERE workspace_id = ?1 AND start = ?2 AND part = ?3")?
            .execute(params![workspace, start, part])?;
        return Ok(());
    };
    let column = |value: fn(&CallValues) -> i64| entries.iter().map(value).collect::<Vec<_>>();
    let optional = |value: fn(&CallValues) -> Option<i64>| entries.iter().map(value).collect::<Vec<_>>();
    let (durations, costs) = (optional(|call_values| call_values.duration), optional(|call_values| call_values.cost));
    let mut columns = Vec::with_capacity(16 * entries.len());
    encoding::push(&mut columns, &column(|call_values| call_values.time));
    encoding::push(&mut columns, &column(|call_values| call_values.group));
    encoding::push_optional(&mut columns, &durations);
    encoding::push_optional(&mut columns, &costs);
    let sum =
        |numbers: &[Option<i64>]| numbers.iter().flatten().try_fold(0_i64, |sum, number| sum.checked_add(*number));
    let mut of_status = [0_i64; 2];
    let mut status = db.prepare_cached("SELECT status FROM metric_group WHERE workspace_id = ?1 AND group_id = ?2")?;
    let mut groups = column(|call_values| call_values.group);
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
