//! Query strings: a strict parser that reports all errors, and a serializer.

use std::{
    fmt::{Display, Write as _},
    str::FromStr,
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::{FieldError, FieldErrorCode, FieldErrors, spelling::nearest_name};

/// Maximum length of a parameter value, in bytes after decoding.
pub const MAX_PARAMETER_BYTES: usize = 32 * 1024;
const MAX_PARAMETERS: usize = 64;

/// Parses a query string: passes each decoded pair to `read`, which returns `None` for an unknown name, and
/// collects all errors. A known parameter whose value is blank is one that was not given: a form sends each of its fields.
pub(crate) fn read_parameters(
    query: &str,
    known: &[&[&str]],
    mut read: impl FnMut(&str, &str) -> Option<Result<(), FieldError>>,
) -> Result<(), FieldErrors> {
    let mut errors = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    // The other parameters are read in the time zone.
    let (zones, others): (Vec<_>, Vec<_>) = pairs.partition(|(name, _)| *name == "timezone");
    for (name, value) in zones.into_iter().chain(others) {
        let (Some(name), Some(value)) = (decode(name), decode(value)) else {
            let name = decode(name).unwrap_or_else(|| "?".to_owned());
            let detail =
                "is not UTF-8 after percent-decoding, or contains a % that two hexadecimal digits do not follow";
            errors.push(FieldError::new(FieldErrorCode::InvalidString, detail).in_parameter(name));
            continue;
        };
        let member = metadata_member(&name).filter(|member| !member.is_empty());
        let is_known = || known.iter().any(|names| names.contains(&member.map_or(name.as_str(), |_| METADATA)));
        // The two forms of a name are one parameter.
        let written = || member.map_or_else(|| name.clone(), |member| format!("{METADATA}.{member}"));
        let result = if name.is_empty() {
            Err(FieldError::new(FieldErrorCode::Malformed, "has no name"))
        } else if value.trim().is_empty() && is_known() {
            Ok(())
        } else if !seen.insert(written()) {
            Err(FieldError::new(FieldErrorCode::Repeated, "occurs more than once; separate values by commas"))
        } else if value.len() > MAX_PARAMETER_BYTES {
            let detail = format!("has {} bytes; at most {MAX_PARAMETER_BYTES} are accepted", value.len());
            Err(FieldError::new(FieldErrorCode::TooLong, detail))
        } else if value.contains('\0') {
            Err(FieldError::new(FieldErrorCode::NulCharacter, "contains the character U+0000"))
        } else {
            read(&name, &value).unwrap_or_else(|| Err(unknown_parameter(&name, known)))
        };
        if let Err(error) = result {
            errors.push(error.in_parameter(name));
        }
        if seen.len() > MAX_PARAMETERS || errors.len() >= MAX_PARAMETERS {
            errors.push(FieldError::new(
                FieldErrorCode::TooManyMembers,
                format!("has more than {MAX_PARAMETERS} parameters"),
            ));
            break;
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(FieldErrors(errors)) }
}

/// The parameter of filters by members of `metadata`.
pub(crate) const METADATA: &str = "metadata";

/// The member that a parameter names: `metadata.NAME`, or `metadata[NAME]`, the style `deepObject` of OpenAPI.
pub(crate) fn metadata_member(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(METADATA)?;
    rest.strip_prefix('.').or_else(|| rest.strip_prefix('[')?.strip_suffix(']'))
}

fn unknown_parameter(name: &str, known: &[&[&str]]) -> FieldError {
    let detail = match nearest_name(name, known.iter().flat_map(|names| names.iter().copied())) {
        Some(known) => format!("is unknown; did you mean {known:?}?"),
        None => "is unknown; the API reference lists the parameters of this operation".to_owned(),
    };
    FieldError::new(FieldErrorCode::Unknown, detail)
}

fn decode(text: &str) -> Option<String> {
    let plain = text.replace('+', " ");
    let is_escape = |rest: &str| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit);
    if !plain.split('%').skip(1).all(is_escape) {
        return None;
    }
    percent_decode_str(&plain).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The pairs of a query string, decoded.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter_map(|(name, value)| Some((decode(name)?, decode(value)?)))
}

/// Serializes `name=value` pairs as a query string.
pub(crate) struct QueryString(String);

impl QueryString {
    pub(crate) fn new() -> Self {
        Self(String::new())
    }

    pub(crate) fn push(&mut self, name: &str, value: impl Display) {
        // Reserved characters of URLs and forms, and the comma, at which some parsers end a URL of a Link header.
        const ESCAPED: &AsciiSet = &{
            let unreserved = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
            unreserved.remove(b'!').remove(b'*').remove(b'(').remove(b')').remove(b':').remove(b'@').remove(b'/')
        };
        let separator = if self.0.is_empty() { "" } else { "&" };
        let value = value.to_string();
        let name = utf8_percent_encode(name, ESCAPED);
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{separator}{name}={}", utf8_percent_encode(&value, ESCAPED));
    }

    pub(crate) fn push_some(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.push(name, value);
        }
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

/// Sets a parameter to its parsed value.
pub(crate) fn set<T>(slot: &mut Option<T>, value: Result<T, FieldError>) -> Result<(), FieldError> {
    *slot = Some(value?);
    Ok(())
}

/// Parses an integer within bounds.
pub(crate) fn integer<T: FromStr + Display + PartialOrd>(text: &str, min: T, max: T) -> Result<T, FieldError> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| is_digits && (&min..=&max).contains(&number));
    number.ok_or_else(|| {
        let detail = format!("{text:?} is not an integer from {min} to {max}");
        FieldError::new(FieldErrorCode::OutOfRange, detail)
    })
}
