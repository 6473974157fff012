//! Records as CSV.

use bytes::Bytes;
use callhistory_model::CallRecord;
use serde_json::value::RawValue;

use crate::error::ApiError;

/// The column of the one amount that everyone reads.
const CHARGE: &str = "cost.customer_charge";

fn columns() -> impl Iterator<Item = &'static str> {
    CallRecord::MEMBERS.iter().flat_map(|name| std::iter::once(*name).chain((*name == "cost").then_some(CHARGE)))
}

fn write_csv(rows: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> csv::Result<()>) -> Result<Bytes, ApiError> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        // Whatever a spreadsheet takes for the separator stays inside its cell.
        .quote_style(csv::QuoteStyle::Always)
        .from_writer(Vec::new());
    rows(&mut writer).map_err(|error| ApiError::internal(&error))?;
    writer.into_inner().map(Bytes::from).map_err(|error| ApiError::internal(&error))
}

/// The first line of the table.
pub(crate) fn csv_header() -> Result<Bytes, ApiError> {
    write_csv(|writer| writer.write_record(columns()))
}

/// The lines of records as rows of the table.
pub(crate) fn csv_rows(lines: &[u8]) -> Result<Bytes, ApiError> {
    let records: Result<Vec<CallRecord>, _> =
        serde_json::Deserializer::from_slice(lines).into_iter::<CallRecord>().collect();
    let records = records.map_err(|error| ApiError::internal(&error))?;
    let cells: Result<Vec<Vec<String>>, serde_json::Error> = records.iter().map(cells).collect();
    let cells = cells.map_err(|error| ApiError::internal(&error))?;
    write_csv(|writer| cells.iter().try_for_each(|row| writer.write_record(row)))
}

fn cells(record: &CallRecord) -> Result<Vec<String>, serde_json::Error> {
    let json = record.to_json();
    let members: std::collections::HashMap<&str, &RawValue> = serde_json::from_slice(&json)?;
    let charge = record.cost.as_ref().and_then(|cost| cost.customer_charge()).map(ToString::to_string);
    let cell = |name| match name {
        CHARGE => Ok(charge.clone().unwrap_or_default()),
        name => match members.get(name).map(|value| value.get()) {
            None => Ok(String::new()),
            Some(text) if text.starts_with('"') => serde_json::from_str(text).map(unformula),
            Some(json) => Ok(json.to_owned()),
        },
    };
    columns().map(cell).collect()
}

/// A text that no spreadsheet takes for a formula, in wide characters and behind blanks included.
fn unformula(text: String) -> String {
    let is_blank = |c: char| c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}');
    let starts = text
        .trim_start_matches(is_blank)
        .starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    if starts || text.starts_with(['\t', '\r', '\n']) { format!("'{text}") } else { text }
}
