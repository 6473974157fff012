//! Cutting a stream into the texts of its records, in memory that is bounded by one of them.

use callhistory_model::{FieldError, FieldErrorCode};

use crate::import::ImportForm;

/// One record of a stream, or why its text cannot be had.
pub(crate) struct Item {
    /// The number of the line, or the place in the array; from 1 on.
    pub(crate) line: u64,
    pub(crate) text: Result<Vec<u8>, FieldError>,
}

impl Item {
    pub(crate) fn size(&self) -> usize {
        self.text.as_ref().map_or(0, Vec::len)
    }
}

/// Where in the stream the next byte is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a line.
    Line,
    /// Before the array.
    Start,
    /// Before an item; `true` where the array may also end.
    Item(bool),
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
pub(crate) struct Splitter {
    place: Place,
    max_bytes: usize,
    line: u64,
    text: Vec<u8>,
    too_long: bool,
    first: bool,
    /// The stream is to be an array, and does not even begin as one.
    pub(crate) is_no_array: bool,
}

impl Splitter {
    pub(crate) fn new(form: ImportForm, max_bytes: usize) -> Self {
        let place = match form {
            ImportForm::Lines => Place::Line,
            ImportForm::Array => Place::Start,
        };
        Self { place, max_bytes, line: 1, text: Vec::new(), too_long: false, first: true, is_no_array: false }
    }

    /// Takes bytes and gives the records that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8], items: &mut Vec<Item>) {
        if self.place == Place::Line {
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
    pub(crate) fn finish(&mut self, items: &mut Vec<Item>) {
        match self.place {
            Place::Line => self.end_line(items),
            Place::Start => self.is_no_array = true,
            Place::End | Place::Lost => {}
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
    fn end_item(&mut self, items: &mut Vec<Item>) {
        let text = std::mem::take(&mut self.text);
        let text = if std::mem::take(&mut self.too_long) {
            let detail = format!("has more than {} bytes", self.max_bytes);
            Err(FieldError::new(FieldErrorCode::TooManyBytes, detail).prefix_pointer(""))
        } else {
            Ok(text)
        };
        items.push(Item { line: self.line, text });
        self.line += 1;
    }

    fn end_line(&mut self, items: &mut Vec<Item>) {
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

    /// Ends the reading where the array is none: what follows cannot be told apart.
    fn lose(&mut self, what: &str, items: &mut Vec<Item>) {
        let detail = format!("{what}; nothing after this place was read");
        items.push(Item { line: self.line, text: Err(FieldError::new(FieldErrorCode::Malformed, detail)) });
        self.text = Vec::new();
        self.place = Place::Lost;
    }

    fn step(&mut self, byte: u8, items: &mut Vec<Item>) {
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match self.place {
            Place::Lost | Place::Line => {}
            Place::Value { depth, string, escaped } => self.inside(byte, depth, string, escaped, items),
            _ if blank => {}
            // The mark that some editors put before UTF-8.
            Place::Start if matches!(byte, 0xef | 0xbb | 0xbf) => {}
            Place::Start if byte == b'[' => self.place = Place::Item(true),
            Place::Start => {
                self.is_no_array = true;
                self.place = Place::Lost;
            }
            Place::Item(true) if byte == b']' => self.place = Place::End,
            Place::Comma if byte == b']' => self.place = Place::End,
            Place::Comma if byte == b',' => self.place = Place::Item(false),
            Place::Item(_) if byte == b'{' => {
                self.add(&[byte]);
                self.place = Place::Value { depth: 1, string: false, escaped: false };
            }
            Place::Item(_) => self.lose("has something else than a record here", items),
            Place::Comma => self.lose("has no comma between two records here", items),
            Place::End => self.lose("has something after the array", items),
        }
    }

    fn inside(&mut self, byte: u8, depth: usize, string: bool, escaped: bool, items: &mut Vec<Item>) {
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
            self.place = Place::Comma;
            self.end_item(items);
        } else {
            self.place = Place::Value { depth, string, escaped };
        }
    }
}

/// The records of a stream that comes in chunks of this size: each with its line, and its text where it has one.
#[cfg(fuzzing)]
#[must_use]
pub fn split_in_chunks(stream: &[u8], is_array: bool, chunk: usize) -> Vec<(u64, Option<Vec<u8>>)> {
    let form = if is_array { ImportForm::Array } else { ImportForm::Lines };
    let (mut splitter, mut items) = (Splitter::new(form, 64), Vec::new());
    stream.chunks(chunk).for_each(|part| splitter.push(part, &mut items));
    splitter.finish(&mut items);
    items.into_iter().map(|item| (item.line, item.text.ok())).collect()
}
