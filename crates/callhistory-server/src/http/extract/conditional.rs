//! The conditions of a request: `If-Match` and `If-None-Match`.

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, header, request::Parts},
};
use bytes::Bytes;
use callhistory_model::{FieldError, FieldErrorCode, WorkspaceId};
use callhistory_store::{Epoch, Precondition, VersionSet};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{
    auth::grant::Grant,
    error::ApiError,
    headers::{ETAG, parameter},
    http::compression::plain_tag,
    ids::push_hex,
    state::AppState,
};

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
    Err(invalid(FieldErrorCode::Malformed, "is malformed; an entity tag is in double quotes, as an ETag has it"))
}

/// A header of entity tags in the contract.
fn condition_parameter(name: &str, description: &str) -> Parameter {
    let members = json!({
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_CONDITION_BYTES,
            "pattern": r#"^(\*|(W/)?"[!#-+.-~-]*"( *, *(W/)?"[!#-+.-~-]*")*)$"#,
        },
        "description": description,
        "example": ETAG,
    });
    parameter(ParameterIn::Header, name, &members).build()
}

fn if_none_match() -> Parameter {
    let description = "Proceed only if the record has none of these versions, or with `*` if it does not exist. \
        Otherwise a read returns 304, a write 412.";
    condition_parameter("If-None-Match", description)
}

/// What the entity tags of a caller name besides the version of a record: the epoch of the database, the workspace, and whether
/// phone numbers are masked. One tag never names two representations of a URL, whichever cache compares it.
pub(crate) struct TagScope([u8; 8]);

impl TagScope {
    pub(crate) fn of(app: &AppState, workspace: &WorkspaceId, grant: &Grant) -> Self {
        Self::new(app.store.epoch(), workspace, !grant.sees_phone_numbers())
    }

    fn new(epoch: Epoch, workspace: &WorkspaceId, is_masked: bool) -> Self {
        let workspace = workspace.as_str().as_bytes();
        let digest = Sha256::new_with_prefix(epoch.bytes())
            .chain_update((workspace.len() as u64).to_be_bytes())
            .chain_update(workspace)
            .chain_update([u8::from(is_masked)])
            .finalize();
        let mut scope = [0; 8];
        scope.copy_from_slice(&digest[..8]);
        Self(scope)
    }

    /// The version of a record as an entity tag: the sequence of its last change, and the scope.
    pub(crate) fn etag(&self, sequence: i64) -> HeaderValue {
        // Without `format!`: each read of a record has a tag.
        let mut tag = String::with_capacity(40);
        tag.push('"');
        tag.push_str(itoa::Buffer::new().format(sequence));
        tag.push('-');
        push_hex(&mut tag, &self.0);
        tag.push('"');
        HeaderValue::from_maybe_shared(Bytes::from(tag)).unwrap_or(HeaderValue::from_static("*"))
    }

    /// The version that an entity tag of this scope names, compressed or not.
    fn version(&self, tag: &str) -> Option<i64> {
        let tag = plain_tag(opaque(tag));
        let (number, _) = tag.trim_matches('"').split_once('-')?;
        let sequence = number.parse().ok()?;
        (self.etag(sequence).as_bytes() == tag.as_bytes()).then_some(sequence)
    }
}

/// The entity tags that a reader has already.
pub(crate) struct ReadCondition(Vec<String>);

impl ReadCondition {
    /// The tag by which the reader knows the representation with this one, compressed or not.
    pub(crate) fn known(&self, etag: &HeaderValue) -> Option<HeaderValue> {
        let known =
            self.0.iter().find(|known| *known == "*" || plain_tag(opaque(known)).as_bytes() == etag.as_bytes())?;
        // The tag selects what a cache has stored.
        Some(HeaderValue::from_str(opaque(known)).ok().filter(|_| known != "*").unwrap_or_else(|| etag.clone()))
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

/// `If-Match` and `If-None-Match` of a write.
pub(crate) struct WriteCondition {
    if_match: Option<Vec<String>>,
    if_none_match: Option<Vec<String>>,
}

impl WriteCondition {
    /// What the transaction of the write checks. A writer may have read either representation of the record.
    pub(crate) fn precondition(&self, app: &AppState, workspace: &WorkspaceId) -> Precondition {
        let versions = |tags: &Vec<String>| {
            if tags == &["*"] {
                return VersionSet::Any;
            }
            let scopes = [false, true].map(|is_masked| TagScope::new(app.store.epoch(), workspace, is_masked));
            // A tag of anything else matches nothing.
            let version = |tag: &String| scopes.iter().find_map(|scope| scope.version(tag));
            VersionSet::OneOf(tags.iter().filter_map(version).collect())
        };
        Precondition {
            if_match: self.if_match.as_ref().map(versions),
            if_none_match: self.if_none_match.as_ref().map(versions),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for WriteCondition {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let own = |tags: Vec<&str>| tags.into_iter().map(str::to_owned).collect();
        let if_match = entity_tags(parts, &header::IF_MATCH)?.map(|mut tags| {
            // A weak tag never satisfies `If-Match` (RFC 9110).
            tags.retain(|tag| !tag.starts_with("W/"));
            own(tags)
        });
        Ok(Self { if_match, if_none_match: entity_tags(parts, &header::IF_NONE_MATCH)?.map(own) })
    }
}

impl IntoParams for WriteCondition {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "Proceed only if the record has one of these versions, or with `*` if it exists.";
        vec![condition_parameter("If-Match", description), if_none_match()]
    }
}
