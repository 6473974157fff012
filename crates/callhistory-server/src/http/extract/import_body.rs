//! The body of an import.

use axum::{
    body::Body,
    extract::{FromRequest, Request},
};
use callhistory_model::ProblemCode;
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use super::body::{content_encoding, content_type, is_gzip};
use crate::{
    error::ApiError,
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
        let gzip = is_gzip(&parts)?;
        let media_type = content_type(&parts)?;
        let charset = media_type.as_ref().and_then(|media_type| media_type.get_param("charset"));
        if charset.is_some_and(|charset| !CHARSETS.iter().any(|known| charset == *known)) {
            return refuse("The charset of an import is utf-8, or utf-16 with a byte order mark.");
        }
        // Without a media type, the first bytes say what it is.
        let Some(format) = media_type.as_ref().map_or(Some(ImportFormat::Detect), ImportFormat::of) else {
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
        content_encoding()
    }
}

fn refuse<T>(detail: &str) -> Result<T, ApiError> {
    Err(ApiError::new(ProblemCode::UnsupportedMediaType, detail))
}
