//! Hours, days, weeks and months of a time zone.

use callhistory_model::{GroupKey, TimeZone};
use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, NaiveTime, Offset as _, TimeZone as _, Utc};

const NANOS_PER_HOUR: i64 = 3_600_000_000_000;

/// A time bucket: from `start` (inclusive) to `end` (exclusive), in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TimeBucket {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// The hour, day, week or month of a zone that contains a time. Buckets have no gap and no overlap at clock changes.
pub(crate) fn bucket(zone: TimeZone, key: &GroupKey, nanos: i64) -> TimeBucket {
    let local = DateTime::from_timestamp_nanos(nanos).with_timezone(&zone.tz());
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

/// A bucket of whole days: `align` returns the first day of the bucket of a day, `next` that of the next bucket. If
/// clocks go back over midnight, a time may belong to the bucket before or after its own date.
fn days(
    zone: TimeZone,
    nanos: i64,
    day: NaiveDate,
    align: impl Fn(NaiveDate) -> NaiveDate,
    next: impl Fn(NaiveDate) -> NaiveDate,
) -> TimeBucket {
    let mut first = align(day);
    if nanos < midnight(zone, first) {
        first = align(first - Days::new(1));
    } else if nanos >= midnight(zone, next(first)) {
        first = next(first);
    }
    TimeBucket { start: midnight(zone, first), end: midnight(zone, next(first)) }
}

/// The start of a day: midnight, or the first time after it if clocks skip midnight.
fn midnight(zone: TimeZone, day: NaiveDate) -> i64 {
    zone.instant(day.and_time(NaiveTime::MIN)).timestamp_nanos_opt().unwrap_or(i64::MAX)
}

/// The hour of a zone, cut at a clock change.
fn hour(zone: TimeZone, nanos: i64) -> TimeBucket {
    let offset = offset_nanos(zone, nanos);
    let start = nanos - (nanos + offset).rem_euclid(NANOS_PER_HOUR);
    let end = start + NANOS_PER_HOUR;
    TimeBucket {
        start: clock_change(zone, nanos, start).unwrap_or(start),
        end: clock_change(zone, nanos, end).unwrap_or(end),
    }
}

/// The time between two times at which the offset of the zone changes, if it does.
fn clock_change(zone: TimeZone, here: i64, there: i64) -> Option<i64> {
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

fn offset_nanos(zone: TimeZone, nanos: i64) -> i64 {
    let utc: DateTime<Utc> = DateTime::from_timestamp_nanos(nanos);
    i64::from(zone.tz().offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc()) * 1_000_000_000
}

pub(crate) fn label(zone: TimeZone, key: &GroupKey, start: i64) -> String {
    let local = DateTime::from_timestamp_nanos(start).with_timezone(&zone.tz());
    match key {
        GroupKey::Hour => local.format("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        GroupKey::Month => local.format("%Y-%m").to_string(),
        _ => local.format("%Y-%m-%d").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use callhistory_model::Timestamp;

    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().unix_nanos()
    }

    fn span(zone: &str, key: GroupKey, moment: &str) -> (String, String) {
        let zone = zone.parse().unwrap();
        let bucket = bucket(zone, &key, at(moment));
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
        // This zone skips midnight.
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
            let tz: TimeZone = zone.parse().unwrap();
            let mut labels = std::collections::HashSet::new();
            let mut expected = None;
            let mut moment = at(first);
            while moment < at(last) {
                let bucket = bucket(tz, &GroupKey::Hour, moment);
                assert!((bucket.start..bucket.end).contains(&moment), "{zone}: {bucket:?}");
                assert!(expected.is_none_or(|end| end == bucket.start), "{zone}: a gap or an overlap at {bucket:?}");
                assert!(labels.insert(label(tz, &GroupKey::Hour, bucket.start)), "{zone}: two hours of one name");
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
