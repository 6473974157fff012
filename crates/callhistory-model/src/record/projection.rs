//! Projection to some members, and redaction of phone numbers, on the JSON text of a record.

use std::borrow::Cow;

use crate::{
    CallRecord,
    value::raw_json::{Members, object_text, string_text},
};

impl CallRecord {
    /// The stored record with these members only, in the order of the record.
    ///
    /// # Errors
    ///
    /// Fails where the text is not a JSON object.
    pub fn project(json: &[u8], members: &[String]) -> serde_json::Result<String> {
        let Members(all) = serde_json::from_slice(json)?;
        let wanted = all.iter().filter(|(name, _)| members.iter().any(|member| member == name));
        Ok(object_text(wanted.map(|(name, value)| (name, value.get()))))
    }

    /// A whole or partial record with redacted phone numbers: only the last two characters of a number are kept, and none
    /// of a number with fewer than six. Everything else stays unchanged.
    ///
    /// # Errors
    ///
    /// Fails where the text is not a JSON object.
    pub fn redact_phone_numbers(json: &[u8]) -> serde_json::Result<String> {
        let Members(all) = serde_json::from_slice(json)?;
        let texts = all.iter().map(|(name, value)| match name.as_ref() {
            "fromPhoneNumber" | "toPhoneNumber" => {
                let number: String = serde_json::from_str(value.get())?;
                Ok((name, Cow::Owned(string_text(&redacted(&number)))))
            }
            _ => Ok((name, Cow::Borrowed(value.get()))),
        });
        Ok(object_text(texts.collect::<serde_json::Result<Vec<_>>>()?))
    }

    /// Whether a phone number was redacted.
    #[must_use]
    pub fn is_redacted(number: &str) -> bool {
        number.starts_with(MASK)
    }
}

/// The replacement of a phone number. It hides the length of the number.
const MASK: &str = "********";

fn redacted(number: &str) -> String {
    let chars = number.chars().count();
    let shown = if chars < 6 { chars } else { chars - 2 };
    format!("{MASK}{}", number.chars().skip(shown).collect::<String>())
}
