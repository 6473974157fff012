//! What the service says when it refuses: one problem (RFC 9457), and one error for each thing that is wrong.

use serde::{Deserialize, Serialize};

use crate::extensible_enum::extensible_enum;

extensible_enum! {
    /// What kind of problem it is; stable, for programs. Later versions may add codes.
    ProblemCode, max 64 {
        /// No key was sent.
        KeyMissing = "key_missing",
        /// The key is not one of this service.
        KeyInvalid = "key_invalid",
        /// The key has expired.
        KeyExpired = "key_expired",
        /// The key has been revoked.
        KeyRevoked = "key_revoked",
        /// The key is of another workspace.
        WorkspaceForbidden = "workspace_forbidden",
        /// The key does not have the scope.
        InsufficientScope = "insufficient_scope",
        /// The key asks for more than it may in this time.
        RateLimited = "rate_limited",
        /// The body is not JSON.
        MalformedJson = "malformed_json",
        /// The record breaks rules; `errors` lists every one.
        InvalidRecord = "invalid_record",
        /// A header is missing, repeated or malformed.
        InvalidHeader = "invalid_header",
        /// A path or query parameter is unknown or malformed.
        InvalidParameter = "invalid_parameter",
        /// The request is not sound HTTP.
        InvalidRequest = "invalid_request",
        /// No such record in this workspace.
        CallNotFound = "call_not_found",
        /// No such route.
        RouteNotFound = "route_not_found",
        /// The route exists, but not with this method.
        MethodNotAllowed = "method_not_allowed",
        /// The request or its body took too long.
        RequestTimeout = "request_timeout",
        /// The record that the same `Idempotency-Key` created has been deleted since.
        CallDeleted = "call_deleted",
        /// The record has a final status, which a late change must not undo.
        TerminalStatus = "terminal_status",
        /// The record is not as `If-Match` or `If-None-Match` demands.
        PreconditionFailed = "precondition_failed",
        /// The body is larger than the bound.
        BodyTooLarge = "body_too_large",
        /// The body's media type or encoding is not accepted.
        UnsupportedMediaType = "unsupported_media_type",
        /// The `Idempotency-Key` was used before with another body.
        IdempotencyKeyReused = "idempotency_key_reused",
        /// An error of the service; the request id finds it in the log.
        Internal = "internal",
        /// The service cannot do this now; the same request may work later.
        Unavailable = "unavailable",
        /// The disk is full; reads go on.
        StorageFull = "storage_full",
    }
}

extensible_enum! {
    /// What is wrong with one member, parameter or header; stable, for programs. Later versions may add codes.
    FieldErrorCode, max 64 {
        /// Another JSON type is expected.
        WrongType = "wrong_type",
        /// The value is null; a member without a value is left out.
        NullNotAllowed = "null_not_allowed",
        /// The text is shorter than the bound.
        TooShort = "too_short",
        /// The text has more characters than the bound.
        TooLong = "too_long",
        /// The text has more bytes than the bound.
        TooManyBytes = "too_many_bytes",
        /// There are more members than the bound.
        TooManyMembers = "too_many_members",
        /// The text has the character U+0000.
        NulCharacter = "nul_character",
        /// The text has something that is not a character.
        InvalidString = "invalid_string",
        /// The id has characters that ids do not have.
        InvalidId = "invalid_id",
        /// The id is a word of the routes.
        ReservedId = "reserved_id",
        /// The text is not an RFC 3339 time in UTC.
        InvalidTime = "invalid_time",
        /// The number is outside its bounds.
        OutOfRange = "out_of_range",
        /// The number has more decimal places than are kept.
        TooManyDecimals = "too_many_decimals",
        /// The number can only be milliseconds; seconds are expected.
        Milliseconds = "milliseconds",
        /// The end lies before the start.
        EndBeforeStart = "end_before_start",
        /// The parameter cannot be combined with another.
        Conflict = "conflict",
        /// The cursor is not one of this list or feed in this workspace.
        InvalidCursor = "invalid_cursor",
        /// The value contradicts the path or the header.
        Mismatch = "mismatch",
        /// The member is set by the service alone.
        NotWritable = "not_writable",
        /// No member, parameter or header has this name here.
        Unknown = "unknown",
        /// The same member name stands twice in one object.
        DuplicateMember = "duplicate_member",
        /// The value is nested too deep.
        TooDeep = "too_deep",
        /// The header or parameter is missing.
        Missing = "missing",
        /// The header or parameter stands more than once.
        Repeated = "repeated",
        /// The header or parameter does not have its form.
        Malformed = "malformed",
    }
}

/// The longest pointer and the longest detail of an error.
const MAX_FIELD_ERROR_CHARS: usize = 512;

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[error("{}{detail}", self.place())]
pub struct FieldError {
    /// Where in the body it is, as a JSON pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Which header, path or query parameter it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What is wrong, for programs.
    pub code: FieldErrorCode,
    /// What is wrong and what would be right, in one sentence for people.
    pub detail: String,
}

impl FieldError {
    /// An error whose place is still to be said.
    #[must_use]
    pub fn new(code: FieldErrorCode, detail: impl Into<String>) -> Self {
        Self { pointer: None, parameter: None, code, detail: bounded(detail.into()) }
    }

    /// The same error at a place that lies below `pointer`.
    #[must_use]
    pub fn prefix_pointer(mut self, pointer: &str) -> Self {
        self.pointer = Some(bounded(format!("{pointer}{}", self.pointer.as_deref().unwrap_or(""))));
        self
    }

    /// The same error of a header or parameter.
    #[must_use]
    pub fn in_parameter(mut self, name: impl Into<String>) -> Self {
        self.parameter = Some(bounded(name.into()));
        self
    }

    fn place(&self) -> String {
        match self.pointer.as_ref().or(self.parameter.as_ref()) {
            Some(place) if place.is_empty() => "the body ".to_owned(),
            Some(place) => format!("{place}: "),
            None => String::new(),
        }
    }
}

/// An error quotes what was sent, and must not send a hostile body back many times over.
fn bounded(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_FIELD_ERROR_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Every error of one document, in the order of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// More would not help anyone to mend a document, and the answer stays bounded.
    pub(crate) const MAX: usize = 100;
}

impl std::ops::Deref for FieldErrors {
    type Target = [FieldError];

    fn deref(&self) -> &[FieldError] {
        &self.0
    }
}

impl std::fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for FieldErrors {}

/// The body of every answer that is an error, as `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A URN that names the kind of problem: `urn:callhistory:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words.
    pub title: String,
    /// The HTTP status of the answer.
    #[cfg_attr(feature = "schema", schemars(range(min = 400, max = 599)))]
    pub status: u16,
    /// The kind of problem, for programs.
    pub code: ProblemCode,
    /// This problem, in a sentence for people.
    pub detail: String,
    /// The id of the request, as in the header `x-request-id` and in the service's log.
    pub request_id: String,
    /// Each thing that is wrong, where several can be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100)))]
    pub errors: Vec<FieldError>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.detail)
    }
}
