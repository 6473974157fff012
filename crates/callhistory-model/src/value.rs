//! Values as filters compare them: scalars of free-form JSON, and sets of texts.

use std::{cmp::Ordering, fmt};

use serde_json::value::RawValue;

use crate::{
    decode::raw_members,
    json::decode_string,
    problem::{FieldError, FieldErrorCode},
    query::MAX_PATH_BYTES,
};

/// A number in its shortest form, so that `1`, `1.0` and `10e-1` are one value; compared without rounding, however many
/// digits it has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExactNumber {
    negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: String,
    /// The decimal exponent of the first digit.
    magnitude: i64,
}

impl ExactNumber {
    /// Reads the text of a JSON number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let starts = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        if !starts || serde_json::from_str::<&RawValue>(text).ok()?.get() != text {
            return None;
        }
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let beyond = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let exponent: i64 = exponent.parse().unwrap_or(beyond);
        let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0');
        let leading = i64::try_from(all.len() - digits.len()).ok()?;
        let magnitude = i64::try_from(whole.len()).ok()?.saturating_sub(leading).saturating_add(exponent);
        let digits = digits.trim_end_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { negative: false, digits, magnitude: 0 });
        }
        Some(Self { negative, digits, magnitude })
    }
}

impl Ord for ExactNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match (number.digits.is_empty(), number.negative) {
            (true, _) => 0,
            (false, negative) => {
                if negative {
                    -1
                } else {
                    1
                }
            }
        };
        let size = || self.magnitude.cmp(&other.magnitude).then_with(|| self.digits.cmp(&other.digits));
        sign(self).cmp(&sign(other)).then_with(|| if self.negative { size().reverse() } else { size() })
    }
}

impl PartialOrd for ExactNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ExactNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.digits.is_empty() {
            return f.write_str("0");
        }
        write!(f, "{}0.{}e{}", if self.negative { "-" } else { "" }, self.digits, self.magnitude)
    }
}

/// One value of free-form JSON that is neither an object nor an array.
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
    /// Reads a JSON text; `None` for an object or an array.
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

    /// What a text without a type may mean: the string itself, and the number, boolean or null that it spells.
    #[must_use]
    pub fn readings(text: &str) -> Vec<Self> {
        let other = (!text.starts_with('"')).then(|| Self::from_json(text)).flatten();
        std::iter::once(Self::Text(text.to_owned())).chain(other).collect()
    }

    /// The order of two values of one kind; `None` for values that have none.
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
            Self::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
            Self::Number(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Null => "null".to_owned(),
        }
    }
}

/// Calls `visit` with the path and the JSON text of each value inside a free-form JSON text, objects and arrays included.
/// The names of nested members are joined by dots; the items of an array stand at the path of the array. What lies deeper
/// than [`MAX_PATH_BYTES`] is left out.
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
                // A path is told once for each value below it, so a long one must not have many.
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

/// What a text of a record must be: one of several values, or none of them.
///
/// As a parameter: values separated by commas, a leading `!` for none of them, a lone `*` for any value at all (so `!*`
/// is a record without one), and for phone numbers a trailing `*` for a prefix. A backslash takes the character after
/// it as it is.
///
/// ```
/// use callhistory_model::OneOf;
///
/// assert_eq!(OneOf::any(["completed", "failed"]).to_string(), "completed,failed");
/// assert_eq!(OneOf::none(["a,b"]).to_string(), r"!a\,b");
/// assert_eq!(OneOf::absent().to_string(), "!*");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOf {
    /// Whether the record must have none of the values.
    pub negated: bool,
    /// At least one.
    pub values: Vec<TextPattern>,
}

/// One value of [`OneOf`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextPattern {
    /// This text.
    Exact(String),
    /// Any text that starts so; the empty prefix is any text at all.
    Prefix(String),
}

impl OneOf {
    /// Most values of one parameter.
    pub const MAX_VALUES: usize = 1000;

    /// Any of these values.
    pub fn any<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Self {
        let values = values.into_iter().map(|value| TextPattern::Exact(value.into())).collect();
        Self { negated: false, values }
    }

    /// None of these values; a record without a value is among them.
    pub fn none<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Self {
        Self { negated: true, ..Self::any(values) }
    }

    /// A text that starts so; for phone numbers.
    pub fn prefix(start: impl Into<String>) -> Self {
        Self { negated: false, values: vec![TextPattern::Prefix(start.into())] }
    }

    /// Any value at all.
    #[must_use]
    pub fn present() -> Self {
        Self::prefix("")
    }

    /// No value.
    #[must_use]
    pub fn absent() -> Self {
        Self { negated: true, ..Self::present() }
    }

    /// Whether a member with this value, or without one, is as demanded.
    #[must_use]
    pub fn matches(&self, value: Option<&str>) -> bool {
        let matched = value.is_some_and(|value| {
            self.values.iter().any(|pattern| match pattern {
                TextPattern::Exact(text) => text == value,
                TextPattern::Prefix(start) => value.starts_with(start),
            })
        });
        matched != self.negated
    }

    /// Reads the values of an open set, of which none is empty.
    pub(crate) fn parse_open(text: &str) -> Result<Self, FieldError> {
        match Self::parse(text, false)? {
            set if set.values.contains(&TextPattern::Exact(String::new())) => Err(FieldError::new(
                FieldErrorCode::TooShort,
                "is empty; leave it out, or write !* for records without a value",
            )),
            set => Ok(set),
        }
    }

    /// Reads the form of a parameter; prefixes other than the empty one only where they are allowed.
    pub(crate) fn parse(text: &str, prefixes: bool) -> Result<Self, FieldError> {
        let (negated, list) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let mut values = Vec::new();
        let (mut value, mut star, mut chars) = (String::new(), false, list.chars());
        loop {
            let next = chars.next();
            if star && !matches!(next, None | Some(',')) {
                let detail = "has a * that is not at the end of a value; write \\* for the character";
                return Err(FieldError::new(FieldErrorCode::Malformed, detail));
            }
            match next {
                None | Some(',') => {
                    let text = std::mem::take(&mut value);
                    if star && !prefixes && !text.is_empty() {
                        let detail = "has a prefix, which only phone numbers may be; write \\* for the character *";
                        return Err(FieldError::new(FieldErrorCode::Malformed, detail));
                    }
                    values.push(if star { TextPattern::Prefix(text) } else { TextPattern::Exact(text) });
                    star = false;
                }
                Some('*') => star = true,
                Some('\\') => value.push(chars.next().ok_or_else(|| {
                    FieldError::new(
                        FieldErrorCode::Malformed,
                        "ends in a backslash, which takes the character after it",
                    )
                })?),
                Some('\0') => {
                    return Err(FieldError::new(FieldErrorCode::NulCharacter, "contains the character U+0000"));
                }
                Some(c) => value.push(c),
            }
            if next.is_none() {
                break;
            }
        }
        if values.len() > Self::MAX_VALUES {
            let detail = format!("has {} values; at most {} are accepted", values.len(), Self::MAX_VALUES);
            return Err(FieldError::new(FieldErrorCode::TooManyMembers, detail));
        }
        if values.len() > 1 && values.contains(&TextPattern::Exact(String::new())) {
            return Err(FieldError::new(FieldErrorCode::Malformed, "has an empty value between its commas"));
        }
        Ok(Self { negated, values })
    }
}

impl fmt::Display for OneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negated {
            f.write_str("!")?;
        }
        for (at, pattern) in self.values.iter().enumerate() {
            let (TextPattern::Exact(text) | TextPattern::Prefix(text)) = pattern;
            if at > 0 {
                f.write_str(",")?;
            }
            for (place, c) in text.char_indices() {
                let leads = c == '!' && place == 0 && at == 0 && !self.negated;
                if leads || matches!(c, ',' | '*' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
            if matches!(pattern, TextPattern::Prefix(_)) {
                f.write_str("*")?;
            }
        }
        Ok(())
    }
}

impl<T: Into<String>> From<T> for OneOf {
    /// This value.
    fn from(value: T) -> Self {
        Self::any([value])
    }
}
