//! What the splitters find in a stream.

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
    Record { json: Vec<u8>, sent: Option<Vec<u8>> },
    /// A value that is not an object, with what it is: it is left out.
    Hole(String),
    /// Something that cannot be read.
    Invalid(FieldError),
    /// More of what was reported before: it is counted, but not listed.
    InvalidAgain,
}

impl RawRecord {
    /// A record that cannot be read.
    pub(crate) fn invalid(line: u64, code: FieldErrorCode, detail: impl Into<String>) -> Self {
        Self { line, content: RawContent::Invalid(FieldError::new(code, detail)) }
    }

    /// A record with more bytes than are accepted.
    pub(crate) fn too_long(line: u64, max_bytes: usize) -> Self {
        let detail = format!("has more than {max_bytes} bytes");
        let error = FieldError::new(FieldErrorCode::TooManyBytes, detail).prefix_pointer("");
        Self { line, content: RawContent::Invalid(error) }
    }

    /// The size of its text, in bytes.
    pub(crate) fn size(&self) -> usize {
        match &self.content {
            RawContent::Record { json, sent } => json.len() + sent.as_ref().map_or(0, Vec::len),
            _ => 0,
        }
    }
}
