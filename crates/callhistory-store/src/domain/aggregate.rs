//! The metrics of calls, computed from rows: the same arithmetic for every engine.

use std::collections::HashMap;

use callhistory_model::{
    CallFilter, CallMetrics, ExactDecimal, FieldError, FieldErrorCode, GroupKey, MetricsGroup, OneOf, TimeZone,
    Timestamp,
};

use super::time_bucket::{TimeBucket, bucket, label};
use crate::error::StoreError;

/// Maximum size of the queries of all groups, in bytes.
const MAX_QUERY_BYTES: usize = 16 * 1024 * 1024;

/// The values of a record that metrics read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct MetricsRow<'a> {
    pub(crate) sort_time: i64,
    pub(crate) duration: Option<i64>,
    pub(crate) cost: Option<i64>,
    pub(crate) status: Option<&'a str>,
    pub(crate) agent_id: Option<&'a str>,
    pub(crate) call_flow_id: Option<&'a str>,
    pub(crate) direction: Option<&'a str>,
    pub(crate) call_type: Option<&'a str>,
}

/// The value of one dimension of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum GroupValue {
    Time(TimeBucket),
    // In this order, so that groups without a value sort last.
    Text(String),
    Absent,
}

/// Counts and sums of some records.
#[derive(Default)]
pub(crate) struct Aggregate {
    pub(crate) calls: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    /// The number of records with a duration, and the sum of their durations.
    pub(crate) timed: u64,
    pub(crate) duration: i128,
    pub(crate) cost: i128,
    /// Each duration, for percentiles.
    pub(crate) durations: Vec<i64>,
}

/// The properties that the records of one class share.
struct RowClass {
    is_completed: bool,
    is_failed: bool,
    /// The index of their group values without the time.
    parts: usize,
}

/// Placeholder of a group that is not known yet.
const UNKNOWN: usize = usize::MAX;

/// Aggregates rows.
pub(crate) struct MetricsAggregator {
    group_by: Vec<GroupKey>,
    zone: TimeZone,
    by_time: Option<GroupKey>,
    all: Aggregate,
    groups: Vec<Aggregate>,
    group_of: HashMap<Vec<GroupValue>, usize>,
    classes: Vec<RowClass>,
    /// The distinct group values without the time, each with its group in the bucket of the last row.
    parts: Vec<(Vec<GroupValue>, usize)>,
    parts_of: HashMap<Vec<GroupValue>, usize>,
    /// Rows arrive in time order, so the bucket of the last row mostly contains the next.
    bucket: Option<TimeBucket>,
}

impl MetricsAggregator {
    pub(crate) fn new(group_by: &[GroupKey], zone: TimeZone) -> Self {
        Self {
            group_by: group_by.to_vec(),
            zone,
            by_time: group_by.iter().copied().find(|key| key.is_time()),
            all: Aggregate::default(),
            groups: Vec::new(),
            group_of: HashMap::new(),
            classes: Vec::new(),
            parts: Vec::new(),
            parts_of: HashMap::new(),
            bucket: None,
        }
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn is_grouped(&self) -> bool {
        !self.group_by.is_empty()
    }

    /// The number of records.
    #[cfg(feature = "sqlite")]
    pub(crate) fn calls(&self) -> u64 {
        self.all.calls
    }

    /// The class of a row, for [`Self::add_classified`].
    pub(crate) fn class(&mut self, row: &MetricsRow<'_>) -> u32 {
        let part = |key: &GroupKey| {
            let text = match key {
                GroupKey::AgentId => row.agent_id,
                GroupKey::CallFlowId => row.call_flow_id,
                GroupKey::Direction => row.direction,
                GroupKey::Status => row.status,
                GroupKey::CallType => row.call_type,
                // A placeholder until the time of a row is known.
                GroupKey::Hour | GroupKey::Day | GroupKey::Week | GroupKey::Month => None,
            };
            text.map_or(GroupValue::Absent, |text| GroupValue::Text(text.to_owned()))
        };
        let parts: Vec<_> = self.group_by.iter().map(part).collect();
        let next = self.parts.len();
        let parts = *self.parts_of.entry(parts).or_insert_with_key(|parts| {
            self.parts.push((parts.clone(), UNKNOWN));
            next
        });
        let (is_completed, is_failed) = (row.status == Some("completed"), row.status == Some("failed"));
        self.classes.push(RowClass { is_completed, is_failed, parts });
        u32::try_from(self.classes.len() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn add(&mut self, row: &MetricsRow<'_>) -> Result<(), StoreError> {
        let class = self.class(row);
        self.add_classified(class, row.sort_time, row.duration, row.cost)?;
        self.classes.clear();
        Ok(())
    }

    /// Adds one row of a class.
    pub(crate) fn add_classified(
        &mut self,
        class: u32,
        sort_time: i64,
        duration: Option<i64>,
        cost: Option<i64>,
    ) -> Result<(), StoreError> {
        let class = &self.classes[class as usize];
        if self.group_by.is_empty() {
            self.all.add(class, duration, cost);
            return Ok(());
        }
        if let Some(key) = self.by_time
            && self.bucket.is_none_or(|bucket| !(bucket.start..bucket.end).contains(&sort_time))
        {
            self.bucket = Some(bucket(self.zone, key, sort_time));
            self.parts.iter_mut().for_each(|(_, group)| *group = UNKNOWN);
        }
        let (parts, group) = &mut self.parts[class.parts];
        if *group == UNKNOWN {
            let mut parts = parts.clone();
            if let Some((bucket, at)) = self.bucket.zip(self.group_by.iter().position(|key| key.is_time())) {
                parts[at] = GroupValue::Time(bucket);
            }
            let next = self.groups.len();
            *group = *self.group_of.entry(parts).or_insert(next);
            if *group == next {
                self.groups.push(Aggregate::default());
            }
        }
        let aggregates = &mut self.groups[*group];
        aggregates.add(class, duration, cost);
        aggregates.durations.extend(duration);
        if self.groups.len() > MetricsGroup::MAX_GROUPS {
            let detail = format!(
                "has more than {} groups; narrow the filter or group by longer periods",
                MetricsGroup::MAX_GROUPS
            );
            return Err(StoreError::Refused(
                FieldError::new(FieldErrorCode::OutOfRange, detail).in_parameter("groupBy"),
            ));
        }
        Ok(())
    }

    /// Adds records that are aggregated already, without groups.
    pub(crate) fn add_aggregate(&mut self, aggregates: &Aggregate) {
        self.all.add_all(aggregates);
    }

    /// The metrics, with the query of each group.
    pub(crate) fn finish(mut self, filter: &CallFilter) -> Result<CallMetrics, StoreError> {
        self.groups.iter().for_each(|group| self.all.add_all(group));
        if self.groups.len().saturating_mul(filter.to_query().len()) > MAX_QUERY_BYTES {
            let detail = "has too many groups for the long filter, which is repeated in each; shorten the filter or reduce the groups";
            return Err(StoreError::Refused(
                FieldError::new(FieldErrorCode::OutOfRange, detail).in_parameter("groupBy"),
            ));
        }
        let mut aggregates: Vec<_> = self.groups.into_iter().map(Some).collect();
        let mut groups: Vec<_> = self.group_of.into_iter().collect();
        groups.sort_by(|(one, _), (other, _)| one.cmp(other));
        let groups = groups.into_iter().filter_map(|(parts, at)| Some((parts, aggregates[at].take()?)));
        let (keys, zone) = (&self.group_by, self.zone);
        let groups = groups.map(|(parts, aggregates)| aggregates.group(keys, &parts, zone, filter));
        let groups: Vec<_> = groups.collect();
        Ok(CallMetrics {
            total_calls: self.all.calls,
            completed_calls: self.all.completed,
            failed_calls: self.all.failed,
            average_duration: self.all.average(),
            total_cost: ExactDecimal::from_nanos(self.all.cost, 2),
            groups: (!keys.is_empty()).then_some(groups),
        })
    }
}

impl Aggregate {
    fn add(&mut self, class: &RowClass, duration: Option<i64>, cost: Option<i64>) {
        self.calls += 1;
        self.completed += u64::from(class.is_completed);
        self.failed += u64::from(class.is_failed);
        self.cost += i128::from(cost.unwrap_or(0));
        if let Some(duration) = duration {
            self.timed += 1;
            self.duration += i128::from(duration);
        }
    }

    fn add_all(&mut self, aggregates: &Self) {
        self.calls += aggregates.calls;
        self.completed += aggregates.completed;
        self.failed += aggregates.failed;
        self.timed += aggregates.timed;
        self.duration += aggregates.duration;
        self.cost += aggregates.cost;
    }

    fn average(&self) -> ExactDecimal {
        let count = i128::from(self.timed.max(1));
        ExactDecimal::from_nanos((2 * self.duration + count) / (2 * count), 0)
    }

    /// The duration at a rank.
    fn percentile(durations: &mut [i64], rank: usize) -> Option<ExactDecimal> {
        let (_, length, _) = durations.get(rank).is_some().then(|| durations.select_nth_unstable(rank))?;
        Some(ExactDecimal::from_nanos(i128::from(*length), 0))
    }

    fn percentiles(&mut self) -> [Option<ExactDecimal>; 2] {
        let durations = &mut self.durations[..];
        let rank = |percent: usize| (durations.len() * percent).div_ceil(100).wrapping_sub(1);
        let [low, high] = [rank(50), rank(95)];
        let of_high = Self::percentile(durations, high);
        // Selecting the higher rank moved all lower durations before it.
        let below = high.wrapping_add(1).min(durations.len());
        [Self::percentile(&mut durations[..below], low), of_high]
    }

    fn group(mut self, keys: &[GroupKey], parts: &[GroupValue], zone: TimeZone, filter: &CallFilter) -> MetricsGroup {
        // The bounds of the filter are instants.
        let mut filter = CallFilter { time_zone: None, ..filter.clone() };
        let mut group = std::collections::BTreeMap::new();
        for (key, part) in keys.iter().zip(parts) {
            match part {
                GroupValue::Time(bucket) => {
                    narrow(&mut filter, *bucket);
                    group.insert(key.as_str().to_owned(), label(zone, *key, bucket.start));
                }
                GroupValue::Text(text) => {
                    group.insert(key.as_str().to_owned(), text.clone());
                    set(&mut filter, *key, OneOf::any([text.as_str()]));
                }
                GroupValue::Absent => set(&mut filter, *key, OneOf::absent()),
            }
        }
        let [p50_duration, p95_duration] = self.percentiles();
        MetricsGroup {
            group,
            total_calls: self.calls,
            completed_calls: self.completed,
            failed_calls: self.failed,
            average_duration: self.average(),
            total_cost: ExactDecimal::from_nanos(self.cost, 2),
            p50_duration,
            p95_duration,
            query: filter.to_query(),
        }
    }
}

fn set(filter: &mut CallFilter, key: GroupKey, value: OneOf) {
    match key {
        GroupKey::AgentId => filter.agent_id = Some(value),
        GroupKey::CallFlowId => filter.call_flow_id = Some(value),
        GroupKey::Direction => filter.direction = Some(value),
        GroupKey::Status => filter.status = Some(value),
        GroupKey::CallType => filter.call_type = Some(value),
        GroupKey::Hour | GroupKey::Day | GroupKey::Week | GroupKey::Month => {}
    }
}

/// Intersects the range of the filter with the bucket.
fn narrow(filter: &mut CallFilter, bucket: TimeBucket) {
    let start = filter.started_after.as_ref().map_or(bucket.start, |after| after.unix_nanos().max(bucket.start));
    let end = filter.started_before.as_ref().map_or(bucket.end, |before| before.unix_nanos().min(bucket.end));
    filter.started_after = Some(Timestamp::from_unix_nanos(start));
    // The last bucket ends at the end of time; its calls have no upper bound.
    let bound = Timestamp::from_unix_nanos(end);
    if bound.unix_nanos() == end {
        filter.started_before = Some(bound);
    }
}
