//! A set of accepted values of one member.

use std::fmt;

use crate::{FieldError, FieldErrorCode, value::extensible_enum::normalize_enum_value};

/// The values that a member may have: one of several, or none of them.
///
/// As a parameter: comma-separated values; a leading `!` negates; a lone `*` matches any value (`!*` matches
/// records without one); in phone numbers a trailing `*` matches a prefix. A backslash escapes the next
/// character.
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
    /// 1 to 1000 values.
    pub values: Vec<TextPattern>,
}

/// One value of [`OneOf`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum TextPattern {
    /// This text.
    Exact(String),
    /// Any text with this prefix; the empty prefix matches any text.
    Prefix(String),
}

impl OneOf {
    /// Maximum number of values.
    pub const MAX_VALUES: usize = 1000;

    /// Any of these values.
    pub fn any<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Self {
        let values = values.into_iter().map(|value| TextPattern::Exact(value.into())).collect();
        Self { negated: false, values }
    }

    /// None of these values; a record without a value matches.
    pub fn none<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Self {
        Self { negated: true, ..Self::any(values) }
    }

    /// Any text with this prefix; for phone numbers.
    pub fn prefix(start: impl Into<String>) -> Self {
        Self { negated: false, values: vec![TextPattern::Prefix(start.into())] }
    }

    /// Any value.
    #[must_use]
    pub fn present() -> Self {
        Self::prefix("")
    }

    /// No value.
    #[must_use]
    pub fn absent() -> Self {
        Self { negated: true, ..Self::present() }
    }

    /// Whether a member with this value, or without a value, matches. An empty text is no value.
    ///
    /// Values of `status`, `direction` and `callType` are compared in the form of [`normalize_enum_value`]:
    ///
    /// ```
    /// use callhistory_model::{OneOf, normalize_enum_value};
    ///
    /// let form = |text: &str| normalize_enum_value(text).into_owned();
    /// assert!(OneOf::any(["in-progress"]).map(form).matches(Some(&form("IN_PROGRESS"))));
    /// ```
    #[must_use]
    pub fn matches(&self, value: Option<&str>) -> bool {
        let value = value.filter(|value| !value.is_empty());
        let matched = self.values.iter().any(|pattern| match pattern {
            TextPattern::Exact(text) => text == value.unwrap_or_default(),
            TextPattern::Prefix(start) => value.is_some_and(|value| value.starts_with(start)),
        });
        matched != self.negated
    }

    /// The set with each value, and each prefix, in another form.
    #[must_use]
    pub fn map(&self, form: impl Fn(&str) -> String) -> Self {
        let values = self.values.iter().map(|pattern| match pattern {
            TextPattern::Exact(text) => TextPattern::Exact(form(text)),
            TextPattern::Prefix(start) => TextPattern::Prefix(form(start)),
        });
        Self { negated: self.negated, values: values.collect() }
    }

    /// Parses values of an extensible enum. A value without letters is none.
    pub(crate) fn parse_enum(text: &str) -> Result<Self, FieldError> {
        let set = Self::parse(text, false)?;
        if set.map(|value| normalize_enum_value(value).into_owned()).values.contains(&NOTHING) {
            return Err(empty_value());
        }
        Ok(set)
    }

    /// Parses the value of a parameter. Only phone numbers allow prefixes other than the empty one. They never start with a
    /// blank, so an unescaped one is a plus sign that form decoding turned into it.
    pub(crate) fn parse(text: &str, is_phone_number: bool) -> Result<Self, FieldError> {
        let (negated, list) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let mut values = Vec::new();
        let (mut value, mut has_star, mut chars) = (String::new(), false, list.chars());
        loop {
            let next = chars.next();
            if has_star && !matches!(next, None | Some(',')) {
                let detail = "has a * that is not at the end of a value; write \\* for a literal asterisk";
                return Err(FieldError::new(FieldErrorCode::Malformed, detail));
            }
            match next {
                None | Some(',') => {
                    let text = std::mem::take(&mut value);
                    if has_star && !is_phone_number && !text.is_empty() {
                        let detail = "has a prefix, which only phone numbers accept; write \\* for a literal asterisk";
                        return Err(FieldError::new(FieldErrorCode::Malformed, detail));
                    }
                    values.push(if has_star { TextPattern::Prefix(text) } else { TextPattern::Exact(text) });
                    has_star = false;
                }
                Some('*') => has_star = true,
                Some(' ') if is_phone_number && value.is_empty() => value.push('+'),
                Some('\\') => value.push(chars.next().ok_or_else(|| {
                    let detail = "ends in a backslash; a backslash escapes the next character";
                    FieldError::new(FieldErrorCode::Malformed, detail)
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
        if values.contains(&NOTHING) {
            return Err(empty_value());
        }
        Ok(Self { negated, values })
    }
}

/// The value that no member has: an empty text is no value.
const NOTHING: TextPattern = TextPattern::Exact(String::new());

fn empty_value() -> FieldError {
    let detail = "has an empty value in its list; write !* for records without a value";
    FieldError::new(FieldErrorCode::Malformed, detail)
}

impl fmt::Display for OneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A blank parameter is one that was not given.
        if self.values.as_slice() == [NOTHING] {
            return f.write_str(if self.negated { "*" } else { "!*" });
        }
        if self.negated {
            f.write_str("!")?;
        }
        for (at, pattern) in self.values.iter().enumerate() {
            let (TextPattern::Exact(text) | TextPattern::Prefix(text)) = pattern;
            if at > 0 {
                f.write_str(",")?;
            }
            for (position, c) in text.char_indices() {
                let is_negation = c == '!' && position == 0 && at == 0 && !self.negated;
                let is_plus = c == ' ' && position == 0;
                if is_negation || is_plus || matches!(c, ',' | '*' | '\\') {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_set_is_read_as_the_same_set() {
        for values in [vec![" 49"], vec!["Doe, Jane", "Doe,+Jane"], vec!["!a", "b*", "\\c"], vec!["+1"]] {
            for negated in [false, true] {
                let values = values.iter().map(|value| TextPattern::Exact((*value).to_owned()));
                let set = OneOf { negated, values: values.collect() };
                for is_phone_number in [false, true] {
                    assert_eq!(OneOf::parse(&set.to_string(), is_phone_number).unwrap(), set, "{set}");
                }
            }
        }
        // An empty text is no value.
        assert_eq!(OneOf::any([""]).to_string(), "!*");
        assert_eq!(OneOf::none([""]).to_string(), "*");
        for text in ["!", "a,", ",a", "!a,,b"] {
            assert!(OneOf::parse(text, false).is_err(), "{text}");
        }
        assert!(OneOf::parse_enum("a, _,b").is_err());
        let plus = OneOf::any(["+49", "+1"]);
        assert_eq!(OneOf::parse(" 49, 1", true).unwrap(), plus);
        assert_eq!(OneOf::parse("+49,+1", true).unwrap(), plus);
    }
}
