//! Splits CSV into records. The first line names the members.

use std::sync::Arc;

use callhistory_model::{FieldError, FieldErrorCode};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::{
    csv_columns::CsvColumns,
    raw_record::{RawContent, RawRecord, SentRow},
};

/// The longest line with the names of the columns, in bytes.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// The most columns, and the most cells of a row.
const MAX_COLUMNS: usize = 4096;
/// The buffer of cells that a small row needs, and the largest one that is kept for the next row, in bytes.
const MIN_CELL_BYTES: usize = 4096;
const KEPT_CELL_BYTES: usize = 256 * 1024;
/// The delimiters among which the first line decides.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// What a row has too much of. The rest of it is read, but not kept.
#[derive(Clone, Copy)]
enum Excess {
    Bytes,
    Cells,
}

/// Splits bytes into records as they arrive.
pub(crate) struct CsvSplitter {
    max_bytes: usize,
    /// The first line, until it is complete.
    head: Option<Vec<u8>>,
    reader: Reader,
    header: Option<CsvColumns>,
    /// The first line as it was sent.
    header_line: Arc<[u8]>,
    /// The cells of the current row, and where each ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
    cell_bytes: usize,
    cell_count: usize,
    /// The row as it was sent.
    row: Vec<u8>,
    excess: Option<Excess>,
    /// The line of the row, and of the next byte.
    start: u64,
    line: u64,
    after_carriage_return: bool,
    delimiter: u8,
    /// Whether the stream has ended.
    is_ending: bool,
    has_failed: bool,
}

impl CsvSplitter {
    /// A splitter of records of at most this size.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            head: Some(Vec::new()),
            reader: Reader::new(),
            header: None,
            header_line: Arc::new([]),
            cells: vec![0; MIN_CELL_BYTES],
            ends: vec![0; 64],
            cell_bytes: 0,
            cell_count: 0,
            row: Vec::new(),
            excess: None,
            start: 1,
            line: 1,
            after_carriage_return: false,
            delimiter: b',',
            is_ending: false,
            has_failed: false,
        }
    }

    /// Processes bytes and adds the records that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8], records: &mut Vec<RawRecord>) {
        let Some(head) = &mut self.head else { return self.read(bytes, records) };
        head.extend_from_slice(bytes);
        if first_line(head).is_some() || head.len() > MAX_HEADER_BYTES {
            self.start_reader(records);
        }
    }

    /// The memory that the record takes that is not complete, in bytes.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.head.as_ref().map_or(0, Vec::len) + self.cells.len() + self.row.capacity()
    }

    /// Ends the stream.
    pub(crate) fn finish(&mut self, records: &mut Vec<RawRecord>) {
        self.start_reader(records);
        if !self.has_failed {
            while self.read_some(&[], records) != 0 {}
        }
    }

    /// Detects the delimiter in the first line, and reads what has arrived.
    fn start_reader(&mut self, records: &mut Vec<RawRecord>) {
        let Some(head) = self.head.take() else { return };
        let mut rest = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head);
        let mut delimiter = None;
        // A line for Excel, which is not a part of the table.
        if let Some(end) = first_line(rest)
            && let [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', named] = rest[..end].trim_ascii()
        {
            delimiter = Some(*named);
            self.count_lines(&rest[..=end]);
            rest = &rest[end + 1..];
        }
        let line = &rest[..first_line(rest).unwrap_or(rest.len())];
        let delimiter = delimiter.unwrap_or_else(|| detect_delimiter(line));
        self.delimiter = delimiter;
        self.reader = ReaderBuilder::new().delimiter(delimiter).build();
        self.read(rest, records);
    }

    fn read(&mut self, bytes: &[u8], records: &mut Vec<RawRecord>) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.has_failed {
            let read = self.read_some(rest, records);
            rest = &rest[read..];
        }
    }

    /// Reads some bytes, or the end of the stream if there are none; returns how many, and at the end of the stream whether there
    /// is more.
    fn read_some(&mut self, bytes: &[u8], records: &mut Vec<RawRecord>) -> usize {
        self.is_ending = bytes.is_empty();
        let (cells, ends) = (&mut self.cells[self.cell_bytes..], &mut self.ends[self.cell_count..]);
        let (result, read, written, ended) = self.reader.read_record(bytes, cells, ends);
        self.cell_bytes += written;
        self.cell_count += ended;
        self.keep_row(&bytes[..read], records);
        if self.has_failed {
            return read;
        }
        match result {
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::OutputFull if self.cells.len() < self.max_cell_bytes() => {
                self.cells.resize((self.cells.len() * 2).min(self.max_cell_bytes()), 0);
            }
            ReadRecordResult::OutputEndsFull if self.ends.len() < MAX_COLUMNS => {
                self.ends.resize(self.ends.len() * 2, 0);
            }
            ReadRecordResult::OutputFull => self.drop_row(Excess::Bytes),
            ReadRecordResult::OutputEndsFull => self.drop_row(Excess::Cells),
            ReadRecordResult::Record => self.end_row(records),
            ReadRecordResult::End => return 0,
        }
        if bytes.is_empty() { 1 } else { read }
    }

    /// A first line has fewer bytes than a row, of which each is a part of the record.
    fn max_cell_bytes(&self) -> usize {
        let max_bytes = if self.header.is_some() { self.max_bytes } else { MAX_HEADER_BYTES };
        max_bytes.max(MIN_CELL_BYTES)
    }

    /// The most bytes of a line: in the text of a cell, each quotation mark is two.
    fn max_row_bytes(&self) -> usize {
        if self.header.is_some() { self.max_bytes.saturating_mul(2) } else { MAX_HEADER_BYTES }
    }

    /// Drops what was kept of a row, and what is read up to its end.
    fn drop_row(&mut self, excess: Excess) {
        self.excess.get_or_insert(excess);
        (self.row, self.cell_bytes, self.cell_count) = (Vec::new(), 0, 0);
    }

    fn keep_row(&mut self, bytes: &[u8], records: &mut Vec<RawRecord>) {
        let is_start = self.row.is_empty() && self.excess.is_none();
        let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let blanks = if is_start { bytes.iter().take_while(|byte| is_line_end(byte)).count() } else { 0 };
        self.count_lines(&bytes[..blanks]);
        let bytes = &bytes[blanks..];
        if is_start {
            self.start = self.line;
        }
        self.count_lines(bytes);
        if self.row.len() + bytes.len() > self.max_row_bytes() {
            self.drop_row(Excess::Bytes);
        }
        if self.excess.is_none() {
            self.row.extend_from_slice(bytes);
        }
        // It may have no end.
        if self.header.is_none() && self.excess.is_some() {
            self.end_row(records);
        }
    }

    fn count_lines(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let follows = std::mem::replace(&mut self.after_carriage_return, *byte == b'\r');
            self.line += u64::from(*byte == b'\r' || (*byte == b'\n' && !follows));
        }
    }

    fn end_row(&mut self, records: &mut Vec<RawRecord>) {
        let (line, row) = (self.start, std::mem::take(&mut self.row));
        let content = match self.excess.take() {
            Some(excess) => Some(self.describe_excess(excess)),
            // The buffer is not borrowed while the row changes the splitter.
            None => {
                let (bytes, ends) = (std::mem::take(&mut self.cells), std::mem::take(&mut self.ends));
                let starts = std::iter::once(&0).chain(&ends);
                let cells = starts.zip(&ends[..self.cell_count]).map(|(start, end)| &bytes[*start..*end]);
                let content = self.content(&cells.collect::<Vec<_>>(), row);
                (self.cells, self.ends) = (bytes, ends);
                content
            }
        };
        // Without names the rows have no meaning.
        self.has_failed = self.header.is_none();
        records.extend(content.map(|content| RawRecord { line, content }));
        (self.cell_bytes, self.cell_count) = (0, 0);
        if self.cells.len() > KEPT_CELL_BYTES {
            self.cells = vec![0; MIN_CELL_BYTES];
        }
    }

    /// What a row is; `None` for the first line, and for a row without values.
    fn content(&mut self, cells: &[&[u8]], row: Vec<u8>) -> Option<RawContent> {
        let malformed = |detail| Some(RawContent::Invalid(FieldError::new(FieldErrorCode::Malformed, detail)));
        let Some(columns) = &self.header else {
            match CsvColumns::parse(cells) {
                Ok(columns) => self.header = Some(columns),
                Err(detail) => return malformed(detail),
            }
            self.header_line = row.trim_ascii_end().into();
            return None;
        };
        if cells.iter().all(|cell| cell.trim_ascii().is_empty()) {
            return None;
        }
        // The stream ended, not the line.
        if self.is_ending && (cells.len() < columns.len() || is_quoted_at_end(&row, self.delimiter)) {
            return malformed("ends before the row does".to_owned());
        }
        // Spreadsheet programs write empty cells up to the longest row.
        let surplus = cells.get(columns.len()..).unwrap_or_default();
        let cells =
            if surplus.iter().all(|cell| cell.is_empty()) { &cells[..cells.len() - surplus.len()] } else { cells };
        if cells.len() > columns.len() {
            return malformed(format!("has {} cells, but the first line names {}", cells.len(), columns.len()));
        }
        let json = columns.to_json(cells);
        if json.len() > self.max_bytes {
            return Some(RawContent::too_long(self.max_bytes));
        }
        Some(RawContent::Record { json, sent: Some(SentRow { header_line: Arc::clone(&self.header_line), row }) })
    }

    fn describe_excess(&self, excess: Excess) -> RawContent {
        let detail = match (excess, &self.header) {
            (Excess::Bytes, Some(_)) => return RawContent::too_long(self.max_bytes),
            (Excess::Bytes, None) => {
                format!("has more than {MAX_HEADER_BYTES} bytes; the first line of CSV has the names of the members")
            }
            (Excess::Cells, Some(columns)) => {
                format!("has more than {MAX_COLUMNS} cells, but the first line names {}", columns.len())
            }
            (Excess::Cells, None) => format!("names more than {MAX_COLUMNS} columns"),
        };
        RawContent::Invalid(FieldError::new(FieldErrorCode::Malformed, detail))
    }
}

/// Whether a quotation mark is open at the end of a row.
fn is_quoted_at_end(row: &[u8], delimiter: u8) -> bool {
    #[derive(PartialEq)]
    enum Place {
        Start,
        Plain,
        Quoted,
        AfterQuote,
    }
    let step = |place, byte: &u8| match (place, *byte) {
        (Place::Start | Place::AfterQuote, b'"') => Place::Quoted,
        (Place::Quoted, b'"') => Place::AfterQuote,
        (Place::Quoted, _) => Place::Quoted,
        (_, b'\n' | b'\r') => Place::Start,
        (_, byte) if byte == delimiter => Place::Start,
        _ => Place::Plain,
    };
    row.iter().fold(Place::Start, step) == Place::Quoted
}

/// The length of the first line, if it is complete. A line may continue in a quoted cell.
fn first_line(text: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    text.iter().position(|byte| {
        is_quoted ^= *byte == b'"';
        !is_quoted && matches!(byte, b'\n' | b'\r')
    })
}

fn detect_delimiter(line: &[u8]) -> u8 {
    let mut is_quoted = false;
    let mut counts = [0_usize; DELIMITERS.len()];
    for byte in line {
        is_quoted ^= *byte == b'"';
        if let Some(at) = DELIMITERS.iter().position(|delimiter| delimiter == byte).filter(|_| !is_quoted) {
            counts[at] += 1;
        }
    }
    // The first of equals.
    let most = (0..DELIMITERS.len()).rev().max_by_key(|at| counts[*at]).unwrap_or(0);
    DELIMITERS[most]
}
