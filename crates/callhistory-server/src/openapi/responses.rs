//! The error responses and the response headers of the contract: components, to which the operations refer.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use callhistory_model::{CallInput, ListQuery, ProblemCode};
use callhistory_store::StoreError;
use serde_json::{Value, json};
use utoipa::openapi::{ContentBuilder, Header, Ref, RefOr, ResponseBuilder};

use crate::{
    auth::{
        key_cache::{OTHER_WORKSPACE, WRONG_KEY},
        rate_limit::{TOO_MANY, refused},
    },
    error::{ApiError, FAILED, FULL, UNAVAILABLE},
    headers::{CURSOR, ETAG},
};

const REQUEST_ID: &str = "0f8fad5b-d9cb-469f";

/// One component for each status.
const PROBLEM_RESPONSES: &[(StatusCode, &str, &str)] = &[
    (StatusCode::BAD_REQUEST, "BadRequest", "A header, a parameter or the JSON text is invalid; `errors` names it."),
    (StatusCode::UNAUTHORIZED, "Unauthorized", "The API key is missing, invalid or expired."),
    (StatusCode::FORBIDDEN, "Forbidden", "The API key belongs to another workspace or lacks the scope."),
    (StatusCode::NOT_FOUND, "NotFound", "The workspace has no such record."),
    (StatusCode::REQUEST_TIMEOUT, "RequestTimeout", "The body did not arrive within 30 seconds."),
    (
        StatusCode::CONFLICT,
        "Conflict",
        "The change would undo a final status, or the record that the `Idempotency-Key` created has been deleted.",
    ),
    (
        StatusCode::GONE,
        "Gone",
        "The cursor has expired, because the database was restored or lost commits in a fail-over. Start again without it.",
    ),
    (
        StatusCode::PRECONDITION_FAILED,
        "PreconditionFailed",
        "The condition of `If-Match` or `If-None-Match` is not met.",
    ),
    (
        StatusCode::PAYLOAD_TOO_LARGE,
        "PayloadTooLarge",
        "The body has more than 1,048,576 bytes; in an import, its compression ratio exceeds 100:1.",
    ),
    (
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "UnsupportedMediaType",
        "The media type is not one of the operation, or the body is compressed where that is not accepted.",
    ),
    (
        StatusCode::UNPROCESSABLE_ENTITY,
        "UnprocessableContent",
        "The record is invalid, with all reasons in `errors`; or the `Idempotency-Key` was used with another body.",
    ),
    (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "Rate limit exceeded. Retry after `Retry-After` seconds."),
    (
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "RequestHeaderFieldsTooLarge",
        "The path, the query string and the headers have more than 65,536 bytes or 100 headers together.",
    ),
    (
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalServerError",
        "The service failed; its log has the details under the request ID.",
    ),
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "ServiceUnavailable",
        "The service is temporarily unavailable. Retry after `Retry-After` seconds.",
    ),
    (
        StatusCode::INSUFFICIENT_STORAGE,
        "InsufficientStorage",
        "The disk is full; nothing was written, and reads still work.",
    ),
];

/// The components that `PROBLEM_RESPONSES` describes.
pub(crate) fn problem_components() -> impl Iterator<Item = (String, RefOr<utoipa::openapi::Response>)> {
    PROBLEM_RESPONSES.iter().map(move |(status, name, description)| {
        let mut response = ResponseBuilder::new().description(*description);
        if let Some(error) = example(*status) {
            let example = serde_json::to_value(error.problem(REQUEST_ID)).unwrap_or_default();
            let schema = Ref::from_schema_name("Problem");
            let content = ContentBuilder::new().schema(Some(schema)).example(Some(example)).build();
            response = response.content("application/problem+json", content);
        }
        response = match *status {
            StatusCode::UNAUTHORIZED => response.header("WWW-Authenticate", Header::default()),
            StatusCode::TOO_MANY_REQUESTS => response
                .header("Retry-After", Header::default())
                .header_ref("RateLimit-Policy", Ref::new("#/components/headers/TooManyRequests.RateLimit-Policy")),
            StatusCode::SERVICE_UNAVAILABLE => response.header("Retry-After", Header::default()),
            _ => response,
        };
        ((*name).to_owned(), response.build().into())
    })
}

/// The components of response headers.
pub(crate) fn headers() -> Value {
    let text = &json!({ "type": "string" });
    let id = &json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$" });
    let (count, seconds) = (&json!({ "type": "integer", "minimum": 0 }), &json!({ "type": "integer", "minimum": 1 }));
    let next = format!("<?limit=50&cursor={CURSOR}>; rel=\"next\"");
    let policy = "Rate limit of the API key: `q` requests or records in `w` seconds.";
    json!({
        "Content-Disposition":
            always(header(text, "attachment; filename=\"call-history.ndjson\"", "Suggested file name.")),
        "ETag": always(header(text, ETAG, "Version of the record, as an entity tag: the number of its last change, and what names \
            the workspace, the redaction and the epoch of the database.")),
        "Link": header(text, next, "URL of the next page (RFC 8288, `rel=\"next\"`), relative to the request. Absent on \
            the last page."),
        "Location": always(header(text, "call-history/6955b900a1b2c3d4e5f60718", "URL of the record, relative to the \
            request.")),
        "RateLimit": header(text, "\"requests\";r=99;t=1", "Remaining requests (`r`), and the seconds until there are \
            more (`t`)."),
        "RateLimit-Policy":
            header(text, "\"requests\";q=100;w=1", &format!("{policy} Sent if the server limits the key.")),
        "Retry-After": always(header(seconds, 1, "Seconds to wait before a retry.")),
        "TooManyRequests.RateLimit-Policy": always(header(text, "\"requests\";q=100;w=1", policy)),
        "WWW-Authenticate": always(header(text, "Bearer", "Authentication scheme: `Bearer`.")),
        "X-Request-Id":
            always(header(id, REQUEST_ID, "ID of the request: the one that the client sent, or else a generated one.")),
        "X-Total-Count":
            header(count, 1234, "Total number of matching records. Only with `includeTotal=true`."),
    })
}

fn header(schema: &Value, example: impl Into<Value>, description: &str) -> Value {
    json!({ "schema": schema, "example": example.into(), "description": description })
}

/// A header of every response that refers to it.
fn always(mut header: Value) -> Value {
    header["required"] = true.into();
    header
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
        StatusCode::GONE => StoreError::CursorExpired.into(),
        StatusCode::PRECONDITION_FAILED => StoreError::PreconditionFailed.into(),
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::body_too_large(),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => ApiError::head_too_large(),
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

/// The error responses of each kind of operation.
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
    /// Of a read that continues at a cursor.
    CursorProblems: 400 410 500 503;
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
