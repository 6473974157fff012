//! Repairs a document that is not JSON for a reason that senders cannot help: bytes of another encoding, halves of characters,
//! numbers that JSON does not have.

use std::borrow::Cow;

use crate::{FieldWarning, Handling, WarningCode, value::raw_json::with_paired_surrogates};

/// The document with what JSON does not allow replaced, and a warning for each member that this changed. Strict handling only
/// replaces unpaired surrogates.
pub(super) fn repair(json: &[u8], handling: Handling) -> (String, Vec<FieldWarning>) {
    let text = String::from_utf8_lossy(json);
    let paired = with_paired_surrogates(&text);
    let mut warnings = Vec::new();
    if matches!(paired, Cow::Owned(_)) {
        let detail = "contains an unpaired surrogate, which became U+FFFD";
        warnings.push(FieldWarning::new(WarningCode::CharactersReplaced, detail));
    }
    if handling == Handling::Strict {
        return (paired.into_owned(), warnings);
    }
    let is_lossy = std::str::from_utf8(json).is_err();
    let mut repair = Repair { out: String::with_capacity(paired.len()), warnings, member: None, depth: 0 };
    let mut rest: &str = &paired;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => repair.string(rest, is_lossy),
            '{' | '[' => repair.open(first, 1),
            '}' | ']' => repair.open(first, -1),
            'N' | 'I' | '-' | '+' => repair.number(rest),
            _ => repair.copy(first),
        };
        rest = &rest[length..];
    }
    (repair.out, repair.warnings)
}

struct Repair {
    out: String,
    warnings: Vec<FieldWarning>,
    /// The last string at the top level: the name of the member that is read.
    member: Option<String>,
    depth: i32,
}

impl Repair {
    fn copy(&mut self, c: char) -> usize {
        self.out.push(c);
        c.len_utf8()
    }

    fn open(&mut self, bracket: char, by: i32) -> usize {
        self.depth += by;
        self.copy(bracket)
    }

    fn warn(&mut self, code: WarningCode, detail: &str) {
        let warning = FieldWarning::new(code, detail);
        let warning = match &self.member {
            Some(member) => warning.in_member(member),
            None => warning,
        };
        if self.warnings.last() != Some(&warning) && self.warnings.len() < FieldWarning::MAX {
            self.warnings.push(warning);
        }
    }

    /// Copies a string; control characters get their escapes.
    fn string(&mut self, text: &str, is_lossy: bool) -> usize {
        let start = self.out.len();
        let (mut is_escaped, mut length, mut fault) = (false, text.len(), None);
        self.out.push('"');
        for (at, c) in text.char_indices().skip(1) {
            match c {
                '\u{0}'..='\u{1f}' => {
                    self.out.push_str(&format!("\\u{:04x}", u32::from(c)));
                    fault = Some("contains control characters, which were escaped");
                }
                _ => self.out.push(c),
            }
            if c == '\u{fffd}' && is_lossy {
                fault = Some("contains bytes that are not UTF-8; each became U+FFFD");
            }
            if c == '"' && !is_escaped {
                length = at + 1;
                break;
            }
            is_escaped = c == '\\' && !is_escaped;
        }
        if let Some(fault) = fault {
            self.warn(WarningCode::CharactersReplaced, fault);
        }
        let is_name = self.depth == 1 && text[length..].trim_start().starts_with(':');
        if is_name {
            self.member = serde_json::from_str(&self.out[start..]).ok();
        }
        length
    }

    /// Replaces a number that JSON does not have by `null`.
    fn number(&mut self, text: &str) -> usize {
        // One sign at most: a run of signs must not be looked at again and again.
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        match ["NaN", "Infinity"].iter().find(|word| unsigned.starts_with(**word)) {
            Some(word) => {
                let detail = format!("has {word}, which JSON does not have; the number is left out");
                self.warn(WarningCode::NotANumber, &detail);
                self.out.push_str("null");
                text.len() - unsigned.len() + word.len()
            }
            None => self.copy(text.chars().next().unwrap_or(' ')),
        }
    }
}
