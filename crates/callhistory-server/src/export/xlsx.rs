//! Workbooks for people: real dates, numbers for what is counted, text for everything else. The rows are in temporary files, which
//! have no name and end with the process.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Seek as _, SeekFrom},
    panic::{self, AssertUnwindSafe},
};

use callhistory_model::{ExportQuery, TimeZone};
use rust_xlsxwriter::{Format, IgnoreError, Workbook, Worksheet, XlsxError};

use super::{
    error::EncodeError,
    row::{ANSWERED, CREATED, Column, DURATION, END, Row, START, Source, UPDATED, columns, text},
    time::{self, NANOS},
};

/// The rows of a sheet after its header.
const MAX_ROWS: u32 = 1_048_575;
/// The longest text of a cell, in units of UTF-16.
const MAX_CELL_UNITS: usize = 32_767;
/// The end of a text that was cut.
const CUT: char = '…';
const SECONDS_PER_DAY: f64 = 86_400.0;
/// The day number of 1970-01-01 in the calendar of spreadsheets.
const UNIX_EPOCH_DAYS: f64 = 25_569.0;
/// Text in the cells from which the workbook may need the large form of a ZIP archive, in bytes.
const LARGE_BYTES: u64 = 1 << 30;

pub(super) struct XlsxEncoder {
    workbook: Workbook,
    columns: Vec<Column>,
    zone: TimeZone,
    formats: Formats,
    max_rows: u32,
    sheets: usize,
    /// The rows of the last sheet, with its header.
    rows: u32,
    bytes: u64,
}

struct Formats {
    header: Format,
    date: Format,
    money: Format,
}

impl XlsxEncoder {
    pub(super) fn new(query: &ExportQuery) -> Self {
        let formats = Formats {
            header: Format::new().set_bold(),
            date: Format::new().set_num_format("yyyy-mm-dd hh:mm:ss"),
            money: Format::new().set_num_format("0.00#######"),
        };
        let mut workbook = Workbook::new();
        workbook.set_zip_compression_level(2);
        let columns = columns(query, |source| !matches!(source, Source::IsoTime(_)));
        let zone = query.filter.time_zone.unwrap_or_default();
        Self { workbook, columns, zone, formats, max_rows: MAX_ROWS, sheets: 0, rows: 0, bytes: 0 }
    }

    /// Adds records on a line each.
    pub(super) fn push(&mut self, lines: &[u8]) -> Result<(), EncodeError> {
        for row in Row::each(lines)? {
            let row = row?;
            if self.sheets == 0 || self.rows > self.max_rows {
                writes_files(|| self.add_sheet())?;
            }
            let Self { workbook, columns, zone, formats, sheets, rows, .. } = self;
            writes_files(|| {
                let sheet = workbook.worksheet_from_index(*sheets - 1)?;
                write_row(sheet, *rows, columns, (*zone, formats), &row)
            })?;
            self.rows += 1;
        }
        self.bytes += lines.len() as u64;
        Ok(())
    }

    fn add_sheet(&mut self) -> Result<(), XlsxError> {
        self.sheets += 1;
        let name = if self.sheets == 1 { "Calls".to_owned() } else { format!("Calls {}", self.sheets) };
        let sheet = self.workbook.add_worksheet_with_constant_memory()?;
        sheet.set_name(name)?.set_freeze_panes(1, 0)?;
        for (at, column) in (0..).zip(&self.columns) {
            sheet.set_column_width(at, width(column))?;
            let header = if is_date(column.source) {
                format!("{} ({})", column.name, self.zone)
            } else {
                column.name.to_owned()
            };
            sheet.write_string_with_format(0, at, header, &self.formats.header)?;
        }
        if let Some(last) = u16::try_from(self.columns.len()).ok().and_then(|count| count.checked_sub(1)) {
            sheet.ignore_error_range(1, 0, MAX_ROWS, last, IgnoreError::NumberStoredAsText)?;
        }
        self.rows = 1;
        Ok(())
    }

    /// The workbook, at its start.
    pub(super) fn finish(mut self) -> Result<File, EncodeError> {
        if self.sheets == 0 {
            writes_files(|| self.add_sheet())?;
        }
        let mut file = tempfile::tempfile()?;
        writes_files(|| {
            self.workbook.use_zip_large_file(self.bytes > LARGE_BYTES);
            self.workbook.save_to_writer(&mut file)
        })?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }
}

/// The library panics where a temporary file cannot be written.
fn writes_files<T>(write: impl FnOnce() -> Result<T, XlsxError>) -> Result<T, EncodeError> {
    let written = panic::catch_unwind(AssertUnwindSafe(write));
    let written = written.map_err(|_| io::Error::other("the temporary files of a workbook cannot be written"))?;
    written.map_err(|error| io::Error::other(error).into())
}

fn is_date(source: Source) -> bool {
    matches!(source, Source::Member(START | END | ANSWERED | CREATED | UPDATED))
}

/// The width of a column in characters.
fn width(column: &Column) -> f64 {
    match column.name {
        "_id" | "callId" | "recordingUrl" | "startTimeIso" | "endTimeIso" | "answeredAtIso" => 28.0,
        "summary" | "transcript" => 60.0,
        "metadata" | "functionCalls" | "analyzedData" | "variables" | "extra" | "cost" => 40.0,
        "direction" | "status" | "duration" | "callType" | "cost.currency" => 13.0,
        _ => 21.0,
    }
}

fn write_row(
    sheet: &mut Worksheet,
    at: u32,
    columns: &[Column],
    (zone, formats): (TimeZone, &Formats),
    row: &Row<'_>,
) -> Result<(), XlsxError> {
    let (charge, currency) = row.cost();
    for (column, source) in (0..).zip(columns.iter().map(|column| column.source)) {
        let json = match source {
            Source::Member(index) => {
                if let Some(nanos) = row.time(index).filter(|_| is_date(source)) {
                    sheet.write_number_with_format(at, column, date_number(nanos, zone), &formats.date)?;
                    continue;
                }
                if let Some(nanos) = row.derived_duration().filter(|_| index == DURATION) {
                    sheet.write_number(at, column, nanos as f64 / NANOS as f64)?;
                    continue;
                }
                row.member(index)
            }
            Source::IsoTime(index) => {
                if let Some(nanos) = row.time(index) {
                    let mut iso = Vec::new();
                    time::push_iso(&mut iso, nanos, zone);
                    sheet.write_string(at, column, String::from_utf8_lossy(&iso))?;
                }
                continue;
            }
            Source::Charge => {
                if let Some(amount) = charge.and_then(number) {
                    sheet.write_number_with_format(at, column, amount, &formats.money)?;
                    continue;
                }
                charge
            }
            Source::Currency => currency,
            Source::Extra => {
                if let Some(extra) = row.extra(std::iter::empty()) {
                    sheet.write_string(at, column, cell_text(&extra))?;
                }
                continue;
            }
        };
        match json {
            None | Some("{}" | "[]") => {}
            Some(json) => match number(json) {
                Some(number) => sheet.write_number(at, column, number).map(drop)?,
                None => sheet.write_string(at, column, cell_text(&text(json))).map(drop)?,
            },
        }
    }
    Ok(())
}

/// The number of a time in the calendar of spreadsheets, which has no time zones.
fn date_number(nanos: i64, zone: TimeZone) -> f64 {
    let seconds = nanos.div_euclid(NANOS);
    let local = (seconds + time::offset_seconds(zone, seconds)) as f64 + nanos.rem_euclid(NANOS) as f64 / NANOS as f64;
    UNIX_EPOCH_DAYS + local / SECONDS_PER_DAY
}

/// A JSON number as the nearest one that a cell can have.
fn number(json: &str) -> Option<f64> {
    let is_number = json.starts_with(|first: char| first.is_ascii_digit() || first == '-');
    json.parse().ok().filter(|number: &f64| is_number && number.is_finite())
}

/// A text without the characters that XML does not have and other controls, and no longer than a cell.
fn cell_text(text: &str) -> Cow<'_, str> {
    let is_kept = |c: char| matches!(c, '\n' | '\t') || !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    if text.len() <= MAX_CELL_UNITS && text.chars().all(is_kept) {
        return text.into();
    }
    let (mut cell, mut units) = (String::new(), 0);
    // A carriage return alone is a line end, too.
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let c = if c == '\r' && chars.peek() != Some(&'\n') { '\n' } else { c };
        if !is_kept(c) {
            continue;
        }
        units += c.len_utf16();
        if units > MAX_CELL_UNITS {
            // The mark takes the place of the last character.
            cell.pop();
            cell.push(CUT);
            break;
        }
        cell.push(c);
    }
    cell.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fits_a_cell() {
        assert_eq!(cell_text("=a\u{7}b\r\nc\rd\te\u{0}\u{ffff}😀"), "=ab\nc\nd\te😀");
        let fits = "x".repeat(MAX_CELL_UNITS);
        assert_eq!(cell_text(&fits), fits);
        let cut = cell_text(&format!("{fits}y")).into_owned();
        assert!(cut.ends_with("x…") && cut.encode_utf16().count() == MAX_CELL_UNITS);
        let cut = cell_text(&"😀".repeat(20_000)).into_owned();
        assert!(cut.ends_with("😀…") && cut.encode_utf16().count() <= MAX_CELL_UNITS);
        assert_eq!(cell_text(&"é".repeat(MAX_CELL_UNITS)).chars().count(), MAX_CELL_UNITS);
    }

    #[test]
    fn many_records_have_several_sheets() {
        let mut encoder = XlsxEncoder { max_rows: 2, ..XlsxEncoder::new(&ExportQuery::default()) };
        encoder.push(b"{\"_id\":\"a\"}\n{\"_id\":\"b\"}\n").unwrap();
        assert_eq!((encoder.sheets, encoder.rows), (1, 3));
        encoder.push(b"{\"_id\":\"c\"}\n").unwrap();
        assert_eq!((encoder.sheets, encoder.rows), (2, 2));
        assert!(encoder.finish().unwrap().metadata().unwrap().len() > 0);
    }
}
