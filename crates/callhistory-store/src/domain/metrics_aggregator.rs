//! The metrics of calls, computed from rows: the same arithmetic for every engine.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use callhistory_model::{
    CallFilter, CallMetrics, FieldError, FieldErrorCode, GroupKey, MetadataValue, MetricsGroup, MetricsQuery, OneOf,
    TimeZone, Timestamp,
};
use serde_json::value::RawValue;

use super::{
    aggregate::{Aggregate, MetricsRow, RowClass, RowNumbers, outcome_index},
    time_bucket::{TimeBucket, bucket, label},
};
use crate::error::StoreError;

/// Maximum size of the queries of all groups, in bytes.
const MAX_QUERY_BYTES: usize = 16 * 1024 * 1024;

/// The value of one dimension of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum GroupValue {
    Time(TimeBucket),
    // In this order, so that groups without a value sort last.
    Text(String),
    Member(MetadataValue),
    Absent,
}

impl GroupValue {
    fn text(text: Option<&str>) -> Self {
        text.map_or(Self::Absent, |text| Self::Text(text.to_owned()))
    }
}

/// Placeholder of a group that is not known yet.
const UNKNOWN: usize = usize::MAX;

/// Aggregates rows.
pub(crate) struct MetricsAggregator {
    group_by: Vec<GroupKey>,
    is_filled: bool,
    zone: TimeZone,
    by_time: Option<(usize, GroupKey)>,
    all: Aggregate,
    groups: Vec<Aggregate>,
    group_of: HashMap<Vec<GroupValue>, usize>,
    classes: Vec<RowClass>,
    currencies: Vec<String>,
    /// The distinct group values without the time, each with its group in the bucket of the last row.
    parts: Vec<(Vec<GroupValue>, usize)>,
    parts_of: HashMap<Vec<GroupValue>, usize>,
    /// Rows arrive in time order, so the bucket of the last row mostly contains the next.
    bucket: Option<TimeBucket>,
}

fn too_many_groups(parameter: &str, detail: String) -> StoreError {
    StoreError::Refused(FieldError::new(FieldErrorCode::OutOfRange, detail).in_parameter(parameter))
}

/// The `metadata` of a record, from its canonical JSON without the transcript.
pub(crate) fn metadata_of(body: &[u8]) -> Result<&str, StoreError> {
    let unreadable = || StoreError::Internal("a stored record cannot be read".to_owned());
    let members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(body).map_err(|_| unreadable())?;
    members.get("metadata").map(|metadata| metadata.get()).ok_or_else(unreadable)
}

impl MetricsAggregator {
    pub(crate) fn new(query: &MetricsQuery) -> Self {
        let group_by = &query.group_by;
        Self {
            group_by: group_by.clone(),
            is_filled: query.fill,
            zone: query.filter.time_zone.unwrap_or_default(),
            by_time: group_by.iter().cloned().enumerate().find(|(_, key)| key.is_time()),
            all: Aggregate::default(),
            groups: Vec::new(),
            group_of: HashMap::new(),
            classes: Vec::new(),
            currencies: Vec::new(),
            parts: Vec::new(),
            parts_of: HashMap::new(),
            bucket: None,
        }
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn is_grouped(&self) -> bool {
        !self.group_by.is_empty()
    }

    /// Whether rows are added with their `metadata`.
    pub(crate) fn needs_metadata(&self) -> bool {
        self.group_by.iter().any(|key| matches!(key, GroupKey::Metadata(_)))
    }

    /// The number of records.
    #[cfg(feature = "sqlite")]
    pub(crate) fn calls(&self) -> u64 {
        self.all.calls
    }

    /// The index of a currency.
    pub(crate) fn currency(&mut self, name: Option<&str>) -> usize {
        let name = name.unwrap_or(CallMetrics::UNKNOWN_CURRENCY);
        self.currencies.iter().position(|known| known == name).unwrap_or_else(|| {
            self.currencies.push(name.to_owned());
            self.currencies.len() - 1
        })
    }

    /// The class of a row, for [`Self::add_classified`].
    pub(crate) fn class(&mut self, row: &MetricsRow<'_>, metadata: &str) -> u32 {
        let part = |key: &GroupKey| match key {
            GroupKey::AgentId => GroupValue::text(row.agent_id),
            GroupKey::CallFlowId => GroupValue::text(row.call_flow_id),
            GroupKey::Direction => GroupValue::text(row.direction),
            GroupKey::Status => GroupValue::text(row.status),
            GroupKey::Outcome => GroupValue::text(Some(row.outcome)),
            GroupKey::CallType => GroupValue::text(row.call_type),
            GroupKey::BatchId => GroupValue::text(row.batch_id),
            GroupKey::Metadata(path) => {
                MetadataValue::at(metadata, path).map_or(GroupValue::Absent, GroupValue::Member)
            }
            // A placeholder until the time of a row is known.
            GroupKey::Hour | GroupKey::Day | GroupKey::Week | GroupKey::Month => GroupValue::Absent,
        };
        let parts: Vec<_> = self.group_by.iter().map(part).collect();
        let next = self.parts.len();
        let parts = *self.parts_of.entry(parts).or_insert_with_key(|parts| {
            self.parts.push((parts.clone(), UNKNOWN));
            next
        });
        let (outcome, currency) = (outcome_index(row.outcome), self.currency(row.currency));
        self.classes.push(RowClass { outcome, is_answered: row.is_answered, currency, parts });
        u32::try_from(self.classes.len() - 1).unwrap_or(u32::MAX)
    }

    /// Adds a row, with its `metadata` if [they are needed](Self::needs_metadata).
    pub(crate) fn add(&mut self, row: &MetricsRow<'_>, metadata: &str) -> Result<(), StoreError> {
        let class = self.class(row, metadata);
        let MetricsRow { duration, cost, talk_time, caller, .. } = *row;
        self.add_classified(class, row.sort_time, RowNumbers { duration, cost, talk_time, caller })?;
        self.classes.clear();
        Ok(())
    }

    /// Adds one row of a class.
    pub(crate) fn add_classified(&mut self, class: u32, sort_time: i64, numbers: RowNumbers) -> Result<(), StoreError> {
        let class = &self.classes[class as usize];
        if self.group_by.is_empty() {
            self.all.add(class, numbers);
            return Ok(());
        }
        if let Some((_, key)) = &self.by_time
            && self.bucket.is_none_or(|bucket| !(bucket.start..bucket.end).contains(&sort_time))
        {
            self.bucket = Some(bucket(self.zone, key, sort_time));
            self.parts.iter_mut().for_each(|(_, group)| *group = UNKNOWN);
        }
        let (parts, group) = &mut self.parts[class.parts];
        if *group == UNKNOWN {
            let mut parts = parts.clone();
            if let Some((bucket, (at, _))) = self.bucket.zip(self.by_time.as_ref()) {
                parts[*at] = GroupValue::Time(bucket);
            }
            let next = self.groups.len();
            *group = *self.group_of.entry(parts).or_insert(next);
            if *group == next {
                self.groups.push(Aggregate::default());
            }
        }
        let aggregates = &mut self.groups[*group];
        aggregates.add(class, numbers);
        aggregates.durations.extend(numbers.duration);
        if self.groups.len() > MetricsGroup::MAX_GROUPS {
            let max = MetricsGroup::MAX_GROUPS;
            let detail = format!("has more than {max} groups; narrow the filter or group by longer periods");
            return Err(too_many_groups("groupBy", detail));
        }
        Ok(())
    }

    /// Adds records that are aggregated already, without groups.
    pub(crate) fn add_aggregate(&mut self, aggregates: &Aggregate) {
        self.all.add_all(aggregates);
    }

    /// Adds digests of callers of records that are aggregated already.
    pub(crate) fn add_callers(&mut self, digests: &[i64]) {
        self.all.callers.add_all(digests);
    }

    /// Adds the groups without calls.
    fn fill(&mut self, filter: &CallFilter) -> Result<(), StoreError> {
        let Some((at, key)) = self.by_time.clone().filter(|_| self.is_filled) else { return Ok(()) };
        let mut others: BTreeSet<Vec<GroupValue>> = self.parts_of.keys().cloned().collect();
        if self.group_by.len() == 1 {
            others.insert(vec![GroupValue::Absent]);
        }
        let buckets = || {
            self.group_of.keys().filter_map(|parts| match parts.get(at) {
                Some(GroupValue::Time(bucket)) => Some(*bucket),
                _ => None,
            })
        };
        let bound = |time: &Option<Timestamp>| time.as_ref().map(Timestamp::unix_nanos);
        let start = bound(&filter.started_after).or(buckets().map(|bucket| bucket.start).min());
        let end = bound(&filter.started_before).or(buckets().map(|bucket| bucket.end).max());
        let (Some(mut time), Some(end)) = (start, end) else { return Ok(()) };
        let mut count = 0;
        while time < end {
            count += others.len().max(1);
            if count > MetricsGroup::MAX_GROUPS {
                let max = MetricsGroup::MAX_GROUPS;
                let detail = format!(
                    "gives more than {max} groups from {} on; shorten the time range, or group by longer periods",
                    Timestamp::from_unix_nanos(start.unwrap_or(0))
                );
                return Err(too_many_groups("fill", detail));
            }
            let bucket = bucket(self.zone, &key, time);
            for parts in &others {
                let mut parts = parts.clone();
                parts[at] = GroupValue::Time(bucket);
                let next = self.groups.len();
                if *self.group_of.entry(parts).or_insert(next) == next {
                    self.groups.push(Aggregate::default());
                }
            }
            time = bucket.end;
        }
        Ok(())
    }

    /// The metrics, with the query of each group.
    pub(crate) fn finish(mut self, filter: &CallFilter) -> Result<CallMetrics, StoreError> {
        self.fill(filter)?;
        self.groups.iter().for_each(|group| self.all.add_all(group));
        // In each group, too: otherwise nobody knows which currency a group has.
        let has_several = self.all.costs.iter().flatten().count() > 1;
        let currencies = has_several.then_some(self.currencies.as_slice());
        let metrics = self.all.figures(currencies);
        if self.group_by.is_empty() {
            return Ok(metrics);
        }
        let mut aggregates: Vec<_> = self.groups.into_iter().map(Some).collect();
        let mut keys: Vec<_> = self.group_of.into_iter().collect();
        keys.sort_by(|(one, _), (other, _)| one.cmp(other));
        let (mut groups, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        for (parts, at) in keys {
            let Some(mut aggregate) = aggregates[at].take() else { continue };
            let labels = Labels { keys: &self.group_by, parts: &parts, zone: self.zone };
            let group = labels.group(&mut aggregate, filter, currencies);
            bytes += group.query.len();
            groups.push(group);
            if bytes > MAX_QUERY_BYTES {
                let detail = "has too many groups for the long filter, which is repeated in each; shorten the filter or reduce the groups";
                return Err(too_many_groups("groupBy", detail.to_owned()));
            }
        }
        Ok(CallMetrics { groups: Some(groups), ..metrics })
    }
}

/// The values of the dimensions of a group.
struct Labels<'a> {
    keys: &'a [GroupKey],
    parts: &'a [GroupValue],
    zone: TimeZone,
}

impl Labels<'_> {
    fn group(&self, aggregate: &mut Aggregate, filter: &CallFilter, currencies: Option<&[String]>) -> MetricsGroup {
        // The bounds of the filter are instants.
        let mut filter = filter.clone();
        filter.time_zone = None;
        let mut group = std::collections::BTreeMap::new();
        for (key, part) in self.keys.iter().zip(self.parts) {
            match part {
                GroupValue::Time(bucket) => {
                    narrow(&mut filter, *bucket);
                    group.insert(key.to_string(), label(self.zone, key, bucket.start));
                }
                GroupValue::Text(text) => {
                    group.insert(key.to_string(), text.clone());
                    set(&mut filter, key, OneOf::any([text.as_str()]));
                }
                GroupValue::Member(value) => {
                    group.insert(key.to_string(), value.as_str().to_owned());
                    set_metadata(&mut filter, key, Some(value));
                }
                GroupValue::Absent if matches!(key, GroupKey::Metadata(_)) => set_metadata(&mut filter, key, None),
                GroupValue::Absent => set(&mut filter, key, OneOf::absent()),
            }
        }
        let [p50_duration, p95_duration] = aggregate.percentiles();
        let figures = aggregate.figures(currencies);
        MetricsGroup {
            group,
            total_calls: figures.total_calls,
            completed_calls: figures.completed_calls,
            failed_calls: figures.failed_calls,
            average_duration: figures.average_duration,
            total_cost: figures.total_cost,
            calls_with_duration: figures.calls_with_duration,
            answered_calls: figures.answered_calls,
            average_talk_time: figures.average_talk_time,
            calls_with_talk_time: figures.calls_with_talk_time,
            distinct_callers: figures.distinct_callers,
            outcomes: figures.outcomes,
            total_cost_by_currency: figures.total_cost_by_currency,
            p50_duration,
            p95_duration,
            query: filter.to_query(),
            extra: Vec::new(),
        }
    }
}

fn set(filter: &mut CallFilter, key: &GroupKey, value: OneOf) {
    match key {
        GroupKey::AgentId => filter.agent_id = Some(value),
        GroupKey::CallFlowId => filter.call_flow_id = Some(value),
        GroupKey::Direction => filter.direction = Some(value),
        GroupKey::Status => filter.status = Some(value),
        GroupKey::Outcome => filter.outcome = Some(value),
        GroupKey::CallType => filter.call_type = Some(value),
        GroupKey::BatchId => filter.batch_id = Some(value),
        GroupKey::Hour | GroupKey::Day | GroupKey::Week | GroupKey::Month | GroupKey::Metadata(_) => {}
    }
}

/// Limits the filter to calls with a value of a member of `metadata`, or without one.
fn set_metadata(filter: &mut CallFilter, key: &GroupKey, value: Option<&MetadataValue>) {
    let GroupKey::Metadata(path) = key else { return };
    let known = filter.metadata.iter_mut().find(|(name, _)| name == path);
    let within = known.as_ref().map(|(_, text)| text.as_str());
    let text = value.map_or_else(|| "!*".to_owned(), |value| value.to_parameter(within));
    match known {
        Some((_, known)) => *known = text,
        None => filter.metadata.push((path.clone(), text)),
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
