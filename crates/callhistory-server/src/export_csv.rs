//! Records as CSV.

use std::{collections::HashMap, error::Error};

use bytes::Bytes;
use callhistory_model::CallRecord;
use serde_json::value::RawValue;

use crate::error::ApiError;

/// The column of the charge, which is also part of the column `cost`.
const CHARGE: &str = "cost.customer_charge";

fn columns() -> impl Iterator<Item = &'static str> {
    CallRecord::MEMBERS.iter().flat_map(|name| std::iter::once(*name).chain((*name == "cost").then_some(CHARGE)))
}

fn write_csv(rows: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> Result<(), Box<dyn Error>>) -> Result<Bytes, ApiError> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        // No separator of a spreadsheet program can end a cell.
        .quote_style(csv::QuoteStyle::Always)
        .from_writer(Vec::new());
    rows(&mut writer).map_err(|error| ApiError::internal(&error))?;
    writer.into_inner().map(Bytes::from).map_err(|error| ApiError::internal(&error))
}

/// The header line.
pub(crate) fn csv_header() -> Result<Bytes, ApiError> {
    write_csv(|writer| Ok(writer.write_record(columns())?))
}

/// Converts records, one on each line, to rows.
pub(crate) fn csv_rows(lines: &[u8]) -> Result<Bytes, ApiError> {
    write_csv(|writer| {
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            writer.write_record(cells(line)?)?;
        }
        Ok(())
    })
}

fn cells(record: &[u8]) -> serde_json::Result<Vec<String>> {
    let members: HashMap<&str, &RawValue> = serde_json::from_slice(record)?;
    let cost = members.get("cost").map_or("{}", |cost| cost.get());
    let cost: HashMap<String, &RawValue> = serde_json::from_str(cost)?;
    let cell = |name| {
        let value = if name == CHARGE { cost.get("customer_charge") } else { members.get(name) };
        match value.map(|value| value.get()) {
            None => Ok(String::new()),
            Some(text) if text.starts_with('"') => serde_json::from_str(text).map(escape_formula),
            Some(json) => Ok(json.to_owned()),
        }
    };
    columns().map(cell).collect()
}

/// Prefixes a text that a spreadsheet program would interpret as a formula, also after white space and in full-width characters.
fn escape_formula(text: String) -> String {
    let is_blank = |c: char| c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}');
    let is_formula = text
        .trim_start_matches(is_blank)
        .starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    if is_formula || text.starts_with(['\t', '\r', '\n']) { format!("'{text}") } else { text }
}
