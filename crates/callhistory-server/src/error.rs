//! Every error answer of the service, and the one place that chooses its status.

use std::collections::BTreeMap;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use callhistory_model::{CallInput, FieldError, FieldErrorCode, FieldErrors, ListQuery, Problem, ProblemCode};
use callhistory_store::StoreError;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};

use crate::{
    auth::{OTHER_WORKSPACE, WRONG_KEY},
    extract::MAX_RECORD_BYTES,
    rates::{TOO_MANY, refused},
};

/// Seconds after which a client may try again what the service could not do.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// How a caller can say who it is.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer");
const FAILED: &str = "The service failed; its log has more under the request id.";
const FULL: &str = "The disk is full; this was not written. Reads go on.";
const UNAVAILABLE: &str = "The store cannot do this now; try again.";

/// A refusal on its way to the caller. The text of its fields reaches the caller; what only the operator may know is
/// logged where the error arises.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    code: ProblemCode,
    detail: String,
    errors: Vec<FieldError>,
    /// Seconds after which to try again, where that is known.
    retry_after: Option<u32>,
}

impl ApiError {
    pub(crate) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    fn with_faults(code: ProblemCode, errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => only.to_string(),
            several => format!("{} things are wrong; errors lists them.", several.len()),
        };
        Self { code, detail, errors, retry_after: None }
    }

    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The errors of a body that is to be a record.
    pub(crate) fn invalid_record(FieldErrors(errors): FieldErrors) -> Self {
        match errors.as_slice() {
            [FieldError { code: FieldErrorCode::Malformed, detail, .. }] => {
                Self::new(ProblemCode::MalformedJson, format!("The body {detail}."))
            }
            _ => Self::with_faults(ProblemCode::InvalidRecord, errors),
        }
    }

    pub(crate) fn invalid_header(error: FieldError) -> Self {
        Self::with_faults(ProblemCode::InvalidHeader, vec![error])
    }

    pub(crate) fn invalid_parameters(errors: Vec<FieldError>) -> Self {
        Self::with_faults(ProblemCode::InvalidParameter, errors)
    }

    pub(crate) fn call_not_found() -> Self {
        Self::new(ProblemCode::CallNotFound, "There is no call record with this id in this workspace.")
    }

    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(ProblemCode::Internal, FAILED)
    }

    pub(crate) fn media_type_not_accepted(accepted: &[&str]) -> Self {
        let names = accepted.join(" or ");
        let detail = format!("The body must be sent as content-type: {names}, in UTF-8.");
        Self::new(ProblemCode::UnsupportedMediaType, detail)
    }

    pub(crate) fn body_too_slow() -> Self {
        Self::new(ProblemCode::RequestTimeout, "The body did not arrive within 30 seconds.")
    }

    pub(crate) fn body_too_large() -> Self {
        Self::new(ProblemCode::BodyTooLarge, format!("The body has more than {MAX_RECORD_BYTES} bytes."))
    }

    fn status_and_title(&self) -> (StatusCode, &'static str) {
        match &self.code {
            ProblemCode::KeyMissing => (StatusCode::UNAUTHORIZED, "A key is needed"),
            ProblemCode::KeyInvalid => (StatusCode::UNAUTHORIZED, "The key is wrong"),
            ProblemCode::KeyExpired => (StatusCode::UNAUTHORIZED, "The key has expired"),
            ProblemCode::KeyRevoked => (StatusCode::UNAUTHORIZED, "The key has been revoked"),
            ProblemCode::WorkspaceForbidden => (StatusCode::FORBIDDEN, "Another workspace"),
            ProblemCode::InsufficientScope => (StatusCode::FORBIDDEN, "The key does not allow this"),
            ProblemCode::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "Too much in this time"),
            ProblemCode::MalformedJson => (StatusCode::BAD_REQUEST, "The body is not JSON"),
            ProblemCode::InvalidHeader => (StatusCode::BAD_REQUEST, "A header is not valid"),
            ProblemCode::InvalidParameter => (StatusCode::BAD_REQUEST, "A parameter is not valid"),
            ProblemCode::InvalidRequest => (StatusCode::BAD_REQUEST, "The request is not valid"),
            ProblemCode::CallNotFound => (StatusCode::NOT_FOUND, "No such call record"),
            ProblemCode::RouteNotFound => (StatusCode::NOT_FOUND, "No such route"),
            ProblemCode::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
            ProblemCode::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "The request took too long"),
            ProblemCode::CallDeleted => (StatusCode::CONFLICT, "The record has been deleted"),
            ProblemCode::TerminalStatus => (StatusCode::CONFLICT, "The status is final"),
            ProblemCode::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "The precondition failed"),
            ProblemCode::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            ProblemCode::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type"),
            ProblemCode::InvalidRecord => (StatusCode::UNPROCESSABLE_ENTITY, "The record is not valid"),
            ProblemCode::IdempotencyKeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "The idempotency key was reused"),
            ProblemCode::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Not available now"),
            ProblemCode::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, "The disk is full"),
            // The model may know codes that this service never gives.
            ProblemCode::Internal | _ => (StatusCode::INTERNAL_SERVER_ERROR, "The service failed"),
        }
    }

    /// The body of the answer.
    fn problem(self, request_id: &str) -> Problem {
        let (status, title) = self.status_and_title();
        Problem {
            kind: format!("urn:callhistory:problem:{}", self.code),
            title: title.to_owned(),
            status: status.as_u16(),
            code: self.code,
            detail: self.detail,
            request_id: request_id.to_owned(),
            errors: self.errors,
        }
    }

    /// The answer, which carries the id of its request. Headers that were set on the way, such as `Allow`, stay.
    pub(crate) fn render(self, mut response: Response, request_id: &str) -> Response {
        let (status, _) = self.status_and_title();
        let retry_after = self.retry_after;
        let problem = self.problem(request_id);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.remove(header::CONTENT_LENGTH);
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
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
    /// A bare answer that carries the error to [`ApiError::render`], where the request id is known.
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
            StoreError::TerminalStatus => Self::new(
                ProblemCode::TerminalStatus,
                "The record has a final status, which this change would undo. If you have seen it, say so with If-Match.",
            ),
            StoreError::Invalid(errors) => Self::invalid_record(errors),
            StoreError::Refused(error) => Self::invalid_parameters(vec![error]),
            StoreError::Full(reason) => {
                tracing::error!(reason, "the disk is full");
                Self::new(ProblemCode::StorageFull, FULL)
            }
            StoreError::Busy(detail) => Self::new(ProblemCode::Unavailable, detail),
            StoreError::Unavailable(reason) | StoreError::Io(reason) => {
                tracing::error!(reason, "the store is not available");
                Self::new(ProblemCode::Unavailable, UNAVAILABLE)
            }
            StoreError::IdTaken | StoreError::Open(_) | StoreError::Internal(_) => Self::internal(&error),
        }
    }
}

/// The error answers of the contract: one component for each status, to which the operations refer.
const PROBLEM_RESPONSES: &[(StatusCode, &str, &str)] = &[
    (
        StatusCode::BAD_REQUEST,
        "BadRequest",
        "A header, a parameter or the JSON text is not valid; `errors` says which.",
    ),
    (
        StatusCode::UNAUTHORIZED,
        "Unauthorized",
        "Where the service takes keys: there is none, it is wrong, or it is over.",
    ),
    (StatusCode::FORBIDDEN, "Forbidden", "The key is of another workspace, or does not have the scope."),
    (StatusCode::NOT_FOUND, "NotFound", "There is no such record in this workspace."),
    (StatusCode::REQUEST_TIMEOUT, "RequestTimeout", "The body did not arrive within 30 seconds."),
    (
        StatusCode::CONFLICT,
        "Conflict",
        "The record has a final status, which the change would undo; or the record that the key created has been deleted.",
    ),
    (
        StatusCode::PRECONDITION_FAILED,
        "PreconditionFailed",
        "The record is not as `If-Match` or `If-None-Match` demands.",
    ),
    (
        StatusCode::PAYLOAD_TOO_LARGE,
        "PayloadTooLarge",
        "The body has more than 1,048,576 bytes; of an import, it unpacks to more than a hundred times its size.",
    ),
    (
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "UnsupportedMediaType",
        "The body has not the media type of the operation, or is compressed where that is not accepted.",
    ),
    (
        StatusCode::UNPROCESSABLE_ENTITY,
        "UnprocessableContent",
        "The record breaks rules, all listed in `errors`; or the `Idempotency-Key` was used with another body.",
    ),
    (
        StatusCode::TOO_MANY_REQUESTS,
        "TooManyRequests",
        "Where the service bounds what a key may ask for: it has asked for more; try after `Retry-After` seconds.",
    ),
    (
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "RequestHeaderFieldsTooLarge",
        "The path, the query string and the headers have more than 65,536 bytes together. This answer has no body.",
    ),
    (
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalServerError",
        "The service failed; its log has more under the request id.",
    ),
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "ServiceUnavailable",
        "The service cannot do this now; try after `Retry-After` seconds.",
    ),
    (
        StatusCode::INSUFFICIENT_STORAGE,
        "InsufficientStorage",
        "The disk is full; nothing was written, and reads go on.",
    ),
];

/// The components that `PROBLEM_RESPONSES` describes.
pub(crate) fn problem_components() -> impl Iterator<Item = (String, RefOr<utoipa::openapi::Response>)> {
    PROBLEM_RESPONSES.iter().map(move |(status, name, description)| {
        let mut response = ResponseBuilder::new().description(*description);
        // What has no example is refused before it is a request, and answered without a body.
        if let Some(error) = example(*status) {
            let example = serde_json::to_value(error.problem("0f8fad5b-d9cb-469f")).unwrap_or_default();
            let schema = Ref::from_schema_name("Problem");
            let content = ContentBuilder::new().schema(Some(schema)).example(Some(example)).build();
            response = response.content("application/problem+json", content);
        }
        ((*name).to_owned(), response.build().into())
    })
}

/// A typical error of each status, made as the service makes it.
fn example(status: StatusCode) -> Option<ApiError> {
    let error = match status {
        StatusCode::BAD_REQUEST => ApiError::invalid_parameters(ListQuery::from_query("limit=0").err()?.0),
        StatusCode::UNAUTHORIZED => ApiError::new(ProblemCode::KeyInvalid, WRONG_KEY),
        StatusCode::FORBIDDEN => ApiError::new(ProblemCode::WorkspaceForbidden, OTHER_WORKSPACE),
        StatusCode::NOT_FOUND => ApiError::call_not_found(),
        StatusCode::REQUEST_TIMEOUT => ApiError::body_too_slow(),
        StatusCode::CONFLICT => StoreError::TerminalStatus.into(),
        StatusCode::PRECONDITION_FAILED => StoreError::PreconditionFailed.into(),
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::body_too_large(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiError::media_type_not_accepted(&["application/json"]),
        StatusCode::UNPROCESSABLE_ENTITY => {
            ApiError::invalid_record(CallInput::from_json(br#"{"startTime": 1680000000000}"#).err()?)
        }
        StatusCode::TOO_MANY_REQUESTS => refused(TOO_MANY, std::time::Duration::ZERO),
        StatusCode::INTERNAL_SERVER_ERROR => ApiError::new(ProblemCode::Internal, FAILED),
        StatusCode::SERVICE_UNAVAILABLE => ApiError::new(ProblemCode::Unavailable, UNAVAILABLE),
        StatusCode::INSUFFICIENT_STORAGE => ApiError::new(ProblemCode::StorageFull, FULL),
        _ => return None,
    };
    Some(error)
}

fn references(statuses: &[u16]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let known = PROBLEM_RESPONSES.iter().filter(|(status, ..)| statuses.contains(&status.as_u16()));
    known.map(|(status, name, _)| (status.as_str().to_owned(), Ref::from_response_name(*name).into())).collect()
}

/// The error answers of each kind of operation.
macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident: $($status:literal)+;)+) => {
        $($(#[$doc])*
        pub(crate) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
                references(&[401, 403, 429, 431, $($status),+])
            }
        })+
    };
}

problems! {
    /// Of a read of many records.
    ScanProblems: 400 500 503;
    /// Of a read of one record.
    ReadProblems: 400 404 500 503;
    /// Of a creation.
    CreateProblems: 400 408 409 413 415 422 500 503 507;
    /// Of a conditional write.
    WriteProblems: 400 408 412 413 415 422 500 503 507;
    /// Of a change of what there is.
    PatchProblems: 400 404 408 409 412 413 415 422 500 503 507;
    /// Of a deletion.
    DeleteProblems: 400 404 412 500 503 507;
    /// Of an import.
    ImportProblems: 400 408 413 415 500 503 507;
}

/// A header that stands in every answer.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
