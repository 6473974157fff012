//! What a comparison finds: the place, the rule and its severity.

use std::fmt;

use serde::{Serialize, Serializer};

/// How much a finding matters to the callers of the old document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A caller that follows the old document can fail.
    Breaking,
    /// The rules do not know what the change means, so it counts as breaking until someone has looked.
    Unknown,
    /// No caller can fail.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Breaking => "breaking",
            Self::Unknown => "unknown",
            Self::Note => "note",
        })
    }
}

/// The rule of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// A path, operation, parameter, response, header, property, schema or server was removed.
    Removed,
    /// A caller must send something new.
    InputRequired,
    /// A caller may no longer send something.
    InputNarrowed,
    /// A caller may receive something new.
    OutputWidened,
    /// A type changed.
    TypeChanged,
    /// A format changed.
    FormatChanged,
    /// A default changed.
    DefaultChanged,
    /// A name in generated code changed: an operationId or a tag.
    NameChanged,
    /// A media type changed, or the serialization of a parameter.
    EncodingChanged,
    /// A key or a scope is required that was not.
    SecurityChanged,
    /// The rules do not know what the change means.
    NotUnderstood,
    /// Something new that no caller has to know.
    Added,
    /// A caller may send more than before.
    InputWidened,
    /// A caller receives less than it had to expect.
    OutputNarrowed,
    /// An annotation or an extension (`x-…`) changed.
    AnnotationChanged,
}

impl Rule {
    /// The severity of every finding of this rule.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::NotUnderstood => Severity::Unknown,
            Self::Added | Self::InputWidened | Self::OutputNarrowed | Self::AnnotationChanged => Severity::Note,
            _ => Severity::Breaking,
        }
    }

    /// The name in reports and in accept files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::InputRequired => "input-required",
            Self::InputNarrowed => "input-narrowed",
            Self::OutputWidened => "output-widened",
            Self::TypeChanged => "type-changed",
            Self::FormatChanged => "format-changed",
            Self::DefaultChanged => "default-changed",
            Self::NameChanged => "name-changed",
            Self::EncodingChanged => "encoding-changed",
            Self::SecurityChanged => "security-changed",
            Self::NotUnderstood => "not-understood",
            Self::Added => "added",
            Self::InputWidened => "input-widened",
            Self::OutputNarrowed => "output-narrowed",
            Self::AnnotationChanged => "annotation-changed",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One of the two documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The document that callers know.
    Old,
    /// The document that replaces it.
    New,
}

/// One difference: where, which rule, and what changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The severity of the rule.
    pub severity: Severity,
    /// The document that the pointer leads into: the old one if something was removed.
    pub document: Side,
    /// A JSON pointer, such as `/paths/~1calls/get`.
    pub pointer: String,
    /// The rule.
    pub rule: Rule,
    /// What changed, in words.
    pub detail: String,
    /// The line in the text of the document, starting at 1; none if the document was not read from a text.
    pub line: Option<usize>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}: {}: {}", self.pointer, self.rule, self.detail)
    }
}
