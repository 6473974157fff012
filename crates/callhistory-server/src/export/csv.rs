//! CSV for programs (RFC 4180): texts are exact, and always in quotation marks. A cell without a value is empty and has none, so that
//! PostgreSQL reads it as NULL.

use callhistory_model::{ExportQuery, TimeZone};
use memchr::memchr_iter;

use super::{
    error::EncodeError,
    row::{Column, DURATION, Row, Source, columns, text},
    time,
};

const BOM: &[u8] = b"\xef\xbb\xbf";

pub(super) struct CsvEncoder {
    columns: Vec<Column>,
    zone: TimeZone,
    has_bom: bool,
    has_duration: bool,
}

impl CsvEncoder {
    pub(super) fn new(query: &ExportQuery) -> Self {
        let columns = columns(query, |_| true);
        let has_duration = columns.iter().any(|column| column.source == Source::Member(DURATION));
        let zone = query.filter.time_zone.unwrap_or_default();
        Self { columns, zone, has_bom: query.has_bom, has_duration }
    }

    /// The header line.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut out = if self.has_bom { BOM.to_vec() } else { Vec::new() };
        let names: Vec<_> = self.columns.iter().map(|column| column.name).collect();
        out.extend_from_slice(names.join(",").as_bytes());
        out.extend_from_slice(b"\r\n");
        out
    }

    /// The rows of records on a line each.
    pub(super) fn rows(&self, lines: &[u8]) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::with_capacity(lines.len() * 5 / 4);
        for row in Row::each(lines)? {
            let row = row?;
            let ((charge, currency), derived) = (row.cost(), row.derived_duration());
            for (at, column) in self.columns.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                match column.source {
                    Source::Member(DURATION) => match derived {
                        Some(nanos) => time::push_seconds(&mut out, nanos),
                        None => push_json(&mut out, row.member(DURATION)),
                    },
                    Source::Member(index) => push_json(&mut out, row.member(index)),
                    Source::IsoTime(index) => {
                        if let Some(nanos) = row.time(index) {
                            time::push_iso(&mut out, nanos, self.zone);
                        }
                    }
                    Source::Charge => push_json(&mut out, charge),
                    Source::Currency => push_json(&mut out, currency),
                    Source::Extra => self.push_extra(&mut out, &row, derived.is_some()),
                }
            }
            out.extend_from_slice(b"\r\n");
        }
        Ok(out)
    }

    /// An import must find which texts are empty and not absent, and that a duration is derived.
    fn push_extra(&self, out: &mut Vec<u8>, row: &Row<'_>, is_derived: bool) {
        let members = self.columns.iter().filter_map(|column| match column.source {
            Source::Member(index) => Some((index, row.member(index)?)),
            _ => None,
        });
        let empty = members.filter(|(_, json)| *json == "\"\"");
        if let Some(extra) = row.extra(empty.chain((is_derived && self.has_duration).then_some((DURATION, "null")))) {
            push_quoted(out, &extra);
        }
    }
}

/// The cell of a JSON value: a number as it is, the text of a string, anything else as JSON.
fn push_json(out: &mut Vec<u8>, json: Option<&str>) {
    match json {
        None => {}
        Some(number) if number.starts_with(|first: char| first.is_ascii_digit() || first == '-') => {
            out.extend_from_slice(number.as_bytes());
        }
        Some(json) => push_quoted(out, &text(json)),
    }
}

fn push_quoted(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut copied = 0;
    for at in memchr_iter(b'"', bytes) {
        out.extend_from_slice(&bytes[copied..=at]);
        out.push(b'"');
        copied = at + 1;
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}
