//! Partial updates: JSON Merge Patch (RFC 7396), with every untouched digit kept.

use std::{borrow::Cow, collections::HashMap};

use serde_json::value::RawValue;

use super::decode::{read_members, unknown_member};
use crate::{
    CallInput, CallRecord, FieldError, FieldErrorCode, FieldErrors, JsonArray, JsonObject, JsonText,
    value::raw_json::{object_text, raw_members},
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
        let mut patch = Vec::new();
        let errors = read_members(json, |name, value| {
            check(name, value.get())?;
            patch.push((name.to_owned(), JsonText::from(value.to_owned())));
            Ok(())
        });
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
        object_text(self.0.iter().map(|(name, value)| (name, value.as_str())))
    }

    /// Applies the patch. The result has no `createdAt` and `updatedAt`: the store sets them.
    ///
    /// # Errors
    ///
    /// Every rule that the patched record breaks.
    pub fn apply(&self, record: &CallRecord) -> Result<CallInput, FieldErrors> {
        let before = record.to_json();
        let merged = merge(Some(&String::from_utf8_lossy(&before)), &self.to_json());
        let mut input = CallInput::from_json(merged.as_bytes())?;
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

/// Checks one member. The patch must be valid before it is merged: depth, duplicate names, unpaired surrogates.
fn check(name: &str, value: &str) -> Result<(), FieldError> {
    if !CallRecord::MEMBERS.contains(&name) {
        return Err(unknown_member(name));
    }
    match (name, value.as_bytes().first()) {
        ("createdAt" | "updatedAt", _) => {
            let detail = "is set by the service; to keep an original value, PUT the whole record";
            Err(FieldError::new(FieldErrorCode::NotWritable, detail))
        }
        ("_id" | "workspaceId", _) if value == "null" => {
            Err(FieldError::new(FieldErrorCode::NotWritable, "cannot be removed; omit it"))
        }
        (_, Some(b'{')) => value.parse::<JsonObject>().map(drop),
        (_, Some(b'[')) => value.parse::<JsonArray>().map(drop),
        _ => Ok(()),
    }
}

/// RFC 7396 on texts: a `Value` would round numbers.
fn merge(target: Option<&str>, patch: &str) -> String {
    // A text that is not an object has no members.
    let Ok(changes) = raw_members(patch) else { return patch.to_owned() };
    let members = target.and_then(|target| raw_members(target).ok()).unwrap_or_default();
    let mut members: Vec<_> =
        members.into_iter().map(|(name, value)| Some((name, Cow::Borrowed(value.get())))).collect();
    // An index by name: a hostile patch with many members must not take quadratic time.
    let mut places: HashMap<Cow<'_, str>, usize> =
        members.iter().flatten().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect();
    for (name, value) in changes {
        let place = *places.entry(name.clone()).or_insert_with(|| {
            members.push(None);
            members.len() - 1
        });
        let before = members[place].take();
        members[place] = (value.get() != "null").then(|| {
            let before = before.as_ref().map(|(_, value)| value.as_ref());
            (name, Cow::Owned(merge(before, value.get())))
        });
    }
    object_text(members.into_iter().flatten())
}
