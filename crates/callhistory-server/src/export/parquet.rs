//! Apache Parquet: texts, times in microseconds and exact decimals. It is written while it is read: a row group is in memory.

use std::sync::Arc;

use bytes::Bytes;
use callhistory_model::{Amount, ExportQuery, Seconds};
use parquet::{
    basic::{Compression, LogicalType, Repetition, TimeUnit, Type as PhysicalType},
    data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int64Type},
    errors::ParquetError,
    file::{
        properties::{EnabledStatistics, WriterProperties},
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::types::{ColumnPath, Type},
};

use super::{
    error::EncodeError,
    row::{ANSWERED, CREATED, Column, DURATION, END, Row, START, Source, UPDATED, columns, text},
};

/// A row group ends with this number of rows, or after records of this number of bytes.
const MAX_GROUP_ROWS: usize = 50_000;
const MAX_GROUP_BYTES: usize = 16 * 1024 * 1024;
const SCALE: i32 = 9;
/// Digits of a duration, in 64 bits, and of an amount, in 128 bits.
const DURATION_PRECISION: i32 = 18;
const AMOUNT_PRECISION: i32 = 38;
const AMOUNT_BYTES: i32 = 16;
const NANOS_PER_MICRO: i64 = 1_000;
/// The longest RFC 3339 text that has no more than microseconds: with an offset.
const MAX_MICROS_TEXT: usize = "2026-01-01T00:00:00.000000+00:00".len();

pub(super) struct ParquetEncoder {
    writer: SerializedFileWriter<Vec<u8>>,
    columns: Vec<ColumnBuffer>,
    rows: usize,
    bytes: usize,
}

/// The cells of a column since the last row group.
struct ColumnBuffer {
    source: Source,
    values: Values,
    /// 1 for each row with a value, else 0.
    levels: Vec<i16>,
}

enum Values {
    Text(Vec<ByteArray>),
    Micros(Vec<i64>),
    Duration(Vec<i64>),
    Amount(Vec<FixedLenByteArray>),
}

impl From<ParquetError> for EncodeError {
    fn from(error: ParquetError) -> Self {
        std::io::Error::other(error).into()
    }
}

impl ParquetEncoder {
    pub(super) fn new(query: &ExportQuery) -> Result<Self, EncodeError> {
        let columns = columns(query, |source| !matches!(source, Source::IsoTime(_)));
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_created_by(concat!("callhistory-server ", env!("CARGO_PKG_VERSION")).to_owned());
        let mut fields = Vec::new();
        let mut buffers = Vec::new();
        for Column { name, source } in columns {
            let values = Values::of(source);
            fields.push(Arc::new(values.schema(name)?));
            if !is_repetitive(name) {
                properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
            }
            buffers.push(ColumnBuffer { source, values, levels: Vec::new() });
        }
        let schema = Type::group_type_builder("call").with_fields(fields).build()?;
        let writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties.build()))?;
        Ok(Self { writer, columns: buffers, rows: 0, bytes: 0 })
    }

    /// Adds records on a line each, and returns the row groups that they complete.
    pub(super) fn push(&mut self, lines: &Bytes) -> Result<Bytes, EncodeError> {
        for row in Row::each(lines)? {
            let row = row?;
            for column in &mut self.columns {
                let has_value = column.push(&row, lines);
                column.levels.push(i16::from(has_value));
            }
            self.rows += 1;
            if self.rows == MAX_GROUP_ROWS {
                self.write_group()?;
            }
        }
        self.bytes += lines.len();
        if self.bytes >= MAX_GROUP_BYTES {
            self.write_group()?;
        }
        Ok(std::mem::take(self.writer.inner_mut()).into())
    }

    /// The rest of the file.
    pub(super) fn finish(mut self) -> Result<Bytes, EncodeError> {
        self.write_group()?;
        Ok(self.writer.into_inner()?.into())
    }

    fn write_group(&mut self) -> Result<(), EncodeError> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for ColumnBuffer { values, levels, .. } in &mut self.columns {
            match values {
                Values::Text(texts) => write_column::<ByteArrayType>(&mut group, texts, levels)?,
                Values::Micros(numbers) | Values::Duration(numbers) => {
                    write_column::<Int64Type>(&mut group, numbers, levels)?;
                }
                Values::Amount(amounts) => write_column::<FixedLenByteArrayType>(&mut group, amounts, levels)?,
            }
            levels.clear();
        }
        group.close()?;
        self.writer.flush()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &mut Vec<T::T>,
    levels: &[i16],
) -> Result<(), EncodeError> {
    let mut column = group.next_column()?.ok_or(EncodeError::Malformed)?;
    column.typed::<T>().write_batch(values, Some(levels), None)?;
    values.clear();
    Ok(column.close()?)
}

/// Whether the values of a column occur often, so that a dictionary is smaller.
fn is_repetitive(name: &str) -> bool {
    !matches!(name, "_id" | "callId" | "summary" | "transcript" | "functionCalls" | "recordingUrl" | "extra")
}

impl Values {
    fn of(source: Source) -> Self {
        match source {
            Source::Member(START | END | ANSWERED | CREATED | UPDATED) => Self::Micros(Vec::new()),
            Source::Member(DURATION) => Self::Duration(Vec::new()),
            Source::Charge => Self::Amount(Vec::new()),
            _ => Self::Text(Vec::new()),
        }
    }

    fn schema(&self, name: &str) -> Result<Type, ParquetError> {
        let decimal = |precision| LogicalType::decimal(SCALE, precision);
        let (physical, logical, length, precision) = match self {
            Self::Text(_) => (PhysicalType::BYTE_ARRAY, LogicalType::String, -1, -1),
            Self::Micros(_) => (PhysicalType::INT64, LogicalType::timestamp(true, TimeUnit::MICROS), -1, -1),
            Self::Duration(_) => (PhysicalType::INT64, decimal(DURATION_PRECISION), -1, DURATION_PRECISION),
            Self::Amount(_) => {
                (PhysicalType::FIXED_LEN_BYTE_ARRAY, decimal(AMOUNT_PRECISION), AMOUNT_BYTES, AMOUNT_PRECISION)
            }
        };
        let scale = if precision < 0 { -1 } else { SCALE };
        let schema = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
        schema.with_logical_type(Some(logical)).with_length(length).with_precision(precision).with_scale(scale).build()
    }
}

impl ColumnBuffer {
    /// Adds the cell of a row, whose text is a part of `lines`; false if it has no value.
    fn push(&mut self, row: &Row<'_>, lines: &Bytes) -> bool {
        match &mut self.values {
            Values::Text(texts) => match text_of(self.source, row, lines) {
                Some(value) => texts.push(value.into()),
                None => return false,
            },
            Values::Micros(times) => match self.source {
                Source::Member(index) if row.time(index).is_some() => {
                    times.extend(row.time(index).map(|nanos| nanos.div_euclid(NANOS_PER_MICRO)));
                }
                _ => return false,
            },
            Values::Duration(durations) => match duration(row) {
                Some((nanos, _)) => durations.push(nanos),
                None => return false,
            },
            Values::Amount(amounts) => match row.cost().0.and_then(|json| json.parse::<Amount>().ok()?.nanos()) {
                Some(nanos) => amounts.push(i128::from(nanos).to_be_bytes().to_vec().into()),
                None => return false,
            },
        }
        true
    }
}

/// The duration in nanoseconds, and whether that is all that the member says.
fn duration(row: &Row<'_>) -> Option<(i64, bool)> {
    if let Some(nanos) = row.derived_duration() {
        return Some((nanos, true));
    }
    let seconds: Seconds = row.member(DURATION)?.parse().ok()?;
    Some((seconds.nanos()?, !seconds.is_rounded()))
}

/// The text of a cell, without a copy if there are no escapes in it.
fn text_of(source: Source, row: &Row<'_>, lines: &Bytes) -> Option<Bytes> {
    let json = match source {
        Source::Member(index) => row.member(index)?,
        Source::Currency => row.cost().1?,
        Source::Extra => return row.extra(inexact(row)).map(Bytes::from),
        Source::IsoTime(index) => {
            let mut iso = Vec::new();
            super::time::push_iso(&mut iso, row.time(index)?, callhistory_model::TimeZone::UTC);
            return Some(iso.into());
        }
        Source::Charge => return None,
    };
    Some(match text(json) {
        std::borrow::Cow::Borrowed(part) => lines.slice_ref(part.as_bytes()),
        std::borrow::Cow::Owned(text) => text.into(),
    })
}

/// The members whose cells do not have all of their value.
fn inexact<'a>(row: &'a Row<'_>) -> impl Iterator<Item = (usize, &'a str)> {
    let times = [START, END, ANSWERED, CREATED, UPDATED].into_iter().filter_map(|index| {
        let json = row.member(index)?;
        let has_micros = row.time(index).is_some_and(|nanos| nanos % NANOS_PER_MICRO == 0);
        let is_short = if json.starts_with('"') {
            text(json).len() <= MAX_MICROS_TEXT
        } else {
            json.split_once('.').is_none_or(|(_, fraction)| fraction.trim_end_matches('0').len() <= 6)
        };
        (!has_micros || !is_short).then_some((index, json))
    });
    let duration = match row.member(DURATION) {
        Some(json) if duration(row).is_none_or(|(_, is_exact)| !is_exact) => Some((DURATION, json)),
        // The cell is derived.
        None if row.derived_duration().is_some() => Some((DURATION, "null")),
        _ => None,
    };
    times.chain(duration)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use parquet::{
        file::{reader::FileReader as _, serialized_reader::SerializedFileReader},
        record::Field,
    };

    use super::*;

    /// The cells of each row by the names of their columns, without those that have no value.
    fn rows(file: Vec<u8>) -> Vec<HashMap<String, String>> {
        let reader = SerializedFileReader::new(Bytes::from(file)).unwrap();
        let rows = reader.get_row_iter(None).unwrap();
        let cells = |row: parquet::record::Row| {
            let columns = row.get_column_iter().filter(|(_, field)| **field != Field::Null);
            columns.map(|(name, field)| (name.clone(), field.to_string())).collect()
        };
        rows.map(|row| cells(row.unwrap())).collect()
    }

    #[test]
    fn a_file_has_typed_values_and_the_rest_of_those_that_do_not_fit() {
        let mut encoder = ParquetEncoder::new(&ExportQuery::default()).unwrap();
        let lines = r#"{"_id":"a","agentId":"","startTime":1.50,"endTime":1737062894.9754236,"cost":{"customer_charge":-0.10,"currency":"EUR"},"summary":"a\n\"b","createdAt":"2026-01-01T02:00:00+02:00","duration":8.5,"extra":[1]}
{"_id":"b","startTime":10,"endTime":12.25,"cost":{"customer_charge":123456789012345678901234567890}}
"#;
        let mut file = Vec::new();
        for part in lines.split_inclusive('\n') {
            file.extend(encoder.push(&Bytes::from(part.to_owned())).unwrap());
            encoder.write_group().unwrap();
        }
        file.extend(encoder.finish().unwrap());
        let rows = rows(file);
        let cell = |row: usize, name: &str| rows[row].get(name).map_or("", String::as_str);
        for (row, name, expected) in [
            (0, "_id", "\"a\""),
            (0, "agentId", "\"\""),
            (0, "startTime", "1970-01-01 00:00:01.500000 +00:00"),
            (0, "endTime", "2025-01-16 21:28:14.975423 +00:00"),
            (0, "createdAt", "2026-01-01 00:00:00.000000 +00:00"),
            (0, "cost", r#""{"customer_charge":-0.10,"currency":"EUR"}""#),
            (0, "cost.customer_charge", "-0.100000000"),
            (0, "duration", "8.500000000"),
            (0, "extra", r#""{"extra":[1],"endTime":1737062894.9754236}""#),
            (0, "summary", "\"a\n\"b\""),
            (1, "agentId", ""),
            (1, "duration", "2.250000000"),
            (1, "cost.customer_charge", ""),
            (1, "extra", r#""{"duration":null}""#),
        ] {
            assert_eq!(cell(row, name), expected, "{row} {name}");
        }
    }
}
