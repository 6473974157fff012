//! The conditions of a request: `If-Match` and `If-None-Match`.

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, header, request::Parts},
};
use bytes::Bytes;
use callhistory_model::{FieldError, FieldErrorCode};
use callhistory_store::{Precondition, VersionSet};
use serde_json::json;
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{error::ApiError, headers::parameter};

/// The largest size of the entity tags of one header, in bytes.
const MAX_CONDITION_BYTES: usize = 8192;

/// An entity tag without its mark of weakness.
fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// The entity tags of a header, each in its quotes and maybe with `W/`, or the only one `*`; `None` without the header.
fn entity_tags<'a>(parts: &'a Parts, name: &HeaderName) -> Result<Option<Vec<&'a str>>, ApiError> {
    let lines = || parts.headers.get_all(name).iter();
    if lines().next().is_none() {
        return Ok(None);
    }
    let invalid =
        |code, detail: &str| ApiError::invalid_header(FieldError::new(code, detail).in_parameter(name.as_str()));
    if lines().map(HeaderValue::len).sum::<usize>() > MAX_CONDITION_BYTES {
        return Err(invalid(FieldErrorCode::TooLong, &format!("has more than {MAX_CONDITION_BYTES} bytes")));
    }
    let texts = lines().flat_map(|line| line.to_str().unwrap_or_default().split(','));
    let tags: Vec<_> = texts.map(|tag| tag.trim_matches([' ', '\t'])).collect();
    let is_tag = |tag: &&str| {
        let quoted = opaque(tag).strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        quoted.is_some_and(|text| text.chars().all(|c| c.is_ascii_graphic() && c != '"'))
    };
    if tags == ["*"] || tags.iter().all(is_tag) {
        return Ok(Some(tags));
    }
    Err(invalid(FieldErrorCode::Malformed, "is malformed; an entity tag is in double quotes, like \"2\""))
}

/// A header of entity tags in the contract.
fn condition_parameter(name: &HeaderName, description: &str) -> Parameter {
    let members = json!({
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_CONDITION_BYTES,
            "pattern": r#"^(\*|(W/)?"[!#-+.-~-]*"( *, *(W/)?"[!#-+.-~-]*")*)$"#,
        },
        "description": description,
        "example": "\"2\"",
    });
    parameter(ParameterIn::Header, name.as_str(), &members).build()
}

fn if_none_match() -> Parameter {
    let description = "Proceed only if the record has none of these versions, or with `*` if it does not exist. \
        Otherwise a read returns 304, a write 412.";
    condition_parameter(&header::IF_NONE_MATCH, description)
}

/// The version of a record as an entity tag: the sequence of its last change.
pub(crate) fn etag(sequence: i64) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(format!("\"{sequence}\""))).unwrap_or(HeaderValue::from_static("*"))
}

/// The entity tags that a reader has already.
pub(crate) struct ReadCondition(Vec<String>);

impl ReadCondition {
    pub(crate) fn is_current(&self, sequence: i64) -> bool {
        !self.0.is_empty() && self.has(&format!("\"{sequence}\""))
    }

    pub(crate) fn has(&self, etag: &str) -> bool {
        self.0.iter().any(|known| known == "*" || opaque(known) == etag)
    }
}

impl<S: Sync> FromRequestParts<S> for ReadCondition {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        if parts.headers.contains_key(header::IF_MATCH) {
            let error = FieldError::new(FieldErrorCode::Unknown, "has no meaning for a read; use If-None-Match");
            return Err(ApiError::invalid_header(error.in_parameter("if-match")));
        }
        let tags = entity_tags(parts, &header::IF_NONE_MATCH)?.unwrap_or_default();
        Ok(Self(tags.into_iter().map(str::to_owned).collect()))
    }
}

impl IntoParams for ReadCondition {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![if_none_match()]
    }
}

/// `If-Match` and `If-None-Match` of a write, to be checked in its transaction.
pub(crate) struct WriteCondition(pub(crate) Precondition);

impl<S: Sync> FromRequestParts<S> for WriteCondition {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let if_match = entity_tags(parts, &header::IF_MATCH)?.map(|mut tags| {
            // A weak tag never satisfies `If-Match` (RFC 9110).
            tags.retain(|tag| !tag.starts_with("W/"));
            versions(&tags)
        });
        let if_none_match = entity_tags(parts, &header::IF_NONE_MATCH)?.map(|tags| versions(&tags));
        Ok(Self(Precondition { if_match, if_none_match }))
    }
}

impl IntoParams for WriteCondition {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "Proceed only if the record has one of these versions, or with `*` if it exists.";
        vec![condition_parameter(&header::IF_MATCH, description), if_none_match()]
    }
}

/// The versions of entity tags. A tag that is not a version matches nothing.
fn versions(tags: &[&str]) -> VersionSet {
    if tags == ["*"] {
        return VersionSet::Any;
    }
    let sequence = |tag: &&str| {
        let text = opaque(tag).trim_matches('"');
        let sequence: i64 = text.parse().ok()?;
        (sequence.to_string() == text).then_some(sequence)
    };
    VersionSet::OneOf(tags.iter().filter_map(sequence).collect())
}
