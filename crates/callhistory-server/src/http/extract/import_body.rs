//! The body of an import.

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderValue, header},
};
use callhistory_model::ProblemCode;
use serde_json::json;
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use super::body::content_type;
use crate::{
    error::ApiError,
    headers::{parameter, single},
    import::format::{CHARSETS, ImportFormat},
};

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
        let coding = single(&parts, &header::CONTENT_ENCODING)?.map(HeaderValue::as_bytes).unwrap_or(b"identity");
        let is = |name: &[u8]| coding.eq_ignore_ascii_case(name);
        let gzip = is(b"gzip") || is(b"x-gzip");
        if !gzip && !is(b"identity") {
            return refuse("The Content-Encoding of an import is gzip or identity.");
        }
        let media_type = content_type(&parts)?;
        let charset = media_type.as_ref().and_then(|media_type| media_type.get_param("charset"));
        if charset.is_some_and(|charset| !CHARSETS.iter().any(|known| charset == *known)) {
            return refuse("The charset of an import is utf-8, or utf-16 with a byte order mark.");
        }
        let Some(format) = media_type.as_ref().and_then(ImportFormat::of) else {
            return refuse(
                "The body must be sent as content-type: application/x-ndjson, application/json or text/csv. JSON is one \
                 record on each line, an array, or a page such as {\"calls\": […]}; the first line of CSV names the \
                 members.",
            );
        };
        Ok(Self { format, gzip, body })
    }
}

impl IntoParams for ImportBody {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let members = json!({
            "schema": { "type": "string", "enum": ["gzip", "identity", "x-gzip"] },
            "description": "Compression of the body.",
            "example": "gzip",
        });
        vec![parameter(ParameterIn::Header, header::CONTENT_ENCODING.as_str(), &members).build()]
    }
}

fn refuse<T>(detail: &str) -> Result<T, ApiError> {
    Err(ApiError::new(ProblemCode::UnsupportedMediaType, detail))
}
