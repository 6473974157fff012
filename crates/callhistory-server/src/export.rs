//! The formats of exports, for HTTP and the command line alike.

mod csv;
mod error;
#[cfg(feature = "parquet")]
mod parquet;
mod row;
mod time;
mod xlsx;

use std::fs::File;

use bytes::Bytes;
use callhistory_model::{CallRecord, ExportFormat, ExportQuery};

use self::{csv::CsvEncoder, error::EncodeError, xlsx::XlsxEncoder};

/// Converts records to the format of an export.
pub(crate) struct Encoder(Format);

enum Format {
    /// With the members that are wanted; all of them if there are none.
    Ndjson(Vec<String>),
    Csv(CsvEncoder),
    Xlsx(Box<XlsxEncoder>),
    #[cfg(feature = "parquet")]
    Parquet(Box<parquet::ParquetEncoder>),
}

/// The end of an export.
pub(crate) enum Encoded {
    /// The rest of the stream.
    Rest(Bytes),
    /// All of it, at its start.
    File(File),
}

impl Encoder {
    /// An encoder, and the bytes before the first record.
    pub(crate) fn new(query: &ExportQuery) -> Result<(Self, Bytes), EncodeError> {
        let (format, head) = match query.format {
            ExportFormat::Csv => {
                let encoder = CsvEncoder::new(query);
                let head = encoder.header();
                (Format::Csv(encoder), head)
            }
            ExportFormat::Xlsx => (Format::Xlsx(Box::new(XlsxEncoder::new(query))), Vec::new()),
            #[cfg(feature = "parquet")]
            ExportFormat::Parquet => (Format::Parquet(Box::new(parquet::ParquetEncoder::new(query)?)), Vec::new()),
            #[cfg(not(feature = "parquet"))]
            ExportFormat::Parquet => return Err(EncodeError::NotBuilt),
            ExportFormat::Ndjson => (Format::Ndjson(query.fields.clone()), Vec::new()),
        };
        Ok((Self(format), head.into()))
    }

    /// Whether the records stay as they are.
    pub(crate) fn is_identity(&self) -> bool {
        matches!(&self.0, Format::Ndjson(fields) if fields.is_empty())
    }

    /// Whether the end of the export is a file, and nothing comes before it.
    pub(crate) fn has_file(&self) -> bool {
        matches!(self.0, Format::Xlsx(_))
    }

    /// Converts records on a line each. It computes, and may write to a file: the caller chooses the thread.
    pub(crate) fn push(&mut self, lines: Bytes) -> Result<Bytes, EncodeError> {
        Ok(match &mut self.0 {
            Format::Ndjson(fields) if fields.is_empty() => lines,
            Format::Ndjson(fields) => project(&lines, fields)?.into(),
            Format::Csv(encoder) => encoder.rows(&lines)?.into(),
            Format::Xlsx(encoder) => {
                encoder.push(&lines)?;
                Bytes::new()
            }
            #[cfg(feature = "parquet")]
            Format::Parquet(encoder) => encoder.push(&lines)?,
        })
    }

    /// Ends the export.
    pub(crate) fn finish(self) -> Result<Encoded, EncodeError> {
        Ok(match self.0 {
            Format::Ndjson(_) | Format::Csv(_) => Encoded::Rest(Bytes::new()),
            Format::Xlsx(encoder) => Encoded::File(encoder.finish()?),
            #[cfg(feature = "parquet")]
            Format::Parquet(encoder) => Encoded::Rest(encoder.finish()?),
        })
    }
}

fn project(lines: &[u8], fields: &[String]) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(lines.len());
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let record = CallRecord::project(line, fields).map_err(|_| EncodeError::Malformed)?;
        out.extend_from_slice(record.as_bytes());
        out.push(b'\n');
    }
    Ok(out)
}
