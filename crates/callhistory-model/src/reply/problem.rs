//! The body of an error response: a problem (RFC 9457).

use crate::{FieldError, reply_struct::reply_struct, value::extensible_enum::extensible_enum};

extensible_enum! {
    /// Machine-readable problem code. Codes are stable; later versions may add codes.
    ProblemCode {
        /// The API key is missing.
        KeyMissing = "key_missing",
        /// The API key is invalid.
        KeyInvalid = "key_invalid",
        /// The API key has expired.
        KeyExpired = "key_expired",
        /// The API key has been revoked.
        KeyRevoked = "key_revoked",
        /// The API key belongs to another workspace.
        WorkspaceForbidden = "workspace_forbidden",
        /// The API key lacks the required scope.
        InsufficientScope = "insufficient_scope",
        /// The rate limit of the API key is exceeded.
        RateLimited = "rate_limited",
        /// The body is not valid JSON.
        MalformedJson = "malformed_json",
        /// The record is invalid; `errors` lists every error.
        InvalidRecord = "invalid_record",
        /// A header is missing, repeated or malformed.
        InvalidHeader = "invalid_header",
        /// A path or query parameter is unknown or malformed.
        InvalidParameter = "invalid_parameter",
        /// The HTTP request is invalid.
        InvalidRequest = "invalid_request",
        /// The call record does not exist in this workspace.
        CallNotFound = "call_not_found",
        /// The record has no original with this number.
        OriginalNotFound = "original_not_found",
        /// The route does not exist.
        RouteNotFound = "route_not_found",
        /// The route does not support the method.
        MethodNotAllowed = "method_not_allowed",
        /// The request timed out.
        RequestTimeout = "request_timeout",
        /// The database was restored, or lost commits in a fail-over; start again without the cursor.
        CursorExpired = "cursor_expired",
        /// The record that this `Idempotency-Key` created has been deleted.
        CallDeleted = "call_deleted",
        /// The record has a final status, which a late write must not undo.
        FinalStatus = "final_status",
        /// The record does not satisfy `If-Match` or `If-None-Match`.
        PreconditionFailed = "precondition_failed",
        /// The body is too large.
        BodyTooLarge = "body_too_large",
        /// The path, the query string and the headers are too large.
        HeadTooLarge = "head_too_large",
        /// The media type or encoding of the body is not supported.
        UnsupportedMediaType = "unsupported_media_type",
        /// The `Idempotency-Key` was used with another body.
        IdempotencyKeyReused = "idempotency_key_reused",
        /// Internal error; the log has it under the request ID.
        Internal = "internal",
        /// Stored data are damaged: they do not match their checksum. A retry fails as well.
        DataDamaged = "data_damaged",
        /// The service is temporarily unavailable; retry later.
        Unavailable = "unavailable",
        /// The disk is full; reads still work.
        StorageFull = "storage_full",
    }
}

reply_struct! {
    /// The body of every error response, as `application/problem+json` (RFC 9457).
    #[derive(Clone, Debug, PartialEq, Eq)]
    Problem {
        /// URN of the problem type: `urn:callhistory:problem:` and the code, which `/docs/problems` of the server explains.
        "type" always kind: String,
        /// Short title of the problem type.
        "title" always title: String,
        /// HTTP status of the response.
        #[cfg_attr(feature = "schema", schemars(range(min = 400, max = 599)))]
        "status" always status: u16,
        /// Machine-readable problem code.
        "code" always code: ProblemCode,
        /// Human-readable explanation of this occurrence.
        "detail" always detail: String,
        /// ID of the request, also in the header `X-Request-Id` and in the log.
        "requestId" always request_id: String,
        /// The errors of the request, if there can be several.
        #[cfg_attr(feature = "schema", schemars(default, skip_serializing_if = "Vec::is_empty", length(max = 100)))]
        "errors" list errors: Vec<FieldError>,
    }
}

impl Problem {
    /// A problem without errors and request ID, with the URN of its code.
    #[must_use]
    pub fn new(status: u16, code: ProblemCode, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:callhistory:problem:{code}"),
            title: title.into(),
            status,
            code,
            detail: detail.into(),
            request_id: String::new(),
            errors: Vec::new(),
            extra: Vec::new(),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.detail)
    }
}
