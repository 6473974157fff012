//! Extractors: path, query, headers and body, parsed once and strictly.

use std::{sync::Arc, time::Duration};

use axum::{
    RequestPartsExt as _,
    body::{Body, HttpBody as _},
    extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, RawPathParams, Request},
    http::{HeaderName, HeaderValue, header, request::Parts},
};
use axum_extra::{
    TypedHeader,
    headers::{ContentType, ETag, Header, IfMatch, IfNoneMatch, Mime},
};
use bytes::Bytes;
use callhistory_model::{
    CallId, CallInput, CallPatch, CallRecord, ChangesQuery, ExportQuery, FieldError, FieldErrorCode, FieldErrors,
    ListQuery, MetricsQuery, ProblemCode,
};
use callhistory_store::{IdempotencyKey, Precondition, VersionSet};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::OwnedSemaphorePermit;

use crate::{error::ApiError, headers::single, import::format::ImportFormat, state::AppState};

/// The largest body of one record, in bytes.
pub(crate) const MAX_RECORD_BYTES: usize = CallRecord::MAX_BYTES;
/// How long a body of one record may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The entity tags of one condition together.
const MAX_CONDITION_BYTES: usize = 8192;
/// How much of a refused body is still read, and for how long.
const MAX_DISCARDED_BYTES: usize = 8 * MAX_RECORD_BYTES;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The record that the path names, after percent-decoding.
pub(crate) struct CallPath(pub(crate) CallId);

impl<S: Send + Sync> FromRequestParts<S> for CallPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let refuse = |error: FieldError| ApiError::invalid_parameters(vec![error.in_parameter("callHistoryId")]);
        // The last segment of the path, which is the id itself unless something in it is encoded.
        let segment = parts.uri.path().rsplit('/').next().unwrap_or_default();
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

from_query!(ListQuery, MetricsQuery, ExportQuery, ChangesQuery);

impl<S: Sync, T: FromQuery> FromRequestParts<S> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let parameters = T::from_query(parts.uri.query().unwrap_or(""));
        parameters.map(Self).map_err(|FieldErrors(errors)| ApiError::invalid_parameters(errors))
    }
}

/// Whether changes are requested as an event stream, and the event after which it resumes.
pub(crate) struct Stream {
    pub(crate) wanted: bool,
    pub(crate) last_event: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Stream {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let accepts = parts.headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
        let wanted = accepts.flat_map(|line| line.split(',')).any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_stream = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("text/event-stream"));
            // A weight of nothing says that it is not accepted.
            is_stream && !parts.any(|part| part.strip_prefix("q=").and_then(|weight| weight.parse().ok()) == Some(0.0))
        });
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

/// A header in its typed form, if it is there.
async fn typed<H: Header + 'static, S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Option<H>, ApiError> {
    // An absent list header would decode as an empty list, which is another condition than none.
    if !parts.headers.contains_key(H::name()) {
        return Ok(None);
    }
    let header = <TypedHeader<H> as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await;
    header.map(|header| header.map(|TypedHeader(header)| header)).map_err(|_| {
        let error = FieldError::new(FieldErrorCode::Malformed, "is malformed");
        ApiError::invalid_header(error.in_parameter(H::name().as_str()))
    })
}

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

/// A record as the caller writes it.
pub(crate) struct CallInputBody(pub(crate) CallInput);

impl FromRequest<Arc<AppState>> for CallInputBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<AppState>) -> Result<Self, ApiError> {
        let (json, _permit) = record_body(request, state, &["application/json"]).await?;
        CallInput::from_json(&json).map(Self).map_err(ApiError::invalid_record)
    }
}

/// A change of a record.
pub(crate) struct PatchBody(pub(crate) CallPatch);

impl FromRequest<Arc<AppState>> for PatchBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<AppState>) -> Result<Self, ApiError> {
        let accepted = ["application/merge-patch+json", "application/json"];
        let (json, _permit) = record_body(request, state, &accepted).await?;
        CallPatch::from_json(&json).map(Self).map_err(ApiError::invalid_record)
    }
}

/// The body of an import, unread.
pub(crate) struct ImportBody {
    pub(crate) format: ImportFormat,
    pub(crate) gzip: bool,
    pub(crate) body: Body,
}

impl<S: Send + Sync> FromRequest<S> for ImportBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let gzip = match single(&parts, &header::CONTENT_ENCODING)?.map(HeaderValue::as_bytes) {
            None => false,
            Some(coding) if coding.eq_ignore_ascii_case(b"gzip") => true,
            Some(_) => return refuse_media_type("The only Content-Encoding of an import is gzip."),
        };
        let format = match media_type(&mut parts, state).await?.as_deref() {
            Some("application/x-ndjson") => ImportFormat::Lines,
            Some("application/json") => ImportFormat::Array,
            _ => {
                return refuse_media_type(
                    "The body must be sent as content-type: application/x-ndjson, one record on each line, or as \
                     application/json, an array of records; in UTF-8.",
                );
            }
        };
        Ok(Self { format, gzip, body })
    }
}

fn refuse_media_type<T>(detail: &str) -> Result<T, ApiError> {
    Err(ApiError::new(ProblemCode::UnsupportedMediaType, detail))
}

/// The media type of the body without its parameters, if it is in UTF-8.
async fn media_type<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Option<String>, ApiError> {
    single(parts, &header::CONTENT_TYPE)?;
    let media_type: Option<ContentType> = typed(parts, state).await?;
    let utf8 = |mime: &Mime| {
        mime.params().all(|(name, value)| name == "charset" && value.as_str().eq_ignore_ascii_case("utf-8"))
    };
    Ok(media_type.map(Mime::from).filter(utf8).map(|mime| mime.essence_str().to_owned()))
}

/// The body of one record, in one of the media types that are accepted for it, with its share of the budget.
async fn record_body(
    request: Request,
    app: &Arc<AppState>,
    accepted: &[&str],
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ApiError> {
    let (mut parts, body) = request.into_parts();
    if parts.headers.contains_key(header::CONTENT_ENCODING) {
        return refuse_media_type("The body must not be compressed: Content-Encoding is not accepted here.");
    }
    let media_type = media_type(&mut parts, app).await?;
    if !media_type.is_some_and(|name| accepted.contains(&name.as_str())) {
        return Err(ApiError::media_type_not_accepted(accepted));
    }
    let announced = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
    let permit = app.body_budget.reserve(announced.unwrap_or(MAX_RECORD_BYTES).min(MAX_RECORD_BYTES)).await?;
    Ok((read_body(body).await?, permit))
}

/// Reads some of a body that is refused: a connection that is closed over unread bytes is reset, and the response is
/// lost with it.
async fn drain(mut body: Body) {
    let mut left = MAX_DISCARDED_BYTES;
    let drain = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // The response is the same however this ends.
    drop(tokio::time::timeout(DISCARD_TIMEOUT, drain).await);
}

async fn read_body(body: Body) -> Result<Bytes, ApiError> {
    if body.size_hint().lower() > MAX_RECORD_BYTES as u64 {
        drain(body).await;
        return Err(ApiError::body_too_large());
    }
    let collect = Limited::new(body, MAX_RECORD_BYTES).collect();
    match tokio::time::timeout(BODY_TIMEOUT, collect).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::body_too_large()),
        Ok(Err(_)) => Err(ApiError::new(ProblemCode::InvalidRequest, "The body ended early.")),
        Err(_) => Err(ApiError::body_too_slow()),
    }
}
