//! Cutting a stream into the texts of its records, in memory that is bounded by one of them.

use callhistory_model::{FieldError, FieldErrorCode};

use super::format::ImportFormat;

/// One record of a stream, or why its text cannot be had.
pub(crate) struct RawRecord {
    /// The number of the line, or the state in the array; from 1 on.
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
    /// Behind an item.
    Comma,
    /// Behind the array.
    End,
    /// Behind something that cannot be made sense of.
    Lost,
}

/// Cuts bytes, as they come, into records.
pub(crate) struct RecordSplitter {
    state: SplitterState,
    max_bytes: usize,
    line: u64,
    text: Vec<u8>,
    too_long: bool,
    first: bool,
    /// The stream is to be an array, and does not even begin as one.
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

    /// Takes bytes and gives the records that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8], items: &mut Vec<RawRecord>) {
        if self.state == SplitterState::Line {
            let mut lines = bytes.split(|byte| *byte == b'\n');
            if let Some(begun) = lines.next() {
                self.add(begun);
            }
            for line in lines {
                self.end_line(items);
                self.add(line);
            }
            return;
        }
        bytes.iter().for_each(|byte| self.step(*byte, items));
    }

    /// Takes the end of the stream.
    pub(crate) fn finish(&mut self, items: &mut Vec<RawRecord>) {
        match self.state {
            SplitterState::Line => self.end_line(items),
            SplitterState::Start => self.is_no_array = true,
            SplitterState::End | SplitterState::Lost => {}
            _ => self.lose("ends before the array does", items),
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

    /// Gives the text gathered so far as a record.
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
            // An empty line is no record, but counts.
            self.text.clear();
            self.line += 1;
        } else {
            self.end_item(items);
        }
    }

    /// Stops at a malformed array: the rest cannot be split into records.
    fn lose(&mut self, what: &str, items: &mut Vec<RawRecord>) {
        let detail = format!("{what}; nothing after this state was read");
        items.push(RawRecord { line: self.line, text: Err(FieldError::new(FieldErrorCode::Malformed, detail)) });
        self.text = Vec::new();
        self.state = SplitterState::Lost;
    }

    fn step(&mut self, byte: u8, items: &mut Vec<RawRecord>) {
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match self.state {
            SplitterState::Lost | SplitterState::Line => {}
            SplitterState::Value { depth, string, escaped } => self.inside(byte, depth, string, escaped, items),
            _ if blank => {}
            // The mark that some editors put before UTF-8.
            SplitterState::Start if matches!(byte, 0xef | 0xbb | 0xbf) => {}
            SplitterState::Start if byte == b'[' => self.state = SplitterState::Element(true),
            SplitterState::Start => {
                self.is_no_array = true;
                self.state = SplitterState::Lost;
            }
            SplitterState::Element(true) if byte == b']' => self.state = SplitterState::End,
            SplitterState::Comma if byte == b']' => self.state = SplitterState::End,
            SplitterState::Comma if byte == b',' => self.state = SplitterState::Element(false),
            SplitterState::Element(_) if byte == b'{' => {
                self.add(&[byte]);
                self.state = SplitterState::Value { depth: 1, string: false, escaped: false };
            }
            SplitterState::Element(_) => self.lose("has something else than a record here", items),
            SplitterState::Comma => self.lose("has no comma between two records here", items),
            SplitterState::End => self.lose("has something after the array", items),
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

/// The records of a stream that comes in chunks of this size: each with its line, and its text where it has one.
#[cfg(fuzzing)]
#[must_use]
pub fn split_in_chunks(stream: &[u8], is_array: bool, chunk: usize) -> Vec<(u64, Option<Vec<u8>>)> {
    let form = if is_array { ImportFormat::Array } else { ImportFormat::Lines };
    let (mut splitter, mut items) = (RecordSplitter::new(form, 64), Vec::new());
    stream.chunks(chunk).for_each(|part| splitter.push(part, &mut items));
    splitter.finish(&mut items);
    items.into_iter().map(|item| (item.line, item.text.ok())).collect()
}
