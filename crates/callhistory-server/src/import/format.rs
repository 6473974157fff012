//! The formats of an import.

use mime::Mime;

/// What separates the records of an import, and their names from their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportFormat {
    /// JSON: a record on each line, an array, a page that wraps a list, or records one after the other.
    Json,
    /// A JSON document, which an empty stream is not.
    JsonDocument,
    /// CSV, with a first line that names the members.
    Csv,
    /// One of these; the first bytes say which.
    Detect,
}

impl ImportFormat {
    /// The format of a media type.
    pub(crate) fn of(media_type: &Mime) -> Option<Self> {
        let subtype = media_type.subtype().as_str();
        let suffix = media_type.suffix().map(|name| name.as_str());
        match (media_type.type_().as_str(), subtype.strip_prefix("x-").unwrap_or(subtype)) {
            ("application" | "text", "ndjson" | "jsonl" | "jsonlines" | "ldjson" | "json-lines" | "json-seq") => {
                Some(Self::Json)
            }
            ("application" | "text", "json") => Some(Self::JsonDocument),
            ("application" | "text", "csv" | "comma-separated-values") => Some(Self::Csv),
            ("application", _) if suffix == Some("json") => Some(Self::JsonDocument),
            _ => None,
        }
    }

    /// The media type of one record of the format.
    pub(crate) fn media_type_of_record(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            _ => "application/json",
        }
    }
}

/// The charsets of the bodies of imports; the bytes say which of them it is.
pub(crate) const CHARSETS: [&str; 6] = ["utf-8", "utf8", "us-ascii", "utf-16", "utf-16le", "utf-16be"];
