//! What the numbers are counted from beside the table of calls: whether it says the same, and how it is made anew.

use callhistory_model::{CallFilter, GroupKey, WorkspaceId};
use rusqlite::Connection;

use super::{
    columns::unsound,
    filter::Indexed,
    numbers,
    segments::{self, Entry, MOST, SHAPE},
};
use crate::{
    StoreError,
    metrics::{Row, Totals},
};

/// Makes the segments anew where a database has none, or those of another shape.
pub(super) fn ensure(db: &Connection) -> Result<(), StoreError> {
    let shape: Option<i64> = db.query_row("SELECT max(shape) FROM metric_shape", [], |row| row.get(0))?;
    if shape == Some(SHAPE) { Ok(()) } else { rebuild(db).map(drop) }
}

/// Whether the segments count the same for each workspace and status as the table of calls does.
pub(super) fn are_right(db: &Connection) -> Result<bool, StoreError> {
    let by_kind = [GroupKey::Status];
    let every = CallFilter::default();
    for workspace in workspaces(db)? {
        let (mut kept, mut counted) = (Totals::new(&by_kind, None)?, Totals::new(&by_kind, None)?);
        numbers::count(db, &workspace, &Indexed::new(&workspace, &every), &mut kept)?;
        each_call(db, &workspace, |row| counted.add(row))?;
        if kept.finish(&every)? != counted.finish(&every)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes the segments anew from the table of calls; gives how many calls there are.
pub(super) fn rebuild(db: &Connection) -> Result<u64, StoreError> {
    tracing::info!("the numbers of all calls are put together anew");
    db.execute_batch(
        "BEGIN IMMEDIATE; DELETE FROM metric_segment; DELETE FROM metric_group; DELETE FROM metric_shape",
    )?;
    let made = write_all(db).and_then(|calls| {
        db.execute("INSERT INTO metric_shape (shape) VALUES (?1)", [SHAPE])?;
        db.execute_batch("COMMIT")?;
        Ok(calls)
    });
    if made.is_err() && !db.is_autocommit() {
        db.execute_batch("ROLLBACK")?;
    }
    made
}

fn write_all(db: &Connection) -> Result<u64, StoreError> {
    let mut calls = 0;
    for workspace in workspaces(db)? {
        let mut entries = Vec::new();
        // Whole segments are written as soon as no later call can belong to them.
        let mut start = i64::MIN;
        each_call(db, &workspace, |row| {
            if entries.len() >= MOST && entries.last().is_some_and(|last: &Entry| last.time < row.sort_time) {
                segments::write(db, workspace.as_str(), start, 0, &std::mem::take(&mut entries))?;
                start = row.sort_time;
            }
            let entry = segments::entry(db, &workspace, row)?;
            let at = entries.partition_point(|other| *other <= entry);
            entries.insert(at, entry);
            calls += 1;
            Ok(())
        })?;
        segments::write(db, workspace.as_str(), start, 0, &entries)?;
    }
    Ok(calls)
}

fn workspaces(db: &Connection) -> Result<Vec<WorkspaceId>, StoreError> {
    let mut statement = db.prepare("SELECT workspace_id FROM workspace")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?;
    names.map(|name| name?.parse().map_err(|_| unsound())).collect()
}

/// Goes through the calls of a workspace in the order of time.
fn each_call(
    db: &Connection,
    workspace: &WorkspaceId,
    mut take: impl FnMut(&Row<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM call c INDEXED BY call_by_time WHERE c.workspace_id = ?1 ORDER BY c.sort_time"
    ))?;
    let mut rows = statement.query([workspace.as_str()])?;
    while let Some(row) = rows.next()? {
        take(&Row::read(row)?)?;
    }
    Ok(())
}

/// The columns that [`Row::read`] reads.
pub(super) const COLUMNS: &str =
    "c.sort_time, c.duration, c.cost, c.status, c.agent_id, c.call_flow_id, c.direction, c.call_type";

impl<'a> Row<'a> {
    pub(super) fn read(row: &'a rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let text = |column: usize| row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from);
        Ok(Self {
            sort_time: row.get(0)?,
            duration: row.get(1)?,
            cost: row.get(2)?,
            status: text(3)?,
            agent_id: text(4)?,
            call_flow_id: text(5)?,
            direction: text(6)?,
            call_type: text(7)?,
        })
    }
}
