//! The columns of CSV: an export that is imported gives the same records.

use std::{collections::HashSet, fmt};

use callhistory_model::{CallRecord, ExportQuery};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Members whose cells are numbers.
const NUMBERS: [&str; 4] = ["startTime", "answeredAt", "endTime", "duration"];
/// Members whose cells are JSON.
const STRUCTURED: [&str; 6] = ["cost", "metadata", "functionCalls", "analyzedData", "variables", "transcript"];
/// The prefix of columns with the amounts of `cost`.
const COST: &str = "cost.";
/// The column of the charge, which is also part of the column `cost`.
const CHARGE: &str = "cost.customer_charge";
/// The column of an export with an object of the members that have no column, and of those that a cell cannot tell from absent
/// ones. A null says that the cell of a member is derived from others.
const EXTRA: &str = "extra";
/// The end of the names of columns that an export derives from a member.
const ISO: &str = "Iso";

/// The longest name of a column, in bytes: each row may be as much longer than what was sent.
const MAX_NAME_BYTES: usize = 1024;

/// How the cells of a column become JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CellType {
    Text,
    Number,
    Structured,
    /// An amount of `cost`, with its name.
    Amount,
    /// The members of an object.
    Extra,
    /// A time as text, of a member that has a column of its own, or else not.
    Derived,
}

impl CellType {
    fn of(name: &str) -> Self {
        match name {
            _ if NUMBERS.contains(&name) => Self::Number,
            _ if STRUCTURED.contains(&name) => Self::Structured,
            _ if name.len() > COST.len() && name.starts_with(COST) => Self::Amount,
            _ => Self::Text,
        }
    }
}

/// The columns that the first line of a table names.
pub(crate) struct CsvColumns(Vec<(String, CellType)>);

impl CsvColumns {
    /// Reads the first line.
    ///
    /// # Errors
    ///
    /// Says why the line does not name columns.
    pub(crate) fn parse(cells: &[&[u8]]) -> Result<Self, String> {
        let names: Vec<String> =
            cells.iter().map(|cell| String::from_utf8_lossy(cell.trim_ascii()).into_owned()).collect();
        let is_export = names.iter().all(|name| ExportQuery::COLUMNS.contains(&name.as_str()));
        let is_known = |name: &String| CallRecord::MEMBERS.contains(&name.as_str()) || name == CHARGE;
        let is_value = |name: &String| {
            let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
            !is_name || name.contains(['=', ':', '@', '<', '+'])
        };
        if !names.iter().any(is_known) && names.iter().any(is_value) {
            return Err("does not name the columns; the first line of CSV has the names of the members, such as \
                        _id,startTime,status"
                .to_owned());
        }
        let mut known = HashSet::with_capacity(names.len());
        let mut columns: Vec<(String, CellType)> = Vec::with_capacity(names.len());
        for (at, name) in names.into_iter().enumerate() {
            let name = if name.is_empty() { format!("column{}", at + 1) } else { name };
            if name.len() > MAX_NAME_BYTES {
                return Err(format!("has a name of more than {MAX_NAME_BYTES} bytes, that of column {}", at + 1));
            }
            if !known.insert(name.clone()) {
                return Err(format!("names the column {name:?} more than once"));
            }
            columns.push(match name.strip_suffix(ISO).filter(|_| is_export) {
                Some(member) => (member.to_owned(), CellType::Derived),
                None if is_export && name == EXTRA => (name, CellType::Extra),
                None => {
                    let cell_type = CellType::of(&name);
                    (name, cell_type)
                }
            });
        }
        Ok(Self(columns))
    }

    /// The number of columns.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The record of a row. An empty cell is an absent member.
    pub(crate) fn to_json(&self, cells: &[&[u8]]) -> Vec<u8> {
        let mut members: Vec<(&str, Vec<u8>)> = Vec::with_capacity(cells.len());
        let (mut amounts, mut extra) = (Vec::new(), None);
        for ((name, cell_type), cell) in self.0.iter().zip(cells).filter(|(_, cell)| !cell.is_empty()) {
            match cell_type {
                CellType::Text => members.push((name, string(cell))),
                CellType::Number => members.push((name, json_or_string(cell, is_number))),
                CellType::Structured => members.push((name, json_or_string(cell, |_| true))),
                CellType::Amount => amounts.push(member(&name[COST.len()..], json_or_string(cell, is_number))),
                CellType::Derived if self.0.iter().any(|(other, kind)| other == name && kind != cell_type) => {}
                CellType::Derived => members.push((name, string(cell))),
                CellType::Extra => match object_members(cell) {
                    Some(found) => extra = Some(found),
                    None => members.push((name, string(cell))),
                },
            }
        }
        if !amounts.is_empty() && !members.iter().any(|(name, _)| *name == "cost") {
            members.push(("cost", [b"{", amounts.join(&b',').as_slice(), b"}"].concat()));
        }
        let extra = extra.unwrap_or_default();
        members.retain(|(name, _)| !extra.iter().any(|(other, value)| other == name && value.get() == "null"));
        let members = members.into_iter().map(|(name, value)| member(name, value));
        let extra = extra.iter().map(|(name, value)| member(name, value.get().into()));
        [b"{", members.chain(extra).collect::<Vec<_>>().join(&b',').as_slice(), b"}"].concat()
    }
}

fn member(name: &str, value: Vec<u8>) -> Vec<u8> {
    [string(name.as_bytes()), value].join(&b':')
}

fn is_number(json: &str) -> bool {
    json.starts_with(|c: char| c.is_ascii_digit() || c == '-')
}

/// The cell itself if it is JSON of this kind, or else a string, which the parser of records can interpret.
fn json_or_string(cell: &[u8], is_kind: impl Fn(&str) -> bool) -> Vec<u8> {
    match serde_json::from_slice::<&RawValue>(cell) {
        Ok(json) if is_kind(json.get()) => json.get().into(),
        _ => string(cell),
    }
}

/// The members of an object.
fn object_members(cell: &[u8]) -> Option<Vec<(String, &RawValue)>> {
    let Members(members) = serde_json::from_slice(cell).ok()?;
    Some(members)
}

/// A JSON string of bytes that should be UTF-8; the parser of records repairs them.
fn string(bytes: &[u8]) -> Vec<u8> {
    let mut json = vec![b'"'];
    for byte in bytes {
        match byte {
            b'"' | b'\\' => json.extend([b'\\', *byte]),
            b'\n' => json.extend(b"\\n"),
            b'\r' => json.extend(b"\\r"),
            b'\t' => json.extend(b"\\t"),
            0..0x20 => json.extend(format!("\\u{byte:04x}").into_bytes()),
            _ => json.push(*byte),
        }
    }
    json.push(b'"');
    json
}

/// The members of an object, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}
