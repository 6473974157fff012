//! Exact decimals, returned digit for digit.

use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{json_text::JsonText, raw_json::type_name};
use crate::{FieldError, FieldErrorCode};

/// Filters and sums use integer billionths, for seconds and for money.
const NANOS_PER_UNIT: i128 = 1_000_000_000;
const NANOS_SCALE: i64 = 9;
/// More than any decimal of the library or any bound below has.
const MAX_NANOS_DIGITS: i64 = 28;
/// 2260-01-01T00:00:00Z, the end of [`crate::Timestamp`].
const END_OF_TIME_SECONDS: i128 = 9_151_488_000;
/// In seconds this is the year 5138, in milliseconds 1973: a larger value is not a time in seconds.
const MIN_MILLISECONDS: i128 = 100_000_000_000;
const MAX_DURATION_SECONDS: i128 = 366 * 86_400;
const MAX_AMOUNT: i128 = 1_000_000_000;

/// The parts of a JSON number: `-1.50e3` has the digits 1 and 50, and the exponent 3.
pub(super) struct NumberParts<'a> {
    pub(super) is_negative: bool,
    pub(super) whole: &'a str,
    pub(super) fraction: &'a str,
    pub(super) exponent: i64,
}

impl<'a> NumberParts<'a> {
    /// Splits a JSON number; `None` for any other text.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        // The JSON parser accepts white space around a value.
        let is_json = serde_json::from_str::<&RawValue>(text).is_ok_and(|json| json.get() == text);
        if !is_json || type_name(text) != "a number" {
            return None;
        }
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        // An exponent that does not fit an i64 exceeds every bound; so does half of the range.
        let beyond = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let exponent = exponent.parse().unwrap_or(beyond).clamp(i64::MIN / 2, i64::MAX / 2);
        let (is_negative, digits) = mantissa.strip_prefix('-').map_or((false, mantissa), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        Some(Self { is_negative, whole, fraction, exponent })
    }

    /// The value in billionths, half to even, and whether that is not the exact value; `None` if it is too large.
    fn nanos(&self) -> Option<(i128, bool)> {
        let digits = format!("{}{}", self.whole, self.fraction);
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Some((0, false));
        }
        let count = i64::try_from(digits.len()).ok()?;
        let shift = self.exponent.checked_sub(i64::try_from(self.fraction.len()).ok()?)?.checked_add(NANOS_SCALE)?;
        if count.checked_add(shift)? > MAX_NANOS_DIGITS {
            return None;
        }
        let kept = usize::try_from(count.checked_add(shift.min(0))?).unwrap_or(0);
        let (kept, rest) = if shift >= 0 { (digits, "") } else { digits.split_at(kept) };
        let zeros = usize::try_from(shift).unwrap_or(0);
        let mut nanos: i128 = if kept.is_empty() { 0 } else { format!("{kept}{}", "0".repeat(zeros)).parse().ok()? };
        // More digits are cut than there are: the value is less than a tenth of a billionth.
        let first = if count.checked_add(shift)? < 0 { b'0' } else { rest.bytes().next().unwrap_or(b'0') };
        let is_half = first == b'5' && rest.bytes().skip(1).all(|digit| digit == b'0');
        if first > b'5' || first == b'5' && (!is_half || nanos % 2 == 1) {
            nanos += 1;
        }
        let nanos = if self.is_negative { -nanos } else { nanos };
        Some((nanos, rest.bytes().any(|digit| digit != b'0')))
    }

    /// The plain decimal of this value divided by ten to the power of `places`.
    fn shifted(&self, places: i64) -> Option<String> {
        let digits = format!("{}{}", self.whole, self.fraction);
        let point = i64::try_from(self.whole.len()).ok()?.checked_add(self.exponent)?.checked_sub(places)?;
        // A time or a duration has few digits; a hostile exponent would need many zeros.
        if !(-64..=64).contains(&point) {
            return None;
        }
        let zeros = usize::try_from(1 - point).unwrap_or(0);
        let padded = format!("{}{digits}", "0".repeat(zeros));
        let point = usize::try_from(point.max(1)).ok()?;
        let padded = format!("{padded:0<point$}");
        let (whole, fraction) = padded.split_at(point);
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let sign = if self.is_negative { "-" } else { "" };
        let whole = if whole.is_empty() { "0" } else { whole };
        Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
    }
}

/// A unit that is finer than the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FineUnit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl FineUnit {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Milliseconds => "milliseconds",
            Self::Microseconds => "microseconds",
            Self::Nanoseconds => "nanoseconds",
        }
    }

    /// The decimal exponent of the number of these units in a second.
    fn places(self) -> i64 {
        match self {
            Self::Milliseconds => 3,
            Self::Microseconds => 6,
            Self::Nanoseconds => 9,
        }
    }

    /// A number of this unit in seconds, as JSON text.
    pub(crate) fn to_seconds(self, json: &str) -> Option<String> {
        NumberParts::parse(json)?.shifted(self.places())
    }

    /// The unit of a time whose value cannot be seconds.
    pub(crate) fn of_time(time: &UnixSeconds) -> Option<Self> {
        let seconds = time.value.map(|nanos| nanos / NANOS_PER_UNIT)?;
        [(Self::Nanoseconds, 1_000_000), (Self::Microseconds, 1_000), (Self::Milliseconds, 1)]
            .into_iter()
            .find(|(_, factor)| seconds >= MIN_MILLISECONDS * factor)
            .map(|(unit, _)| unit)
    }

    /// The unit of a duration that is a power of a thousand times the time between start and end.
    pub(crate) fn of_duration(duration: &Seconds, span_nanos: i64) -> Option<Self> {
        let (duration, span) = (duration.value?, i128::from(span_nanos));
        [(Self::Milliseconds, 1_000), (Self::Microseconds, 1_000_000), (Self::Nanoseconds, 1_000_000_000)]
            .into_iter()
            .find(|(_, factor)| {
                // Whole seconds may be rounded in either value: by one second, and by a hundredth of the span.
                let difference = (duration - span * factor).abs();
                span > 0
                    && duration >= factor * NANOS_PER_UNIT / 10
                    && difference <= factor * (NANOS_PER_UNIT + span / 100)
            })
            .map(|(unit, _)| unit)
    }
}

fn out_of_range(text: &str, bounds: &str) -> FieldError {
    FieldError::new(FieldErrorCode::OutOfRange, format!("is {text}; it must be {bounds}"))
}

/// Declares the type of a number from its documentation, name, bounds (in billionths and in words) and schema.
macro_rules! exact_number {
    ($(#[$doc:meta])* $name:ident, within $bounds:expr, words $words:literal, schema $schema:tt) => {
        $(#[$doc])*
        ///
        /// Two values are equal if their digits are: `0.1` is not `0.10`. They are ordered by value, and then by their digits.
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "JsonText")]
        pub struct $name {
            json: JsonText,
            /// In billionths; `None` if it is too large.
            value: Option<i128>,
            is_rounded: bool,
        }

        impl $name {
            /// The number as it was sent.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.json.as_str()
            }

            /// The value, rounded to nine decimal places; `None` if it is out of range.
            #[must_use]
            pub fn to_decimal(&self) -> Option<Decimal> {
                self.value.and_then(|value| Decimal::try_from_i128_with_scale(value, 9).ok()).map(|value| value.normalize())
            }

            /// The value in billionths of its unit, half to even; `None` if it is out of range.
            #[must_use]
            pub fn nanos(&self) -> Option<i64> {
                let bounds: std::ops::Range<i128> = $bounds;
                self.value.filter(|value| bounds.contains(value)).and_then(|value| i64::try_from(value).ok())
            }

            /// Whether filters and sums use a rounded value.
            #[must_use]
            pub fn is_rounded(&self) -> bool {
                self.is_rounded
            }

            /// The value of a parameter.
            ///
            /// # Errors
            ///
            /// The value is out of range, or has more than nine decimal places.
            pub fn check_exact(self) -> Result<Self, FieldError> {
                self.check_range()?;
                if self.is_rounded {
                    let detail = format!("has more than {NANOS_SCALE} decimal places");
                    return Err(FieldError::new(FieldErrorCode::TooManyDecimals, detail));
                }
                Ok(self)
            }

            /// Refuses a value that is out of range.
            ///
            /// # Errors
            ///
            /// The error names the range.
            pub fn check_range(&self) -> Result<(), FieldError> {
                self.nanos().map(drop).ok_or_else(|| out_of_range(self.as_str(), $words))
            }
        }

        impl std::str::FromStr for $name {
            type Err = FieldError;

            fn from_str(text: &str) -> Result<Self, FieldError> {
                let wrong = || FieldError::new(FieldErrorCode::WrongType, format!("{text:?} is not a JSON number"));
                let nanos = NumberParts::parse(text).ok_or_else(wrong)?.nanos();
                let json = RawValue::from_string(text.to_owned()).map_err(|_| wrong())?;
                let (value, is_rounded) = (nanos.map(|(value, _)| value), nanos.is_some_and(|(_, rounded)| rounded));
                Ok(Self { json: json.into(), value, is_rounded })
            }
        }

        impl TryFrom<JsonText> for $name {
            type Error = FieldError;

            fn try_from(json: JsonText) -> Result<Self, FieldError> {
                json.as_str().parse()
            }
        }

        impl TryFrom<&str> for $name {
            type Error = FieldError;

            fn try_from(text: &str) -> Result<Self, FieldError> {
                text.parse()
            }
        }

        impl TryFrom<String> for $name {
            type Error = FieldError;

            fn try_from(text: String) -> Result<Self, FieldError> {
                text.parse()
            }
        }

        impl From<&$name> for f64 {
            /// The nearest binary fraction: digits may be lost.
            fn from(number: &$name) -> Self {
                number.as_str().parse().unwrap_or(Self::NAN)
            }
        }

        impl From<$name> for f64 {
            /// The nearest binary fraction: digits may be lost.
            fn from(number: $name) -> Self {
                Self::from(&number)
            }
        }

        impl TryFrom<i64> for $name {
            type Error = FieldError;

            fn try_from(value: i64) -> Result<Self, FieldError> {
                value.to_string().parse()
            }
        }

        impl TryFrom<Decimal> for $name {
            type Error = FieldError;

            fn try_from(value: Decimal) -> Result<Self, FieldError> {
                value.to_string().parse()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.json.serialize(serializer)
            }
        }

        inline_schema!($name, $schema);
    };
}

exact_number! {
    /// A Unix time in **seconds**, kept digit for digit. From 0 up to the year 2260 it is known; any other number is kept and
    /// counts as unknown. Filters use nine decimal places.
    ///
    /// ```
    /// use callhistory_model::UnixSeconds;
    ///
    /// let start: UnixSeconds = "1737062894.9754236".parse()?;
    /// assert_eq!(start.as_str(), "1737062894.9754236");
    /// assert_eq!(start.nanos(), Some(1_737_062_894_975_423_600));
    /// assert_eq!("-1".parse::<UnixSeconds>()?.nanos(), None);
    /// # Ok::<(), callhistory_model::FieldError>(())
    /// ```
    UnixSeconds,
    within 0..END_OF_TIME_SECONDS * NANOS_PER_UNIT,
    words "Unix seconds from 0 up to the year 2260",
    schema { "type": "number", "format": "double", "examples": [1_680_000_000] }
}

exact_number! {
    /// A duration in **seconds**, kept digit for digit. From 0 to 366 days it is known; any other number is kept and counts as
    /// unknown.
    Seconds,
    within 0..MAX_DURATION_SECONDS * NANOS_PER_UNIT + 1,
    words "seconds from 0 to 31622400 (366 days)",
    schema { "type": "number", "format": "double", "examples": [300] }
}

exact_number! {
    /// An amount of money, kept digit for digit. From -1,000,000,000 to 1,000,000,000 it is known; any other number is kept and
    /// counts as unknown. Sums use nine decimal places, half to even.
    ///
    /// ```
    /// use callhistory_model::Amount;
    ///
    /// let charge: Amount = "0.10".parse()?;
    /// assert_eq!(charge.to_string(), "0.10");
    /// # Ok::<(), callhistory_model::FieldError>(())
    /// ```
    Amount,
    within -MAX_AMOUNT * NANOS_PER_UNIT..MAX_AMOUNT * NANOS_PER_UNIT + 1,
    words "from -1000000000 to 1000000000",
    schema { "type": "number", "format": "double", "examples": [0.25] }
}

exact_number! {
    /// An exact decimal of at most nine places: a sum or a mean.
    ExactDecimal,
    within i128::MIN..i128::MAX,
    words "a decimal",
    schema {
        "type": "number",
        "format": "double",
        "x-max-decimal-places": NANOS_SCALE,
        "examples": [100_000.25],
    }
}

/// Declares how a binary fraction becomes a time or a duration: by the shortest decimal that is read as the same fraction.
macro_rules! from_f64 {
    ($($name:ident),+) => {
        $(impl TryFrom<f64> for $name {
            type Error = FieldError;

            /// The shortest decimal that is read as the same binary fraction.
            fn try_from(value: f64) -> Result<Self, FieldError> {
                value.to_string().parse()
            }
        })+
    };
}

from_f64!(UnixSeconds, Seconds);

impl TryFrom<f64> for Amount {
    type Error = FieldError;

    /// The amount, if the binary fraction is exactly one: `0.25` is, `0.1` is not.
    ///
    /// ```
    /// use callhistory_model::Amount;
    ///
    /// let error = Amount::try_from(0.1).unwrap_err();
    /// assert!(error.detail.contains(r#"write it as text: "0.1".parse()"#));
    /// ```
    fn try_from(value: f64) -> Result<Self, FieldError> {
        // A multiple of 2^-9 has at most nine decimal places.
        if (value * 512.0).fract() == 0.0 {
            let text = format!("{value:.9}");
            return text.trim_end_matches('0').trim_end_matches('.').parse();
        }
        let detail =
            format!("is a binary fraction, which is not exactly {value}; write it as text: \"{value}\".parse()");
        Err(FieldError::new(FieldErrorCode::WrongType, detail))
    }
}

impl From<Duration> for Seconds {
    /// ```
    /// use callhistory_model::Seconds;
    ///
    /// assert_eq!(Seconds::from(std::time::Duration::from_millis(1_500)).as_str(), "1.5");
    /// ```
    fn from(duration: Duration) -> Self {
        let text = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
        let text = text.trim_end_matches('0').trim_end_matches('.');
        let value = i128::try_from(duration.as_nanos()).ok();
        Self { json: JsonText::of_number(text), value, is_rounded: false }
    }
}

impl TryFrom<&Seconds> for Duration {
    type Error = FieldError;

    /// The duration in nanoseconds, if it is known.
    fn try_from(seconds: &Seconds) -> Result<Self, FieldError> {
        seconds.check_range()?;
        Ok(Self::from_nanos(seconds.nanos().map_or(0, i64::unsigned_abs)))
    }
}

impl ExactDecimal {
    /// The decimal of this number of billionths, with at least `places` decimal places; 0 if it has more than 18 digits
    /// before the decimal point.
    #[must_use]
    pub fn from_nanos(nanos: i128, places: u32) -> Self {
        let mut value = Decimal::try_from_i128_with_scale(nanos, 9).unwrap_or_default().normalize();
        value.rescale(value.scale().max(places));
        value.try_into().unwrap_or_default()
    }
}

impl Default for ExactDecimal {
    #[expect(clippy::expect_used, reason = "the literal is a number")]
    fn default() -> Self {
        "0".parse().expect("the literal is a number")
    }
}
