//! The two parsers of a record: strict for requests, lenient for responses.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    CallInput, CallRecord, FieldError, FieldErrorCode, FieldErrors,
    spelling::nearest_name,
    value::raw_json::{Members, type_name},
};

impl CallInput {
    /// Parses the record of a request, strictly.
    ///
    /// # Errors
    ///
    /// All errors of the document, up to 100: invalid JSON, unknown or duplicate members, members that break their rule,
    /// and times that contradict each other.
    pub fn from_json(json: &[u8]) -> Result<Self, FieldErrors> {
        let mut input = Self::default();
        let mut errors = read_members(json, |name, value| match value.get() {
            "null" if CallRecord::MEMBERS.contains(&name) => {
                Err(FieldError::new(FieldErrorCode::NullNotAllowed, "is null; omit a member without a value"))
            }
            value => input.read_member(name, value).unwrap_or_else(|| Err(unknown_member(name))),
        });
        errors.extend(input.contradictions());
        errors.truncate(FieldErrors::MAX);
        if errors.is_empty() { Ok(input) } else { Err(FieldErrors(errors)) }
    }

    /// Errors between members.
    fn contradictions(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let (Some(start), Some(end)) = (&self.start_time, &self.end_time)
            && end.nanos() < start.nanos()
        {
            let detail = format!("is {end}, which is before startTime {start}");
            errors.push(FieldError::new(FieldErrorCode::EndBeforeStart, detail).prefix_pointer("/endTime"));
        }
        if let (Some(created), Some(updated)) = (&self.created_at, &self.updated_at)
            && updated.unix_nanos() < created.unix_nanos()
        {
            let detail = format!("is {updated}, which is before createdAt {created}");
            errors.push(FieldError::new(FieldErrorCode::EndBeforeStart, detail).prefix_pointer("/updatedAt"));
        }
        errors
    }
}

/// Passes each member of a document to `read`. Returns the errors with their pointers, up to [`FieldErrors::MAX`], those
/// of duplicate members included.
pub(super) fn read_members(
    json: &[u8],
    mut read: impl FnMut(&str, &RawValue) -> Result<(), FieldError>,
) -> Vec<FieldError> {
    let members: Members<'_> = match serde_json::from_slice(json) {
        Ok(members) => members,
        Err(error) => return vec![document_error(json, &error)],
    };
    let mut errors = Vec::new();
    let mut seen = HashSet::with_capacity(members.0.len());
    for (name, value) in &members.0 {
        let result = if seen.insert(name.as_ref()) {
            read(name, value)
        } else {
            Err(FieldError::new(FieldErrorCode::DuplicateMember, "occurs more than once; send it once"))
        };
        if let Err(error) = result {
            errors.push(error.in_member(name));
        }
        if errors.len() == FieldErrors::MAX {
            break;
        }
    }
    errors
}

fn document_error(json: &[u8], error: &serde_json::Error) -> FieldError {
    if json.iter().all(u8::is_ascii_whitespace) {
        return FieldError::new(FieldErrorCode::Malformed, "is empty; a JSON object is expected");
    }
    if let Ok(value) = serde_json::from_slice::<&RawValue>(json)
        && !value.get().starts_with('{')
    {
        let detail = format!("is {}; a record is an object", type_name(value.get()));
        return FieldError::new(FieldErrorCode::WrongType, detail).prefix_pointer("");
    }
    FieldError::new(FieldErrorCode::Malformed, format!("is not valid JSON: {error}"))
}

pub(super) fn unknown_member(name: &str) -> FieldError {
    let detail = match nearest_name(name, CallRecord::MEMBERS.iter().copied()) {
        Some(known) => format!("is not a member of a record; did you mean {known:?}?"),
        None => "is not a member of a record; put custom data into \"metadata\"".to_owned(),
    };
    FieldError::new(FieldErrorCode::Unknown, detail)
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
                CallRecord::read_lenient(map)
            }
        }

        deserializer.deserialize_map(RecordVisitor)
    }
}
