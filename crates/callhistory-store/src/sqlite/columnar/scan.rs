//! Scans of the segments for metrics.

use callhistory_model::WorkspaceId;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::segment::{CallValues, Columns, read_outcomes};
use crate::{
    domain::{
        aggregate::{Aggregate, KnownSum, MetricsRow},
        metrics_aggregator::MetricsAggregator,
        predicate::{COST, DURATION, NO_COST, Range},
    },
    error::StoreError,
    sqlite::read::fulltext::{CompiledFilter, NO_DURATION, new_statement},
};

/// The column of the number of a group, after those of [`MetricsRow::read`].
const GROUP_ID: usize = 13;

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
        "SELECT first, last, calls, answered, outcomes, timed, duration, talked, talk_time, cost, currency, callers, columns
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
        let calls = row.get(2)?;
        let blob = |at: usize| row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from);
        let sums = if uses_sums && is_inside { segment_sums(row, aggregator)? } else { None };
        if let Some(sums) = sums {
            aggregator.add_aggregate(&sums);
            aggregator.add_callers(columns.read_callers(calls, blob(11)?)?);
            continue;
        }
        columns.read(calls, blob(12)?, blob(11)?)?;
        let all = is_inside && bounds.are_of_time();
        for call_values in columns.entries() {
            let CallValues { time, group, duration, cost, .. } = call_values;
            let Some(class) = class_of(&classes, group) else { continue };
            if all || bounds.allow(time, duration, cost) {
                aggregator.add_classified(class, time, call_values.numbers())?;
            }
        }
    }
    Ok(())
}

/// The sums of a segment without its callers; `None` if one of them is not known.
fn segment_sums(row: &Row<'_>, aggregator: &mut MetricsAggregator) -> Result<Option<Aggregate>, StoreError> {
    let number = |at: usize| row.get::<_, i64>(at).map(i64::unsigned_abs);
    let (duration, talk_time): (Option<i64>, Option<i64>) = (row.get(6)?, row.get(8)?);
    let (Some(duration), Some(talk_time), Some(cost)) = (duration, talk_time, row.get::<_, Option<i64>>(9)?) else {
        return Ok(None);
    };
    let mut sums = Aggregate {
        calls: number(2)?,
        answered: number(3)?,
        outcomes: read_outcomes(row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?)?,
        duration: KnownSum { count: number(5)?, sum: duration.into() },
        talk_time: KnownSum { count: number(7)?, sum: talk_time.into() },
        ..Aggregate::default()
    };
    if let Some(currency) = row.get_ref(10)?.as_str_or_null().map_err(rusqlite::Error::from)? {
        let currency = aggregator.currency(Some(currency).filter(|currency| !currency.is_empty()));
        sums.add_cost(currency, cost.into());
    }
    Ok(Some(sums))
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
        "SELECT 0, NULL, NULL, NULL, NULL, c.is_answered, c.currency, c.status, c.agent_id, c.call_flow_id, c.direction,
             c.call_type, NULL, c.group_id
         FROM metric_group c WHERE {}",
        conditions.join(" AND ")
    );
    let mut statement = db.prepare_cached(&text)?;
    let mut rows = statement.query(params_from_iter(sql.values))?;
    let mut classes = Vec::new();
    while let Some(row) = rows.next()? {
        let group = row.get::<_, u32>(GROUP_ID)? as usize;
        let class = aggregator.class(&MetricsRow::read(row)?, "");
        if classes.len() <= group {
            classes.resize(group + 1, None);
        }
        classes[group] = Some(class);
    }
    Ok((classes, is_whole))
}

#[cfg(test)]
mod tests {
    use callhistory_model::{CallFilter, MetricsQuery};

    use super::{
        super::segment::{SegmentChanges, apply, call_values},
        *,
    };
    use crate::{
        domain::{aggregate::outcome_of, phone_number::NumberingPlan},
        sqlite::open,
    };

    /// Small, so that few calls need several segments.
    const MAX_TEST_CALLS: usize = 8;
    const START: i64 = 1_000_000_000;
    const STATUS: [Option<&str>; 4] = [Some("completed"), Some("failed"), None, Some("")];

    /// Compares the metrics of a time range from the segments with those from the calls.
    fn compare(db: &Connection, calls: &[MetricsRow<'static>], low: i64, high: i64, status: Option<&'static str>) {
        let workspace: WorkspaceId = "w".parse().unwrap();
        let mut query = format!("startedAfter={low}&startedBefore={high}");
        query.extend(status.map(|status| format!("&status={status}")));
        let filter = MetricsQuery::from_query(&query).unwrap().filter;
        let filter = CompiledFilter::new(&workspace, &filter, NumberingPlan::default());
        let mut aggregator = MetricsAggregator::new(&MetricsQuery::default());
        aggregate(db, &workspace, &filter, &mut aggregator).unwrap();
        let mut from_calls = MetricsAggregator::new(&MetricsQuery::default());
        let is_in = |call: &&MetricsRow<'_>| {
            let second = 1_000_000_000;
            (low * second..high * second).contains(&call.sort_time)
                && status.is_none_or(|status| call.status == Some(status))
        };
        calls.iter().filter(is_in).for_each(|call| from_calls.add(call, "").unwrap());
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
                        talk_time: random.bool().then(|| random.i64(0..1000)),
                        caller: random.bool().then(|| [random.i64(..), i64::MIN, i64::MAX, 0, 7][random.usize(0..5)]),
                        is_answered: random.bool(),
                        currency: [None, Some("EUR"), Some("GBP"), Some("USD")]
                            [random.usize(0..4).min(random.usize(0..8))],
                        outcome: "",
                        status: STATUS[random.usize(0..4)],
                        agent_id: [None, Some("a"), Some("b")][random.usize(0..3)],
                        call_flow_id: None,
                        direction: None,
                        call_type: None,
                        batch_id: None,
                    };
                    let call = MetricsRow { outcome: outcome_of(call.status), ..call };
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
                    (
                        "w".to_owned(),
                        CallValues { time: 1, group: 1, duration: None, cost: None, talk_time: None, caller: None }
                    ),
                    -1
                )]),
                MAX_TEST_CALLS,
            )
            .is_err()
        );
    }
}
