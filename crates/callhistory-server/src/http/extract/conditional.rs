//! The conditions of a request: `If-Match` and `If-None-Match`.

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, header, request::Parts},
};
use axum_extra::headers::{ETag, Header, IfMatch, IfNoneMatch};
use bytes::Bytes;
use callhistory_model::{FieldError, FieldErrorCode};
use callhistory_store::{Precondition, VersionSet};
use serde_json::json;
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{
    error::ApiError,
    headers::{parameter, typed},
};

/// The largest size of the entity tags of one header, in bytes.
const MAX_CONDITION_BYTES: usize = 8192;

fn malformed_condition(name: &HeaderName) -> ApiError {
    ApiError::invalid_header(
        FieldError::new(FieldErrorCode::Malformed, "is malformed; an entity tag is in double quotes, like \"2\"")
            .in_parameter(name.as_str()),
    )
}

/// A condition in its typed form, if it is there. The library takes any text for an entity tag that matches nothing, so
/// that a write would go ahead which its caller meant to forbid, and panics on a tag with white space inside.
async fn condition<H: Header + 'static, S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Option<H>, ApiError> {
    if !parts.headers.contains_key(H::name()) {
        return Ok(None);
    }
    let is_tag = |text: &str| {
        let opaque = text.strip_prefix("W/").unwrap_or(text).strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        opaque.is_some_and(|opaque| opaque.chars().all(|c| c.is_ascii_graphic() && c != '"'))
    };
    let is_condition = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or("");
        text == "*" || text.split(',').all(|tag| is_tag(tag.trim_matches(' ')))
    };
    let lines = || parts.headers.get_all(H::name()).iter();
    if lines().map(HeaderValue::len).sum::<usize>() > MAX_CONDITION_BYTES {
        let error = FieldError::new(FieldErrorCode::TooLong, format!("has more than {MAX_CONDITION_BYTES} bytes"));
        return Err(ApiError::invalid_header(error.in_parameter(H::name().as_str())));
    }
    // Of several lines the library makes one list, in which `*` is no longer any version but nothing at all.
    let any_among_others = lines().count() > 1 && lines().any(|line| line == "*");
    if any_among_others || !lines().all(is_condition) {
        return Err(malformed_condition(H::name()));
    }
    typed(parts, state).await
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
        Otherwise a read is answered with 304, a write with 412.";
    condition_parameter(&header::IF_NONE_MATCH, description)
}

/// The version of a record as an entity tag: the sequence of its last change.
pub(crate) fn etag(sequence: i64) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(format!("\"{sequence}\""))).unwrap_or(HeaderValue::from_static("*"))
}

fn typed_etag(sequence: i64) -> Option<ETag> {
    format!("\"{sequence}\"").parse().ok()
}

/// Whether a reader has the record already.
pub(crate) struct ReadCondition(Option<IfNoneMatch>);

impl ReadCondition {
    pub(crate) fn is_current(&self, sequence: i64) -> bool {
        self.0.is_some() && typed_etag(sequence).is_some_and(|etag| self.has(&etag))
    }

    pub(crate) fn has(&self, etag: &ETag) -> bool {
        self.0.as_ref().is_some_and(|condition| !condition.precondition_passes(etag))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ReadCondition {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        if parts.headers.contains_key(header::IF_MATCH) {
            let error = FieldError::new(FieldErrorCode::Unknown, "has no meaning for a read; use If-None-Match");
            return Err(ApiError::invalid_header(error.in_parameter("if-match")));
        }
        Ok(Self(condition(parts, state).await?))
    }
}

impl IntoParams for ReadCondition {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![if_none_match()]
    }
}

/// `If-Match` and `If-None-Match` of a write, to be checked in its transaction.
pub(crate) struct WriteCondition(pub(crate) Precondition);

impl<S: Send + Sync> FromRequestParts<S> for WriteCondition {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // The library only checks the syntax: it does not tell which tags there are.
        let if_match = condition::<IfMatch, S>(parts, state).await?.map(|_| versions(parts, &header::IF_MATCH));
        let if_none_match =
            condition::<IfNoneMatch, S>(parts, state).await?.map(|_| versions(parts, &header::IF_NONE_MATCH));
        Ok(Self(Precondition { if_match, if_none_match }))
    }
}

impl IntoParams for WriteCondition {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "Proceed only if the record has one of these versions, or with `*` if it exists.";
        vec![condition_parameter(&header::IF_MATCH, description), if_none_match()]
    }
}

/// The versions of a condition that was checked. A weak tag never satisfies `If-Match` (RFC 9110), and a tag that is no version
/// matches nothing.
fn versions(parts: &Parts, name: &HeaderName) -> VersionSet {
    let lines = parts.headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let tags: Vec<&str> = lines.flat_map(|line| line.split(',')).map(|tag| tag.trim_matches(' ')).collect();
    if tags == ["*"] {
        return VersionSet::Any;
    }
    let sequence = |tag: &&str| {
        let (is_weak, opaque) = tag.strip_prefix("W/").map_or((false, *tag), |opaque| (true, opaque));
        let text = opaque.trim_matches('"');
        let sequence: i64 = text.parse().ok()?;
        (sequence.to_string() == text && !(is_weak && name == header::IF_MATCH)).then_some(sequence)
    };
    VersionSet::OneOf(tags.iter().filter_map(sequence).collect())
}
