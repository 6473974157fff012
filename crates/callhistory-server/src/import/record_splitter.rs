//! Splits a stream of JSON into the texts of its records, however they are separated: one on each line, an array, a page that wraps
//! a list, or objects one after the other. Its memory is bounded by the largest record.
//!
//! A broken record does not take the following ones with it: an object that begins on a new line in the column of the broken one,
//! where the grammar allows none, is the next record. That cannot happen in JSON that is valid.

use callhistory_model::FieldErrorCode;

use super::{
    format_hint::FormatHint,
    object_scanner::{ObjectScanner, ScanStep},
    raw_record::{RawContent, RawRecord},
};

/// An object without an identity that has a list, and more bytes than this, is a page.
const MAX_UNDECIDED_BYTES: usize = 256 * 1024;
/// Lists within lists.
const MAX_LISTS: usize = 64;
/// How much of something that is not a record is kept to describe it, in bytes.
const MAX_TOKEN_BYTES: usize = 1024;
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
/// Starts each text of a JSON text sequence (RFC 7464).
const RECORD_SEPARATOR: u8 = 0x1e;

/// What the next byte belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SplitterState {
    /// Nothing yet.
    Between,
    /// A byte order mark, of which this number of bytes has been read.
    ByteOrderMark(usize),
    /// A value that is not an object, or something that is not JSON.
    Other { in_string: bool, is_escaped: bool },
    /// An object.
    Object,
    /// A page, outside of its list.
    Page,
}

/// What encloses the records.
enum Enclosure {
    List,
    Page(ObjectScanner),
}

/// A place in the buffered text.
#[derive(Clone, Copy)]
struct Mark {
    offset: usize,
    line: u64,
}

/// Splits bytes into records as they arrive.
pub(crate) struct RecordSplitter {
    max_bytes: usize,
    state: SplitterState,
    enclosures: Vec<Enclosure>,
    object: ObjectScanner,
    /// The object or the value that is being read.
    text: Vec<u8>,
    is_too_long: bool,
    /// The line of the next byte.
    line: u64,
    after_carriage_return: bool,
    /// The white space before the next byte, if its line has nothing else yet.
    indent: Option<usize>,
    /// Where the object begins: its line, and the white space before it if it is the first on the line.
    start: u64,
    start_indent: usize,
    /// Whether the records are numbered by their positions, and the last one.
    counts_positions: Option<bool>,
    position: u64,
    /// After the bracket of what may be the list of a page.
    list: Option<(Mark, ObjectScanner)>,
    /// Whether its first item is an object.
    has_list: bool,
    /// The first line after the start of the object that may be a record, should the object be broken.
    next_line: Option<Mark>,
    /// Whether every such line is a record: the text is known to be broken.
    is_recovering: bool,
    /// Whether the last record or value could not be read, and whether the current value may be a line of it.
    is_after_broken: bool,
    is_detail: bool,
    format_hint: FormatHint,
}

impl RecordSplitter {
    /// A splitter of records of at most this size.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            state: SplitterState::Between,
            enclosures: Vec::new(),
            object: ObjectScanner::new(),
            text: Vec::new(),
            is_too_long: false,
            line: 1,
            after_carriage_return: false,
            indent: Some(0),
            start: 1,
            start_indent: 0,
            counts_positions: None,
            position: 0,
            list: None,
            has_list: false,
            next_line: None,
            is_recovering: false,
            is_after_broken: false,
            is_detail: false,
            format_hint: FormatHint::default(),
        }
    }

    /// Processes bytes and adds the records that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8], records: &mut Vec<RawRecord>) {
        let mut rest = bytes;
        while let [byte, ..] = rest {
            let run = self.string_run(rest);
            if run > 0 {
                self.keep(&rest[..run]);
                rest = &rest[run..];
                continue;
            }
            self.step(*byte, records);
            self.advance(*byte);
            rest = &rest[1..];
        }
    }

    /// Whether the stream had nothing but white space so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts_positions.is_none()
    }

    /// The bytes of the record that is not complete.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.text.len()
    }

    /// Ends the stream.
    pub(crate) fn finish(&mut self, records: &mut Vec<RawRecord>) {
        loop {
            match self.state {
                SplitterState::Other { .. } => self.end_other(records),
                SplitterState::Object if self.is_page() => self.open_page(records),
                SplitterState::Object if self.next_line.is_some() => {
                    self.end_broken(records);
                    self.enclosures.clear();
                }
                SplitterState::Object => {
                    let line = self.number();
                    records.push(match self.is_too_long {
                        true => RawRecord::too_long(line, self.max_bytes),
                        false => RawRecord::invalid(line, FieldErrorCode::Malformed, "ends before the record does"),
                    });
                    self.enclosures.clear();
                    self.state = SplitterState::Between;
                }
                _ => break,
            }
        }
        if !self.enclosures.is_empty() {
            let line = self.number();
            records.push(RawRecord::invalid(line, FieldErrorCode::Malformed, "ends before the list of records does"));
            self.enclosures.clear();
        }
    }

    /// The length of the text up to the next byte that has a meaning in a string.
    fn string_run(&self, rest: &[u8]) -> usize {
        if self.state != SplitterState::Object || !self.object.in_text() || self.indent.is_some() {
            return 0;
        }
        let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | b'\n' | b'\r');
        rest.iter().position(is_special).unwrap_or(rest.len())
    }

    /// Keeps bytes of the object.
    fn keep(&mut self, bytes: &[u8]) {
        if self.text.len() + bytes.len() > self.max_bytes {
            self.is_too_long = true;
            self.text = Vec::new();
            self.next_line = None;
        }
        if !self.is_too_long {
            self.text.extend_from_slice(bytes);
        }
    }

    /// Counts lines and the white space at their start.
    fn advance(&mut self, byte: u8) {
        let follows = std::mem::take(&mut self.after_carriage_return);
        match byte {
            b'\n' if follows => {}
            b'\n' | b'\r' => {
                self.line += 1;
                self.indent = Some(0);
                self.after_carriage_return = byte == b'\r';
            }
            b' ' | b'\t' => self.indent = self.indent.map(|blanks| blanks + 1),
            _ if matches!(self.state, SplitterState::ByteOrderMark(_)) || BYTE_ORDER_MARK.contains(&byte) => {}
            _ => self.indent = None,
        }
    }

    fn step(&mut self, byte: u8, records: &mut Vec<RawRecord>) {
        match self.state {
            SplitterState::Between => self.between(byte),
            SplitterState::ByteOrderMark(read) if BYTE_ORDER_MARK.get(read) == Some(&byte) => {
                let is_complete = read + 1 == BYTE_ORDER_MARK.len();
                self.state = match is_complete {
                    true => SplitterState::Between,
                    false => SplitterState::ByteOrderMark(read + 1),
                };
            }
            SplitterState::ByteOrderMark(read) => {
                self.open_other(BYTE_ORDER_MARK[0]);
                self.text.extend_from_slice(&BYTE_ORDER_MARK[1..read]);
                self.other(byte, records);
            }
            SplitterState::Other { .. } => self.other(byte, records),
            SplitterState::Object => self.inside(byte, records),
            SplitterState::Page => self.in_page(byte),
        }
    }

    fn between(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b',' | RECORD_SEPARATOR => {}
            b'{' => self.open_object(),
            b'[' if self.enclosures.len() < MAX_LISTS => {
                self.counts_positions.get_or_insert(true);
                self.enclosures.push(Enclosure::List);
            }
            b']' if matches!(self.enclosures.last(), Some(Enclosure::List)) => {
                self.enclosures.pop();
                if let Some(Enclosure::Page(page)) = self.enclosures.last_mut() {
                    page.step(byte);
                    self.state = SplitterState::Page;
                }
            }
            byte if byte == BYTE_ORDER_MARK[0] => self.state = SplitterState::ByteOrderMark(1),
            _ => self.open_other(byte),
        }
    }

    /// The number under which the current record is reported.
    fn number(&mut self) -> u64 {
        if *self.counts_positions.get_or_insert(false) {
            self.position += 1;
            self.position
        } else {
            self.start
        }
    }

    fn open_object(&mut self) {
        self.state = SplitterState::Object;
        self.object = ObjectScanner::new();
        self.begin(b'{');
        (self.list, self.has_list, self.next_line) = (None, false, None);
    }

    fn begin(&mut self, byte: u8) {
        self.start = self.line;
        self.start_indent = self.indent.unwrap_or(0);
        self.text.clear();
        self.text.push(byte);
        self.is_too_long = false;
    }

    fn inside(&mut self, byte: u8, records: &mut Vec<RawRecord>) {
        if self.text.len() >= MAX_UNDECIDED_BYTES.min(self.max_bytes) && self.is_page() {
            self.open_page(records);
            return self.step(byte, records);
        }
        if byte == b'{' && self.indent == Some(self.start_indent) && self.line > self.start {
            if self.is_recovering || !self.object.expects_value() {
                self.end_broken(records);
                return self.step(byte, records);
            }
            if self.next_line.is_none() && !self.is_too_long {
                self.next_line = Some(Mark { offset: self.text.len(), line: self.line });
            }
        }
        self.keep(&[byte]);
        match self.object.step(byte) {
            ScanStep::Inside => {}
            ScanStep::ListOpens if self.has_list => {}
            ScanStep::ListOpens => {
                let mark = Mark { offset: self.text.len(), line: self.line };
                self.list = Some((mark, self.object.clone()));
            }
            ScanStep::FirstItem => self.has_list = true,
            ScanStep::End if self.is_page() => self.open_page(records),
            ScanStep::End => self.end_object(records),
        }
    }

    /// Whether the object is a page that wraps a list of records, as far as it is known.
    fn is_page(&self) -> bool {
        self.enclosures.is_empty() && self.has_list && !self.object.has_record_member() && !self.is_too_long
    }

    /// Reads the list of a page, of which the first bytes are in the buffer.
    fn open_page(&mut self, records: &mut Vec<RawRecord>) {
        let Some((mark, page)) = self.list.take() else { return };
        self.counts_positions.get_or_insert(true);
        self.enclosures = vec![Enclosure::Page(page), Enclosure::List];
        self.read_again(mark, None, records);
    }

    /// Reads the end of the buffer again, as what follows a record.
    fn read_again(&mut self, mark: Mark, indent: Option<usize>, records: &mut Vec<RawRecord>) {
        let rest = self.text.split_off(mark.offset);
        self.text.clear();
        self.state = SplitterState::Between;
        (self.line, self.indent, self.after_carriage_return) = (mark.line, indent, false);
        self.push(&rest, records);
    }

    fn end_object(&mut self, records: &mut Vec<RawRecord>) {
        self.state = SplitterState::Between;
        let text = std::mem::take(&mut self.text);
        if self.is_too_long {
            let line = self.number();
            return records.push(RawRecord::too_long(line, self.max_bytes));
        }
        let is_empty_page = self.enclosures.is_empty() && self.object.is_empty_page();
        self.counts_positions.get_or_insert(is_empty_page);
        // An object within a broken record is a record only if it looks like one.
        if is_empty_page || (self.is_recovering && !self.object.has_record_member()) {
            return;
        }
        self.is_after_broken = false;
        records.push(RawRecord { line: self.number(), content: RawContent::Record { json: text, sent: None } });
    }

    /// Ends an object that is not complete before the next record.
    fn end_broken(&mut self, records: &mut Vec<RawRecord>) {
        if self.is_page() {
            return self.open_page(records);
        }
        let (next, indent) = (self.next_line.take(), self.start_indent);
        let rest = next.map(|mark| self.text.split_off(mark.offset));
        self.is_after_broken = true;
        self.state = SplitterState::Between;
        if self.is_too_long {
            let line = self.number();
            records.push(RawRecord::too_long(line, self.max_bytes));
        } else if !self.is_recovering {
            // The parser says what is wrong with it.
            let json = std::mem::take(&mut self.text);
            records.push(RawRecord { line: self.number(), content: RawContent::Record { json, sent: None } });
        }
        if let Some((mark, rest)) = next.zip(rest) {
            self.text = rest;
            self.is_recovering = true;
            self.read_again(Mark { offset: 0, ..mark }, Some(indent), records);
            self.is_recovering = false;
            if self.state == SplitterState::Object {
                self.state = SplitterState::Between;
            }
        }
    }

    fn in_page(&mut self, byte: u8) {
        let Some(Enclosure::Page(page)) = self.enclosures.last_mut() else {
            self.state = SplitterState::Between;
            return self.between(byte);
        };
        if byte == b'{' && self.indent == Some(0) && !page.expects_value() {
            // The page is broken, and the next one or a record begins.
            self.enclosures.clear();
            self.state = SplitterState::Between;
            return self.between(byte);
        }
        match page.step(byte) {
            ScanStep::Inside | ScanStep::ListOpens => {}
            ScanStep::FirstItem => {
                page.leave_item();
                self.enclosures.push(Enclosure::List);
                self.open_object();
            }
            ScanStep::End => {
                self.enclosures.pop();
                self.state = SplitterState::Between;
            }
        }
    }

    fn open_other(&mut self, byte: u8) {
        self.state = SplitterState::Other { in_string: byte == b'"', is_escaped: false };
        self.is_detail = self.is_after_broken && (self.indent.is_some_and(|blanks| blanks > 0) || byte == b'}');
        self.begin(byte);
    }

    fn other(&mut self, byte: u8, records: &mut Vec<RawRecord>) {
        let SplitterState::Other { in_string, is_escaped } = self.state else { return };
        let in_list = self.in_list();
        let ends_item = in_list && !in_string && matches!(byte, b',' | b']' | b'{');
        if ends_item || matches!(byte, b'\n' | b'\r') {
            self.end_other(records);
            return self.between(byte);
        }
        if self.text.len() < MAX_TOKEN_BYTES {
            self.text.push(byte);
        } else {
            self.is_too_long = true;
        }
        let (in_string, is_escaped) = match byte {
            _ if is_escaped => (in_string, false),
            b'\\' if in_string => (in_string, true),
            b'"' => (!in_string, false),
            _ => (in_string, false),
        };
        self.state = SplitterState::Other { in_string, is_escaped };
    }

    fn in_list(&self) -> bool {
        matches!(self.enclosures.last(), Some(Enclosure::List))
    }

    fn end_other(&mut self, records: &mut Vec<RawRecord>) {
        self.state = SplitterState::Between;
        let text = std::mem::take(&mut self.text);
        // The lines of a broken record that was reported.
        if self.is_recovering || self.is_detail {
            return;
        }
        let is_first = self.counts_positions.is_none();
        let content = self.format_hint.describe(text.trim_ascii(), self.is_too_long, is_first, self.in_list());
        self.is_after_broken = !matches!(content, RawContent::Skipped(_));
        records.push(RawRecord { line: self.number(), content });
    }
}
