//! Free-form JSON, kept digit for digit.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{FieldError, FieldErrorCode};

/// Maximum nesting depth of arrays and objects inside a free-form member.
pub const MAX_JSON_DEPTH: usize = 64;

/// The JSON type of a text, in words for an error.
pub(crate) fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Decodes a JSON string.
pub(crate) fn decode_string(json: &str) -> Result<String, FieldError> {
    if !json.starts_with('"') {
        return Err(FieldError::new(FieldErrorCode::WrongType, format!("is {}; a string is expected", kind(json))));
    }
    // serde_json skips over raw values without pairing surrogates, so a string is valid only once it is decoded.
    let text: String = serde_json::from_str(json).map_err(|_| {
        FieldError::new(FieldErrorCode::InvalidString, "contains an unpaired surrogate, which is not a character")
    })?;
    if text.contains('\0') {
        return Err(FieldError::new(FieldErrorCode::NulCharacter, "contains the character U+0000"));
    }
    Ok(text)
}

pub(crate) fn wrong_type(json: &str, expected: &str) -> FieldError {
    FieldError::new(FieldErrorCode::WrongType, format!("is {}; {expected} is expected", kind(json)))
}

/// The members of a JSON object in order, each value as text.
pub(crate) struct Members<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<BorrowedName<'de>>()? {
                    members.push((name.0, map.next_value()?));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// The members of a valid JSON object in order, each with its text.
pub(crate) fn raw_members(json: &str) -> serde_json::Result<Vec<(Cow<'_, str>, &RawValue)>> {
    serde_json::from_str(json).map(|Members(members)| members)
}

/// A member name, which is copied only if it has escapes.
#[derive(Deserialize)]
struct BorrowedName<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members of a JSON object, each with its text.
pub(crate) fn object(json: &str) -> Result<Vec<(String, &str)>, FieldError> {
    if !json.starts_with('{') {
        return Err(wrong_type(json, "an object"));
    }
    let members: Members<'_> = serde_json::from_str(json).map_err(|_| {
        FieldError::new(FieldErrorCode::InvalidString, "has a member name that contains an unpaired surrogate")
    })?;
    Ok(members.0.into_iter().map(|(name, value)| (name.into_owned(), value.get())).collect())
}

/// One open array or object during the walk.
enum Open<'a> {
    Array { index: usize },
    Object { names: HashSet<Cow<'a, str>>, name: String, expects_name: bool },
}

/// Checks a JSON text whose grammar the parser has already accepted, and removes the white space between its
/// tokens. Everything else stays unchanged: number text, escapes, order of members.
fn compact(json: &str) -> Result<String, FieldError> {
    let mut out = String::with_capacity(json.len());
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut rest = json;
    while let Some(first) = rest.as_bytes().first() {
        let length = match first {
            b' ' | b'\t' | b'\n' | b'\r' => {
                rest = &rest[1..];
                continue;
            }
            b'"' => string_length(rest),
            b'{' | b'[' | b'}' | b']' | b',' | b':' => 1,
            _ => rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(rest.len()),
        };
        let (token, tail) = rest.split_at(length);
        step(&mut open, token).map_err(|error| error.prefix_pointer(&pointer_of(&open)))?;
        out.push_str(token);
        rest = tail;
    }
    Ok(out)
}

/// The length of the JSON string at the start of the text, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn step<'a>(open: &mut Vec<Open<'a>>, token: &'a str) -> Result<(), FieldError> {
    match token.as_bytes()[0] {
        b'{' => open.push(Open::Object { names: HashSet::new(), name: String::new(), expects_name: true }),
        b'[' => open.push(Open::Array { index: 0 }),
        b'}' | b']' => drop(open.pop()),
        b',' => match open.last_mut() {
            Some(Open::Array { index }) => *index += 1,
            Some(Open::Object { expects_name, .. }) => *expects_name = true,
            None => {}
        },
        b'"' => return string(open.last_mut(), token),
        _ => {}
    }
    if open.len() > MAX_JSON_DEPTH {
        let detail = format!("is nested deeper than {MAX_JSON_DEPTH} levels");
        return Err(FieldError::new(FieldErrorCode::TooDeep, detail));
    }
    Ok(())
}

fn string<'a>(parent: Option<&mut Open<'a>>, token: &'a str) -> Result<(), FieldError> {
    let plain = token.trim_matches('"');
    let text = if token.contains('\\') { Cow::Owned(decode_string(token)?) } else { Cow::Borrowed(plain) };
    if let Some(Open::Object { names, name, expects_name: expects @ true }) = parent {
        *expects = false;
        name.clear();
        name.push_str(&text);
        if !names.insert(text) {
            return Err(FieldError::new(FieldErrorCode::DuplicateMember, "appears more than once in its object"));
        }
    }
    Ok(())
}

/// The JSON pointer of the current token.
fn pointer_of(open: &[Open<'_>]) -> String {
    open.iter().fold(String::new(), |pointer, place| match place {
        Open::Array { index } => format!("{pointer}/{index}"),
        // The error is in the name itself; the pointer names its object.
        Open::Object { expects_name: true, .. } => pointer,
        Open::Object { name, .. } => format!("{pointer}/{}", escape_pointer(name)),
    })
}

/// One step of a JSON pointer (RFC 6901).
pub(crate) fn escape_pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

macro_rules! free_form {
    ($(#[$doc:meta])* $name:ident, $empty:literal, $kind:literal, $open:literal, schema $schema:tt) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(Box<RawValue>);

        impl $name {
            /// The JSON text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.get()
            }

            /// Deserializes the text into another type.
            ///
            /// # Errors
            ///
            /// Fails when the text does not fit the type.
            pub fn deserialize<'de, T: Deserialize<'de>>(&'de self) -> serde_json::Result<T> {
                serde_json::from_str(self.0.get())
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self(RawValue::from_string($empty.to_owned()).expect("the literal is JSON"))
            }
        }

        impl std::str::FromStr for $name {
            type Err = FieldError;

            fn from_str(json: &str) -> Result<Self, FieldError> {
                let json = json.trim_matches([' ', '\t', '\n', '\r']);
                let invalid = |error: serde_json::Error| FieldError::new(FieldErrorCode::WrongType, format!("is not valid JSON: {error}"));
                serde_json::from_str::<&RawValue>(json).map_err(invalid)?;
                if !json.starts_with($open) {
                    let detail = format!("is {}; {} is expected", kind(json), $kind);
                    return Err(FieldError::new(FieldErrorCode::WrongType, detail));
                }
                Ok(Self(RawValue::from_string(compact(json)?).map_err(invalid)?))
            }
        }

        impl PartialEq for $name {
            /// Equal when the texts are: `{"a":1}` is not `{"a":1.0}`.
            fn eq(&self, other: &Self) -> bool {
                self.as_str() == other.as_str()
            }
        }

        impl Eq for $name {}

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Box::<RawValue>::deserialize(deserializer)?.get().parse().map_err(D::Error::custom)
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

free_form! {
    /// A free-form JSON object, kept digit for digit; only white space between tokens is removed.
    ///
    /// Duplicate members, U+0000, unpaired surrogates and more than [`MAX_JSON_DEPTH`] levels are refused.
    ///
    /// ```
    /// use callhistory_model::JsonObject;
    ///
    /// let metadata: JsonObject = r#"{ "price": 1.50, "id": 12345678901234567890123 }"#.parse()?;
    /// assert_eq!(metadata.as_str(), r#"{"price":1.50,"id":12345678901234567890123}"#);
    /// # Ok::<(), callhistory_model::FieldError>(())
    /// ```
    JsonObject, "{}", "an object", '{', schema { "type": "object", "additionalProperties": true }
}

free_form! {
    /// A free-form JSON array, kept digit for digit under the rules of [`JsonObject`].
    JsonArray, "[]", "an array", '[', schema { "type": "array", "items": {} }
}

/// Any JSON value as text, unchecked. A client keeps unknown members in this form.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

impl JsonText {
    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl From<Box<RawValue>> for JsonText {
    fn from(json: Box<RawValue>) -> Self {
        Self(json)
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl TryFrom<serde_json::Map<String, serde_json::Value>> for JsonObject {
    type Error = FieldError;

    fn try_from(members: serde_json::Map<String, serde_json::Value>) -> Result<Self, FieldError> {
        serde_json::Value::Object(members).to_string().parse()
    }
}

impl TryFrom<Vec<serde_json::Value>> for JsonArray {
    type Error = FieldError;

    fn try_from(items: Vec<serde_json::Value>) -> Result<Self, FieldError> {
        serde_json::Value::Array(items).to_string().parse()
    }
}
