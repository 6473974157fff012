//! Errors in members, parameters and headers of requests.

use crate::{reply_struct::reply_struct, value::extensible_enum::extensible_enum};

extensible_enum! {
    /// Machine-readable error code. Codes are stable; later versions may add codes.
    FieldErrorCode {
        /// The value has the wrong JSON type.
        WrongType = "wrong_type",
        /// The string is too short.
        TooShort = "too_short",
        /// The string has too many characters.
        TooLong = "too_long",
        /// The string has too many bytes.
        TooManyBytes = "too_many_bytes",
        /// There are too many members.
        TooManyMembers = "too_many_members",
        /// The string contains the character U+0000.
        NulCharacter = "nul_character",
        /// The string is not valid Unicode.
        InvalidString = "invalid_string",
        /// The ID contains characters that are not allowed.
        InvalidId = "invalid_id",
        /// The ID is reserved for a route.
        ReservedId = "reserved_id",
        /// The string is not an RFC 3339 time with its zone.
        InvalidTime = "invalid_time",
        /// The number is out of range.
        OutOfRange = "out_of_range",
        /// The number has too many decimal places.
        TooManyDecimals = "too_many_decimals",
        /// The end is before the start.
        EndBeforeStart = "end_before_start",
        /// The number can only be in milliseconds, microseconds or nanoseconds; seconds are expected.
        WrongUnit = "wrong_unit",
        /// The parameter conflicts with another.
        Conflict = "conflict",
        /// The cursor is not valid for this list or feed in this workspace.
        InvalidCursor = "invalid_cursor",
        /// The value contradicts the path or the header.
        Mismatch = "mismatch",
        /// Only the service sets the member.
        NotWritable = "not_writable",
        /// The member, parameter or header does not exist here.
        Unknown = "unknown",
        /// The member name occurs more than once in an object.
        DuplicateMember = "duplicate_member",
        /// The value is nested too deeply.
        TooDeep = "too_deep",
        /// The header or parameter is missing.
        Missing = "missing",
        /// The header or parameter occurs more than once.
        Repeated = "repeated",
        /// The header or parameter has the wrong format.
        Malformed = "malformed",
    }
}

/// Maximum length of the pointer and of the detail of an error, in characters.
const MAX_FIELD_ERROR_CHARS: usize = 512;

reply_struct! {
    /// One error in a request.
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("{}{detail}", self.location())]
    FieldError {
        /// Location in the body, as a JSON pointer (RFC 6901).
        "pointer" optional pointer: Option<String>,
        /// Name of the header, path or query parameter.
        "parameter" optional parameter: Option<String>,
        /// Machine-readable error code.
        "code" always code: FieldErrorCode,
        /// Human-readable explanation: what is wrong and what is expected.
        "detail" always detail: String,
    }
}

impl FieldError {
    /// An error without a location.
    #[must_use]
    pub fn new(code: FieldErrorCode, detail: impl Into<String>) -> Self {
        Self { pointer: None, parameter: None, code, detail: truncated(detail.into()), extra: Vec::new() }
    }

    /// The same error, with `pointer` in front of its pointer.
    #[must_use]
    pub fn prefix_pointer(mut self, pointer: &str) -> Self {
        self.pointer = Some(truncated(format!("{pointer}{}", self.pointer.as_deref().unwrap_or(""))));
        self
    }

    /// The same error, in the member with this name.
    pub(crate) fn in_member(self, name: &str) -> Self {
        self.prefix_pointer(&format!("/{}", escape_pointer(name)))
    }

    /// The same error, in a header or parameter.
    #[must_use]
    pub fn in_parameter(mut self, name: impl Into<String>) -> Self {
        self.parameter = Some(truncated(name.into()));
        self
    }

    fn location(&self) -> String {
        match self.pointer.as_ref().or(self.parameter.as_ref()) {
            Some(location) if location.is_empty() => "the body ".to_owned(),
            Some(location) => format!("{location}: "),
            None => String::new(),
        }
    }
}

/// One step of a JSON pointer (RFC 6901).
pub(crate) fn escape_pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// An error quotes the request, and must not return a hostile body many times over.
pub(crate) fn truncated(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_FIELD_ERROR_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Refuses a string of more than `max` characters.
pub(crate) fn check_length(text: &str, max: usize) -> Result<(), FieldError> {
    let count = text.chars().count();
    if count > max {
        let detail = format!("has {count} characters; at most {max} are accepted");
        return Err(FieldError::new(FieldErrorCode::TooLong, detail));
    }
    Ok(())
}

/// The errors of one document, in the order of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// Bounds the size of the response.
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
