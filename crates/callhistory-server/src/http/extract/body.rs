//! The bodies of requests: one record, a patch, or an import.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody as _},
    extract::{FromRequest, Request},
    http::{HeaderValue, header, request::Parts},
};
use bytes::Bytes;
use callhistory_model::{CallInput, CallPatch, CallRecord, FieldError, FieldErrorCode, ProblemCode};
use callhistory_store::Permit;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use mime::Mime;
use serde_json::json;
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{
    auth::caller::workspace,
    error::ApiError,
    headers::{parameter, single},
    import::format::ImportFormat,
    state::AppState,
};

/// The largest body of one record, in bytes.
const MAX_RECORD_BYTES: usize = CallRecord::MAX_BYTES;
/// How long a body of one record may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a rejected body is still read, in bytes, and for how long.
const MAX_DISCARDED_BYTES: usize = 8 * MAX_RECORD_BYTES;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

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

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let gzip = match single(&parts, &header::CONTENT_ENCODING)?.map(HeaderValue::as_bytes) {
            None => false,
            Some(coding) if coding.eq_ignore_ascii_case(b"gzip") => true,
            Some(_) => return refuse_media_type("The only Content-Encoding of an import is gzip."),
        };
        let format = match media_type(&parts)?.as_deref() {
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

impl IntoParams for ImportBody {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let members = json!({
            "schema": { "type": "string", "enum": ["gzip"] },
            "description": "Compression of the body.",
            "example": "gzip",
        });
        vec![parameter(ParameterIn::Header, header::CONTENT_ENCODING.as_str(), &members).build()]
    }
}

fn refuse_media_type<T>(detail: &str) -> Result<T, ApiError> {
    Err(ApiError::new(ProblemCode::UnsupportedMediaType, detail))
}

/// The media type of the body without its parameters, if it is in UTF-8.
fn media_type(parts: &Parts) -> Result<Option<String>, ApiError> {
    let Some(value) = single(parts, &header::CONTENT_TYPE)? else { return Ok(None) };
    let mime: Mime = value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        ApiError::invalid_header(
            FieldError::new(FieldErrorCode::Malformed, "is malformed").in_parameter("content-type"),
        )
    })?;
    let is_utf8 = mime.params().all(|(name, value)| name == "charset" && value.as_str().eq_ignore_ascii_case("utf-8"));
    Ok(is_utf8.then(|| mime.essence_str().to_owned()))
}

/// The body of one record, in one of the media types that are accepted for it, with its share of the budget.
async fn record_body(
    request: Request,
    app: &Arc<AppState>,
    accepted: &[&str],
) -> Result<(Bytes, Option<Permit>), ApiError> {
    let (parts, body) = request.into_parts();
    if parts.headers.contains_key(header::CONTENT_ENCODING) {
        return refuse_media_type("The body must not be compressed: Content-Encoding is not accepted here.");
    }
    let media_type = media_type(&parts)?;
    if !media_type.is_some_and(|name| accepted.contains(&name.as_str())) {
        return Err(ApiError::media_type_not_accepted(accepted));
    }
    let announced = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
    let permit = app
        .body_budget
        .reserve(&workspace(&parts)?, announced.unwrap_or(MAX_RECORD_BYTES).min(MAX_RECORD_BYTES))
        .await?;
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
