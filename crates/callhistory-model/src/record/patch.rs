//! Partial updates: JSON Merge Patch (RFC 7396), with every untouched digit kept.

use std::{borrow::Cow, collections::HashMap};

use serde_json::value::RawValue;

use super::decode::{ParsedCall, read_members};
use crate::{
    CallInput, CallRecord, FieldError, FieldErrorCode, FieldErrors, Handling, JsonText,
    field_error::escape_pointer,
    value::raw_json::{free_form_text, object_text, raw_members, with_paired_surrogates},
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
    /// Parses a patch.
    ///
    /// # Errors
    ///
    /// Invalid JSON, a value that is not an object, and members that are duplicate, or set only by the service. Names and values
    /// are checked when the patch is applied.
    pub fn parse(json: &[u8], handling: Handling) -> Result<Self, FieldErrors> {
        let mut patch = Vec::new();
        let errors = read_members(json, handling, |name, value| {
            check(name, value)?;
            let value = RawValue::from_string(with_paired_surrogates(value).into_owned());
            let value = value.map_err(|error| FieldError::new(FieldErrorCode::Malformed, error.to_string()))?;
            patch.push((name.to_owned(), JsonText::from(value)));
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

    /// Applies the patch. The result has no `createdAt` and `updatedAt`: the store sets them. The warnings are about the members
    /// of the patch.
    ///
    /// # Errors
    ///
    /// Every rule that the patched record breaks.
    pub fn apply(&self, record: &CallRecord, handling: Handling) -> Result<ParsedCall, FieldErrors> {
        let before = record.to_json();
        let merged = merge(Some(&String::from_utf8_lossy(&before)), &self.to_json());
        let mut parsed = CallInput::parse(merged.as_bytes(), handling)?;
        if handling == Handling::Strict {
            parsed.input.check_extra(Some(record))?;
        }
        parsed.warnings.retain(|warning| self.names(&warning.pointer));
        (parsed.input.created_at, parsed.input.updated_at) = (None, None);
        Ok(parsed)
    }

    /// The record that the patch creates where there is none.
    ///
    /// # Errors
    ///
    /// Every rule that the record breaks.
    pub fn create(&self, handling: Handling) -> Result<ParsedCall, FieldErrors> {
        let parsed = CallInput::parse(merge(None, &self.to_json()).as_bytes(), handling)?;
        if handling == Handling::Strict {
            parsed.input.check_extra(None)?;
        }
        Ok(parsed)
    }

    /// Whether a pointer is into a member of the patch.
    fn names(&self, pointer: &str) -> bool {
        let member = pointer.trim_start_matches('/').split('/').next().unwrap_or("");
        self.0.iter().any(|(name, _)| escape_pointer(name) == member)
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
    match name {
        "createdAt" | "updatedAt" => {
            let detail = "is set by the service; to keep an original value, PUT the whole record";
            Err(FieldError::new(FieldErrorCode::NotWritable, detail))
        }
        "_id" | "workspaceId" if value == "null" => {
            Err(FieldError::new(FieldErrorCode::NotWritable, "cannot be removed; omit it"))
        }
        _ => free_form_text(&with_paired_surrogates(value)).map(drop),
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
