//! IDs of records and workspaces.

use serde::{Deserialize, Serialize};

use crate::{FieldError, FieldErrorCode};

/// Path segments of routes below `/v2/api/call-history/`. A record cannot have one of them as its ID.
pub const RESERVED_CALL_IDS: [&str; 5] = ["batch", "changes", "export", "metrics", "search"];

const MAX_CALL_ID_BYTES: usize = 256;
const MAX_WORKSPACE_ID_CHARS: usize = 128;

/// Refuses an ID of more than `max` bytes, and an empty one.
fn check_size(text: &str, max: usize) -> Result<(), FieldError> {
    if text.is_empty() {
        let detail = format!("is empty; an ID has 1 to {max} bytes");
        return Err(FieldError::new(FieldErrorCode::TooShort, detail));
    }
    if text.len() > max {
        let detail = format!("has {} bytes; an ID has at most {max}", text.len());
        return Err(FieldError::new(FieldErrorCode::TooLong, detail));
    }
    Ok(())
}

/// Refuses an ID that a URL, a log line or a header would not carry unchanged.
fn check_call_id(text: &str) -> Result<(), FieldError> {
    check_size(text, MAX_CALL_ID_BYTES)?;
    // U+FFFD replaces characters that are lost: two calls could get one ID.
    let is_bad = |c: &char| {
        c.is_control() || c.is_whitespace() || matches!(*c, '\u{feff}' | '\u{fffd}') || "/\\?#%\"".contains(*c)
    };
    if let Some(bad) = text.chars().find(is_bad) {
        let detail = format!("contains {bad:?}; an ID has no blanks, no control characters and none of / \\ ? # % \"");
        return Err(FieldError::new(FieldErrorCode::InvalidId, detail));
    }
    if matches!(text, "." | "..") {
        let detail = format!("is {text:?}, which a URL does not carry");
        return Err(FieldError::new(FieldErrorCode::ReservedId, detail));
    }
    if RESERVED_CALL_IDS.contains(&text) {
        let detail = format!("{text:?} is reserved for a route and cannot be the ID of a record");
        return Err(FieldError::new(FieldErrorCode::ReservedId, detail));
    }
    Ok(())
}

fn check_workspace_id(text: &str) -> Result<(), FieldError> {
    check_size(text, MAX_WORKSPACE_ID_CHARS)?;
    let is_good = |c: char| c.is_ascii_alphanumeric() || "_.~:@+=-".contains(c);
    if let Some(bad) = text.chars().find(|c| !is_good(*c)) {
        let detail = format!("contains {bad:?}; an ID of a workspace has only A-Z, a-z, 0-9 and _ . ~ : @ + = -");
        return Err(FieldError::new(FieldErrorCode::InvalidId, detail));
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, check $check:path, schema $schema:tt) => {
        $(#[$doc])*
        ///
        /// The rules are those of writes: `Deserialize` keeps any text that a response has.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// The ID as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The ID of a response, unchecked.
            pub(crate) fn of_response(text: String) -> Self {
                Self(text.into())
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = FieldError;

            fn from_str(text: &str) -> Result<Self, FieldError> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = FieldError;

            fn try_from(text: String) -> Result<Self, FieldError> {
                text.parse()
            }
        }

        impl TryFrom<&str> for $name {
            type Error = FieldError;

            fn try_from(text: &str) -> Result<Self, FieldError> {
                text.parse()
            }
        }

        crate::value::text_traits::text_traits!($name);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        inline_schema!($name, $schema);
    };
}

id! {
    /// ID of a call record: 1 to 256 bytes of UTF-8 without blanks, control characters and `/ \ ? # % "`; not `.`, `..` or one of
    /// [`RESERVED_CALL_IDS`].
    ///
    /// The service generates 24 lower-case hexadecimal digits, which sort by creation time.
    CallId, check check_call_id, schema {
        "type": "string",
        "pattern": "^[^\\s/\\\\?#%\"\\u0000-\\u001F\\u007F-\\u009F\\uFFFD]+$",
        "minLength": 1,
        "maxLength": MAX_CALL_ID_BYTES,
        "examples": ["1234567890abcdef"],
    }
}

id! {
    /// ID of a workspace: 1 to 128 characters of `[A-Za-z0-9_.~:@+=-]`.
    WorkspaceId, check check_workspace_id, schema {
        "type": "string",
        "pattern": "^[A-Za-z0-9_.~:@+=-]+$",
        "minLength": 1,
        "maxLength": MAX_WORKSPACE_ID_CHARS,
        "examples": ["abcdef1234567890"],
    }
}
