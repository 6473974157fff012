//! What the segments tell: the numbers of calls, and where in the order of a number the calls of a filter lie.

use callhistory_model::{Sort, SortKey, WorkspaceId};
use rusqlite::{Connection, params, params_from_iter};

use super::{
    filter::{Indexed, NO_DURATION, new_sql},
    segments::{Columns, Entry},
};
use crate::{
    StoreError,
    filter::{COST, DURATION, NO_COST, Range},
    metrics::{Numbers, Row, Totals},
};

/// Calls that are equal in the number of an order, of which so many are gathered.
const MOST_EQUALS: usize = if cfg!(debug_assertions) { 30 } else { 5_000 };

/// Which numbers of a call a filter looks at, beside its group.
struct Bounds {
    time: (i64, i64),
    duration: (i64, i64),
    cost: (i64, i64),
}

impl Bounds {
    const ALL: (i64, i64) = (i64::MIN, i64::MAX);

    fn new(filter: &Indexed) -> Self {
        let bounds = |range: &Range| {
            // The first value above is the last one below, as both are whole numbers.
            (range.low.unwrap_or(i64::MIN), range.high.map_or(i64::MAX, |high| high.saturating_sub(1)))
        };
        let of = |index: &str| {
            let range = filter.predicate.ranges.iter().find(|range| range.index == index);
            range.map_or(Self::ALL, bounds)
        };
        Self { time: bounds(&filter.predicate.time), duration: of(DURATION.0), cost: of(COST.0) }
    }

    fn allow(&self, time: i64, duration: Option<i64>, cost: Option<i64>) -> bool {
        let within = |number: i64, (low, high): (i64, i64)| low <= number && number <= high;
        within(time, self.time)
            && within(duration.unwrap_or(NO_DURATION), self.duration)
            && within(cost.unwrap_or(NO_COST), self.cost)
    }

    /// Whether only the time may be out of them.
    fn are_of_time(&self) -> bool {
        self.duration == Self::ALL && self.cost == Self::ALL
    }
}

/// Counts all calls of a filter that needs nothing but what is here.
pub(super) fn count(
    db: &Connection,
    workspace: &WorkspaceId,
    filter: &Indexed,
    totals: &mut Totals,
) -> Result<(), StoreError> {
    let (kinds, is_whole) = kinds(db, workspace, filter, totals)?;
    let bounds = Bounds::new(filter);
    let sums_do = is_whole && bounds.are_of_time() && !totals.is_grouped();
    let mut statement = db.prepare_cached(
        "SELECT first, last, calls, completed, failed, timed, duration, cost, columns
         FROM metric_segment INDEXED BY metric_segment_by_start
         WHERE workspace_id = ?1 AND start <= ?3 AND start >= coalesce(
             (SELECT max(start) FROM metric_segment WHERE workspace_id = ?1 AND start <= ?2), ?2)
         ORDER BY start, part",
    )?;
    let (low, high) = bounds.time;
    let mut rows = statement.query(params![workspace.as_str(), low, high])?;
    let mut columns = Columns::default();
    while let Some(row) = rows.next()? {
        let (first, last): (i64, i64) = (row.get(0)?, row.get(1)?);
        let is_inside = low <= first && last <= high;
        let (duration, cost): (Option<i64>, Option<i64>) = (row.get(6)?, row.get(7)?);
        if let (true, Some(duration), Some(cost)) = (sums_do && is_inside, duration, cost) {
            let number = |at: usize| row.get::<_, i64>(at).map(i64::unsigned_abs);
            totals.add_numbers(&Numbers {
                calls: number(2)?,
                completed: number(3)?,
                failed: number(4)?,
                timed: number(5)?,
                duration: duration.into(),
                cost: cost.into(),
                ..Numbers::default()
            });
            continue;
        }
        columns.read(row.get(2)?, row.get_ref(8)?.as_blob().map_err(rusqlite::Error::from)?)?;
        let all = is_inside && bounds.are_of_time();
        for Entry { time, group, duration, cost } in columns.entries() {
            let Some(kind) = kind_of(&kinds, group) else { continue };
            if all || bounds.allow(time, duration, cost) {
                totals.add_of_kind(kind, time, duration, cost)?;
            }
        }
    }
    Ok(())
}

fn kind_of(kinds: &[Option<u32>], group: i64) -> Option<u32> {
    *kinds.get(usize::try_from(group).ok()?)?
}

/// The kind of each group that the filter lets through, by the number of the group; and whether those are all.
fn kinds(
    db: &Connection,
    workspace: &WorkspaceId,
    filter: &Indexed,
    totals: &mut Totals,
) -> Result<(Vec<Option<u32>>, bool), StoreError> {
    let mut sql = new_sql();
    let bound = sql.bind(workspace.as_str().to_owned());
    let mut conditions = vec![format!("c.workspace_id = {bound}")];
    conditions.extend(filter.of_groups(&mut sql));
    let is_whole = conditions.len() == 1;
    let text = format!(
        "SELECT 0, NULL, NULL, c.status, c.agent_id, c.call_flow_id, c.direction, c.call_type, c.group_id
         FROM metric_group c WHERE {}",
        conditions.join(" AND ")
    );
    let mut statement = db.prepare_cached(&text)?;
    let mut rows = statement.query(params_from_iter(sql.values))?;
    let mut kinds = Vec::new();
    while let Some(row) = rows.next()? {
        let group = row.get::<_, u32>(8)? as usize;
        let kind = totals.kind(&Row::read(row)?);
        if kinds.len() <= group {
            kinds.resize(group + 1, None);
        }
        kinds[group] = Some(kind);
    }
    Ok((kinds, is_whole))
}

/// An order of calls that the segments know.
#[derive(Clone, Copy)]
pub(super) struct Order {
    key: fn(&Entry) -> i64,
    ascending: bool,
    is_of_time: bool,
}

impl Order {
    pub(super) fn new(sort: Sort) -> Option<Self> {
        let key: fn(&Entry) -> i64 = match sort.key {
            SortKey::StartTime => |entry| entry.time,
            SortKey::Duration => |entry| entry.duration.unwrap_or(NO_DURATION),
            SortKey::CallCost => |entry| entry.cost.unwrap_or(NO_COST),
            SortKey::CreatedAt | SortKey::UpdatedAt => return None,
        };
        Some(Self { key, ascending: sort.ascending, is_of_time: sort.key == SortKey::StartTime })
    }

    /// A number that is less, the earlier a key comes in the order; and back.
    fn rank(self, key: i64) -> i64 {
        if self.ascending { key } else { !key }
    }
}

/// The first calls of a filter in an order.
pub(super) enum Best {
    /// They are among those of these times.
    Times(Vec<i64>),
    /// Very many have the same number; the first one has this.
    From(i64),
}

/// Finds the first calls of a filter that have their number in a range, after one with a certain number or equal to it.
pub(super) fn best(
    db: &Connection,
    workspace: &WorkspaceId,
    filter: &Indexed,
    order: Order,
    ((low, high), after): ((i64, i64), Option<i64>),
    wanted: usize,
) -> Result<Best, StoreError> {
    let (kinds, _) = kinds(db, workspace, filter, &mut Totals::new(&[], None)?)?;
    let bounds = Bounds::new(filter);
    let direction = if order.ascending { "ASC" } else { "DESC" };
    let mut statement = db.prepare_cached(&format!(
        "SELECT start, calls, columns FROM metric_segment INDEXED BY metric_segment_by_start
         WHERE workspace_id = ?1 AND start <= ?3 AND start >= coalesce(
             (SELECT max(start) FROM metric_segment WHERE workspace_id = ?1 AND start <= ?2), ?2)
         ORDER BY start {direction}, part {direction}"
    ))?;
    let (mut start, mut end) = bounds.time;
    match (order.is_of_time, order.ascending) {
        (true, true) => start = start.max(after.unwrap_or(start)),
        (true, false) => end = end.min(after.unwrap_or(end)),
        (false, _) => {}
    }
    let mut rows = statement.query(params![workspace.as_str(), start, end])?;
    let mut first = First::new(wanted, after.map_or(i64::MIN, |key| order.rank(key)));
    let (mut columns, mut previous) = (Columns::default(), None);
    while let Some(row) = rows.next()? {
        let start: i64 = row.get(0)?;
        // Calls of one moment have one start.
        if order.is_of_time && previous.replace(start) != Some(start) && first.is_full() {
            break;
        }
        columns.read(row.get(1)?, row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?;
        for entry in columns.entries() {
            let (key, Entry { time, group, duration, cost }) = ((order.key)(&entry), entry);
            if (low..=high).contains(&key) && kind_of(&kinds, group).is_some() && bounds.allow(time, duration, cost) {
                first.take(order.rank(key), time);
            }
        }
    }
    Ok(first.finish(order))
}

/// The first of many, by rank.
struct First {
    wanted: usize,
    /// Of those that rank as this, some may be over already.
    after: i64,
    /// Ranks and times.
    taken: Vec<(i64, i64)>,
    /// What ranks behind this is none of them.
    most: i64,
    /// So many rank as this that they are not gathered.
    crowd: Option<i64>,
}

impl First {
    fn new(wanted: usize, after: i64) -> Self {
        Self { wanted, after, taken: Vec::new(), most: i64::MAX, crowd: None }
    }

    fn take(&mut self, rank: i64, time: i64) {
        if (self.after..=self.most).contains(&rank) {
            self.taken.push((rank, time));
            if self.taken.len() >= 2 * (self.wanted + MOST_EQUALS) {
                self.prune();
            }
        }
    }

    /// Leaves those that are wanted, those that rank as the last of them, and those that rank as the place.
    fn prune(&mut self) {
        self.taken.sort_unstable();
        if let Some((last, _)) = self.taken.get(self.over() + self.wanted - 1) {
            self.most = *last;
            let end = self.taken.partition_point(|(rank, _)| *rank <= self.most);
            self.taken.truncate(end);
        }
        while self.taken.len() > self.wanted + MOST_EQUALS
            && let Some((last, _)) = self.taken.last()
        {
            let last = *last;
            self.crowd = Some(last);
            self.taken.retain(|(rank, _)| *rank < last);
            self.most = last.saturating_sub(1);
        }
    }

    /// How many of those that are taken, in order, may be over already.
    fn over(&self) -> usize {
        self.taken.partition_point(|(rank, _)| *rank <= self.after)
    }

    fn has_all(&self) -> bool {
        self.taken.len() - self.over() >= self.wanted
    }

    fn is_full(&mut self) -> bool {
        self.prune();
        self.has_all() || self.crowd.is_some()
    }

    fn finish(mut self, order: Order) -> Best {
        self.prune();
        match self.crowd {
            Some(crowd) if !self.has_all() => {
                Best::From(order.rank(self.taken.first().map_or(crowd, |(rank, _)| *rank)))
            }
            _ => {
                let mut times: Vec<_> = self.taken.into_iter().map(|(_, time)| time).collect();
                times.sort_unstable();
                times.dedup();
                Best::Times(times)
            }
        }
    }
}
