//! The two readings of a record: strict for what the service accepts, lenient for what a client receives.

use std::{borrow::Cow, collections::HashSet, fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    json::{decode_string, escape_pointer, kind},
    problem::{FieldError, FieldErrorCode, FieldErrors},
    query::nearest_name,
    record::{CallInput, CallRecord},
};

/// The members of one JSON object, in order, as text.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

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

/// The members of a sound JSON object, in order, each with its text.
pub(crate) fn raw_members(json: &str) -> serde_json::Result<Vec<(Cow<'_, str>, &RawValue)>> {
    serde_json::from_str(json).map(|Members(members)| members)
}

impl CallRecord {
    /// The text of a stored record with some of its members alone, in the order of the record.
    ///
    /// # Errors
    ///
    /// Fails where the text is not a JSON object.
    pub fn project(json: &[u8], members: &[String]) -> serde_json::Result<String> {
        let all: Members<'_> = serde_json::from_slice(json)?;
        let wanted = all.0.iter().filter(|(name, _)| members.iter().any(|member| member == name));
        // The names of members need no escapes.
        let texts: Vec<_> = wanted.map(|(name, value)| format!("\"{name}\":{}", value.get())).collect();
        Ok(format!("{{{}}}", texts.join(",")))
    }

    /// A record, whole or in part, for those who may not see phone numbers: of each number the last two characters are
    /// left, of one with fewer than six none. Everything else stays as it is.
    ///
    /// # Errors
    ///
    /// Fails where the text is not a JSON object.
    pub fn redact_phone_numbers(json: &[u8]) -> serde_json::Result<String> {
        let all: Members<'_> = serde_json::from_slice(json)?;
        let texts = all.0.iter().map(|(name, value)| match name.as_ref() {
            "fromPhoneNumber" | "toPhoneNumber" => {
                let number: String = serde_json::from_str(value.get())?;
                Ok(format!("\"{name}\":{}", serde_json::to_string(&masked(&number))?))
            }
            // The names of members need no escapes.
            _ => Ok(format!("\"{name}\":{}", value.get())),
        });
        Ok(format!("{{{}}}", texts.collect::<serde_json::Result<Vec<_>>>()?.join(",")))
    }

    /// Whether a phone number is one that was masked.
    #[must_use]
    pub fn is_redacted(number: &str) -> bool {
        number.starts_with(MASK)
    }
}

/// What stands in place of a phone number. It does not tell how long the number is.
const MASK: &str = "********";

fn masked(number: &str) -> String {
    let chars = number.chars().count();
    let shown = if chars < 6 { chars } else { chars - 2 };
    format!("{MASK}{}", number.chars().skip(shown).collect::<String>())
}

/// A member name that is copied only where it has escapes.
#[derive(Deserialize)]
struct BorrowedName<'a>(#[serde(borrow)] Cow<'a, str>);

impl CallInput {
    /// Reads a record as a caller writes it, strictly.
    ///
    /// # Errors
    ///
    /// Every error of the document at once, up to 100: what is not JSON, a member that does not exist, stands twice or
    /// breaks its rule, and times that contradict each other.
    pub fn from_json(json: &[u8]) -> Result<Self, FieldErrors> {
        let members: Members<'_> = match serde_json::from_slice(json) {
            Ok(members) => members,
            Err(error) => return Err(FieldErrors(vec![document_error(json, &error)])),
        };
        let mut input = Self::default();
        let mut errors = Vec::new();
        let mut seen = HashSet::with_capacity(members.0.len());
        for (name, value) in &members.0 {
            let json = value.get();
            let here = || format!("/{}", escape_pointer(name));
            if !seen.insert(name.as_ref()) {
                errors.push(
                    FieldError::new(FieldErrorCode::DuplicateMember, "stands more than once in the record")
                        .prefix_pointer(&here()),
                );
            } else if CallRecord::MEMBERS.contains(&name.as_ref()) && json == "null" {
                let detail = "is null; a member without a value is left out";
                errors.push(FieldError::new(FieldErrorCode::NullNotAllowed, detail).prefix_pointer(&here()));
            } else if !input.read_member(name, json, &mut errors) {
                errors.push(FieldError::new(FieldErrorCode::Unknown, unknown_member(name)).prefix_pointer(&here()));
            }
            if errors.len() == FieldErrors::MAX {
                return Err(FieldErrors(errors));
            }
        }
        errors.extend(input.contradictions());
        errors.truncate(FieldErrors::MAX);
        if errors.is_empty() { Ok(input) } else { Err(FieldErrors(errors)) }
    }

    /// The errors that no single member has.
    fn contradictions(&self) -> impl Iterator<Item = FieldError> {
        let mut errors = Vec::new();
        if let (Some(start), Some(end)) = (&self.start_time, &self.end_time)
            && end.to_decimal() < start.to_decimal()
        {
            let detail = format!("is {end}, which lies before startTime {start}");
            errors.push(FieldError::new(FieldErrorCode::EndBeforeStart, detail).prefix_pointer("/endTime"));
        }
        if let (Some(created), Some(updated)) = (&self.created_at, &self.updated_at)
            && updated.unix_nanos() < created.unix_nanos()
        {
            let detail = format!("is {updated}, which lies before createdAt {created}");
            errors.push(FieldError::new(FieldErrorCode::EndBeforeStart, detail).prefix_pointer("/updatedAt"));
        }
        errors.into_iter()
    }
}

pub(crate) fn document_error(json: &[u8], error: &serde_json::Error) -> FieldError {
    if json.iter().all(u8::is_ascii_whitespace) {
        return FieldError::new(FieldErrorCode::Malformed, "is empty; a JSON object is expected");
    }
    if let Ok(value) = serde_json::from_slice::<&RawValue>(json)
        && !value.get().starts_with('{')
    {
        let detail = format!("is {}; a record is an object", kind(value.get()));
        return FieldError::new(FieldErrorCode::WrongType, detail).prefix_pointer("");
    }
    FieldError::new(FieldErrorCode::Malformed, format!("is not JSON: {error}"))
}

pub(crate) fn unknown_member(name: &str) -> String {
    match nearest_name(name, CallRecord::MEMBERS.iter().copied()) {
        Some(known) => format!("is not a member of a record; did you mean {known:?}?"),
        None => "is not a member of a record; data of your own belongs in \"metadata\"".to_owned(),
    }
}

/// The lenient reading, which `record.rs` makes from its table.
pub(crate) trait LenientMembers: Sized {
    fn read<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error>;
}

impl<'de> Deserialize<'de> for CallRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RecordVisitor;

        impl<'de> Visitor<'de> for RecordVisitor {
            type Value = CallRecord;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a call record")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CallRecord, A::Error> {
                LenientMembers::read(map)
            }
        }

        deserializer.deserialize_map(RecordVisitor)
    }
}

/// The members of a JSON object, each with its text.
pub(crate) fn object(json: &str) -> Result<Vec<(String, &str)>, FieldError> {
    if !json.starts_with('{') {
        return Err(wrong_type(json, "an object"));
    }
    let members: Members<'_> = serde_json::from_str(json)
        .map_err(|_| FieldError::new(FieldErrorCode::InvalidString, "has a member name with half a surrogate pair"))?;
    Ok(members.0.into_iter().map(|(name, value)| (name.into_owned(), value.get())).collect())
}

/// A string of at most `max_chars` characters.
pub(crate) fn text(json: &str, max_chars: usize) -> Result<String, FieldError> {
    let text = decode_string(json)?;
    let chars = text.chars().count();
    if chars > max_chars {
        let detail = format!("has {chars} characters; at most {max_chars} are accepted");
        return Err(FieldError::new(FieldErrorCode::TooLong, detail));
    }
    Ok(text)
}

/// A value of an open set: a string of 1 to `max_chars` characters.
pub(crate) fn open<T: for<'a> From<&'a str>>(json: &str, max_chars: usize) -> Result<T, FieldError> {
    let text = text(json, max_chars)?;
    if text.is_empty() {
        return Err(FieldError::new(FieldErrorCode::TooShort, "is empty; leave the member out instead"));
    }
    Ok(T::from(&text))
}

/// A string with a form of its own: an id, a time.
pub(crate) fn string_as<T: FromStr<Err = FieldError>>(json: &str) -> Result<T, FieldError> {
    decode_string(json)?.parse()
}

/// A number that keeps its digits.
pub(crate) fn number<T: FromStr<Err = FieldError>>(json: &str) -> Result<T, FieldError> {
    match kind(json) {
        "a number" => json.parse(),
        _ => Err(wrong_type(json, "a number")),
    }
}

/// An object or array of the caller's own.
pub(crate) fn free_form<T: FromStr<Err = FieldError>>(json: &str) -> Result<T, FieldError> {
    json.parse()
}

fn wrong_type(json: &str, expected: &str) -> FieldError {
    FieldError::new(FieldErrorCode::WrongType, format!("is {}; {expected} is expected", kind(json)))
}
