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
use serde_json::json;
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use super::prefer::PreferredHandling;
use crate::{
    auth::caller::workspace,
    error::ApiError,
    gunzip::{GZIP_STEP, Gunzip},
    headers::{parameter, single},
    state::AppState,
};

/// How long a body of one record may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a rejected body is still read, in bytes, and for how long.
const MIN_DISCARDED_BYTES: usize = 8 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// What is reserved at first for a body of unknown length, in bytes.
const FIRST_RESERVED_BYTES: usize = 1024 * 1024;
/// What is reserved at first for a compressed body: this number of times its size, and at least these bytes.
const USUAL_RATIO: usize = 8;
const MIN_GZIP_BYTES: usize = 16 * 1024;
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

impl IntoParams for CallInputBody {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        content_encoding()
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

impl IntoParams for PatchBody {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        content_encoding()
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

/// The media type of the body.
pub(super) fn content_type(parts: &Parts) -> Result<Option<Mime>, ApiError> {
    let Some(value) = single(parts, &header::CONTENT_TYPE)? else { return Ok(None) };
    // Some clients end the list of parameters with a semicolon.
    let text = value.to_str().ok().map(|text| text.trim_end_matches([';', ' ']));
    let mime = text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        ApiError::invalid_header(
            FieldError::new(FieldErrorCode::Malformed, "is malformed").in_parameter("content-type"),
        )
    })?;
    Ok(Some(mime))
}

/// Whether the body is compressed with gzip.
pub(super) fn is_gzip(parts: &Parts) -> Result<bool, ApiError> {
    let Some(coding) = single(parts, &header::CONTENT_ENCODING)? else { return Ok(false) };
    let is = |name: &str| coding.as_bytes().eq_ignore_ascii_case(name.as_bytes());
    match is("gzip") || is("x-gzip") {
        false if !is("identity") => Err(ApiError::content_coding_not_accepted()),
        is_gzip => Ok(is_gzip),
    }
}

/// `Content-Encoding` in the contract.
pub(super) fn content_encoding() -> Vec<Parameter> {
    let members = json!({
        "schema": { "type": "string", "enum": ["gzip", "identity", "x-gzip"] },
        "description": "Compression of the body.",
        "example": "gzip",
    });
    vec![parameter(ParameterIn::Header, "Content-Encoding", &members).build()]
}

/// Refuses a body of one record that is not JSON in UTF-8. One without a media type is parsed as JSON, which says what is wrong with
/// anything else.
fn check_media_type(parts: &Parts, own: &str) -> Result<(), ApiError> {
    let Some(mime) = content_type(parts)? else { return Ok(()) };
    let charset = mime.get_param(mime::CHARSET).map(|charset| charset.as_str().trim_matches('"').to_ascii_lowercase());
    let is_json = match (mime.type_(), mime.subtype(), mime.suffix()) {
        (mime::APPLICATION | mime::TEXT, mime::JSON, None) => true,
        (mime::APPLICATION, _, suffix) => suffix == Some(mime::JSON),
        _ => false,
    };
    if !is_json {
        return Err(ApiError::media_type_not_accepted(own));
    }
    match charset.as_deref() {
        None | Some("utf-8" | "utf8" | "us-ascii" | "ascii") => Ok(()),
        Some(_) => Err(ApiError::charset_not_accepted()),
    }
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
    let gunzip = is_gzip(&parts)?.then(Gunzip::new);
    check_media_type(&parts, own_media_type)?;
    let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let workspace = workspace(&parts)?;
    let (body, permit) = match tokio::time::timeout(BODY_TIMEOUT, read_body(body, gunzip, app, &workspace)).await {
        Ok(read) => read?,
        Err(_) => return Err(ApiError::body_too_slow()),
    };
    let sent = SentDocument {
        body,
        media_type: media_type.unwrap_or(own_media_type).to_owned(),
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

/// A body while it arrives, with its shares of the budget.
struct ReceivedBody<'a> {
    app: &'a AppState,
    workspace: &'a WorkspaceId,
    /// Most bodies are one frame, which is not copied.
    first: Bytes,
    rest: BytesMut,
    /// The whole size, if it is known.
    announced: Option<usize>,
    reserved: usize,
    permits: Vec<Permit>,
}

impl ReceivedBody<'_> {
    fn push(&mut self, data: Bytes) -> Result<(), ApiError> {
        let max_bytes = self.app.max_record_bytes;
        let total = self.first.len() + self.rest.len() + data.len();
        if total > max_bytes {
            return Err(ApiError::body_too_large(max_bytes));
        }
        while total > self.reserved {
            let more = self.reserved.min(max_bytes - self.reserved);
            self.permits.push(self.app.body_budget.try_reserve(self.workspace, more)?);
            self.reserved += more;
        }
        if self.first.is_empty() && self.rest.is_empty() {
            self.first = data;
            return Ok(());
        }
        if self.rest.is_empty() {
            self.rest.reserve(self.announced.unwrap_or(total));
            self.rest.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.rest.extend_from_slice(&data);
        Ok(())
    }
}

async fn read_body(
    mut body: Body,
    mut gunzip: Option<Gunzip>,
    app: &AppState,
    workspace: &WorkspaceId,
) -> Result<(Bytes, BodyPermit), ApiError> {
    let max_bytes = app.max_record_bytes;
    if body.size_hint().lower() > max_bytes as u64 {
        drain(body, MIN_DISCARDED_BYTES.max(2 * max_bytes)).await;
        return Err(ApiError::body_too_large(max_bytes));
    }
    let sent = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let (announced, reserved) = match (&gunzip, sent) {
        (None, Some(bytes)) => (sent, bytes),
        (Some(_), Some(bytes)) => (None, (USUAL_RATIO * bytes).max(MIN_GZIP_BYTES)),
        (_, None) => (None, FIRST_RESERVED_BYTES),
    };
    let reserved = reserved.min(max_bytes);
    let permits = app.body_budget.reserve(workspace, reserved).await?.into_iter().collect();
    let mut received =
        ReceivedBody { app, workspace, first: Bytes::new(), rest: BytesMut::new(), announced, reserved, permits };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::new(ProblemCode::InvalidRequest, "The body ended early."))?;
        let Ok(data) = frame.into_data() else { continue };
        let Some(gunzip) = &mut gunzip else {
            received.push(data)?;
            continue;
        };
        for step in data.chunks(GZIP_STEP) {
            let plain = gunzip.push(step)?;
            let is_large = plain.len() >= LARGE_BYTES;
            received.push(plain.into())?;
            if is_large {
                // Decompression takes milliseconds, in which others wait.
                tokio::task::yield_now().await;
            }
        }
    }
    if let Some(gunzip) = gunzip {
        received.push(gunzip.finish()?.into())?;
    }
    let ReceivedBody { first, rest, permits, .. } = received;
    let body = if rest.is_empty() { first } else { rest.freeze() };
    Ok((body, BodyPermit { _permits: permits }))
}
