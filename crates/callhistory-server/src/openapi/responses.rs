//! The error responses and the response headers of the contract: components, to which the operations refer.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use callhistory_model::{
    CallInput, CallRecord, FieldError, FieldErrorCode, ImportError, ImportReport, ListQuery, ProblemCode,
};
use callhistory_store::StoreError;
use serde_json::{Value, json};
use utoipa::openapi::{ContentBuilder, Header, Ref, RefOr, ResponseBuilder};

use crate::{
    auth::{
        key_cache::{OTHER_WORKSPACE, WRONG_KEY},
        rate_limit::{TOO_MANY, refused},
    },
    error::{ApiError, FAILED, FULL, UNAVAILABLE},
    headers::{CURSOR, ETAG, cursor_schema},
};

const WARNINGS_EXAMPLE: &str = r#"[{"pointer":"/sentiment","code":"unknown_member"}]"#;
const REQUEST_ID: &str = "0f8fad5b-d9cb-469f";

/// One component for each status.
const PROBLEM_RESPONSES: &[(StatusCode, &str, &str)] = &[
    (StatusCode::BAD_REQUEST, "BadRequest", "A header, a parameter or the JSON text is invalid; `errors` names it."),
    (StatusCode::UNAUTHORIZED, "Unauthorized", "The API key is missing, invalid or expired."),
    (StatusCode::FORBIDDEN, "Forbidden", "The API key belongs to another workspace or lacks the scope."),
    (StatusCode::NOT_FOUND, "NotFound", "The workspace has no such record, or the record no such original."),
    (StatusCode::REQUEST_TIMEOUT, "RequestTimeout", "The body did not arrive within 30 seconds."),
    (
        StatusCode::CONFLICT,
        "Conflict",
        "The write would undo a final status, or the record that the `Idempotency-Key` created has been deleted.",
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
        "The body has more bytes than the setting max_record_bytes, by default 16,777,216; or its compression \
         ratio exceeds 100:1 beyond the first MiB.",
    ),
    (
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "UnsupportedMediaType",
        "The media type is not one of the operation, or the encoding is neither gzip nor identity.",
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

/// The one error response that is no problem: the report of an import of which nothing was taken.
const NOTHING_TAKEN: &str = "NothingTaken";

fn nothing_taken() -> utoipa::openapi::Response {
    let detail = "is not valid JSON: expected `:` at line 1 column 12";
    let error = FieldError::new(FieldErrorCode::Malformed, detail);
    let report = ImportReport { rejected: 1, errors: vec![ImportError::new(1, error)], ..ImportReport::default() };
    let example = serde_json::to_value(report).unwrap_or_default();
    let schema = Ref::from_schema_name("ImportReport");
    let content = ContentBuilder::new().schema(Some(schema)).example(Some(example)).build();
    let description = "Nothing was taken and something was rejected, or an atomic import was aborted: the report.";
    let response = ResponseBuilder::new().description(description).content("application/json", content);
    response.header("Preference-Applied", Header::default()).build()
}

/// The components of error responses: those that `PROBLEM_RESPONSES` describes, and the report of a failed import.
pub(crate) fn problem_components() -> impl Iterator<Item = (String, RefOr<utoipa::openapi::Response>)> {
    std::iter::once((NOTHING_TAKEN.to_owned(), nothing_taken().into())).chain(problems())
}

fn problems() -> impl Iterator<Item = (String, RefOr<utoipa::openapi::Response>)> {
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
            StatusCode::UNSUPPORTED_MEDIA_TYPE => response.header("Accept-Encoding", Header::default()),
            _ => response,
        };
        ((*name).to_owned(), response.build().into())
    })
}

/// The components of response headers.
pub(crate) fn headers() -> Value {
    let text = &json!({ "type": "string" });
    let warnings = &json!({ "type": "string", "maxLength": 4096, "contentMediaType": "application/json" });
    let id = &json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$" });
    let (count, seconds) = (
        &json!({ "type": "integer", "format": "int64", "minimum": 0 }),
        &json!({ "type": "integer", "format": "int32", "minimum": 1 }),
    );
    let next = format!("<?limit=50&cursor={CURSOR}>; rel=\"next\"");
    let policy = "Rate limit of the API key: `q` requests or records in `w` seconds.";
    json!({
        "Accept-Encoding": header(text, "gzip, identity", "The encodings of request bodies, if the encoding of this one is not accepted."),
        "Content-Disposition":
            always(header(text, "attachment; filename=\"call-history.ndjson\"", "Suggested file name.")),
        "ETag": always(header(text, ETAG, "Version of the record, as an entity tag: the number of its last change, and what names \
            the workspace, the redaction and the epoch of the database; a compressed response has `-gzip` after it.")),
        "Link": header(text, next, "URL of the next page (RFC 8288, `rel=\"next\"`): absolute if the server has a \
            `public_url`, otherwise the query alone, to append to the URL of the request without its query. Absent on the \
            last page."),
        "Location": always(header(text, "call-history/6955b900a1b2c3d4e5f60718", "URL of the record: absolute if the server \
            has a `public_url`, otherwise relative to the request.")),
        "Preference-Applied": header(text, "handling=lenient", "The preference of `Prefer` that was applied, if there \
            was one."),
        "RateLimit": header(text, "\"requests\";r=99;t=1", "Remaining quota (`r`), and seconds until it resets (`t`)."),
        "RateLimit-Policy":
            header(text, "\"requests\";q=100;w=1", &format!("{policy} Sent if the server limits the key.")),
        "Retry-After": always(header(seconds, 1, "Seconds to wait before a retry.")),
        "TooManyRequests.RateLimit-Policy": always(header(text, "\"requests\";q=100;w=1", policy)),
        "WWW-Authenticate": always(header(text, "Bearer", "Authentication scheme: `Bearer`.")),
        "x-callhistory-warnings": header(warnings, WARNINGS_EXAMPLE, "What the write keeps in another form than it was sent, or \
            leaves out, and what contradicts itself: a JSON array of objects with `pointer` (RFC 6901) and `code`. At \
            most 4,096 bytes: further warnings are left out. Absent without warnings."),
        "X-Next-Cursor": header(&cursor_schema(), CURSOR, "The `cursor` of the next page. Absent on the last page."),
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

/// The statuses of problems.
pub(crate) fn problem_statuses() -> impl Iterator<Item = StatusCode> {
    PROBLEM_RESPONSES.iter().map(|(status, ..)| *status)
}

/// A typical error of each status, made as the service makes it.
pub(crate) fn example(status: StatusCode) -> Option<ApiError> {
    let error = match status {
        StatusCode::BAD_REQUEST => ApiError::invalid_parameters(ListQuery::from_query("limit=0").err()?.0),
        StatusCode::UNAUTHORIZED => ApiError::new(ProblemCode::KeyInvalid, WRONG_KEY),
        StatusCode::FORBIDDEN => ApiError::new(ProblemCode::WorkspaceForbidden, OTHER_WORKSPACE),
        StatusCode::NOT_FOUND => ApiError::call_not_found(),
        StatusCode::REQUEST_TIMEOUT => ApiError::body_too_slow(),
        StatusCode::CONFLICT => StoreError::FinalStatus.into(),
        StatusCode::GONE => StoreError::CursorExpired.into(),
        StatusCode::PRECONDITION_FAILED => StoreError::PreconditionFailed.into(),
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::body_too_large(CallRecord::DEFAULT_MAX_BYTES),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => ApiError::head_too_large(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiError::media_type_not_accepted("application/json"),
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
    WriteProblems: 400 408 409 412 413 415 422 500 503 507;
    /// Of a change of what there is.
    PatchProblems: 400 404 408 409 412 413 415 422 500 503 507;
    /// Of a deletion.
    DeleteProblems: 400 404 412 500 503 507;
}

/// The error responses of an import.
pub(crate) struct ImportProblems;

impl utoipa::IntoResponses for ImportProblems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let mut responses = references(&[400, 401, 403, 408, 413, 415, 429, 431, 500, 503, 507]);
        responses.insert("422".to_owned(), Ref::from_response_name(NOTHING_TAKEN).into());
        responses
    }
}
