//! Describes a value that is not a record.

use callhistory_model::{FieldError, FieldErrorCode};
use serde_json::value::RawValue;

use super::raw_record::RawContent;

/// Words that are written for a missing value, in JSON and in what is nearly JSON.
const MISSING: [&[u8]; 8] = [b"NaN", b"Infinity", b"-Infinity", b"undefined", b"None", b"True", b"False", b"nil"];

/// The description of one stream: what is said about its first line is not said again about each other.
#[derive(Default)]
pub(super) struct FormatHint {
    /// Whether the stream is something else.
    is_other_format: bool,
}

impl FormatHint {
    /// Describes a text of which only the start may be known. `is_first` says that the stream begins with it.
    pub(super) fn describe(&mut self, text: &[u8], is_cut: bool, is_first: bool, in_list: bool) -> RawContent {
        if !is_cut && let Some(skipped) = describe_scalar(text) {
            return RawContent::Skipped(skipped);
        }
        if self.is_other_format {
            return RawContent::InvalidAgain;
        }
        let format = if is_first && !in_list { other_format(text) } else { None };
        self.is_other_format = format.is_some();
        let detail = match format {
            Some(hint) => hint.to_owned(),
            None if is_comment(text) => "is a comment, which JSON does not have; remove it".to_owned(),
            None if in_list => "is not JSON; the items of the list are objects".to_owned(),
            None => "is not JSON; a record is an object, which starts with {".to_owned(),
        };
        RawContent::Invalid(FieldError::new(FieldErrorCode::Malformed, detail))
    }
}

/// What a JSON value is that is not an object.
fn describe_scalar(text: &[u8]) -> Option<String> {
    if !MISSING.contains(&text) && serde_json::from_slice::<&RawValue>(text).is_err() {
        return None;
    }
    let kind = match text.first()? {
        b'"' if text[1..].trim_ascii_start().starts_with(b"{") => {
            return Some("is a string that contains an object; it was encoded twice".to_owned());
        }
        b'"' => "a string",
        b'n' | b'u' | b'N' => "null",
        b't' | b'f' | b'T' | b'F' => "a boolean",
        _ => "a number",
    };
    Some(format!("is {kind}; a record is an object"))
}

fn is_comment(text: &[u8]) -> bool {
    [b"#".as_slice(), b"//", b"/*", b"*/", b"--", b"<!--"].iter().any(|mark| text.starts_with(mark))
}

/// What the first line of another format says about the whole stream.
fn other_format(text: &[u8]) -> Option<&'static str> {
    if is_comment(text) {
        return None;
    }
    let has = |character: u8| text.contains(&character);
    if text.starts_with(b"<") {
        return Some("is HTML or XML; send JSON, one record on each line, an array, or CSV as text/csv");
    }
    if is_csv_line(text) {
        return Some("is CSV, it seems; send it as content-type: text/csv, with a first line that names the members");
    }
    if has(b'=') && has(b'&') && !has(b' ') {
        return Some("is a form, it seems; send JSON, one record on each line, or an array");
    }
    None
}

/// Whether the first line of a stream looks like the names of columns.
pub(super) fn is_csv_line(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let is_other = matches!(line.first(), Some(b'[' | b'<')) || line.contains(&b'{');
    !is_other && !is_comment(line) && line.iter().any(|byte| matches!(byte, b',' | b';' | b'\t' | b'|'))
}

/// What a stream is that is no text at all; its first bytes say so.
pub(super) fn binary_format(start: &[u8]) -> Option<&'static str> {
    const FORMATS: [(&[u8], &str); 9] = [
        (&[0x1f, 0x8b], "The body is gzip; send it with Content-Encoding: gzip."),
        (b"PK\x03\x04", "The body is a ZIP file or a spreadsheet (xlsx); send what it contains as JSON or CSV."),
        (b"PAR1", "The body is a Parquet file; send JSON or CSV."),
        (b"SQLite format 3", "The body is a SQLite database; send JSON or CSV."),
        (b"%PDF", "The body is a PDF file; send JSON or CSV."),
        (b"BZh", "The body is compressed with bzip2; decompress it, or use gzip with Content-Encoding: gzip."),
        (b"\xfd7zXZ", "The body is compressed with xz; decompress it, or use gzip with Content-Encoding: gzip."),
        (
            &[0x28, 0xb5, 0x2f, 0xfd],
            "The body is compressed with zstd; decompress it, or use gzip with Content-Encoding: gzip.",
        ),
        (&[0xd0, 0xcf, 0x11, 0xe0], "The body is a spreadsheet (xls); send it as CSV."),
    ];
    FORMATS.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, hint)| *hint)
}
