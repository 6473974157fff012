//! Splits a stream into the texts of its records. Its memory is bounded by the largest record.

use callhistory_model::{FieldError, FieldErrorCode};

use super::format::ImportFormat;

/// The text of a record, or why it cannot be read.
pub(crate) struct RawRecord {
    /// The number of the line, or the position in the array; from 1 on.
    pub(crate) line: u64,
    pub(crate) text: Result<Vec<u8>, FieldError>,
}

impl RawRecord {
    pub(crate) fn size(&self) -> usize {
        self.text.as_ref().map_or(0, Vec::len)
    }
}

/// Where in the stream the next byte is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SplitterState {
    /// In a line.
    Line,
    /// Before the array.
    Start,
    /// Before an item; `true` where the array may also end.
    Element(bool),
    /// In an item.
    Value { depth: usize, string: bool, escaped: bool },
    /// After an item.
    Comma,
    /// After the array.
    End,
    /// After a syntax error.
    Failed,
}

/// Splits bytes into records as they arrive.
pub(crate) struct RecordSplitter {
    state: SplitterState,
    max_bytes: usize,
    line: u64,
    text: Vec<u8>,
    too_long: bool,
    first: bool,
    /// The stream should be an array, but does not begin like one.
    pub(crate) is_no_array: bool,
}

impl RecordSplitter {
    pub(crate) fn new(form: ImportFormat, max_bytes: usize) -> Self {
        let state = match form {
            ImportFormat::Lines => SplitterState::Line,
            ImportFormat::Array => SplitterState::Start,
        };
        Self { state, max_bytes, line: 1, text: Vec::new(), too_long: false, first: true, is_no_array: false }
    }

    /// Processes bytes and adds the records that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8], items: &mut Vec<RawRecord>) {
        if self.state == SplitterState::Line {
            let mut lines = bytes.split(|byte| *byte == b'\n');
            if let Some(rest) = lines.next() {
                self.add(rest);
            }
            for line in lines {
                self.end_line(items);
                self.add(line);
            }
            return;
        }
        bytes.iter().for_each(|byte| self.step(*byte, items));
    }

    /// The bytes of the record that is not complete.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.text.len()
    }

    /// Ends the stream.
    pub(crate) fn finish(&mut self, items: &mut Vec<RawRecord>) {
        match self.state {
            SplitterState::Line => self.end_line(items),
            SplitterState::Start => self.is_no_array = true,
            SplitterState::End | SplitterState::Failed => {}
            _ => self.fail("ends before the array does", items),
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.text.len() + bytes.len() > self.max_bytes {
            self.too_long = true;
            self.text = Vec::new();
        }
        if !self.too_long {
            self.text.extend_from_slice(bytes);
        }
    }

    /// Adds the text so far as a record.
    fn end_item(&mut self, items: &mut Vec<RawRecord>) {
        let text = std::mem::take(&mut self.text);
        let text = if std::mem::take(&mut self.too_long) {
            let detail = format!("has more than {} bytes", self.max_bytes);
            Err(FieldError::new(FieldErrorCode::TooManyBytes, detail).prefix_pointer(""))
        } else {
            Ok(text)
        };
        items.push(RawRecord { line: self.line, text });
        self.line += 1;
    }

    fn end_line(&mut self, items: &mut Vec<RawRecord>) {
        if std::mem::take(&mut self.first) && self.text.starts_with(b"\xef\xbb\xbf") {
            self.text.drain(..3);
        }
        if !self.too_long && self.text.iter().all(u8::is_ascii_whitespace) {
            // An empty line is not a record, but counts as a line.
            self.text.clear();
            self.line += 1;
        } else {
            self.end_item(items);
        }
    }

    /// Fails at a syntax error, after which the rest cannot be split.
    fn fail(&mut self, what: &str, items: &mut Vec<RawRecord>) {
        let detail = format!("{what}; the rest was not read");
        items.push(RawRecord { line: self.line, text: Err(FieldError::new(FieldErrorCode::Malformed, detail)) });
        self.text = Vec::new();
        self.state = SplitterState::Failed;
    }

    fn step(&mut self, byte: u8, items: &mut Vec<RawRecord>) {
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match self.state {
            SplitterState::Failed | SplitterState::Line => {}
            SplitterState::Value { depth, string, escaped } => self.inside(byte, depth, string, escaped, items),
            _ if blank => {}
            // The byte order mark that some editors write.
            SplitterState::Start if matches!(byte, 0xef | 0xbb | 0xbf) => {}
            SplitterState::Start if byte == b'[' => self.state = SplitterState::Element(true),
            SplitterState::Start => {
                self.is_no_array = true;
                self.state = SplitterState::Failed;
            }
            SplitterState::Element(true) if byte == b']' => self.state = SplitterState::End,
            SplitterState::Comma if byte == b']' => self.state = SplitterState::End,
            SplitterState::Comma if byte == b',' => self.state = SplitterState::Element(false),
            SplitterState::Element(_) if byte == b'{' => {
                self.add(&[byte]);
                self.state = SplitterState::Value { depth: 1, string: false, escaped: false };
            }
            SplitterState::Element(_) => self.fail("has something other than a record here", items),
            SplitterState::Comma => self.fail("has no comma between two records here", items),
            SplitterState::End => self.fail("has something after the array", items),
        }
    }

    fn inside(&mut self, byte: u8, depth: usize, string: bool, escaped: bool, items: &mut Vec<RawRecord>) {
        self.add(&[byte]);
        let (depth, string, escaped) = match byte {
            _ if escaped => (depth, string, false),
            b'\\' if string => (depth, string, true),
            b'"' => (depth, !string, false),
            b'{' | b'[' if !string => (depth + 1, string, false),
            b'}' | b']' if !string => (depth - 1, string, false),
            _ => (depth, string, false),
        };
        if depth == 0 {
            self.state = SplitterState::Comma;
            self.end_item(items);
        } else {
            self.state = SplitterState::Value { depth, string, escaped };
        }
    }
}

/// The records of a stream that arrives in chunks of this size, each with its line, and its text if it is valid.
#[cfg(fuzzing)]
#[must_use]
pub fn split_in_chunks(stream: &[u8], is_array: bool, chunk: usize) -> Vec<(u64, Option<Vec<u8>>)> {
    let form = if is_array { ImportFormat::Array } else { ImportFormat::Lines };
    let (mut splitter, mut items) = (RecordSplitter::new(form, 64), Vec::new());
    stream.chunks(chunk).for_each(|part| splitter.push(part, &mut items));
    splitter.finish(&mut items);
    items.into_iter().map(|item| (item.line, item.text.ok())).collect()
}
