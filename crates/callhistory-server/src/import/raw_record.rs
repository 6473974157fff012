//! What the splitters find in a stream.

use std::sync::Arc;

use callhistory_model::{FieldError, FieldErrorCode};

/// A record of a stream, unparsed, or what is there instead.
#[derive(Debug)]
pub(crate) struct RawRecord {
    /// The number of the line, or the position in the array; from 1 on.
    pub(crate) line: u64,
    pub(crate) content: RawContent,
}

/// What is in the place of a record.
#[derive(Debug)]
pub(crate) enum RawContent {
    /// The text of an object. `sent` is what was sent if that is not JSON.
    Record { json: Vec<u8>, sent: Option<SentRow> },
    /// A value that is not an object, with what it is: it is left out.
    Skipped(String),
    /// Something that cannot be read.
    Invalid(FieldError),
    /// More of what was reported before: it is counted, but not listed.
    InvalidAgain,
}

/// A row of CSV as it was sent, with the line that names its cells.
#[derive(Debug)]
pub(crate) struct SentRow {
    pub(crate) header_line: Arc<[u8]>,
    pub(crate) row: Vec<u8>,
}

impl SentRow {
    /// A table with this row only.
    pub(crate) fn into_table(self) -> Vec<u8> {
        [&self.header_line, &b"\r\n"[..], &self.row].concat()
    }
}

impl RawContent {
    /// A record with more bytes than are accepted.
    pub(crate) fn too_long(max_bytes: usize) -> Self {
        let detail = format!("has more than {max_bytes} bytes");
        Self::Invalid(FieldError::new(FieldErrorCode::TooManyBytes, detail).prefix_pointer(""))
    }
}

impl RawRecord {
    /// A record that cannot be read.
    pub(crate) fn invalid(line: u64, code: FieldErrorCode, detail: impl Into<String>) -> Self {
        Self { line, content: RawContent::Invalid(FieldError::new(code, detail)) }
    }

    /// A record with more bytes than are accepted.
    pub(crate) fn too_long(line: u64, max_bytes: usize) -> Self {
        Self { line, content: RawContent::too_long(max_bytes) }
    }

    /// The memory that it takes, in bytes, without what it shares with others.
    pub(crate) fn size(&self) -> usize {
        match &self.content {
            RawContent::Record { json, sent } => json.len() + sent.as_ref().map_or(0, |sent| sent.row.len()),
            _ => 0,
        }
    }
}
