//! The parsing rules of members: each takes the JSON text of a value and refuses what breaks the rule.

use std::str::FromStr;

use crate::{
    FieldError, FieldErrorCode,
    field_error::check_length,
    value::{
        extensible_enum::MAX_ENUM_CHARS,
        raw_json::{decode_string, type_name, wrong_type},
    },
};

pub(super) const MAX_LABEL_CHARS: usize = 256;
pub(super) const MAX_PHONE_CHARS: usize = 128;
pub(super) const MAX_SUMMARY_BYTES: usize = 64 * 1024;
pub(super) const MAX_URL_CHARS: usize = 2048;

#[cfg(feature = "schema")]
pub(super) const NO_NUL: &str = "^[^\\u0000]*$";

/// A string of at most `max_chars` characters.
pub(super) fn text(json: &str, max_chars: usize) -> Result<String, FieldError> {
    let text = decode_string(json)?;
    check_length(&text, max_chars)?;
    Ok(text)
}

/// A value of an extensible enum: a string of 1 to [`MAX_ENUM_CHARS`] characters.
pub(super) fn extensible_enum<T: From<String>>(json: &str) -> Result<T, FieldError> {
    let text = text(json, MAX_ENUM_CHARS)?;
    if text.is_empty() {
        return Err(FieldError::new(FieldErrorCode::TooShort, "is empty; omit the member instead"));
    }
    Ok(T::from(text))
}

/// A string with its own format: an ID, a time.
pub(super) fn string_as<T: FromStr<Err = FieldError>>(json: &str) -> Result<T, FieldError> {
    decode_string(json)?.parse()
}

/// A number, kept digit for digit.
pub(super) fn number<T: FromStr<Err = FieldError>>(json: &str) -> Result<T, FieldError> {
    if type_name(json) == "a number" { json.parse() } else { Err(wrong_type(json, "a number")) }
}

/// A name or an ID of another system: a string of at most [`MAX_LABEL_CHARS`] characters.
pub(super) fn label(json: &str) -> Result<String, FieldError> {
    text(json, MAX_LABEL_CHARS)
}

/// A string of at most [`MAX_SUMMARY_BYTES`] bytes of UTF-8.
pub(super) fn summary(json: &str) -> Result<String, FieldError> {
    let summary = text(json, MAX_SUMMARY_BYTES)?;
    if summary.len() > MAX_SUMMARY_BYTES {
        let detail = format!("has {} bytes of UTF-8; at most {MAX_SUMMARY_BYTES} are accepted", summary.len());
        return Err(FieldError::new(FieldErrorCode::TooManyBytes, detail));
    }
    Ok(summary)
}
