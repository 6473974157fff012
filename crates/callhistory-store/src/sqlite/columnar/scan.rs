//! Scans of the segments: metrics, and the top k calls of an order.

use callhistory_model::{Sort, SortKey, WorkspaceId};
use rusqlite::{Connection, params, params_from_iter};

use super::segment::{CallValues, Columns};
use crate::{
    domain::{
        aggregate::{Aggregate, MetricsAggregator, MetricsRow},
        predicate::{COST, DURATION, NO_COST, Range},
    },
    error::StoreError,
    sqlite::read::fulltext::{CompiledFilter, NO_DURATION, new_statement},
};

/// The bounds of a filter on the numbers of a call.
struct Bounds {
    time: (i64, i64),
    duration: (i64, i64),
    cost: (i64, i64),
}

impl Bounds {
    const ALL: (i64, i64) = (i64::MIN, i64::MAX);

    fn new(filter: &CompiledFilter) -> Self {
        let bounds = |range: &Range| {
            // Inclusive bounds of integers.
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

    /// Whether only the time is bounded.
    fn are_of_time(&self) -> bool {
        self.duration == Self::ALL && self.cost == Self::ALL
    }
}

/// Aggregates the calls of a filter that the segments answer.
pub(crate) fn aggregate(
    db: &Connection,
    workspace: &WorkspaceId,
    filter: &CompiledFilter,
    aggregator: &mut MetricsAggregator,
) -> Result<(), StoreError> {
    let (classes, is_whole) = classes(db, workspace, filter, aggregator)?;
    let bounds = Bounds::new(filter);
    let uses_sums = is_whole && bounds.are_of_time() && !aggregator.is_grouped();
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
        if let (true, Some(duration), Some(cost)) = (uses_sums && is_inside, duration, cost) {
            let number = |at: usize| row.get::<_, i64>(at).map(i64::unsigned_abs);
            aggregator.add_aggregate(&Aggregate {
                calls: number(2)?,
                completed: number(3)?,
                failed: number(4)?,
                timed: number(5)?,
                duration: duration.into(),
                cost: cost.into(),
                ..Aggregate::default()
            });
            continue;
        }
        columns.read(row.get(2)?, row.get_ref(8)?.as_blob().map_err(rusqlite::Error::from)?)?;
        let all = is_inside && bounds.are_of_time();
        for CallValues { time, group, duration, cost } in columns.entries() {
            let Some(class) = class_of(&classes, group) else { continue };
            if all || bounds.allow(time, duration, cost) {
                aggregator.add_classified(class, time, duration, cost)?;
            }
        }
    }
    Ok(())
}

fn class_of(classes: &[Option<u32>], group: i64) -> Option<u32> {
    *classes.get(usize::try_from(group).ok()?)?
}

/// The class of each group that matches, by the number of the group; and whether all groups match.
fn classes(
    db: &Connection,
    workspace: &WorkspaceId,
    filter: &CompiledFilter,
    aggregator: &mut MetricsAggregator,
) -> Result<(Vec<Option<u32>>, bool), StoreError> {
    let mut sql = new_statement();
    let bound = sql.bind(workspace.as_str().to_owned());
    let mut conditions = vec![format!("c.workspace_id = {bound}")];
    conditions.extend(filter.group_conditions(&mut sql));
    let is_whole = conditions.len() == 1;
    let text = format!(
        "SELECT 0, NULL, NULL, c.status, c.agent_id, c.call_flow_id, c.direction, c.call_type, c.group_id
         FROM metric_group c WHERE {}",
        conditions.join(" AND ")
    );
    let mut statement = db.prepare_cached(&text)?;
    let mut rows = statement.query(params_from_iter(sql.values))?;
    let mut classes = Vec::new();
    while let Some(row) = rows.next()? {
        let group = row.get::<_, u32>(8)? as usize;
        let class = aggregator.class(&MetricsRow::read(row)?);
        if classes.len() <= group {
            classes.resize(group + 1, None);
        }
        classes[group] = Some(class);
    }
    Ok((classes, is_whole))
}

/// An order of calls that the segments contain.
#[derive(Clone, Copy)]
pub(crate) struct ColumnOrder {
    key: fn(&CallValues) -> i64,
    ascending: bool,
    is_of_time: bool,
}

impl ColumnOrder {
    pub(crate) fn new(sort: Sort) -> Option<Self> {
        let key: fn(&CallValues) -> i64 = match sort.key {
            SortKey::StartTime => |entry| entry.time,
            SortKey::Duration => |entry| entry.duration.unwrap_or(NO_DURATION),
            SortKey::Cost => |entry| entry.cost.unwrap_or(NO_COST),
            SortKey::CreatedAt | SortKey::UpdatedAt => return None,
        };
        Some(Self { key, ascending: sort.ascending, is_of_time: sort.key == SortKey::StartTime })
    }

    /// Maps a key to a rank that ascends in the order, and back.
    fn rank(self, key: i64) -> i64 {
        if self.ascending { key } else { !key }
    }
}

/// The result of a top-k scan.
pub(crate) enum TopKResult {
    /// The calls are among those of these times.
    Times(Vec<i64>),
    /// Too many calls have equal keys; the first one has this key.
    TiesFrom(i64),
}

/// Finds the first `wanted` calls of a filter with keys in a range, starting at the key `after`.
pub(crate) fn top_k(
    db: &Connection,
    workspace: &WorkspaceId,
    filter: &CompiledFilter,
    order: ColumnOrder,
    ((low, high), after): ((i64, i64), Option<i64>),
    (wanted, max_ties): (usize, usize),
) -> Result<TopKResult, StoreError> {
    let (classes, _) = classes(db, workspace, filter, &mut MetricsAggregator::new(&[], None)?)?;
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
    let mut first = TopK::new(wanted, max_ties, after.map_or(i64::MIN, |key| order.rank(key)));
    let (mut columns, mut previous) = (Columns::default(), None);
    while let Some(row) = rows.next()? {
        let start: i64 = row.get(0)?;
        // Calls of one time have one start.
        if order.is_of_time && previous.replace(start) != Some(start) && first.is_full() {
            break;
        }
        columns.read(row.get(1)?, row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?;
        for entry in columns.entries() {
            let (key, CallValues { time, group, duration, cost }) = ((order.key)(&entry), entry);
            if (low..=high).contains(&key) && class_of(&classes, group).is_some() && bounds.allow(time, duration, cost)
            {
                first.take(order.rank(key), time);
            }
        }
    }
    Ok(first.finish(order))
}

/// Collects the top k calls by rank.
struct TopK {
    wanted: usize,
    max_ties: usize,
    /// Some calls of this rank can be on previous pages.
    after: i64,
    /// Ranks and times.
    taken: Vec<(i64, i64)>,
    /// Higher ranks are not among the top k.
    most: i64,
    /// A rank with too many calls to collect.
    tied: Option<i64>,
}

impl TopK {
    fn new(wanted: usize, max_ties: usize, after: i64) -> Self {
        Self { wanted, max_ties, after, taken: Vec::new(), most: i64::MAX, tied: None }
    }

    fn take(&mut self, rank: i64, time: i64) {
        if (self.after..=self.most).contains(&rank) {
            self.taken.push((rank, time));
            if self.taken.len() >= 2 * (self.wanted + self.max_ties) {
                self.prune();
            }
        }
    }

    /// Keeps the wanted calls, those that tie with the last, and those at the rank of the cursor.
    fn prune(&mut self) {
        self.taken.sort_unstable();
        if let Some((last, _)) = self.taken.get(self.already_listed() + self.wanted - 1) {
            self.most = *last;
            let end = self.taken.partition_point(|(rank, _)| *rank <= self.most);
            self.taken.truncate(end);
        }
        while self.taken.len() > self.wanted + self.max_ties
            && let Some((last, _)) = self.taken.last()
        {
            let last = *last;
            self.tied = Some(last);
            self.taken.retain(|(rank, _)| *rank < last);
            self.most = last.saturating_sub(1);
        }
    }

    /// The number of collected calls that can be on previous pages.
    fn already_listed(&self) -> usize {
        self.taken.partition_point(|(rank, _)| *rank <= self.after)
    }

    fn has_all(&self) -> bool {
        self.taken.len() - self.already_listed() >= self.wanted
    }

    fn is_full(&mut self) -> bool {
        self.prune();
        self.has_all() || self.tied.is_some()
    }

    fn finish(mut self, order: ColumnOrder) -> TopKResult {
        self.prune();
        match self.tied {
            Some(tied) if !self.has_all() => {
                TopKResult::TiesFrom(order.rank(self.taken.first().map_or(tied, |(rank, _)| *rank)))
            }
            _ => {
                let mut times: Vec<_> = self.taken.into_iter().map(|(_, time)| time).collect();
                times.sort_unstable();
                times.dedup();
                TopKResult::Times(times)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use callhistory_model::{CallFilter, MetricsQuery};

    use super::{
        super::segment::{SegmentChanges, apply, call_values},
        *,
    };
    use crate::sqlite::open;

    /// Small, so that few calls need several segments.
    const MAX_TEST_CALLS: usize = 8;
    const START: i64 = 1_000_000_000;
    const STATUS: [Option<&str>; 4] = [Some("completed"), Some("failed"), None, Some("")];

    /// Compares the metrics of a time range from the segments with those from the calls.
    fn compare(db: &Connection, calls: &[MetricsRow<'static>], low: i64, high: i64, status: Option<&'static str>) {
        let workspace: WorkspaceId = "w".parse().unwrap();
        let mut query = format!("startedAfter={low}&startedBefore={high}");
        query.extend(status.map(|status| format!("&status={status}")));
        let filter = CompiledFilter::new(&workspace, &MetricsQuery::from_query(&query).unwrap().filter);
        let mut aggregator = MetricsAggregator::new(&[], None).unwrap();
        aggregate(db, &workspace, &filter, &mut aggregator).unwrap();
        let mut from_calls = MetricsAggregator::new(&[], None).unwrap();
        let is_in = |call: &&MetricsRow<'_>| {
            let second = 1_000_000_000;
            (low * second..high * second).contains(&call.sort_time)
                && status.is_none_or(|status| call.status == Some(status))
        };
        calls.iter().filter(is_in).for_each(|call| from_calls.add(call).unwrap());
        let all = CallFilter::default();
        assert_eq!(aggregator.finish(&all).unwrap(), from_calls.finish(&all).unwrap(), "{query}");
    }

    #[test]
    fn metrics_equal_those_of_the_calls_after_any_changes() {
        let directory = tempfile::tempdir().unwrap();
        let (_lock, db) = open::open_writer(&directory.path().join("a.db"), |_| Ok(())).unwrap();
        let workspace: WorkspaceId = "w".parse().unwrap();
        let mut random = fastrand::Rng::with_seed(11);
        let mut calls: Vec<MetricsRow<'static>> = Vec::new();
        for round in 0..400 {
            let mut changes = SegmentChanges::new();
            for _ in 0..random.usize(1..30) {
                // Many calls have the same time, so that a segment has parts; in some rounds most calls are removed.
                let second = START + if random.bool() { 500 } else { random.i64(0..1000) };
                let time = second * 1_000_000_000 + random.i64(0..2);
                let shrinks = round % 100 > 60;
                let (call, by) = if random.u8(0..10) < if shrinks { 9 } else { 4 } && !calls.is_empty() {
                    (calls.swap_remove(random.usize(0..calls.len())), -1)
                } else {
                    let call = MetricsRow {
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
                *changes.entry(("w".to_owned(), call_values(&db, &workspace, &call).unwrap())).or_default() += by;
            }
            apply(&db, &changes, MAX_TEST_CALLS).unwrap();
            if round % 100 == 50 {
                let largest: i64 = db.query_row("SELECT max(calls) FROM metric_segment", [], |row| row.get(0)).unwrap();
                assert!(largest <= MAX_TEST_CALLS as i64);
            }
            let low = START + random.i64(0..1000);
            compare(&db, &calls, low, low + random.i64(1..700), STATUS[random.usize(0..3)]);
            compare(&db, &calls, START, START + 1001, None);
        }
        assert!(
            apply(
                &db,
                &SegmentChanges::from([(
                    ("w".to_owned(), CallValues { time: 1, group: 1, duration: None, cost: None }),
                    -1
                )]),
                MAX_TEST_CALLS,
            )
            .is_err()
        );
    }
}
