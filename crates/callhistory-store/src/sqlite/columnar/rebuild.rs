//! Rebuilds the segments from the records, and verifies them.

use std::collections::BTreeMap;

use callhistory_model::{CallFilter, CallRecord, GroupKey, MetricsQuery, WorkspaceId};
use rusqlite::Connection;

use super::{
    encoding::corrupt,
    scan,
    segment::{self, CallValues, FORMAT_VERSION, MAX_CALLS},
};
use crate::{
    domain::{
        aggregate::{MetricsRow, outcome_of},
        index_texts::IndexTexts,
        metrics_aggregator::MetricsAggregator,
        phone_number::NumberingPlan,
        search_terms::{caller, charge_nanos},
    },
    error::StoreError,
    sqlite::read::fulltext::CompiledFilter,
};

/// Rebuilds the segments if a database has none, or another format.
pub(crate) fn ensure(db: &Connection) -> Result<(), StoreError> {
    let version: Option<i64> = db.query_row("SELECT max(version) FROM metric_format", [], |row| row.get(0))?;
    if version == Some(FORMAT_VERSION) { Ok(()) } else { rebuild(db).map(drop) }
}

/// Whether the segments give the same metrics as the records, for each workspace and status.
pub(crate) fn are_consistent(db: &Connection) -> Result<bool, StoreError> {
    let by_status = MetricsQuery::new().group_by([GroupKey::Status]);
    let every = CallFilter::default();
    for workspace in workspaces(db)? {
        let (mut stored, mut computed) = (MetricsAggregator::new(&by_status), MetricsAggregator::new(&by_status));
        let filter = CompiledFilter::new(&workspace, &every, NumberingPlan::default());
        scan::aggregate(db, &workspace, &filter, &mut stored)?;
        each_call(db, &workspace, |row| computed.add(row, ""))?;
        if stored.finish(&every)? != computed.finish(&every)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Rebuilds the segments from the records; returns the number of calls.
pub(crate) fn rebuild(db: &Connection) -> Result<u64, StoreError> {
    db.execute_batch(
        "BEGIN IMMEDIATE; DELETE FROM metric_segment; DELETE FROM metric_group; DELETE FROM metric_format",
    )?;
    let rebuilt = write_all(db).and_then(|calls| {
        db.execute("INSERT INTO metric_format (version) VALUES (?1)", [FORMAT_VERSION])?;
        db.execute_batch("COMMIT")?;
        if calls > 0 {
            tracing::info!(calls, "the columns of metrics were rebuilt");
        }
        Ok(calls)
    });
    if rebuilt.is_err() && !db.is_autocommit() {
        db.execute_batch("ROLLBACK")?;
    }
    rebuilt
}

fn write_all(db: &Connection) -> Result<u64, StoreError> {
    let mut calls = 0;
    for workspace in workspaces(db)? {
        let (mut entries, mut groups) = (Vec::new(), BTreeMap::<i64, i64>::new());
        // A segment is written as soon as no later call can belong to it.
        let mut start = i64::MIN;
        each_call(db, &workspace, |row| {
            if entries.len() >= MAX_CALLS && entries.last().is_some_and(|last: &CallValues| last.time < row.sort_time) {
                segment::write(db, workspace.as_str(), (start, 0), &std::mem::take(&mut entries), MAX_CALLS)?;
                start = row.sort_time;
            }
            let entry = segment::call_values(db, &workspace, row)?;
            let at = entries.partition_point(|other| *other <= entry);
            entries.insert(at, entry);
            *groups.entry(entry.group).or_default() += 1;
            calls += 1;
            Ok(())
        })?;
        segment::write(db, workspace.as_str(), (start, 0), &entries, MAX_CALLS)?;
        for (group, calls) in groups {
            segment::count_group(db, workspace.as_str(), group, calls)?;
        }
    }
    Ok(calls)
}

fn workspaces(db: &Connection) -> Result<Vec<WorkspaceId>, StoreError> {
    let mut statement = db.prepare("SELECT workspace_id FROM workspace")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?;
    names.map(|name| name?.parse().map_err(|_| corrupt())).collect()
}

/// Visits the calls of a workspace in time order.
fn each_call(
    db: &Connection,
    workspace: &WorkspaceId,
    mut take: impl FnMut(&MetricsRow<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM call c INDEXED BY call_by_time WHERE c.workspace_id = ?1 ORDER BY c.sort_time"
    ))?;
    let mut rows = statement.query([workspace.as_str()])?;
    while let Some(row) = rows.next()? {
        take(&MetricsRow::read(row)?)?;
    }
    Ok(())
}

/// The columns of [`MetricsRow::read`].
pub(crate) const COLUMNS: &str =
    "c.sort_time, c.duration, c.cost, c.talk_time, c.caller, c.is_answered, c.currency, c.status, c.agent_id, c.call_flow_id,
     c.direction, c.call_type, c.batch_id";
/// The number of [`COLUMNS`].
pub(crate) const COLUMN_COUNT: usize = 13;

impl<'a> MetricsRow<'a> {
    pub(crate) fn of(record: &'a CallRecord, texts: &'a IndexTexts<'_>) -> Self {
        Self {
            sort_time: record.sort_time_nanos(),
            duration: record.duration_nanos(),
            cost: charge_nanos(record),
            talk_time: record.talk_time_nanos(),
            caller: caller(&record.workspace_id, texts),
            is_answered: texts.is_answered,
            currency: texts.currency.as_deref(),
            outcome: outcome_of(texts.status.as_deref()),
            status: texts.status.as_deref(),
            agent_id: texts.agent_id,
            call_flow_id: texts.call_flow_id,
            direction: texts.direction.as_deref(),
            call_type: texts.call_type.as_deref(),
            batch_id: texts.batch_id,
        }
    }

    pub(crate) fn read(row: &'a rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let text = |column: usize| row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from);
        Ok(Self {
            sort_time: row.get(0)?,
            duration: row.get(1)?,
            cost: row.get(2)?,
            talk_time: row.get(3)?,
            caller: row.get(4)?,
            is_answered: row.get(5)?,
            currency: text(6)?,
            outcome: outcome_of(text(7)?),
            status: text(7)?,
            agent_id: text(8)?,
            call_flow_id: text(9)?,
            direction: text(10)?,
            call_type: text(11)?,
            batch_id: text(12)?,
        })
    }
}
