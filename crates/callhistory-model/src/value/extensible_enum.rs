//! Extensible enums: a set of known values that may grow. An unknown value is kept as text.

use std::borrow::Cow;

/// Declares an enum that keeps unknown values in `Other`, with its text form, serde and schema.
macro_rules! extensible_enum {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[doc = $doc])*
        ///
        /// Values are compared, ordered and hashed by their text.
        #[derive(Clone, Debug, serde::Deserialize)]
        #[serde(from = "String")]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            /// A value that this version does not know, as received.
            Other(String),
        }

        impl $name {
            /// The values that this version knows.
            pub const KNOWN: &'static [&'static str] = &[$($text),+];

            /// The value as it is written in JSON.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::from(text.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::convert::Infallible;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(Self::from(text))
            }
        }

        crate::value::text_traits::text_traits!($name);

        // `anyOf: [enum, string]` becomes an empty type in common generators; a plain string with known values does not.
        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                const DOC: &str = concat!($($doc),*);
                schemars::json_schema!({
                    "description": DOC.trim(),
                    "type": "string",
                    "x-extensible-enum": Self::KNOWN,
                    "examples": Self::KNOWN,
                })
            }
        }
    };
}

pub(crate) use extensible_enum;

/// A value of an extensible enum as filters and groups compare it: in lower case, and with one `-` for each run of `_`, `-` and
/// white space between its letters. The record keeps the value as it was sent.
///
/// ```
/// use callhistory_model::normalize_enum_value;
///
/// assert_eq!(normalize_enum_value("IN_PROGRESS"), "in-progress");
/// assert_eq!(normalize_enum_value(" In  Progress"), "in-progress");
/// ```
#[must_use]
pub fn normalize_enum_value(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return Cow::Borrowed(text);
    }
    let mut normal = String::with_capacity(text.len());
    for word in text.split(|c: char| matches!(c, '_' | '-') || c.is_whitespace()).filter(|word| !word.is_empty()) {
        if !normal.is_empty() {
            normal.push('-');
        }
        normal.extend(word.chars().flat_map(char::to_lowercase));
    }
    Cow::Owned(normal)
}

extensible_enum! {
    /// Call direction. Extensible: other values are accepted and returned unchanged.
    Direction {
        /// Incoming call.
        Inbound = "inbound",
        /// Outgoing call.
        Outbound = "outbound",
        /// Either side can start a turn; used by web rooms.
        Bidirectional = "bidirectional",
    }
}

extensible_enum! {
    /// Transport of the call. Extensible: other values are accepted and returned unchanged.
    CallType {
        /// Over a telephone line or a SIP trunk.
        Sip = "sip",
        /// In a browser.
        Web = "web",
    }
}
