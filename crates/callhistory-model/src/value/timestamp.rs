//! Points in time as RFC 3339 text.

use std::{
    cmp::Ordering,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    decimal::{FineUnit, UnixSeconds},
    time_zone::TimeZone,
};
use crate::{FieldError, FieldErrorCode};

/// In March 1973. A smaller number could be a date such as `20260131`.
const MIN_UNAMBIGUOUS_SECONDS: i64 = 100_000_000;
/// 2260-01-01T00:00:00Z.
const END_OF_TIME_MILLIS: i64 = 9_151_488_000_000;

/// A time as RFC 3339 text, from 1970 to 2259, kept as it was sent.
///
/// The format is `YYYY-MM-DDTHH:MM:SS[.fraction]` with `Z` or an offset `±HH:MM`; `t` and `z` may be lower case. There is no leap
/// second. Digits of the fraction beyond nine are kept and not compared.
///
/// ```
/// use callhistory_model::Timestamp;
///
/// let time: Timestamp = "2025-01-01T10:00:00.5+01:00".parse()?;
/// assert_eq!(time.as_str(), "2025-01-01T10:00:00.5+01:00");
/// assert_eq!(time.unix_nanos(), "2025-01-01T09:00:00.5Z".parse::<Timestamp>()?.unix_nanos());
/// assert!("2025-01-01 10:00:00".parse::<Timestamp>().is_err());
/// # Ok::<(), callhistory_model::FieldError>(())
/// ```
///
/// The rules are those of writes: `Deserialize` keeps any text that a response has ([`is_known`](Self::is_known)). Times are ordered
/// by instant, and equal if their texts are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Timestamp {
    text: Box<str>,
    nanos: i64,
    is_known: bool,
}

impl Timestamp {
    /// The time as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Nanoseconds since 1970-01-01T00:00:00Z; 0 for a text that [this version cannot read](Self::is_known).
    #[must_use]
    pub fn unix_nanos(&self) -> i64 {
        self.nanos
    }

    /// Whether this version can read the text. Only a time of a response can be unknown: it counts as the start of 1970.
    ///
    /// ```
    /// use callhistory_model::Timestamp;
    ///
    /// let newer: Timestamp = serde_json::from_str(r#""2026-W05-6T10:00:00Z""#)?;
    /// assert_eq!(newer.as_str(), "2026-W05-6T10:00:00Z");
    /// assert!(!newer.is_known());
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// The time of a response, which may have any text.
    pub(crate) fn of_response(text: String) -> Self {
        let nanos = parse_rfc3339(&text);
        let nanos = nanos.or_else(|| Self::parse_in_zone(&text, TimeZone::UTC).ok().map(|time| time.nanos));
        Self { text: text.into(), nanos: nanos.unwrap_or_default(), is_known: nanos.is_some() }
    }

    /// The time from nanoseconds since 1970-01-01T00:00:00Z; a time before 1970 or after 2259 becomes the nearest
    /// bound.
    #[must_use]
    pub fn from_unix_nanos(nanos: i64) -> Self {
        let nanos = nanos.clamp(0, END_OF_TIME_MILLIS * 1_000_000 - 1);
        let text = DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(SecondsFormat::AutoSi, true);
        Self { text: text.into(), nanos, is_known: true }
    }

    /// Parses the time of a parameter: RFC 3339 with `Z` or an offset (also `+0200`, and without seconds), Unix seconds, or a local
    /// date or time of a zone. A date is the start of its day. [`TimeZone::instant`] says what a time means at a clock change.
    ///
    /// # Errors
    ///
    /// The error names the accepted formats.
    ///
    /// ```
    /// use callhistory_model::{TimeZone, Timestamp};
    ///
    /// let berlin: TimeZone = "Europe/Berlin".parse()?;
    /// assert_eq!(Timestamp::parse_in_zone("2026-01-01", TimeZone::UTC)?.as_str(), "2026-01-01T00:00:00Z");
    /// assert_eq!(Timestamp::parse_in_zone("2026-01-01T10:00", berlin)?.as_str(), "2026-01-01T09:00:00Z");
    /// assert_eq!(Timestamp::parse_in_zone("2026-01-01T01:00:00+0100", berlin)?.as_str(), "2026-01-01T00:00:00Z");
    /// assert_eq!(Timestamp::parse_in_zone("1767225600.5", berlin)?.as_str(), "2026-01-01T00:00:00.500Z");
    /// assert!(Timestamp::parse_in_zone("01/02/2026", berlin).is_err());
    /// # Ok::<(), callhistory_model::FieldError>(())
    /// ```
    pub fn parse_in_zone(text: &str, zone: TimeZone) -> Result<Self, FieldError> {
        if text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Self::parse_unix_seconds(text);
        }
        let (rfc3339, is_local) = complete(text);
        let nanos = parse_rfc3339(&rfc3339).and_then(|nanos| {
            if !is_local {
                return Some(nanos);
            }
            let local = DateTime::from_timestamp_nanos(nanos).naive_utc();
            zone.instant(local).timestamp_nanos_opt()
        });
        let nanos = nanos.filter(|nanos| (0..END_OF_TIME_MILLIS * 1_000_000).contains(nanos));
        nanos.map(Self::from_unix_nanos).ok_or_else(|| {
            let detail = format!(
                "{text:?} is not a time; accepted are RFC 3339 (\"2026-01-31T10:00:00Z\"), a date (\"2026-01-31\") or a time \
                 (\"2026-01-31T10:00\") in the zone of the parameter timezone, and Unix seconds (1769853600), from 1970 to 2259"
            );
            FieldError::new(FieldErrorCode::InvalidTime, detail)
        })
    }

    fn parse_unix_seconds(text: &str) -> Result<Self, FieldError> {
        let seconds: UnixSeconds = text.parse()?;
        if let Some(unit) = FineUnit::of_time(&seconds) {
            let detail = format!("is {text}, which can only be {}; Unix seconds are expected", unit.as_str());
            return Err(FieldError::new(FieldErrorCode::WrongUnit, detail));
        }
        seconds.check_range()?;
        let nanos = seconds.nanos().unwrap_or(0);
        if (1..MIN_UNAMBIGUOUS_SECONDS * 1_000_000_000).contains(&nanos) {
            let detail = format!(
                "is {text}, which may be a year or a date without its dashes; write it as \"2026-01-31\", or Unix \
                 seconds from {MIN_UNAMBIGUOUS_SECONDS} on"
            );
            return Err(FieldError::new(FieldErrorCode::InvalidTime, detail));
        }
        Ok(Self::from_unix_nanos(nanos))
    }

    /// The time for calculations.
    #[must_use]
    pub fn to_datetime(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_nanos(self.nanos)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let nanos = parse_rfc3339(text).ok_or_else(|| {
            let detail =
                format!("{text:?} is not an RFC 3339 time with its zone, like \"2025-01-01T10:00:00Z\", 1970 to 2259");
            FieldError::new(FieldErrorCode::InvalidTime, detail)
        })?;
        Ok(Self { text: text.into(), nanos, is_known: true })
    }
}

/// A date or a time with what it may lack: the time of day, the seconds, the colon of the offset; and whether it lacks a zone.
fn complete(text: &str) -> (String, bool) {
    let (date, rest) = text.split_at_checked(10).unwrap_or((text, ""));
    let rest = rest.strip_prefix(['T', 't', ' ']).unwrap_or(rest);
    // Form decoding turns a plus sign into a blank.
    let rest = rest.replacen(' ', "+", 1);
    let (time, zone) = rest.split_at(rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len()));
    let seconds = match time.len() {
        0 => "00:00:00",
        5 => ":00",
        _ => "",
    };
    let zone_text = match (zone.len(), zone.is_ascii()) {
        (0, _) => "Z".to_owned(),
        (3, true) => format!("{zone}:00"),
        (5, true) => format!("{}:{}", &zone[..3], &zone[3..]),
        _ => zone.to_owned(),
    };
    (format!("{date}T{time}{seconds}{zone_text}"), zone.is_empty())
}

/// Whether a text has the format of a date; the day may not exist.
pub(crate) fn is_date(text: &str) -> bool {
    text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() })
}

/// The nanoseconds of an RFC 3339 time. Hand-written because chrono's parser accepts text that is not RFC 3339: one-digit months,
/// a leading blank, offsets without a colon.
fn parse_rfc3339(text: &str) -> Option<i64> {
    let (head, tail) = text.split_at_checked(19)?;
    let is_time = head.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        10 => matches!(byte, b'T' | b't'),
        13 | 16 => byte == b':',
        _ => byte.is_ascii_digit(),
    });
    if !is_time {
        return None;
    }
    let zone = tail.find(['Z', 'z', '+', '-'])?;
    let (fraction, zone) = tail.split_at(zone);
    let number = |from: usize, to: usize| head[from..to].parse::<u32>().ok();
    let date = NaiveDate::from_ymd_opt(i32::try_from(number(0, 4)?).ok()?, number(5, 7)?, number(8, 10)?)?;
    let nano = match fraction.strip_prefix('.') {
        None if fraction.is_empty() => 0,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let kept = &digits[..digits.len().min(9)];
            format!("{kept:0<9}").parse().ok()?
        }
        _ => return None,
    };
    let time = NaiveTime::from_hms_nano_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?, nano)?;
    let nanos = date.and_time(time).and_utc().timestamp_nanos_opt()?;
    let nanos = nanos.checked_sub(i64::from(offset_seconds(zone)?) * 1_000_000_000)?;
    (0..END_OF_TIME_MILLIS * 1_000_000).contains(&nanos).then_some(nanos)
}

/// The seconds of `Z` or `±HH:MM`.
fn offset_seconds(zone: &str) -> Option<i32> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let is_offset = zone.len() == 6
        && zone
            .bytes()
            .enumerate()
            .skip(1)
            .all(|(at, byte)| if at == 3 { byte == b':' } else { byte.is_ascii_digit() });
    if !is_offset {
        return None;
    }
    let (hours, minutes): (i32, i32) = (zone[1..3].parse().ok()?, zone[4..6].parse().ok()?);
    let seconds = (hours * 60 + minutes) * 60;
    (hours < 24 && minutes < 60).then_some(if zone.starts_with('-') { -seconds } else { seconds })
}

impl From<DateTime<Utc>> for Timestamp {
    /// The time in milliseconds, the precision of the service. A clock outside 1970 to 2259 gives the nearest
    /// bound: a record with any other time could not be read again.
    fn from(time: DateTime<Utc>) -> Self {
        let nanos = time.timestamp_millis().clamp(0, END_OF_TIME_MILLIS - 1) * 1_000_000;
        let text = DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(SecondsFormat::Millis, true);
        Self { text: text.into(), nanos, is_known: true }
    }
}

impl From<SystemTime> for Timestamp {
    /// The time in milliseconds, as that of a [`DateTime`].
    fn from(time: SystemTime) -> Self {
        DateTime::<Utc>::from(time).into()
    }
}

impl From<&Timestamp> for SystemTime {
    fn from(time: &Timestamp) -> Self {
        Self::UNIX_EPOCH + Duration::from_nanos(time.nanos.unsigned_abs())
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        Self::from(&time)
    }
}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos).then_with(|| self.text.cmp(&other.text))
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::of_response)
    }
}

impl TryFrom<&str> for Timestamp {
    type Error = FieldError;

    fn try_from(text: &str) -> Result<Self, FieldError> {
        text.parse()
    }
}

impl TryFrom<String> for Timestamp {
    type Error = FieldError;

    fn try_from(text: String) -> Result<Self, FieldError> {
        text.parse()
    }
}

inline_schema!(Timestamp, {
    "type": "string",
    "format": "date-time",
    "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
    "examples": ["2025-01-01T10:00:00Z"],
});
