//! The numbers of many calls, from their rows: the same arithmetic for every engine.

use std::collections::HashMap;

use callhistory_model::{
    Amount, CallFilter, CallMetrics, CallRecord, CallStatus, CallType, Direction, ExactDecimal, FieldError,
    FieldErrorCode, GroupKey, MetricsGroup, OneOf, Timestamp, nearest_name,
};
use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, NaiveTime, Offset as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};

use crate::{StoreError, terms::charge};

/// The room for the queries of all groups, in bytes.
const MAX_QUERY_BYTES: usize = 16 * 1024 * 1024;
const NANOS_PER_HOUR: i64 = 3_600_000_000_000;

/// What the metrics read of one record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    pub(crate) sort_time: i64,
    pub(crate) duration: Option<i64>,
    pub(crate) cost: Option<i64>,
    pub(crate) status: Option<&'a str>,
    pub(crate) agent_id: Option<&'a str>,
    pub(crate) call_flow_id: Option<&'a str>,
    pub(crate) direction: Option<&'a str>,
    pub(crate) call_type: Option<&'a str>,
}

#[cfg(feature = "sqlite")]
impl<'a> Row<'a> {
    pub(crate) fn of(record: &'a CallRecord) -> Self {
        Self {
            sort_time: record.sort_time_nanos(),
            duration: record.duration_nanos(),
            cost: charge(record).map(Amount::nanos),
            status: record.status.as_ref().map(CallStatus::as_str),
            agent_id: record.agent_id.as_deref(),
            call_flow_id: record.call_flow_id.as_deref(),
            direction: record.direction.as_ref().map(Direction::as_str),
            call_type: record.call_type.as_ref().map(CallType::as_str),
        }
    }
}

/// A span of time that is one group: from `start` up to, but not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Bucket {
    start: i64,
    end: i64,
}

/// What the rows of a group have in common, in the order of `groupBy`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Part {
    Time(Bucket),
    // Texts before none, so that groups without a value come last.
    Text(String),
    Absent,
}

/// Sums of some records.
#[derive(Default)]
pub(crate) struct Numbers {
    pub(crate) calls: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    /// How many of them have a duration, and its sum.
    pub(crate) timed: u64,
    pub(crate) duration: i128,
    pub(crate) cost: i128,
    /// Each length, where percentiles are asked for.
    pub(crate) durations: Vec<i64>,
}

/// What records of one kind have in common.
struct Kind {
    is_completed: bool,
    is_failed: bool,
    /// Which of the parts without a time they have.
    parts: usize,
}

/// In place of a group that is not known yet.
const UNKNOWN: usize = usize::MAX;

/// Adds rows up.
pub(crate) struct Totals {
    group_by: Vec<GroupKey>,
    zone: Tz,
    by_time: Option<GroupKey>,
    all: Numbers,
    groups: Vec<Numbers>,
    group_of: HashMap<Vec<Part>, usize>,
    kinds: Vec<Kind>,
    /// The parts without a time of each kind, and the group that they are in the bucket of the last record.
    parts: Vec<(Vec<Part>, usize)>,
    parts_of: HashMap<Vec<Part>, usize>,
    /// Rows come in the order of time, so the bucket of the last one is mostly that of the next.
    bucket: Option<Bucket>,
}

impl Totals {
    pub(crate) fn new(group_by: &[GroupKey], zone: Option<&str>) -> Result<Self, StoreError> {
        let zone = zone.map_or(Ok(Tz::UTC), time_zone)?;
        Ok(Self {
            group_by: group_by.to_vec(),
            zone,
            by_time: group_by.iter().copied().find(|key| key.is_time()),
            all: Numbers::default(),
            groups: Vec::new(),
            group_of: HashMap::new(),
            kinds: Vec::new(),
            parts: Vec::new(),
            parts_of: HashMap::new(),
            bucket: None,
        })
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn is_grouped(&self) -> bool {
        !self.group_by.is_empty()
    }

    /// How many records there were.
    #[cfg(feature = "sqlite")]
    pub(crate) fn calls(&self) -> u64 {
        self.all.calls
    }

    /// The kind of a record, for [`Self::add_of_kind`].
    pub(crate) fn kind(&mut self, row: &Row<'_>) -> u32 {
        let part = |key: &GroupKey| {
            let text = match key {
                GroupKey::AgentId => row.agent_id,
                GroupKey::CallFlowId => row.call_flow_id,
                GroupKey::Direction => row.direction,
                GroupKey::Status => row.status,
                GroupKey::CallType => row.call_type,
                // In its place until the time of a record is known.
                GroupKey::Hour | GroupKey::Day | GroupKey::Week | GroupKey::Month => None,
            };
            text.map_or(Part::Absent, |text| Part::Text(text.to_owned()))
        };
        let parts: Vec<_> = self.group_by.iter().map(part).collect();
        let next = self.parts.len();
        let parts = *self.parts_of.entry(parts).or_insert_with_key(|parts| {
            self.parts.push((parts.clone(), UNKNOWN));
            next
        });
        let (is_completed, is_failed) = (row.status == Some("completed"), row.status == Some("failed"));
        self.kinds.push(Kind { is_completed, is_failed, parts });
        u32::try_from(self.kinds.len() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn add(&mut self, row: &Row<'_>) -> Result<(), StoreError> {
        let kind = self.kind(row);
        self.add_of_kind(kind, row.sort_time, row.duration, row.cost)?;
        self.kinds.clear();
        Ok(())
    }

    /// Adds one record of a kind.
    pub(crate) fn add_of_kind(
        &mut self,
        kind: u32,
        sort_time: i64,
        duration: Option<i64>,
        cost: Option<i64>,
    ) -> Result<(), StoreError> {
        let kind = &self.kinds[kind as usize];
        if self.group_by.is_empty() {
            self.all.add(kind, duration, cost);
            return Ok(());
        }
        if let Some(key) = self.by_time
            && self.bucket.is_none_or(|bucket| !(bucket.start..bucket.end).contains(&sort_time))
        {
            self.bucket = Some(bucket(self.zone, key, sort_time));
            self.parts.iter_mut().for_each(|(_, group)| *group = UNKNOWN);
        }
        let (parts, group) = &mut self.parts[kind.parts];
        if *group == UNKNOWN {
            let mut parts = parts.clone();
            if let Some((bucket, at)) = self.bucket.zip(self.group_by.iter().position(|key| key.is_time())) {
                parts[at] = Part::Time(bucket);
            }
            let next = self.groups.len();
            *group = *self.group_of.entry(parts).or_insert(next);
            if *group == next {
                self.groups.push(Numbers::default());
            }
        }
        let numbers = &mut self.groups[*group];
        numbers.add(kind, duration, cost);
        numbers.durations.extend(duration);
        if self.groups.len() > MetricsGroup::MAX_GROUPS {
            let detail = format!(
                "gives more than {} groups; narrow the filter or group by longer times",
                MetricsGroup::MAX_GROUPS
            );
            return Err(StoreError::Refused(
                FieldError::new(FieldErrorCode::OutOfRange, detail).in_parameter("groupBy"),
            ));
        }
        Ok(())
    }

    /// Adds records that were counted already, where there are no groups.
    #[cfg(feature = "sqlite")]
    pub(crate) fn add_numbers(&mut self, numbers: &Numbers) {
        self.all.add_all(numbers);
    }

    /// The numbers, with the query of each group under the filter that gave the rows.
    pub(crate) fn finish(mut self, filter: &CallFilter) -> Result<CallMetrics, StoreError> {
        self.groups.iter().for_each(|group| self.all.add_all(group));
        if self.groups.len().saturating_mul(filter.to_query().len()) > MAX_QUERY_BYTES {
            let detail =
                "gives so many groups that the long filter cannot be repeated for each; shorten one or the other";
            return Err(StoreError::Refused(
                FieldError::new(FieldErrorCode::OutOfRange, detail).in_parameter("groupBy"),
            ));
        }
        let mut numbers: Vec<_> = self.groups.into_iter().map(Some).collect();
        let mut groups: Vec<_> = self.group_of.into_iter().collect();
        groups.sort_by(|(one, _), (other, _)| one.cmp(other));
        let groups = groups.into_iter().filter_map(|(parts, at)| Some((parts, numbers[at].take()?)));
        let (keys, zone) = (&self.group_by, self.zone);
        let groups = groups.map(|(parts, numbers)| numbers.group(keys, &parts, zone, filter));
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

impl Numbers {
    fn add(&mut self, kind: &Kind, duration: Option<i64>, cost: Option<i64>) {
        self.calls += 1;
        self.completed += u64::from(kind.is_completed);
        self.failed += u64::from(kind.is_failed);
        self.cost += i128::from(cost.unwrap_or(0));
        if let Some(duration) = duration {
            self.timed += 1;
            self.duration += i128::from(duration);
        }
    }

    fn add_all(&mut self, numbers: &Self) {
        self.calls += numbers.calls;
        self.completed += numbers.completed;
        self.failed += numbers.failed;
        self.timed += numbers.timed;
        self.duration += numbers.duration;
        self.cost += numbers.cost;
    }

    fn average(&self) -> ExactDecimal {
        let count = i128::from(self.timed.max(1));
        ExactDecimal::from_nanos((2 * self.duration + count) / (2 * count), 0)
    }

    /// The nearest rank: the least length that so many of a hundred do not exceed.
    fn percentile(durations: &mut [i64], rank: usize) -> Option<ExactDecimal> {
        let (_, length, _) = durations.get(rank).is_some().then(|| durations.select_nth_unstable(rank))?;
        Some(ExactDecimal::from_nanos(i128::from(*length), 0))
    }

    fn percentiles(&mut self) -> [Option<ExactDecimal>; 2] {
        let durations = &mut self.durations[..];
        let rank = |percent: usize| (durations.len() * percent).div_ceil(100).wrapping_sub(1);
        let [low, high] = [rank(50), rank(95)];
        let of_high = Self::percentile(durations, high);
        // The higher one has put all lower ones before it.
        let below = high.wrapping_add(1).min(durations.len());
        [Self::percentile(&mut durations[..below], low), of_high]
    }

    fn group(mut self, keys: &[GroupKey], parts: &[Part], zone: Tz, filter: &CallFilter) -> MetricsGroup {
        let mut filter = filter.clone();
        let mut group = std::collections::BTreeMap::new();
        for (key, part) in keys.iter().zip(parts) {
            match part {
                Part::Time(bucket) => {
                    narrow(&mut filter, *bucket);
                    group.insert(key.as_str().to_owned(), label(zone, *key, bucket.start));
                }
                Part::Text(text) => {
                    group.insert(key.as_str().to_owned(), text.clone());
                    set(&mut filter, *key, OneOf::any([text.as_str()]));
                }
                Part::Absent => set(&mut filter, *key, OneOf::absent()),
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

/// Both the range that was asked for and that of the bucket.
fn narrow(filter: &mut CallFilter, bucket: Bucket) {
    let start = filter.started_after.as_ref().map_or(bucket.start, |after| after.unix_nanos().max(bucket.start));
    let end = filter.started_before.as_ref().map_or(bucket.end, |before| before.unix_nanos().min(bucket.end));
    filter.started_after = Some(Timestamp::from_unix_nanos(start));
    // The last bucket of all ends where times do, and what is in it has no end to be before.
    let bound = Timestamp::from_unix_nanos(end);
    if bound.unix_nanos() == end {
        filter.started_before = Some(bound);
    }
}

fn time_zone(name: &str) -> Result<Tz, StoreError> {
    name.parse().map_err(|_| {
        let guess = nearest_name(name, TZ_VARIANTS.iter().map(|zone| zone.name()));
        let guess = guess.map(|zone| format!("; did you mean {zone:?}?")).unwrap_or_default();
        let detail = format!("{name:?} is not an IANA time zone like \"Europe/Berlin\"{guess}");
        StoreError::Refused(FieldError::new(FieldErrorCode::Malformed, detail).in_parameter("timezone"))
    })
}

/// The hour, day, week or month of a zone in which a moment lies. Buckets follow each other without gap or overlap,
/// whatever clocks do.
fn bucket(zone: Tz, key: GroupKey, nanos: i64) -> Bucket {
    let local = DateTime::from_timestamp_nanos(nanos).with_timezone(&zone);
    let day = local.date_naive();
    match key {
        GroupKey::Hour => hour(zone, nanos),
        GroupKey::Week => {
            let monday = |day: NaiveDate| day - Days::new(u64::from(day.weekday().num_days_from_monday()));
            days(zone, nanos, day, monday, |monday| monday + Days::new(7))
        }
        GroupKey::Month => days(zone, nanos, day, |day| day.with_day(1).unwrap_or(day), |first| first + Months::new(1)),
        _ => days(zone, nanos, day, |day| day, |day| day + Days::new(1)),
    }
}

/// A bucket of whole days: `align` gives the first day of the bucket of a day, `next` that of the bucket after it. Where
/// clocks go back over midnight, a moment may belong before or after the bucket of its own date.
fn days(
    zone: Tz,
    nanos: i64,
    day: NaiveDate,
    align: impl Fn(NaiveDate) -> NaiveDate,
    next: impl Fn(NaiveDate) -> NaiveDate,
) -> Bucket {
    let mut first = align(day);
    if nanos < midnight(zone, first) {
        first = align(first - Days::new(1));
    } else if nanos >= midnight(zone, next(first)) {
        first = next(first);
    }
    Bucket { start: midnight(zone, first), end: midnight(zone, next(first)) }
}

/// The first moment of a day: midnight, or what comes after it where clocks leave midnight out.
fn midnight(zone: Tz, day: NaiveDate) -> i64 {
    let mut local = day.and_time(NaiveTime::MIN);
    for _ in 0..=(24 * 60) {
        if let Some(moment) = zone.from_local_datetime(&local).earliest() {
            return moment.timestamp_nanos_opt().unwrap_or(i64::MAX);
        }
        local += TimeDelta::minutes(1);
    }
    local.and_utc().timestamp_nanos_opt().unwrap_or(i64::MAX)
}

/// The hour of a zone, cut off where clocks change inside it.
fn hour(zone: Tz, nanos: i64) -> Bucket {
    let offset = offset_nanos(zone, nanos);
    let start = nanos - (nanos + offset).rem_euclid(NANOS_PER_HOUR);
    let end = start + NANOS_PER_HOUR;
    Bucket {
        start: clock_change(zone, nanos, start).unwrap_or(start),
        end: clock_change(zone, nanos, end).unwrap_or(end),
    }
}

/// The moment between two at which the zone's offset changes, if it does.
fn clock_change(zone: Tz, here: i64, there: i64) -> Option<i64> {
    let offset = offset_nanos(zone, here);
    let (mut same, mut other) = (here, there);
    if offset_nanos(zone, other) == offset {
        return None;
    }
    while (same - other).abs() > 1 {
        let middle = other + (same - other) / 2;
        if offset_nanos(zone, middle) == offset { same = middle } else { other = middle }
    }
    Some(same.max(other))
}

fn offset_nanos(zone: Tz, nanos: i64) -> i64 {
    let utc: DateTime<Utc> = DateTime::from_timestamp_nanos(nanos);
    i64::from(zone.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc()) * 1_000_000_000
}

fn label(zone: Tz, key: GroupKey, start: i64) -> String {
    let local = DateTime::from_timestamp_nanos(start).with_timezone(&zone);
    match key {
        GroupKey::Hour => local.format("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        GroupKey::Month => local.format("%Y-%m").to_string(),
        _ => local.format("%Y-%m-%d").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().unix_nanos()
    }

    fn span(zone: &str, key: GroupKey, moment: &str) -> (String, String) {
        let zone = zone.parse().unwrap();
        let bucket = bucket(zone, key, at(moment));
        assert!((bucket.start..bucket.end).contains(&at(moment)), "{bucket:?} without {moment}");
        let text = |nanos| Timestamp::from_unix_nanos(nanos).to_string();
        (text(bucket.start), text(bucket.end))
    }

    #[test]
    fn days_have_23_and_25_hours_where_clocks_change() {
        let expect = |moment, start: &str, end: &str| {
            assert_eq!(span("Europe/Berlin", GroupKey::Day, moment), (start.to_owned(), end.to_owned()));
        };
        expect("2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
        expect("2026-10-25T00:30:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        // Midnight itself is left out in this zone.
        assert_eq!(span("Asia/Beirut", GroupKey::Day, "2026-03-28T23:00:00Z").0, "2026-03-28T22:00:00Z");
    }

    #[test]
    fn hours_follow_each_other_where_clocks_change() {
        for (zone, first, last) in [
            ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T06:00:00Z"),
            ("Europe/Berlin", "2026-03-28T22:00:00Z", "2026-03-29T06:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-04T10:00:00Z", "2026-04-04T20:00:00Z"),
            ("Australia/Lord_Howe", "2026-10-03T10:00:00Z", "2026-10-03T20:00:00Z"),
            ("Asia/Kathmandu", "2026-04-04T10:15:00Z", "2026-04-04T20:15:00Z"),
        ] {
            let tz: Tz = zone.parse().unwrap();
            let mut labels = std::collections::HashSet::new();
            let mut expected = None;
            let mut moment = at(first);
            while moment < at(last) {
                let bucket = bucket(tz, GroupKey::Hour, moment);
                assert!((bucket.start..bucket.end).contains(&moment), "{zone}: {bucket:?}");
                assert!(expected.is_none_or(|end| end == bucket.start), "{zone}: a gap or an overlap at {bucket:?}");
                assert!(labels.insert(label(tz, GroupKey::Hour, bucket.start)), "{zone}: two hours of one name");
                expected = Some(bucket.end);
                moment = bucket.end;
            }
        }
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        let zone = "America/New_York";
        assert_eq!(span(zone, GroupKey::Week, "2026-11-22T12:00:00Z").0, "2026-11-16T05:00:00Z");
        assert_eq!(
            span(zone, GroupKey::Month, "2026-03-20T12:00:00Z"),
            ("2026-03-01T05:00:00Z".to_owned(), "2026-04-01T04:00:00Z".to_owned())
        );
    }
}
