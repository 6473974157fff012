//! Exact decimals, returned digit for digit.

use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::raw_json::{JsonText, type_name};
use crate::{FieldError, FieldErrorCode};

/// Integer billionths hold nine decimal places, for seconds and for money.
const MAX_DECIMALS: i64 = 9;
/// More than any bound below has.
const MAX_WHOLE_DIGITS: i64 = 18;
const NANOS_PER_UNIT: i64 = 1_000_000_000;
const NANOS_SCALE: u32 = 9;
/// 2260-01-01T00:00:00Z, the end of [`crate::Timestamp`].
const END_OF_TIME_SECONDS: i64 = 9_151_488_000;
/// In seconds this is the year 5138, in milliseconds 1973: a larger value is not a time in seconds.
const MIN_MILLISECONDS: i64 = 100_000_000_000;
const MAX_DURATION_SECONDS: i64 = 366 * 86_400;
const MAX_AMOUNT: i64 = 1_000_000_000;

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
        let exponent = exponent.parse().unwrap_or(beyond);
        let (is_negative, digits) = mantissa.strip_prefix('-').map_or((false, mantissa), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        Some(Self { is_negative, whole, fraction, exponent })
    }
}

/// Parses a JSON number without rounding. The bounds are checked on the text, because the decimal library rounds
/// silently past 28 digits.
fn parse_exact(text: &str) -> Result<Decimal, FieldError> {
    let parts = NumberParts::parse(text)
        .ok_or_else(|| FieldError::new(FieldErrorCode::WrongType, format!("{text:?} is not a JSON number")))?;
    let places = length(parts.fraction).saturating_sub(parts.exponent);
    if places > MAX_DECIMALS {
        let detail = format!("has more than {MAX_DECIMALS} decimal places");
        return Err(FieldError::new(FieldErrorCode::TooManyDecimals, detail));
    }
    let digits = format!("{}{}", parts.whole, parts.fraction);
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(Decimal::ZERO);
    }
    let too_large = || FieldError::new(FieldErrorCode::OutOfRange, "has too many digits before the decimal point");
    if length(digits).saturating_sub(places) > MAX_WHOLE_DIGITS {
        return Err(too_large());
    }
    // Both bounds together leave at most 27 digits, which an i128 and a decimal hold.
    let zeros = usize::try_from(-places).unwrap_or(0);
    let units: i128 = format!("{digits}{}", "0".repeat(zeros)).parse().map_err(|_| too_large())?;
    let units = if parts.is_negative { -units } else { units };
    Decimal::try_from_i128_with_scale(units, u32::try_from(places).unwrap_or(0)).map_err(|_| too_large())
}

fn length(digits: &str) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX)
}

fn out_of_range(text: &str, bounds: &str) -> FieldError {
    FieldError::new(FieldErrorCode::OutOfRange, format!("is {text}; it must be {bounds}"))
}

/// Declares the type of a number from its documentation, name, bounds and schema.
macro_rules! exact_number {
    ($(#[$doc:meta])* $name:ident, check $check:expr, schema $schema:tt) => {
        $(#[$doc])*
        ///
        /// Two values are equal if their digits are: `0.1` is not `0.10`.
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "JsonText")]
        pub struct $name {
            json: JsonText,
            value: Decimal,
        }

        impl $name {
            /// The number as it was sent.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.json.as_str()
            }

            /// The exact value.
            #[must_use]
            pub fn to_decimal(&self) -> Decimal {
                self.value
            }

            /// The exact value in billionths of its unit; `i64::MAX` for a sum that is larger.
            #[must_use]
            pub fn nanos(&self) -> i64 {
                (self.value * Decimal::from(NANOS_PER_UNIT)).to_i64().unwrap_or(i64::MAX)
            }
        }

        impl std::str::FromStr for $name {
            type Err = FieldError;

            fn from_str(text: &str) -> Result<Self, FieldError> {
                let value = parse_exact(text)?;
                let check: fn(Decimal, &str) -> Result<(), FieldError> = $check;
                check(value, text)?;
                let json = RawValue::from_string(text.to_owned());
                let json = json.map_err(|_| FieldError::new(FieldErrorCode::WrongType, "is not a JSON number"))?;
                Ok(Self { json: json.into(), value })
            }
        }

        impl TryFrom<JsonText> for $name {
            type Error = FieldError;

            fn try_from(json: JsonText) -> Result<Self, FieldError> {
                json.as_str().parse()
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
    /// A Unix time in **seconds**, at most nine decimals, before the year 2260.
    ///
    /// A value that can only be milliseconds is refused.
    ///
    /// ```
    /// use callhistory_model::UnixSeconds;
    ///
    /// let start: UnixSeconds = "1737062894.9754236".parse()?;
    /// assert_eq!(start.as_str(), "1737062894.9754236");
    /// assert_eq!(start.nanos(), 1_737_062_894_975_423_600);
    /// assert!("1737062894975".parse::<UnixSeconds>().unwrap_err().detail.contains("milliseconds"));
    /// # Ok::<(), callhistory_model::FieldError>(())
    /// ```
    UnixSeconds,
    check |value, text| {
        if value >= Decimal::from(MIN_MILLISECONDS) {
            let detail = format!("is {text}, which can only be milliseconds; Unix seconds are expected");
            return Err(FieldError::new(FieldErrorCode::Milliseconds, detail));
        }
        if value.is_sign_negative() && !value.is_zero() || value >= Decimal::from(END_OF_TIME_SECONDS) {
            return Err(out_of_range(text, "Unix seconds from 0 up to the year 2260"));
        }
        Ok(())
    },
    schema {
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": END_OF_TIME_SECONDS,
        "x-max-decimal-places": MAX_DECIMALS,
        "examples": [1_680_000_000],
    }
}

exact_number! {
    /// A duration in **seconds**, at most nine decimals, from 0 to 366 days.
    Seconds,
    check |value, text| {
        if value.is_sign_negative() && !value.is_zero() || value > Decimal::from(MAX_DURATION_SECONDS) {
            return Err(out_of_range(text, "seconds from 0 to 31622400 (366 days)"));
        }
        Ok(())
    },
    schema {
        "type": "number",
        "minimum": 0,
        "maximum": MAX_DURATION_SECONDS,
        "x-max-decimal-places": MAX_DECIMALS,
        "examples": [300],
    }
}

exact_number! {
    /// An amount of money: an exact decimal of at most nine places, from -1,000,000,000 to 1,000,000,000. It has no
    /// currency; the workspace defines it.
    ///
    /// ```
    /// use callhistory_model::Amount;
    ///
    /// let charge: Amount = "0.10".parse()?;
    /// assert_eq!(charge.to_string(), "0.10");
    /// # Ok::<(), callhistory_model::FieldError>(())
    /// ```
    Amount,
    check |value, text| {
        if value.abs() > Decimal::from(MAX_AMOUNT) {
            return Err(out_of_range(text, "from -1000000000 to 1000000000"));
        }
        Ok(())
    },
    schema {
        "type": "number",
        "minimum": -MAX_AMOUNT,
        "maximum": MAX_AMOUNT,
        "x-max-decimal-places": MAX_DECIMALS,
        "examples": [0.25],
    }
}

exact_number! {
    /// An exact decimal of at most nine places: a sum or a mean.
    ExactDecimal,
    check |_, _| Ok(()),
    schema {
        "type": "number",
        "x-max-decimal-places": MAX_DECIMALS,
        "examples": [100_000.25],
    }
}

impl ExactDecimal {
    /// The decimal of this number of billionths, with at least `places` decimal places; 0 if it has more than 18 digits
    /// before the decimal point.
    #[must_use]
    pub fn from_nanos(nanos: i128, places: u32) -> Self {
        let mut value = Decimal::try_from_i128_with_scale(nanos, NANOS_SCALE).unwrap_or_default().normalize();
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
