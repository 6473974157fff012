//! IDs of records and workspaces.

use serde::{Deserialize, Serialize};

use crate::{FieldError, FieldErrorCode};

/// Path segments of routes below `/v2/api/call-history/`. A record cannot have one of them as its ID.
pub const RESERVED_CALL_IDS: [&str; 4] = ["batch", "changes", "export", "metrics"];

const MAX_ID_CHARS: usize = 128;

/// Refuses everything but 1 to 128 characters of `[A-Za-z0-9_-]`.
fn check_alphabet(text: &str) -> Result<(), FieldError> {
    if text.is_empty() {
        return Err(FieldError::new(FieldErrorCode::TooShort, "is empty; an ID has 1 to 128 characters"));
    }
    if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))) {
        let detail = format!("contains {bad:?}; an ID has only the characters A-Z, a-z, 0-9, '_' and '-'");
        return Err(FieldError::new(FieldErrorCode::InvalidId, detail));
    }
    if text.len() > MAX_ID_CHARS {
        let detail = format!("has {} characters; an ID has at most {MAX_ID_CHARS}", text.len());
        return Err(FieldError::new(FieldErrorCode::TooLong, detail));
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, example $example:literal, check $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The ID as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = FieldError;

            fn from_str(text: &str) -> Result<Self, FieldError> {
                check_alphabet(text)?;
                let check: fn(&str) -> Result<(), FieldError> = $check;
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = FieldError;

            fn try_from(text: String) -> Result<Self, FieldError> {
                text.parse()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        inline_schema!($name, {
            "type": "string",
            "pattern": "^[A-Za-z0-9_-]+$",
            "minLength": 1,
            "maxLength": MAX_ID_CHARS,
            "examples": [$example],
        });
    };
}

id! {
    /// ID of a call record: 1 to 128 characters of `[A-Za-z0-9_-]`, except [`RESERVED_CALL_IDS`].
    ///
    /// The service generates 24 lower-case hexadecimal digits, which sort by creation time.
    CallId, example "1234567890abcdef", check |text| {
        if RESERVED_CALL_IDS.contains(&text) {
            let detail = format!("{text:?} is reserved for a route and cannot be the ID of a record");
            return Err(FieldError::new(FieldErrorCode::ReservedId, detail));
        }
        Ok(())
    }
}

id! {
    /// ID of a workspace: 1 to 128 characters of `[A-Za-z0-9_-]`.
    WorkspaceId, example "abcdef1234567890", check |_| Ok(())
}
