//! Scalars of free-form JSON, and the paths that lead to them.

use std::{
    cmp::Ordering,
    fmt::{self, Write as _},
};

use serde_json::value::RawValue;

use super::{
    decimal::{Amount, ExactDecimal, NumberParts, Seconds, UnixSeconds},
    raw_json::{decode_string, raw_members, string_text},
};
use crate::{FieldError, FieldErrorCode, field_error::escape_pointer};

/// Maximum length of the path of a member of free-form JSON that filters reach, in bytes. A path is names joined by dots.
pub const MAX_PATH_BYTES: usize = 1024;

/// A number in normal form: `1`, `1.0` and `10e-1` are equal. It is compared without rounding, whatever its number
/// of digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExactNumber {
    /// -1, 0 or 1.
    sign: i8,
    /// Significant digits without leading and trailing zeros; empty for zero.
    digits: String,
    /// The decimal exponent of `0.digits`; 0 for zero.
    magnitude: i64,
}

impl ExactNumber {
    /// Parses a JSON number; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts = NumberParts::parse(text)?;
        let digits = format!("{}{}", parts.whole, parts.fraction);
        let significant = digits.trim_start_matches('0');
        if significant.is_empty() {
            return Some(Self { sign: 0, digits: String::new(), magnitude: 0 });
        }
        let leading_zeros = i64::try_from(digits.len() - significant.len()).ok()?;
        let magnitude = i64::try_from(parts.whole.len()).ok()?.saturating_sub(leading_zeros);
        Some(Self {
            sign: if parts.is_negative { -1 } else { 1 },
            digits: significant.trim_end_matches('0').to_owned(),
            magnitude: magnitude.saturating_add(parts.exponent),
        })
    }
}

impl ExactNumber {
    /// The number as people write it: `12.5`, and `1.25e30` only where it would have many zeros.
    #[must_use]
    pub fn to_plain(&self) -> String {
        let sign = if self.sign < 0 { "-" } else { "" };
        let (digits, length) = (self.digits.as_str(), i64::try_from(self.digits.len()).unwrap_or(i64::MAX));
        let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
        match self.magnitude {
            _ if digits.is_empty() => "0".to_owned(),
            magnitude @ -5..=0 => format!("{sign}0.{}{digits}", zeros(-magnitude)),
            magnitude if (length..=21.max(length)).contains(&magnitude) => {
                format!("{sign}{digits}{}", zeros(magnitude - length))
            }
            magnitude if (1..length).contains(&magnitude) => {
                let (whole, fraction) = digits.split_at(usize::try_from(magnitude).unwrap_or(0));
                format!("{sign}{whole}.{fraction}")
            }
            magnitude => {
                let (first, rest) = digits.split_at(1);
                let point = if rest.is_empty() { "" } else { "." };
                format!("{sign}{first}{point}{rest}e{}", magnitude.saturating_sub(1))
            }
        }
    }
}

impl Ord for ExactNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = self.magnitude.cmp(&other.magnitude).then_with(|| self.digits.cmp(&other.digits));
        self.sign.cmp(&other.sign).then(if self.sign < 0 { size.reverse() } else { size })
    }
}

impl PartialOrd for ExactNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Orders a number by value, and then by its digits.
macro_rules! ordered {
    ($($name:ident),+) => {
        $(impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                let by_value = ExactNumber::parse(self.as_str()).cmp(&ExactNumber::parse(other.as_str()));
                by_value.then_with(|| self.as_str().cmp(other.as_str()))
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        })+
    };
}

ordered!(Amount, ExactDecimal, Seconds, UnixSeconds);

impl fmt::Display for ExactNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sign {
            0 => f.write_str("0"),
            sign => write!(f, "{}0.{}e{}", if sign < 0 { "-" } else { "" }, self.digits, self.magnitude),
        }
    }
}

/// A value of free-form JSON that is neither an object nor an array.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// A string.
    Text(String),
    /// A number.
    Number(ExactNumber),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

impl Scalar {
    /// Parses a JSON text; `None` for an object or an array.
    #[must_use]
    pub fn from_json(json: &str) -> Option<Self> {
        match json.trim() {
            "null" => Some(Self::Null),
            "true" => Some(Self::Bool(true)),
            "false" => Some(Self::Bool(false)),
            text if text.starts_with('"') => decode_string(text).ok().map(Self::Text),
            text => ExactNumber::parse(text).map(Self::Number),
        }
    }

    /// The values that an untyped text can mean: the string itself, and the number, boolean or null that it spells.
    #[must_use]
    pub fn readings(text: &str) -> Vec<Self> {
        let other = (!text.starts_with('"')).then(|| Self::from_json(text)).flatten();
        std::iter::once(Self::Text(text.to_owned())).chain(other).collect()
    }

    /// The order of two numbers or two strings; `None` for other pairs.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => Some(one.cmp(other)),
            (Self::Text(one), Self::Text(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }

    /// The value as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Text(text) => string_text(text),
            Self::Number(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Null => "null".to_owned(),
        }
    }
}

/// Calls `visit` with the path and the JSON text of each value inside a free-form JSON text, objects and arrays included.
/// The names of nested members are joined by dots; the items of an array have the path of the array. Paths longer
/// than [`MAX_PATH_BYTES`] are skipped.
pub fn visit_members(json: &str, visit: &mut dyn FnMut(&str, &str)) {
    walk(json.trim_start(), &mut String::new(), visit);
}

fn walk(json: &str, path: &mut String, visit: &mut dyn FnMut(&str, &str)) {
    match json.as_bytes().first() {
        Some(b'{') => {
            for (name, value) in raw_members(json).unwrap_or_default() {
                let length = path.len();
                if length > 0 {
                    path.push('.');
                }
                path.push_str(&name);
                // Each value below repeats the path, so a long path must not have many.
                if path.len() <= MAX_PATH_BYTES {
                    visit(path, value.get());
                    walk(value.get(), path, visit);
                }
                path.truncate(length);
            }
        }
        Some(b'[') => {
            for item in serde_json::from_str::<Vec<&RawValue>>(json).unwrap_or_default() {
                visit(path, item.get());
                walk(item.get(), path, visit);
            }
        }
        _ => {}
    }
}

/// Calls `visit` with the JSON pointer and the text of each string and number inside a free-form JSON text. Pointers begin with
/// `pointer`; values whose pointer is longer than [`MAX_PATH_BYTES`] are skipped.
pub fn visit_scalars(json: &str, pointer: &str, visit: &mut dyn FnMut(&str, &str)) {
    walk_scalars(json.trim_start(), &mut pointer.to_owned(), visit);
}

fn walk_scalars(json: &str, pointer: &mut String, visit: &mut dyn FnMut(&str, &str)) {
    if pointer.len() > MAX_PATH_BYTES {
        return;
    }
    let length = pointer.len();
    match json.as_bytes().first() {
        Some(b'{') => {
            for (name, value) in raw_members(json).unwrap_or_default() {
                pointer.push('/');
                pointer.push_str(&escape_pointer(&name));
                walk_scalars(value.get(), pointer, visit);
                pointer.truncate(length);
            }
        }
        Some(b'[') => {
            for (at, item) in serde_json::from_str::<Vec<&RawValue>>(json).unwrap_or_default().into_iter().enumerate() {
                // Writing to a string cannot fail.
                let _ = write!(pointer, "/{at}");
                walk_scalars(item.get(), pointer, visit);
                pointer.truncate(length);
            }
        }
        // Most strings have no escape sequence.
        Some(b'"') => match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(plain) if !plain.contains('\\') => visit(pointer, plain),
            _ => drop(decode_string(json).map(|text| visit(pointer, &text))),
        },
        Some(b'-' | b'0'..=b'9') => visit(pointer, json),
        _ => {}
    }
}

/// Refuses a path that is longer than what the index holds.
pub(crate) fn check_path(path: &str) -> Result<(), FieldError> {
    if path.len() > MAX_PATH_BYTES {
        let detail = format!("is a path of more than {MAX_PATH_BYTES} bytes");
        return Err(FieldError::new(FieldErrorCode::TooLong, detail));
    }
    Ok(())
}
