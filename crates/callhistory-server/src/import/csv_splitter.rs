//! Splits CSV into records. The first line names the members.

use callhistory_model::FieldErrorCode;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::raw_record::{RawContent, RawRecord};
use crate::csv_columns::CsvColumns;

/// The longest line with the names of the columns, in bytes.
const MAX_HEADER_BYTES: usize = 64 * 1024;
const MAX_COLUMNS: usize = 4096;
/// The delimiters among which the first line decides.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Splits bytes into records as they arrive.
pub(crate) struct CsvSplitter {
    max_bytes: usize,
    /// The first line, until it is complete.
    head: Option<Vec<u8>>,
    reader: Reader,
    header: Option<CsvColumns>,
    /// The first line as it was sent.
    header_line: Vec<u8>,
    /// The cells of the current row, and where each ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
    cell_bytes: usize,
    cell_count: usize,
    /// The row as it was sent.
    row: Vec<u8>,
    is_too_long: bool,
    /// The line of the row, and of the next byte.
    start: u64,
    line: u64,
    after_carriage_return: bool,
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
            header_line: Vec::new(),
            cells: vec![0; 4096],
            ends: vec![0; 64],
            cell_bytes: 0,
            cell_count: 0,
            row: Vec::new(),
            is_too_long: false,
            start: 1,
            line: 1,
            after_carriage_return: false,
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

    /// The bytes of the record that is not complete.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.cell_bytes + self.row.len()
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
        let (cells, ends) = (&mut self.cells[self.cell_bytes..], &mut self.ends[self.cell_count..]);
        let (result, read, written, ended) = self.reader.read_record(bytes, cells, ends);
        self.cell_bytes += written;
        self.cell_count += ended;
        self.keep_row(&bytes[..read]);
        match result {
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::OutputFull if self.cells.len() < 2 * self.max_bytes => {
                self.cells.resize((self.cells.len() * 2).min(2 * self.max_bytes), 0);
            }
            ReadRecordResult::OutputEndsFull if self.ends.len() < MAX_COLUMNS => {
                self.ends.resize(self.ends.len() * 2, 0);
            }
            // What is read up to the end of the row is dropped.
            ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                (self.is_too_long, self.cell_bytes, self.cell_count) = (true, 0, 0);
            }
            ReadRecordResult::Record => self.end_row(records),
            ReadRecordResult::End => return 0,
        }
        if bytes.is_empty() { 1 } else { read }
    }

    fn keep_row(&mut self, bytes: &[u8]) {
        let blanks = if self.row.is_empty() && !self.is_too_long {
            let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
            bytes.iter().take_while(|byte| is_line_end(byte)).count()
        } else {
            0
        };
        self.count_lines(&bytes[..blanks]);
        let bytes = &bytes[blanks..];
        if self.row.is_empty() && !self.is_too_long {
            self.start = self.line;
        }
        self.count_lines(bytes);
        if self.row.len() + bytes.len() > 2 * self.max_bytes {
            (self.is_too_long, self.row) = (true, Vec::new());
        }
        if !self.is_too_long {
            self.row.extend_from_slice(bytes);
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
        let ends = std::mem::take(&mut self.ends);
        let cells: Vec<&[u8]> =
            (0..self.cell_count).map(|at| &self.cells[if at == 0 { 0 } else { ends[at - 1] }..ends[at]]).collect();
        let is_too_long = std::mem::take(&mut self.is_too_long);
        let content = match &self.header {
            _ if is_too_long => Some(RawRecord::too_long(line, self.max_bytes).content),
            None => match CsvColumns::parse(&cells) {
                Ok(columns) => {
                    self.header = Some(columns);
                    self.header_line = row.trim_ascii_end().to_vec();
                    None
                }
                Err(detail) => {
                    // Without names the rows have no meaning.
                    self.has_failed = true;
                    Some(RawRecord::invalid(line, FieldErrorCode::Malformed, detail).content)
                }
            },
            Some(_) if cells.iter().all(|cell| cell.is_empty()) => None,
            Some(columns) if is_cut_short(&row, cells.len() < columns.len()) => {
                Some(RawRecord::invalid(line, FieldErrorCode::Malformed, "ends before the row does").content)
            }
            Some(columns) if cells.len() > columns.len() => {
                let detail = format!("has {} cells, but the first line names {}", cells.len(), columns.len());
                Some(RawRecord::invalid(line, FieldErrorCode::Malformed, detail).content)
            }
            Some(columns) => {
                let json = columns.to_json(&cells);
                let sent = [self.header_line.as_slice(), b"\r\n", &row].concat();
                Some(RawContent::Record { json, sent: Some(sent) })
            }
        };
        records.extend(content.map(|content| RawRecord { line, content }));
        self.ends = ends;
        (self.cell_bytes, self.cell_count) = (0, 0);
    }
}

/// Whether a row has no end: a quotation mark is open, or it has neither all cells nor a line end.
fn is_cut_short(row: &[u8], lacks_cells: bool) -> bool {
    let has_line_end = row.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r'));
    !has_line_end && (lacks_cells || row.iter().filter(|byte| **byte == b'"').count() % 2 == 1)
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
