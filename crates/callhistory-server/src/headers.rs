//! Headers and parameters of requests: the one value of a header, and how the contract describes both.

use std::fmt::Write as _;

use axum::http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
use callhistory_model::{FieldError, FieldErrorCode, FieldWarning, WarningCode};
use serde_json::{Value, json};
use utoipa::openapi::{
    Required,
    path::{ParameterBuilder, ParameterIn},
};

use crate::error::ApiError;

/// The one value of a header. Lists and repetitions are refused: a proxy and this service could each read another value.
pub(crate) fn single<'a>(parts: &'a Parts, name: &HeaderName) -> Result<Option<&'a HeaderValue>, ApiError> {
    let mut lines = parts.headers.get_all(name).iter();
    let value = lines.next();
    match lines.next() {
        None => Ok(value),
        Some(_) => {
            let error = FieldError::new(FieldErrorCode::Repeated, "occurs more than once; exactly one is accepted");
            Err(ApiError::invalid_header(error.in_parameter(name.as_str())))
        }
    }
}

/// The weight that a header such as `Accept` gives to an item, from 0 for what is not accepted to 1; `None` if it does not name the
/// item.
pub(crate) fn weight(headers: &HeaderMap, name: &HeaderName, item: &str) -> Option<f32> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_item = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(item));
        let weight = |part: &str| part.strip_prefix("q=").or(part.strip_prefix("Q="))?.parse().ok();
        is_item.then(|| parts.find_map(weight).unwrap_or(1.0))
    })
}

/// The header with the warnings about a write.
pub(crate) const WARNINGS: HeaderName = HeaderName::from_static("x-callhistory-warnings");
/// The largest size of its value, in bytes: proxies refuse large heads.
const MAX_WARNINGS_BYTES: usize = 4096;
/// The size beyond which a warning has only the start of its pointer, in bytes.
const MAX_WARNING_BYTES: usize = 2048;

/// The warnings about a write as a header: a JSON array of pointers and codes in ASCII, as many as fit; `None` without warnings.
pub(crate) fn warnings_header(warnings: &[FieldWarning]) -> Option<HeaderValue> {
    let mut json = String::from("[");
    for warning in warnings {
        let item = warning_json(&warning.pointer, &warning.code);
        let item = if item.len() <= MAX_WARNING_BYTES {
            item
        } else {
            warning_json(&shortened(&warning.pointer), &warning.code)
        };
        // A comma or a bracket follows.
        if json.len() + item.len() + 1 > MAX_WARNINGS_BYTES {
            break;
        }
        json.push_str(&item);
        json.push(',');
    }
    json.pop().filter(|last| *last == ',')?;
    json.push(']');
    HeaderValue::try_from(json).ok()
}

fn warning_json(pointer: &str, code: &WarningCode) -> String {
    ascii_json(&json!({ "pointer": pointer, "code": code }).to_string())
}

/// The start of a pointer, which is the name of a member.
fn shortened(pointer: &str) -> String {
    pointer.chars().take(100).chain(['…']).collect()
}

/// The same JSON text in ASCII: a header has no other characters.
fn ascii_json(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    ascii
}

/// The example of an entity tag.
pub(crate) const ETAG: &str = "\"2-9f86d081884c7d65\"";

/// The example of a cursor.
pub(crate) const CURSOR: &str = "AT95u3tDWwUyAAAAAAAAAAHjuYpNoxoSfUvebkMDP2a6";

/// The schema of a cursor, and of the ID of an event, which is one.
pub(crate) fn cursor_schema() -> Value {
    json!({ "type": "string", "maxLength": 512, "pattern": "^[A-Za-z0-9_-]*$" })
}

/// A parameter of the contract. Its `members` are the schema, the description and an example.
pub(crate) fn parameter(location: ParameterIn, name: &str, members: &Value) -> ParameterBuilder {
    let members = members.as_object().cloned().into_iter().flatten().collect();
    ParameterBuilder::new().name(name).parameter_in(location).required(Required::False).extensions(Some(members))
}
