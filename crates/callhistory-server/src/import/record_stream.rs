//! The stream of an import, from compressed bytes in any encoding to the texts of its records.

use super::{
    csv_splitter::CsvSplitter, failure::ImportFailure, format::ImportFormat, format_hint::is_csv_line,
    raw_record::RawRecord, record_splitter::RecordSplitter, text_decoder::TextDecoder,
};

/// The longest first line that is examined to detect the format, in bytes.
const MAX_DETECTED_BYTES: usize = 64 * 1024;

/// The splitter of a format.
enum Splitter {
    /// The first bytes, until the format is known.
    Unknown(Vec<u8>),
    Json(Box<RecordSplitter>),
    Csv(Box<CsvSplitter>),
}

/// A stream of records: text goes in, records come out.
pub(super) struct RecordStream {
    format: ImportFormat,
    max_record_bytes: usize,
    decoder: TextDecoder,
    text: Vec<u8>,
    splitter: Splitter,
}

impl RecordStream {
    /// A stream of records of at most this size.
    pub(super) fn new(format: ImportFormat, max_record_bytes: usize) -> Self {
        let splitter = match format {
            ImportFormat::Json | ImportFormat::JsonDocument => {
                Splitter::Json(Box::new(RecordSplitter::new(max_record_bytes)))
            }
            ImportFormat::Csv => Splitter::Csv(Box::new(CsvSplitter::new(max_record_bytes))),
            ImportFormat::Detect => Splitter::Unknown(Vec::new()),
        };
        Self { format, max_record_bytes, decoder: TextDecoder::new(), text: Vec::new(), splitter }
    }

    /// The format of the records, as far as it is known.
    pub(super) fn format(&self) -> ImportFormat {
        self.format
    }

    /// The bytes of the record that is not complete.
    pub(super) fn buffered_bytes(&self) -> usize {
        match &self.splitter {
            Splitter::Unknown(start) => start.len(),
            Splitter::Json(splitter) => splitter.buffered_bytes(),
            Splitter::Csv(splitter) => splitter.buffered_bytes(),
        }
    }

    /// Processes bytes and adds the records that they complete.
    pub(super) fn push(&mut self, bytes: &[u8], records: &mut Vec<RawRecord>) -> Result<(), ImportFailure> {
        let text = self.decoder.push(bytes, &mut self.text).map_err(ImportFailure::OtherFormat)?;
        match &mut self.splitter {
            Splitter::Json(splitter) => splitter.push(text, records),
            Splitter::Csv(splitter) => splitter.push(text, records),
            Splitter::Unknown(start) => {
                start.extend_from_slice(text);
                if start.len() > MAX_DETECTED_BYTES || has_line(start) {
                    self.detect(records);
                }
            }
        }
        Ok(())
    }

    /// Ends the stream.
    pub(super) fn finish(&mut self, records: &mut Vec<RawRecord>) -> Result<(), ImportFailure> {
        let mut rest = Vec::new();
        self.decoder.finish(&mut rest).map_err(ImportFailure::OtherFormat)?;
        if let Splitter::Unknown(start) = &mut self.splitter {
            start.append(&mut rest);
            self.detect(records);
        }
        match &mut self.splitter {
            Splitter::Unknown(_) => {}
            Splitter::Json(splitter) => {
                splitter.push(&rest, records);
                splitter.finish(records);
                if splitter.is_empty() && self.format == ImportFormat::JsonDocument {
                    return Err(ImportFailure::Empty);
                }
            }
            Splitter::Csv(splitter) => {
                splitter.push(&rest, records);
                splitter.finish(records);
            }
        }
        Ok(())
    }

    /// Detects the format by the first line.
    fn detect(&mut self, records: &mut Vec<RawRecord>) {
        let Splitter::Unknown(start) = &mut self.splitter else { return };
        let start = std::mem::take(start);
        let first =
            start.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii).find(|line| !line.is_empty());
        let is_csv = first.is_some_and(is_csv_line);
        self.format = if is_csv { ImportFormat::Csv } else { ImportFormat::Json };
        if is_csv {
            let mut splitter = CsvSplitter::new(self.max_record_bytes);
            splitter.push(&start, records);
            self.splitter = Splitter::Csv(Box::new(splitter));
        } else {
            let mut splitter = RecordSplitter::new(self.max_record_bytes);
            splitter.push(&start, records);
            self.splitter = Splitter::Json(Box::new(splitter));
        }
    }
}

/// Whether the text has a line that is complete and not blank.
fn has_line(text: &[u8]) -> bool {
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(text.len());
    text[start..].iter().any(|byte| matches!(byte, b'\n' | b'\r'))
}

/// The records of a stream that arrives in chunks of this size, each with its line, and its text if it is one.
#[cfg(fuzzing)]
#[must_use]
pub fn split_in_chunks(stream: &[u8], is_csv: bool, chunk: usize) -> Vec<(u64, Option<Vec<u8>>)> {
    let format = if is_csv { ImportFormat::Csv } else { ImportFormat::Json };
    let (mut records, mut found) = (RecordStream::new(format, 64), Vec::new());
    let pushed = stream.chunks(chunk).try_for_each(|part| records.push(part, &mut found));
    if pushed.and_then(|()| records.finish(&mut found)).is_err() {
        return Vec::new();
    }
    let text = |content| match content {
        super::raw_record::RawContent::Record { json, .. } => Some(json),
        _ => None,
    };
    found.into_iter().map(|record| (record.line, text(record.content))).collect()
}
