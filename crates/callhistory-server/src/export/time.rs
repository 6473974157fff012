//! Times and durations of cells.

use callhistory_model::{TimeZone, Timestamp, UnixSeconds};
use chrono::{DateTime, Datelike as _, Offset as _, TimeZone as _, Timelike as _};

pub(super) const NANOS: i64 = 1_000_000_000;

/// The nanoseconds since 1970 of a number of seconds, if it is a known time.
pub(super) fn unix_nanos(json: &str) -> Option<i64> {
    let (whole, fraction) = json.split_once('.').unwrap_or((json, ""));
    let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_known = (1..=9).contains(&whole.len()) || whole.len() == 10 && !whole.starts_with('9');
    // The model reads everything else; the usual forms are read here, because this is done for each record.
    if !is_known || fraction.len() > 9 || !is_plain(whole) || !is_plain(fraction) {
        return json.parse::<UnixSeconds>().ok()?.nanos();
    }
    let fraction_nanos: i64 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let scale = 10_i64.pow(u32::try_from(9 - fraction.len()).ok()?);
    Some(whole.parse::<i64>().ok()? * NANOS + fraction_nanos * scale)
}

pub(super) fn rfc3339_nanos(text: &str) -> Option<i64> {
    text.parse().ok().map(|time: Timestamp| time.unix_nanos())
}

/// The offset of a time zone at a time since 1970, in whole minutes: RFC 3339 has no other ones.
pub(super) fn offset_seconds(zone: TimeZone, seconds: i64) -> i64 {
    if zone == TimeZone::UTC {
        return 0;
    }
    let offset = DateTime::from_timestamp(seconds, 0)
        .map_or(0, |time| zone.tz().offset_from_utc_datetime(&time.naive_utc()).fix().local_minus_utc());
    i64::from(offset / 60 * 60)
}

/// A time as RFC 3339, with as many digits of the fraction as it needs: none, three, six or nine.
pub(super) fn push_iso(out: &mut Vec<u8>, nanos: i64, zone: TimeZone) {
    let (seconds, fraction) = (nanos.div_euclid(NANOS), nanos.rem_euclid(NANOS));
    let offset = offset_seconds(zone, seconds);
    let Some(local) = DateTime::from_timestamp(seconds + offset, 0) else { return };
    let two = |number: u32| [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
    let year = local.year().unsigned_abs();
    out.extend(two(year / 100));
    for (separator, number) in [
        (None, year),
        (Some(b'-'), local.month()),
        (Some(b'-'), local.day()),
        (Some(b'T'), local.hour()),
        (Some(b':'), local.minute()),
        (Some(b':'), local.second()),
    ] {
        out.extend(separator);
        out.extend(two(number));
    }
    if fraction != 0 {
        out.push(b'.');
        let digits = [3, 6, 9].into_iter().find(|digits| fraction % 10_i64.pow(9 - digits) == 0).unwrap_or(9);
        out.extend((0..digits).map(|digit| b'0' + (fraction / 10_i64.pow(8 - digit) % 10) as u8));
    }
    if zone == TimeZone::UTC {
        return out.push(b'Z');
    }
    let minutes = u32::try_from(offset.unsigned_abs() / 60).unwrap_or_default();
    out.push(if offset < 0 { b'-' } else { b'+' });
    out.extend(two(minutes / 60));
    out.push(b':');
    out.extend(two(minutes % 60));
}

/// Seconds with the digits that they need.
pub(super) fn push_seconds(out: &mut Vec<u8>, nanos: i64) {
    let (whole, fraction) = (nanos / NANOS, nanos % NANOS);
    out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    if fraction != 0 {
        out.extend_from_slice(format!(".{fraction:09}").trim_end_matches('0').as_bytes());
    }
}
