//! The bodies of requests: one record, or a patch.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody as _},
    extract::{FromRequest, Request},
    http::{header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use callhistory_model::{
    CallInput, CallPatch, FieldError, FieldErrorCode, FieldErrors, Handling, ProblemCode, WorkspaceId,
};
use callhistory_store::{CallWrite, Permit, SentDocument};
use http_body_util::BodyExt as _;
use mime::Mime;

use super::prefer::PreferredHandling;
use crate::{auth::caller::workspace, error::ApiError, headers::single, state::AppState};

/// How long a body of one record may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a rejected body is still read, in bytes, and for how long.
const MIN_DISCARDED_BYTES: usize = 8 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// What is reserved at first for a body of unknown length, in bytes.
const FIRST_RESERVED_BYTES: usize = 1024 * 1024;
/// Bodies from this size on are parsed on blocking threads, in bytes: that takes milliseconds.
const LARGE_BYTES: usize = 256 * 1024;

/// A record as the caller writes it.
pub(crate) struct CallInputBody {
    pub(crate) write: CallWrite,
    /// The share of the memory budget, until the record is written.
    pub(crate) permit: BodyPermit,
}

impl FromRequest<Arc<AppState>> for CallInputBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<AppState>) -> Result<Self, ApiError> {
        let handling = PreferredHandling::of(request.headers()).or(Handling::Strict);
        let (mut sent, permit) = record_body(request, state, "application/json").await?;
        let json = sent.body.clone();
        let parsed = parse(json, move |json| CallInput::parse(json, handling)).await?;
        sent.is_changed = parsed.is_changed;
        sent.warnings = parsed.warnings;
        Ok(Self { write: CallWrite { input: parsed.input, handling, sent: Some(sent) }, permit })
    }
}

/// A change of a record.
pub(crate) struct PatchBody {
    pub(crate) patch: CallPatch,
    pub(crate) handling: Handling,
    pub(crate) sent: SentDocument,
    /// The share of the memory budget, until the record is written.
    pub(crate) permit: BodyPermit,
}

impl FromRequest<Arc<AppState>> for PatchBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<AppState>) -> Result<Self, ApiError> {
        let handling = PreferredHandling::of(request.headers()).or(Handling::Strict);
        let (sent, permit) = record_body(request, state, "application/merge-patch+json").await?;
        let json = sent.body.clone();
        let patch = parse(json, move |json| CallPatch::parse(json, handling)).await?;
        Ok(Self { patch, handling, sent, permit })
    }
}

/// Parses a document of a record.
async fn parse<T: Send + 'static>(
    json: Bytes,
    parse: impl Fn(&[u8]) -> Result<T, FieldErrors> + Send + 'static,
) -> Result<T, ApiError> {
    let is_large = json.len() >= LARGE_BYTES;
    let parse = move || parse(&json);
    let parsed = if is_large {
        tokio::task::spawn_blocking(parse).await.map_err(|error| ApiError::internal(&error))?
    } else {
        parse()
    };
    parsed.map_err(ApiError::invalid_record)
}

fn refuse_media_type<T>(detail: &str) -> Result<T, ApiError> {
    Err(ApiError::new(ProblemCode::UnsupportedMediaType, detail))
}

/// The media type of the body.
pub(super) fn content_type(parts: &Parts) -> Result<Option<Mime>, ApiError> {
    let Some(value) = single(parts, &header::CONTENT_TYPE)? else { return Ok(None) };
    let mime = value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        ApiError::invalid_header(
            FieldError::new(FieldErrorCode::Malformed, "is malformed").in_parameter("content-type"),
        )
    })?;
    Ok(Some(mime))
}

/// The media type of the body without its parameters, if it is in UTF-8.
fn media_type(parts: &Parts) -> Result<Option<String>, ApiError> {
    let Some(mime) = content_type(parts)? else { return Ok(None) };
    let charset =
        mime.params().find(|(name, _)| *name == "charset").map(|(_, charset)| charset.as_str().trim_matches('"'));
    let is_utf8 = charset.is_none_or(|name| ["utf-8", "utf8"].iter().any(|utf8| name.eq_ignore_ascii_case(utf8)));
    Ok(is_utf8.then(|| mime.essence_str().to_owned()))
}

/// Whether a media type is JSON: `application/json`, or one that ends in `+json`.
fn is_json(media_type: &str) -> bool {
    let subtype = media_type.strip_prefix("application/");
    subtype
        .is_some_and(|subtype| subtype == "json" || subtype.strip_suffix("+json").is_some_and(|name| !name.is_empty()))
}

/// The shares of the memory budget that a body holds.
#[must_use]
pub(crate) struct BodyPermit {
    _permits: Vec<Permit>,
}

/// The body of one record, in a media type of JSON, with its share of the budget. An error names the media type of the operation.
async fn record_body(
    request: Request,
    app: &Arc<AppState>,
    own_media_type: &str,
) -> Result<(SentDocument, BodyPermit), ApiError> {
    let (parts, body) = request.into_parts();
    if parts.headers.contains_key(header::CONTENT_ENCODING) {
        return refuse_media_type("The body must not be compressed: Content-Encoding is not accepted here.");
    }
    if !media_type(&parts)?.is_some_and(|name| is_json(&name)) {
        return Err(ApiError::media_type_not_accepted(own_media_type));
    }
    let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let workspace = workspace(&parts)?;
    let (body, permit) = match tokio::time::timeout(BODY_TIMEOUT, read_body(body, app, &workspace)).await {
        Ok(read) => read?,
        Err(_) => return Err(ApiError::body_too_slow()),
    };
    let sent = SentDocument {
        body,
        media_type: media_type.to_owned(),
        source: "api".to_owned(),
        warnings: Vec::new(),
        is_changed: false,
    };
    Ok((sent, permit))
}

/// Reads some of a body that is refused: a connection that is closed over unread bytes is reset, and the response is
/// lost with it.
async fn drain(mut body: Body, max_bytes: usize) {
    let mut left = max_bytes;
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

async fn read_body(mut body: Body, app: &AppState, workspace: &WorkspaceId) -> Result<(Bytes, BodyPermit), ApiError> {
    let max_bytes = app.max_record_bytes;
    if body.size_hint().lower() > max_bytes as u64 {
        drain(body, MIN_DISCARDED_BYTES.max(2 * max_bytes)).await;
        return Err(ApiError::body_too_large(max_bytes));
    }
    let announced = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let mut reserved = announced.unwrap_or(FIRST_RESERVED_BYTES).min(max_bytes);
    let mut permits: Vec<_> = app.body_budget.reserve(workspace, reserved).await?.into_iter().collect();
    // Most bodies are one frame, which is not copied.
    let (mut first, mut bytes) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::new(ProblemCode::InvalidRequest, "The body ended early."))?;
        let Ok(data) = frame.into_data() else { continue };
        let total = first.len() + bytes.len() + data.len();
        if total > max_bytes {
            return Err(ApiError::body_too_large(max_bytes));
        }
        while total > reserved {
            let more = reserved.min(max_bytes - reserved);
            permits.push(app.body_budget.try_reserve(workspace, more)?);
            reserved += more;
        }
        if first.is_empty() && bytes.is_empty() {
            first = data;
            continue;
        }
        if bytes.is_empty() {
            bytes.reserve(announced.unwrap_or(total));
            bytes.extend_from_slice(&std::mem::take(&mut first));
        }
        bytes.extend_from_slice(&data);
    }
    let body = if bytes.is_empty() { first } else { bytes.freeze() };
    Ok((body, BodyPermit { _permits: permits }))
}
