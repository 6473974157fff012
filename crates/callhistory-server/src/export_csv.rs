//! Records as CSV.

use std::error::Error;

use bytes::Bytes;

use crate::{
    csv_columns::{CsvColumns, cells},
    error::ApiError,
};

fn write_csv(rows: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> Result<(), Box<dyn Error>>) -> Result<Bytes, ApiError> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        // A cell is exactly the text of its member, which may have any delimiter in it.
        .quote_style(csv::QuoteStyle::Always)
        .from_writer(Vec::new());
    rows(&mut writer).map_err(|error| ApiError::internal(&error))?;
    writer.into_inner().map(Bytes::from).map_err(|error| ApiError::internal(&error))
}

/// The header line.
pub(crate) fn csv_header() -> Result<Bytes, ApiError> {
    write_csv(|writer| Ok(writer.write_record(CsvColumns::of_export())?))
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
