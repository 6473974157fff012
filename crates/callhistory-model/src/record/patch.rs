//! Partial updates: JSON Merge Patch (RFC 7396), with every untouched digit kept.

use std::{borrow::Cow, collections::HashMap};

use serde_json::value::RawValue;

use super::decode::{Document, ParsedCall};
use crate::{
    CallInput, CallRecord, FieldErrors, FieldWarning, Handling, JsonText,
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
pub struct CallPatch {
    members: Vec<(String, JsonText)>,
    /// What parsing the patch has changed in it.
    warnings: Vec<FieldWarning>,
    is_changed: bool,
}

impl CallPatch {
    /// Parses a patch: each member is read as that of a record, and `null` removes it.
    ///
    /// # Errors
    ///
    /// Lenient handling refuses what is not a JSON object. Strict handling also refuses members that are duplicate, break their rule,
    /// or are set only by the service; all errors of the document, up to 100. Unknown members are checked when the patch is applied.
    pub fn parse(json: &[u8], handling: Handling) -> Result<Self, FieldErrors> {
        let mut document = Document::read_patch(json, handling);
        let (removed, removed_from_cost) = document.take_removed();
        let ParsedCall { input, warnings, is_changed, .. } = document.finish()?;
        let mut patch = Self { warnings, is_changed, ..Self::from(input) };
        if !removed_from_cost.is_empty() {
            let cost = patch.member("cost").and_then(|cost| raw_members(cost).ok()).unwrap_or_default();
            let cost = cost.iter().map(|(name, value)| (name.as_ref(), value.get()));
            let cost = object_text(cost.chain(removed_from_cost.iter().map(|name| (name.as_str(), "null"))));
            let cost = RawValue::from_string(cost).unwrap_or_else(|_| RawValue::NULL.to_owned());
            patch.set("cost", JsonText::from(cost));
        }
        for name in removed {
            // Of a member and another name for it, the value counts.
            if patch.member(&name).is_none() {
                patch.set(&name, JsonText::from(RawValue::NULL.to_owned()));
            }
        }
        Ok(patch)
    }

    fn set(&mut self, name: &str, value: JsonText) {
        self.members.retain(|(known, _)| known != name);
        self.members.push((name.to_owned(), value));
    }

    /// The same patch, which also removes a member.
    #[must_use]
    pub fn without(mut self, member: impl Into<String>) -> Self {
        self.set(&member.into(), JsonText::from(RawValue::NULL.to_owned()));
        self
    }

    /// The new value of a member as JSON text; `null` if the patch removes it.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&str> {
        self.members.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The patch as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        object_text(self.members.iter().map(|(name, value)| (name, value.as_str())))
    }

    /// Applies the patch. The result has no `createdAt` and `updatedAt`: the store sets them. The warnings are about the members
    /// of the patch.
    ///
    /// # Errors
    ///
    /// Unknown members in strict handling, and a duration whose unit is not the second.
    pub fn apply(&self, record: &CallRecord, handling: Handling) -> Result<ParsedCall, FieldErrors> {
        let before = record.to_json();
        let merged = merge(Some(&String::from_utf8_lossy(&before)), &self.to_json());
        let mut parsed = self.finish(&merged, Some(record), handling)?;
        (parsed.input.created_at, parsed.input.updated_at) = (None, None);
        Ok(parsed)
    }

    /// The record that the patch creates where there is none.
    ///
    /// # Errors
    ///
    /// Those of [`apply`](Self::apply).
    pub fn create(&self, handling: Handling) -> Result<ParsedCall, FieldErrors> {
        self.finish(&merge(None, &self.to_json()), None, handling)
    }

    fn finish(&self, merged: &str, stored: Option<&CallRecord>, handling: Handling) -> Result<ParsedCall, FieldErrors> {
        let mut document = Document::read_merged(merged, handling);
        document.check_facts(|name| self.member(name).is_some());
        let mut parsed = document.finish()?;
        if handling == Handling::Strict {
            parsed.input.check_extra(stored)?;
        }
        parsed.is_changed |= self.is_changed;
        parsed.warnings.splice(..0, self.warnings.iter().cloned());
        parsed.warnings.truncate(FieldWarning::MAX);
        Ok(parsed)
    }
}

impl From<CallInput> for CallPatch {
    /// The patch that sets the members of the input.
    fn from(input: CallInput) -> Self {
        let json = serde_json::to_string(&input).unwrap_or_default();
        let members = raw_members(&json).unwrap_or_default();
        let members = members.into_iter().map(|(name, value)| (name.into_owned(), JsonText::from(value.to_owned())));
        Self { members: members.collect(), ..Self::default() }
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
