//! Error responses. Only this file maps errors to statuses.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use callhistory_model::{FieldError, FieldErrorCode, FieldErrors, Problem, ProblemCode};
use callhistory_store::StoreError;

/// Seconds after which a client may retry when the service is not available.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The authentication scheme.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer");
pub(crate) const FAILED: &str = "The service failed; its log has more under the request id.";
pub(crate) const FULL: &str = "The disk is full; this was not written. Reads go on.";
const READ_ONLY: &str = "The disk does not accept writes; this was not written. Reads go on.";
const DAMAGED: &str =
    "The stored data of this are damaged; the operator can restore a backup. Other records are not affected.";
pub(crate) const UNAVAILABLE: &str = "The store cannot do this now; try again.";

/// An error response. Its texts are for the caller; what only the operator may know is logged where the error occurs.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    code: ProblemCode,
    detail: String,
    errors: Vec<FieldError>,
    /// Seconds after which to retry, if known.
    retry_after: Option<u32>,
    /// Whether the encoding of the body is the reason.
    is_coding_refused: bool,
}

impl ApiError {
    pub(crate) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after: None, is_coding_refused: false }
    }

    /// A request beyond a share or a budget. The reason is the label under which it is counted.
    pub(crate) fn refused(reason: &'static str, detail: impl Into<String>) -> Self {
        metrics::counter!("callhistory_refused_total", "reason" => reason).increment(1);
        Self::new(ProblemCode::Unavailable, detail)
    }

    fn with_errors(code: ProblemCode, errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => only.to_string(),
            several => format!("{} errors; see errors.", several.len()),
        };
        Self { errors, ..Self::new(code, detail) }
    }

    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The errors of a body that should be a record.
    pub(crate) fn invalid_record(FieldErrors(errors): FieldErrors) -> Self {
        match errors.as_slice() {
            [FieldError { code: FieldErrorCode::Malformed, pointer: None, detail, .. }] => {
                Self::new(ProblemCode::MalformedJson, format!("The body {detail}."))
            }
            _ => Self::with_errors(ProblemCode::InvalidRecord, errors),
        }
    }

    pub(crate) fn invalid_header(error: FieldError) -> Self {
        Self::with_errors(ProblemCode::InvalidHeader, vec![error])
    }

    pub(crate) fn invalid_parameters(errors: Vec<FieldError>) -> Self {
        Self::with_errors(ProblemCode::InvalidParameter, errors)
    }

    pub(crate) fn call_not_found() -> Self {
        Self::new(ProblemCode::CallNotFound, "There is no call record with this id in this workspace.")
    }

    pub(crate) fn original_not_found() -> Self {
        Self::new(ProblemCode::OriginalNotFound, "The record has no original with this number.")
    }

    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(ProblemCode::Internal, FAILED)
    }

    pub(crate) fn media_type_not_accepted(own: &str) -> Self {
        let detail =
            format!("The body must be JSON, sent as content-type: {own} or another name that ends in json, in UTF-8.");
        Self::new(ProblemCode::UnsupportedMediaType, detail)
    }

    pub(crate) fn charset_not_accepted() -> Self {
        let detail = "The charset of the body must be utf-8. Without the parameter charset and with Prefer: handling=lenient, bytes \
                      that are not UTF-8 are replaced by U+FFFD.";
        Self::new(ProblemCode::UnsupportedMediaType, detail)
    }

    pub(crate) fn content_coding_not_accepted() -> Self {
        let detail = "The Content-Encoding of a body is gzip or identity, one of them and once.";
        Self { is_coding_refused: true, ..Self::new(ProblemCode::UnsupportedMediaType, detail) }
    }

    pub(crate) fn body_too_slow() -> Self {
        Self::new(ProblemCode::RequestTimeout, "The body did not arrive within 30 seconds.")
    }

    pub(crate) fn body_too_large(max_bytes: usize) -> Self {
        let detail = format!("The body has more than {max_bytes} bytes, the max_record_bytes of this server.");
        Self::new(ProblemCode::BodyTooLarge, detail)
    }

    pub(crate) fn head_too_large() -> Self {
        let detail = "The path, the query string and the headers have more than 65,536 bytes or 100 headers together.";
        Self::new(ProblemCode::HeadTooLarge, detail)
    }

    fn status_and_title(&self) -> (StatusCode, &'static str) {
        match &self.code {
            ProblemCode::KeyMissing => (StatusCode::UNAUTHORIZED, "A key is needed"),
            ProblemCode::KeyInvalid => (StatusCode::UNAUTHORIZED, "The key is wrong"),
            ProblemCode::KeyExpired => (StatusCode::UNAUTHORIZED, "The key has expired"),
            ProblemCode::KeyRevoked => (StatusCode::UNAUTHORIZED, "The key has been revoked"),
            ProblemCode::WorkspaceForbidden => (StatusCode::FORBIDDEN, "Workspace not allowed"),
            ProblemCode::InsufficientScope => (StatusCode::FORBIDDEN, "The key does not allow this"),
            ProblemCode::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
            ProblemCode::MalformedJson => (StatusCode::BAD_REQUEST, "The body is not JSON"),
            ProblemCode::InvalidHeader => (StatusCode::BAD_REQUEST, "A header is not valid"),
            ProblemCode::InvalidParameter => (StatusCode::BAD_REQUEST, "A parameter is not valid"),
            ProblemCode::InvalidRequest => (StatusCode::BAD_REQUEST, "The request is not valid"),
            ProblemCode::CallNotFound => (StatusCode::NOT_FOUND, "No such call record"),
            ProblemCode::OriginalNotFound => (StatusCode::NOT_FOUND, "No such original"),
            ProblemCode::RouteNotFound => (StatusCode::NOT_FOUND, "No such route"),
            ProblemCode::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
            ProblemCode::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "The request took too long"),
            ProblemCode::CallDeleted => (StatusCode::CONFLICT, "The record has been deleted"),
            ProblemCode::FinalStatus => (StatusCode::CONFLICT, "The status is final"),
            ProblemCode::CursorExpired => (StatusCode::GONE, "The cursor has expired"),
            ProblemCode::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "The precondition failed"),
            ProblemCode::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            ProblemCode::HeadTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The head of the request is too large")
            }
            ProblemCode::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type"),
            ProblemCode::InvalidRecord => (StatusCode::UNPROCESSABLE_ENTITY, "The record is not valid"),
            ProblemCode::IdempotencyKeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "The idempotency key was reused"),
            ProblemCode::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Not available now"),
            ProblemCode::DataDamaged => (StatusCode::INTERNAL_SERVER_ERROR, "Stored data are damaged"),
            ProblemCode::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, "The disk is full"),
            // The model also has a value for unknown codes, which the service never sends.
            ProblemCode::Internal | _ => (StatusCode::INTERNAL_SERVER_ERROR, "The service failed"),
        }
    }

    /// The body of the response.
    pub(crate) fn problem(self, request_id: &str) -> Problem {
        let (status, title) = self.status_and_title();
        Problem {
            kind: format!("urn:callhistory:problem:{}", self.code),
            title: title.to_owned(),
            status: status.as_u16(),
            code: self.code,
            detail: self.detail,
            request_id: request_id.to_owned(),
            errors: self.errors,
            extra: Vec::new(),
        }
    }

    /// The response, with the ID of its request. Headers that were set before, such as `Allow`, stay.
    pub(crate) fn render(self, mut response: Response, request_id: &str) -> Response {
        let (status, _) = self.status_and_title();
        let (retry_after, is_coding_refused) = (self.retry_after, self.is_coding_refused);
        let problem = self.problem(request_id);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.remove(header::CONTENT_LENGTH);
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        if is_coding_refused {
            // RFC 9110, 12.5.3: in a response, the header names the codings of requests.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, identity"));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response.map(|_| body.into())
    }
}

impl IntoResponse for ApiError {
    /// A response that carries the error to [`ApiError::render`], where the request ID is known.
    fn into_response(self) -> Response {
        let mut response = self.status_and_title().0.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::PreconditionFailed => {
                Self::new(ProblemCode::PreconditionFailed, "The record is not in the state that the request demands.")
            }
            StoreError::IdempotencyKeyReused => Self::new(
                ProblemCode::IdempotencyKeyReused,
                "This Idempotency-Key was used within the last 24 hours with another body.",
            ),
            StoreError::Deleted => Self::new(
                ProblemCode::CallDeleted,
                "The record that this Idempotency-Key created has been deleted; another key creates another record.",
            ),
            StoreError::FinalStatus => Self::new(
                ProblemCode::FinalStatus,
                "The record has a final status, which this write would undo. If you have seen it, name its version with If-Match.",
            ),
            StoreError::Invalid(errors) => Self::invalid_record(errors),
            StoreError::Refused(error) => Self::invalid_parameters(vec![error]),
            StoreError::CursorExpired => Self::new(
                ProblemCode::CursorExpired,
                "The database was restored, or lost commits in a fail-over. Start again without the cursor.",
            ),
            StoreError::Full(reason) => {
                tracing::error!(reason, "the disk is full");
                Self::new(ProblemCode::StorageFull, FULL)
            }
            StoreError::Damaged(reason) => {
                metrics::counter!("callhistory_damage_total", "where" => "response").increment(1);
                tracing::error!(reason, "stored data are damaged; doctor --full lists them");
                Self::new(ProblemCode::DataDamaged, DAMAGED)
            }
            StoreError::ReadOnly(reason) => {
                tracing::error!(reason, "the disk does not accept writes");
                Self::new(ProblemCode::Unavailable, READ_ONLY)
            }
            StoreError::Busy(detail) => Self::new(ProblemCode::Unavailable, detail),
            StoreError::Unavailable(reason) | StoreError::Io(reason) => {
                tracing::error!(reason, "the store is not available");
                Self::new(ProblemCode::Unavailable, UNAVAILABLE)
            }
            StoreError::IdTaken
            | StoreError::ClockBehind(_)
            | StoreError::Aborted(_)
            | StoreError::Open(_)
            | StoreError::Internal(_) => Self::internal(&error),
        }
    }
}

/// A header of every response.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
