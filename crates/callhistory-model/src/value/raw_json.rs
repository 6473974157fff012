//! JSON as text: any value, the members of an object, and the free-form members of a record, kept digit for digit.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::json_text::JsonText;
use crate::{FieldError, FieldErrorCode, field_error::escape_pointer};

/// Maximum nesting depth of arrays and objects inside a free-form member.
pub const MAX_JSON_DEPTH: usize = 120;

/// The type of a JSON text, in words for an error.
pub(crate) fn type_name(json: &str) -> &'static str {
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
        return Err(wrong_type(json, "a string"));
    }
    // serde_json skips over raw values without pairing surrogates, so a string is valid only once it is decoded.
    serde_json::from_str(json).map_err(|_| {
        FieldError::new(FieldErrorCode::InvalidString, "contains an unpaired surrogate, which is not a character")
    })
}

/// The error of a value of another type than `expected`, which has its article: `a string`.
pub(crate) fn wrong_type(json: &str, expected: &str) -> FieldError {
    FieldError::new(FieldErrorCode::WrongType, format!("is {}; {expected} is expected", type_name(json)))
}

/// The members of a JSON object in order, duplicates included, each value as text.
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

/// A member name, which is copied only if it has escapes.
#[derive(Deserialize)]
struct BorrowedName<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members of a valid JSON text; an error if it is not an object.
pub(crate) fn raw_members(json: &str) -> serde_json::Result<Vec<(Cow<'_, str>, &RawValue)>> {
    serde_json::from_str(json).map(|Members(members)| members)
}

/// The members of a valid JSON text, or the error of the text.
pub(crate) fn object(json: &str) -> Result<Vec<(Cow<'_, str>, &str)>, FieldError> {
    if !json.starts_with('{') {
        return Err(wrong_type(json, "an object"));
    }
    let members = raw_members(json).map_err(|_| {
        FieldError::new(FieldErrorCode::InvalidString, "has a member name that contains an unpaired surrogate")
    })?;
    Ok(members.into_iter().map(|(name, value)| (name, value.get())).collect())
}

/// The text of a JSON object with these members, each value as JSON text.
pub(crate) fn object_text<N: AsRef<str>, V: AsRef<str>>(members: impl IntoIterator<Item = (N, V)>) -> String {
    let members = members.into_iter();
    let members = members.map(|(name, value)| format!("{}:{}", string_text(name.as_ref()), value.as_ref()));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// The text of a JSON string.
pub(crate) fn string_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The same JSON with each unpaired surrogate replaced by U+FFFD. The text of the service is readable by every JSON parser.
pub(crate) fn with_paired_surrogates(json: &str) -> Cow<'_, str> {
    const UNIT: usize = "\\ud800".len();
    let unit_at = |at: usize| {
        let escape = json.as_bytes().get(at..at + UNIT)?;
        let digits = std::str::from_utf8(escape.strip_prefix(b"\\u")?).ok()?;
        u16::from_str_radix(digits, 16).ok().filter(|unit| (0xd800..0xe000).contains(unit))
    };
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(step) = json.get(at..).and_then(|rest| rest.find('\\')) {
        at += step;
        match unit_at(at) {
            // Past the escaped character, which has several bytes in text that is not JSON.
            None => at = json.ceil_char_boundary(at + 2),
            Some(0xd800..0xdc00) if matches!(unit_at(at + UNIT), Some(0xdc00..0xe000)) => at += 2 * UNIT,
            Some(_) => {
                out.push_str(&json[copied..at]);
                out.push_str("\\ufffd");
                at += UNIT;
                copied = at;
            }
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    out.push_str(&json[copied..]);
    Cow::Owned(out)
}

/// The same JSON, in which the last of several members with one name counts. Values that are nested too deeply for a record stay as
/// they are.
pub(crate) fn without_duplicates(json: &str) -> Cow<'_, str> {
    distinct_members(json, MAX_JSON_DEPTH)
}

fn distinct_members(json: &str, depth: usize) -> Cow<'_, str> {
    let Some(below) = depth.checked_sub(1).filter(|_| json.starts_with(['{', '['])) else { return json.into() };
    let Ok(members) = raw_members(json) else {
        let items = serde_json::from_str::<Vec<&RawValue>>(json).unwrap_or_default();
        let items: Vec<_> = items.into_iter().map(|item| distinct_members(item.get(), below)).collect();
        let is_changed = items.iter().any(|item| matches!(item, Cow::Owned(_)));
        return if is_changed { Cow::Owned(format!("[{}]", items.join(","))) } else { json.into() };
    };
    let count = members.len();
    let mut last: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::with_capacity(count);
    let mut places: HashMap<Cow<'_, str>, usize> = HashMap::with_capacity(count);
    for (name, value) in members {
        let value = distinct_members(value.get(), below);
        match places.get(&name) {
            Some(place) => last[*place].1 = value,
            None => {
                places.insert(name.clone(), last.len());
                last.push((name, value));
            }
        }
    }
    if last.len() == count && last.iter().all(|(_, value)| matches!(value, Cow::Borrowed(_))) {
        return json.into();
    }
    Cow::Owned(object_text(last))
}

/// An array or object whose end [`compact`] has not reached.
enum Container<'a> {
    Array { index: usize },
    Object { names: HashSet<Cow<'a, str>>, name: String, expects_name: bool },
}

/// Checks a JSON text whose grammar the parser has already accepted, and removes the white space between its
/// tokens. Everything else stays unchanged: number text, escapes, order of members.
fn compact(json: &str) -> Result<String, FieldError> {
    let mut out = String::with_capacity(json.len());
    let mut open: Vec<Container<'_>> = Vec::new();
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

/// Any JSON value without the white space between its tokens, under the rules of [`JsonObject`].
pub(crate) fn free_form_text(json: &str) -> Result<JsonText, FieldError> {
    let invalid = |error| FieldError::new(FieldErrorCode::WrongType, format!("is not valid JSON: {error}"));
    RawValue::from_string(compact(json)?).map(JsonText::from).map_err(invalid)
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

fn step<'a>(open: &mut Vec<Container<'a>>, token: &'a str) -> Result<(), FieldError> {
    match token.as_bytes()[0] {
        b'{' => open.push(Container::Object { names: HashSet::new(), name: String::new(), expects_name: true }),
        b'[' => open.push(Container::Array { index: 0 }),
        b'}' | b']' => drop(open.pop()),
        b',' => match open.last_mut() {
            Some(Container::Array { index }) => *index += 1,
            Some(Container::Object { expects_name, .. }) => *expects_name = true,
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

fn string<'a>(parent: Option<&mut Container<'a>>, token: &'a str) -> Result<(), FieldError> {
    let plain = token.trim_matches('"');
    let text = if token.contains('\\') { Cow::Owned(decode_string(token)?) } else { Cow::Borrowed(plain) };
    if let Some(Container::Object { names, name, expects_name: expects @ true }) = parent {
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
fn pointer_of(open: &[Container<'_>]) -> String {
    open.iter().fold(String::new(), |pointer, place| match place {
        Container::Array { index } => format!("{pointer}/{index}"),
        // The error is in the name itself; the pointer names its object.
        Container::Object { expects_name: true, .. } => pointer,
        Container::Object { name, .. } => format!("{pointer}/{}", escape_pointer(name)),
    })
}

/// Declares the type of a free-form value from its documentation, name, empty value, JSON type and schema.
macro_rules! free_form {
    ($(#[$doc:meta])* $name:ident, $empty:literal, $type_name:literal, $schema:tt) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "JsonText")]
        pub struct $name(JsonText);

        impl $name {
            /// The JSON text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Deserializes the text into another type.
            ///
            /// # Errors
            ///
            /// Fails if the text does not fit the type.
            pub fn deserialize<'de, T: Deserialize<'de>>(&'de self) -> serde_json::Result<T> {
                serde_json::from_str(self.as_str())
            }

            /// The JSON of a value of another type.
            ///
            /// # Errors
            ///
            /// Fails if the type cannot be serialized, or its JSON is of another type or breaks a rule.
            pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Self, FieldError> {
                let invalid = |error| {
                    FieldError::new(FieldErrorCode::WrongType, format!("cannot be serialized as JSON: {error}"))
                };
                serde_json::to_string(value).map_err(invalid)?.parse()
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self(RawValue::from_string($empty.to_owned()).expect("the literal is JSON").into())
            }
        }

        impl std::str::FromStr for $name {
            type Err = FieldError;

            fn from_str(json: &str) -> Result<Self, FieldError> {
                let invalid = |error| FieldError::new(FieldErrorCode::WrongType, format!("is not valid JSON: {error}"));
                // Without the white space around the value.
                let json = serde_json::from_str::<&RawValue>(json).map_err(invalid)?.get();
                if type_name(json) != $type_name {
                    return Err(wrong_type(json, $type_name));
                }
                Ok(Self(RawValue::from_string(compact(json)?).map_err(invalid)?.into()))
            }
        }

        impl TryFrom<JsonText> for $name {
            type Error = FieldError;

            fn try_from(json: JsonText) -> Result<Self, FieldError> {
                json.as_str().parse()
            }
        }

        impl TryFrom<serde_json::Value> for $name {
            type Error = FieldError;

            fn try_from(value: serde_json::Value) -> Result<Self, FieldError> {
                value.to_string().parse()
            }
        }

        inline_schema!($name, $schema);
    };
}

free_form! {
    /// A free-form JSON object, kept digit for digit; only white space between tokens is removed.
    ///
    /// Duplicate members, unpaired surrogates and more than [`MAX_JSON_DEPTH`] levels are refused.
    ///
    /// ```
    /// use callhistory_model::JsonObject;
    ///
    /// let metadata: JsonObject = r#"{ "price": 1.50, "id": 12345678901234567890123 }"#.parse()?;
    /// assert_eq!(metadata.as_str(), r#"{"price":1.50,"id":12345678901234567890123}"#);
    /// let analysis = JsonObject::try_from(serde_json::json!({"resolved": true}))?;
    /// assert_eq!(analysis, JsonObject::from_serialize(&std::collections::BTreeMap::from([("resolved", true)]))?);
    /// # Ok::<(), callhistory_model::FieldError>(())
    /// ```
    JsonObject, "{}", "an object", { "type": "object", "additionalProperties": true }
}

free_form! {
    /// A free-form JSON array, kept digit for digit under the rules of [`JsonObject`].
    JsonArray, "[]", "an array", { "type": "array", "items": {} }
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
