//! Extractors: path, query, headers and body, parsed once and strictly.

mod body;
mod conditional;
mod import_body;
mod prefer;

use axum::{
    RequestPartsExt as _,
    extract::{FromRequestParts, RawPathParams},
    http::{HeaderName, header, request::Parts},
};
use callhistory_model::{
    CallId, ChangesQuery, ExportQuery, FieldError, FieldErrorCode, FieldErrors, ImportQuery, ListQuery, MetricsQuery,
    SearchQuery, UpdateQuery,
};
use callhistory_store::IdempotencyKey;
use serde_json::json;
use utoipa::{
    IntoParams, PartialSchema as _,
    openapi::path::{Parameter, ParameterIn},
};

pub(crate) use self::{
    body::{CallInputBody, PatchBody},
    conditional::{ReadCondition, TagScope, WriteCondition},
    import_body::ImportBody,
    prefer::PreferredHandling,
};
use crate::{
    error::ApiError,
    headers::{CURSOR, cursor_schema, parameter, single, weight},
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The path of the collection of records, up to the ID of one.
const CALLS: &str = "/v2/api/call-history/";

/// The record that the path names, after percent-decoding.
pub(crate) struct CallPath(pub(crate) CallId);

impl<S: Send + Sync> FromRequestParts<S> for CallPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let refuse = |error: FieldError| ApiError::invalid_parameters(vec![error.in_parameter("callHistoryId")]);
        // The first segment after the collection, which is the id itself unless something in it is encoded.
        let segment = parts.uri.path().strip_prefix(CALLS).and_then(|path| path.split('/').next()).unwrap_or_default();
        if !segment.contains('%') {
            return Ok(Self(segment.parse().map_err(refuse)?));
        }
        let parameters = parts
            .extract_with_state::<RawPathParams, S>(state)
            .await
            .map_err(|_| refuse(FieldError::new(FieldErrorCode::InvalidId, "is not UTF-8 after percent-decoding")))?;
        let text = parameters.iter().next().map_or("", |(_, text)| text);
        Ok(Self(text.parse().map_err(refuse)?))
    }
}

/// The number of an original, which is the last segment of the path.
pub(crate) struct OriginalPath(pub(crate) u32);

impl<S: Send + Sync> FromRequestParts<S> for OriginalPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let segment = parts.uri.path().rsplit('/').next().unwrap_or_default();
        // Each original has one URL: no sign, no leading zero.
        let is_plain = segment.bytes().all(|byte| byte.is_ascii_digit()) && !segment.starts_with('0');
        let number: Option<u32> = segment.parse().ok();
        let number = number.filter(|number| is_plain && *number <= i32::MAX.unsigned_abs());
        number.map(Self).ok_or_else(|| {
            let detail = "is not the number of an original: an integer from 1 to 2147483647";
            let error = FieldError::new(FieldErrorCode::OutOfRange, detail).in_parameter("originalNumber");
            ApiError::invalid_parameters(vec![error])
        })
    }
}

impl IntoParams for OriginalPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let members = json!({
            "schema": { "type": "integer", "format": "int32", "minimum": 1, "maximum": i32::MAX },
            "description": "Number of the original in its record, as `list_originals` returns it.",
            "example": 1,
        });
        vec![parameter(ParameterIn::Path, "originalNumber", &members).build()]
    }
}

impl IntoParams for CallPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let members = json!({
            "schema": CallId::schema(),
            "description": "ID of the call record: 1 to 256 bytes of UTF-8, percent-encoded, without blanks, control \
                characters and `/ \\ ? # % \"`; not `.` or `..`, nor a word of another route: `batch`, `changes`, \
                `export`, `metrics` and `search`.",
            "example": "1234567890abcdef",
        });
        vec![parameter(ParameterIn::Path, "callHistoryId", &members).build()]
    }
}

/// A query string without parameters, on routes that have none: nothing is ignored silently.
pub(crate) struct NoQuery;

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(query) = parts.uri.query() else { return Ok(Self) };
        let names = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split('=').next().unwrap_or(pair));
        let unknown = |name: &str| {
            FieldError::new(FieldErrorCode::Unknown, "is unknown; this route has no query parameters")
                .in_parameter(name)
        };
        let errors: Vec<_> = names.take(100).map(unknown).collect();
        if errors.is_empty() { Ok(Self) } else { Err(ApiError::invalid_parameters(errors)) }
    }
}

/// The parameters of a route that has some.
pub(crate) struct Parameters<T>(pub(crate) T);

/// Parameters that are read from a query string.
pub(crate) trait FromQuery: Sized {
    fn from_query(query: &str) -> Result<Self, FieldErrors>;
}

macro_rules! from_query {
    ($($type:ident),+) => {
        $(impl FromQuery for $type {
            fn from_query(query: &str) -> Result<Self, FieldErrors> {
                $type::from_query(query)
            }
        })+
    };
}

from_query!(ListQuery, SearchQuery, MetricsQuery, ExportQuery, ChangesQuery, UpdateQuery, ImportQuery);

impl<S: Sync, T: FromQuery> FromRequestParts<S> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let parameters = T::from_query(parts.uri.query().unwrap_or(""));
        parameters.map(Self).map_err(|FieldErrors(errors)| ApiError::invalid_parameters(errors))
    }
}

/// Whether the changes are requested as an event stream, and the event after which it resumes.
pub(crate) struct EventStream {
    pub(crate) wanted: bool,
    pub(crate) last_event: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for EventStream {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let accepts = |media_type| weight(&parts.headers, &header::ACCEPT, media_type).unwrap_or(0.0);
        // Generated clients name every media type of the operation, and wait for the end of the body.
        let wanted = accepts("text/event-stream") > accepts("application/json");
        let last_event = single(parts, &LAST_EVENT_ID)?.map(|value| value.to_str().map(str::to_owned)).transpose();
        let malformed = |detail| {
            ApiError::invalid_header(FieldError::new(FieldErrorCode::Malformed, detail).in_parameter("last-event-id"))
        };
        let last_event = last_event.map_err(|_| malformed("has bytes that are not visible ASCII characters"))?;
        if last_event.is_some() && !wanted {
            return Err(malformed("has a meaning only with Accept: text/event-stream; use the parameter cursor"));
        }
        Ok(Self { wanted, last_event: last_event.filter(|id| !id.is_empty()) })
    }
}

impl IntoParams for EventStream {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let members = json!({
            "schema": cursor_schema(),
            "description": "`id` of the last event that was received; overrides `cursor`. Only with `Accept: \
                text/event-stream`.",
            "example": CURSOR,
        });
        vec![parameter(ParameterIn::Header, "Last-Event-ID", &members).build()]
    }
}

/// The key under which a creation may be repeated.
pub(crate) struct IdempotencyKeyHeader(pub(crate) Option<IdempotencyKey>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKeyHeader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        if let Some(name) =
            [header::IF_MATCH, header::IF_NONE_MATCH].iter().find(|name| parts.headers.contains_key(*name))
        {
            let error = FieldError::new(
                FieldErrorCode::Unknown,
                "has no meaning for a creation; PUT a record under its id instead",
            );
            return Err(ApiError::invalid_header(error.in_parameter(name.as_str())));
        }
        let Some(value) = single(parts, &IDEMPOTENCY_KEY)? else { return Ok(Self(None)) };
        let key = value.as_bytes();
        if !(1..=255).contains(&key.len()) || !key.iter().all(u8::is_ascii_graphic) {
            let error =
                FieldError::new(FieldErrorCode::Malformed, "is not 1 to 255 visible ASCII characters without spaces");
            return Err(ApiError::invalid_header(error.in_parameter(IDEMPOTENCY_KEY.as_str())));
        }
        Ok(Self(Some(IdempotencyKey(String::from_utf8_lossy(key).into_owned()))))
    }
}

impl IntoParams for IdempotencyKeyHeader {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let members = json!({
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
            "description": "Key that the client generates for this creation: 1 to 255 visible ASCII characters.",
            "example": "order-4711",
        });
        vec![parameter(ParameterIn::Header, "Idempotency-Key", &members).build()]
    }
}
