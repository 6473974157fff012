//! Partial updates: JSON Merge Patch (RFC 7396), with every untouched digit kept.

use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;

use super::decode::{document_error, unknown_member};
use crate::{
    CallInput, CallRecord, FieldError, FieldErrorCode, FieldErrors, JsonArray, JsonObject, JsonText,
    value::raw_json::{escape_pointer, raw_members},
};

/// A JSON Merge Patch of a record: members to set, and `null` for members to remove. Objects are merged member by
/// member; other values replace the old value.
///
/// ```
/// use callhistory_model::{CallInput, CallPatch, CallStatus};
///
/// let input = CallInput { status: Some(CallStatus::Completed), ..CallInput::default() };
/// let patch = CallPatch::from(input).without("roomName");
/// assert_eq!(patch.to_json(), r#"{"status":"completed","roomName":null}"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallPatch(Vec<(String, JsonText)>);

impl CallPatch {
    /// Parses a patch, strictly.
    ///
    /// # Errors
    ///
    /// Invalid JSON, a value that is not an object, and members that are unknown, duplicate, or set only by the service.
    /// Values are checked when the patch is applied.
    pub fn from_json(json: &[u8]) -> Result<Self, FieldErrors> {
        let not_utf8 = || FieldErrors(vec![FieldError::new(FieldErrorCode::Malformed, "is not UTF-8")]);
        let text = std::str::from_utf8(json).map_err(|_| not_utf8())?;
        let members = raw_members(text).map_err(|error| FieldErrors(vec![document_error(json, &error)]))?;
        let (mut patch, mut errors, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for (name, value) in &members {
            let error = if !seen.insert(name.as_ref()) {
                Some(FieldError::new(FieldErrorCode::DuplicateMember, "occurs more than once in the patch"))
            } else if !CallRecord::MEMBERS.contains(&name.as_ref()) {
                Some(FieldError::new(FieldErrorCode::Unknown, unknown_member(name)))
            } else {
                check(name, value.get()).err()
            };
            match error {
                Some(error) => errors.push(error.prefix_pointer(&format!("/{}", escape_pointer(name)))),
                None => patch.push((name.to_string(), JsonText::from(RawValue::to_owned(value)))),
            }
            if errors.len() == FieldErrors::MAX {
                break;
            }
        }
        if errors.is_empty() { Ok(Self(patch)) } else { Err(FieldErrors(errors)) }
    }

    /// The same patch, which also removes a member.
    #[must_use]
    pub fn without(mut self, member: impl Into<String>) -> Self {
        let member = member.into();
        self.0.retain(|(name, _)| *name != member);
        self.0.push((member, JsonText::from(RawValue::NULL.to_owned())));
        self
    }

    /// The new value of a member as JSON text; `null` if the patch removes it.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The patch as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        object_text(self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// Applies the patch. The result has no `createdAt` and `updatedAt`: the store sets them.
    ///
    /// # Errors
    ///
    /// Every rule that the patched record breaks.
    pub fn apply(&self, record: &CallRecord) -> Result<CallInput, FieldErrors> {
        let before = String::from_utf8(record.to_json());
        let before =
            before.map_err(|_| FieldErrors(vec![FieldError::new(FieldErrorCode::Malformed, "is not UTF-8")]))?;
        let mut input = CallInput::from_json(merged(Some(&before), &self.to_json()).as_bytes())?;
        (input.created_at, input.updated_at) = (None, None);
        Ok(input)
    }
}

impl From<CallInput> for CallPatch {
    /// The patch that sets the members of the input.
    fn from(input: CallInput) -> Self {
        let json = serde_json::to_string(&input).unwrap_or_default();
        let members = raw_members(&json).unwrap_or_default();
        Self(members.into_iter().map(|(name, value)| (name.into_owned(), JsonText::from(value.to_owned()))).collect())
    }
}

fn check(name: &str, value: &str) -> Result<(), FieldError> {
    match name {
        "createdAt" | "updatedAt" => {
            let detail = "is set by the service; to keep an original value, PUT the whole record";
            return Err(FieldError::new(FieldErrorCode::NotWritable, detail));
        }
        "_id" | "workspaceId" if value == "null" => {
            return Err(FieldError::new(FieldErrorCode::NotWritable, "cannot be removed"));
        }
        _ => {}
    }
    // The patch must be valid before it is merged: depth, duplicate names, unpaired surrogates.
    match value.as_bytes().first() {
        Some(b'{') => value.parse::<JsonObject>().map(drop),
        Some(b'[') => value.parse::<JsonArray>().map(drop),
        _ => Ok(()),
    }
}

/// RFC 7396 on texts: a `Value` would round numbers.
fn merged(target: Option<&str>, patch: &str) -> String {
    if !patch.starts_with('{') {
        return patch.to_owned();
    }
    let read = |json: &str| -> Vec<(String, String)> {
        let members = raw_members(json).unwrap_or_default();
        members.into_iter().map(|(name, value)| (name.into_owned(), value.get().to_owned())).collect()
    };
    let mut members: Vec<_> =
        target.filter(|target| target.starts_with('{')).map(read).unwrap_or_default().into_iter().map(Some).collect();
    // An index by name: a hostile patch with many members must not take quadratic time.
    let mut places: HashMap<String, usize> =
        members.iter().flatten().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect();
    for (name, value) in read(patch) {
        let place = places.get(&name).copied();
        let before = place.and_then(|place| members[place].take());
        let after = (value != "null").then(|| merged(before.as_ref().map(|(_, value)| value.as_str()), &value));
        match (place, after) {
            (Some(place), after) => members[place] = after.map(|after| (name, after)),
            (None, Some(after)) => {
                places.insert(name.clone(), members.len());
                members.push(Some((name, after)));
            }
            (None, None) => {}
        }
    }
    object_text(members.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn object_text<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let members = members.map(|(name, value)| format!("{}:{value}", serde_json::Value::from(name)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}
