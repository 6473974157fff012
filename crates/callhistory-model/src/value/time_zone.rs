//! Time zones of queries: what a local date or time means.

use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};

use crate::{FieldError, FieldErrorCode, field_error::check_length, nearest_name};

/// Maximum length of the name of a time zone, in characters.
pub const MAX_TIME_ZONE_CHARS: usize = 64;

/// An IANA time zone; UTC by default.
///
/// ```
/// use callhistory_model::TimeZone;
///
/// assert_eq!("Europe/Berlin".parse::<TimeZone>()?.as_str(), "Europe/Berlin");
/// assert!("Europe/Berlim".parse::<TimeZone>().unwrap_err().detail.contains("Europe/Berlin"));
/// # Ok::<(), callhistory_model::FieldError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeZone(Tz);

impl TimeZone {
    /// Coordinated Universal Time.
    pub const UTC: Self = Self(Tz::UTC);

    /// The name of the zone.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0.name()
    }

    /// The zone for calculations.
    #[must_use]
    pub fn tz(self) -> Tz {
        self.0
    }

    /// The instant of a local time: the first one if clocks show the time twice, the first one after it if clocks skip it.
    #[must_use]
    pub fn instant(self, local: NaiveDateTime) -> DateTime<Utc> {
        // No zone has skipped more than a day.
        let skipped = (0..=24 * 60).map_while(|minutes| local.checked_add_signed(TimeDelta::minutes(minutes)));
        let mut instants = skipped.filter_map(|local| self.0.from_local_datetime(&local).earliest());
        let instant = instants.next().map_or_else(|| local.and_utc(), |instant| instant.to_utc());
        // The minutes that were tried end where the skipped ones end, only the seconds of the skipped time are left.
        match self.0.from_local_datetime(&local) {
            chrono::LocalResult::None => instant - TimeDelta::nanoseconds(seconds_of(local)),
            _ => instant,
        }
    }
}

/// The nanoseconds of a time since its minute.
fn seconds_of(local: NaiveDateTime) -> i64 {
    local.and_utc().timestamp_nanos_opt().map_or(0, |nanos| nanos.rem_euclid(60_000_000_000))
}

impl Default for TimeZone {
    fn default() -> Self {
        Self::UTC
    }
}

impl std::str::FromStr for TimeZone {
    type Err = FieldError;

    fn from_str(name: &str) -> Result<Self, FieldError> {
        check_length(name, MAX_TIME_ZONE_CHARS)?;
        name.parse().map(Self).map_err(|_| {
            let guess = nearest_name(name, TZ_VARIANTS.iter().map(|zone| zone.name()));
            let guess = guess.map(|zone| format!("; did you mean {zone:?}?")).unwrap_or_default();
            let detail = format!("{name:?} is not an IANA time zone like \"Europe/Berlin\"{guess}");
            FieldError::new(FieldErrorCode::Malformed, detail)
        })
    }
}

impl std::fmt::Display for TimeZone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    #[test]
    fn clock_changes_have_one_meaning() {
        let zone: TimeZone = "Europe/Berlin".parse().unwrap();
        let instant = |month, day, hour, minute, second| {
            let local = NaiveDate::from_ymd_opt(2026, month, day).unwrap().and_hms_opt(hour, minute, second).unwrap();
            zone.instant(local).to_rfc3339()
        };
        // Skipped: the first time after it.
        assert_eq!(instant(3, 29, 2, 30, 15), "2026-03-29T01:00:00+00:00");
        // Repeated: the first one.
        assert_eq!(instant(10, 25, 2, 30, 15), "2026-10-25T00:30:15+00:00");
        assert_eq!(instant(1, 31, 2, 30, 15), "2026-01-31T01:30:15+00:00");
    }
}
