//! A record as slices of its JSON text: nothing is parsed that no column needs.

use std::borrow::Cow;

use callhistory_model::{CallRecord, ExportQuery};
use memchr::{memchr, memchr2};

use super::{error::EncodeError, time};

const MEMBERS: &[&str] = CallRecord::MEMBERS;

/// The place of a member in the record; that after the last one for any other name.
const fn index_of(name: &str) -> usize {
    let mut index = 0;
    while index < MEMBERS.len() && !is_equal(MEMBERS[index].as_bytes(), name.as_bytes()) {
        index += 1;
    }
    index
}

const fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

pub(super) const START: usize = index_of("startTime");
pub(super) const END: usize = index_of("endTime");
pub(super) const ANSWERED: usize = index_of("answeredAt");
pub(super) const DURATION: usize = index_of("duration");
pub(super) const CREATED: usize = index_of("createdAt");
pub(super) const UPDATED: usize = index_of("updatedAt");
const COST: usize = index_of("cost");

/// A column of a table.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) source: Source,
}

/// Where the cells of a column come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The member with this index.
    Member(usize),
    /// The time in a member, as RFC 3339.
    IsoTime(usize),
    Charge,
    Currency,
    /// The members that have no column, and those whose cell does not have all of their value.
    Extra,
}

/// The columns of a query. Without `fields`, those that `is_default` accepts.
pub(super) fn columns(query: &ExportQuery, is_default: impl Fn(Source) -> bool) -> Vec<Column> {
    let column = |name: &'static str| {
        let source = match name {
            "cost.customer_charge" => Source::Charge,
            "cost.currency" => Source::Currency,
            "extra" => Source::Extra,
            _ => name
                .strip_suffix("Iso")
                .map_or_else(|| Source::Member(index_of(name)), |member| Source::IsoTime(index_of(member))),
        };
        Column { name, source }
    };
    let known = ExportQuery::COLUMNS.iter().copied();
    if query.fields.is_empty() {
        return known.map(column).filter(|column| is_default(column.source)).collect();
    }
    query.fields.iter().filter_map(|field| known.clone().find(|name| name == field)).map(column).collect()
}

/// The members of a record.
pub(super) struct Row<'a> {
    members: [Option<&'a str>; MEMBERS.len()],
    /// Unknown members: the name with its quotation marks, and the value.
    others: Vec<(&'a str, &'a str)>,
}

impl<'a> Row<'a> {
    /// The rows of records on a line each.
    pub(super) fn each(lines: &'a [u8]) -> Result<impl Iterator<Item = Result<Self, EncodeError>>, EncodeError> {
        let lines = std::str::from_utf8(lines).map_err(|_| EncodeError::Malformed)?;
        let lines = lines.split_terminator('\n').filter(|line| !line.is_empty());
        Ok(lines.map(|line| Self::parse(line).ok_or(EncodeError::Malformed)))
    }

    /// A stored record, which has no white space between its tokens.
    fn parse(line: &'a str) -> Option<Self> {
        let mut row = Self { members: [None; MEMBERS.len()], others: Vec::new() };
        let mut next = 0;
        for_each_member(line, |name, value| {
            let plain = &name[1..name.len() - 1];
            // They are in the order of the record.
            let found = (next..MEMBERS.len()).chain(0..next).find(|index| MEMBERS[*index] == plain);
            match found {
                Some(index) => {
                    row.members[index] = Some(value);
                    next = index + 1;
                }
                None => row.others.push((name, value)),
            }
        })?;
        Some(row)
    }

    /// The JSON text of a member.
    pub(super) fn member(&self, index: usize) -> Option<&'a str> {
        self.members.get(index).copied().flatten()
    }

    /// The JSON texts of the charge and the currency.
    pub(super) fn cost(&self) -> (Option<&'a str>, Option<&'a str>) {
        let (mut charge, mut currency) = (None, None);
        if let Some(cost) = self.member(COST) {
            // It was checked when the row was parsed.
            let _ = for_each_member(cost, |name, value| match name {
                "\"customer_charge\"" => charge = Some(value),
                "\"currency\"" => currency = Some(value),
                _ => {}
            });
        }
        (charge, currency)
    }

    /// The time of a member in nanoseconds since 1970, if it is a known one.
    pub(super) fn time(&self, index: usize) -> Option<i64> {
        let json = self.member(index)?;
        if json.starts_with('"') { time::rfc3339_nanos(&text(json)) } else { time::unix_nanos(json) }
    }

    /// The duration from start to end, of a record that has none itself.
    pub(super) fn derived_duration(&self) -> Option<i64> {
        if self.member(DURATION).is_some() {
            return None;
        }
        let span = self.time(END)? - self.time(START)?;
        (0..=CallRecord::MAX_DURATION_NANOS).contains(&span).then_some(span)
    }

    /// The cell of the column `extra`: the unknown members, and more of the known ones.
    pub(super) fn extra<'b>(&'b self, more: impl Iterator<Item = (usize, &'b str)>) -> Option<String> {
        let mut text = String::new();
        let mut add = |name: &str, value: &str| {
            text.push(if text.is_empty() { '{' } else { ',' });
            text.extend([name, ":", value]);
        };
        self.others.iter().for_each(|(name, value)| add(name, value));
        more.for_each(|(index, value)| add(&format!("\"{}\"", MEMBERS[index]), value));
        if text.is_empty() {
            return None;
        }
        text.push('}');
        Some(text)
    }
}

/// The text of a JSON string, or any other JSON as it is.
pub(super) fn text(json: &str) -> Cow<'_, str> {
    let Some(inner) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return json.into() };
    if memchr(b'\\', inner.as_bytes()).is_none() {
        return inner.into();
    }
    serde_json::from_str::<String>(json).map_or(Cow::Borrowed(inner), Cow::Owned)
}

/// Calls `each` with the name, in its quotation marks, and the value of each member of an object; `None` if it is not one.
fn for_each_member<'a>(object: &'a str, mut each: impl FnMut(&'a str, &'a str)) -> Option<()> {
    let bytes = object.as_bytes();
    if object == "{}" {
        return Some(());
    }
    let mut at = 0;
    while !(at > 0 && bytes.get(at)? == &b'}') {
        // After the brace or the comma.
        let start = at + 1;
        if bytes.get(start)? != &b'"' {
            return None;
        }
        let name_end = string_end(bytes, start)?;
        let value_end = value_end(bytes, name_end + 1)?;
        if bytes[name_end] != b':' || !matches!(bytes.get(value_end)?, b',' | b'}') {
            return None;
        }
        each(object.get(start..name_end)?, object.get(name_end + 1..value_end)?);
        at = value_end;
    }
    (at + 1 == bytes.len()).then_some(())
}

/// The end of the value that starts here.
fn value_end(json: &[u8], start: usize) -> Option<usize> {
    match json.get(start)? {
        b'"' => string_end(json, start),
        b'{' | b'[' => container_end(json, start),
        _ => json[start..].iter().position(|byte| matches!(byte, b',' | b'}' | b']')).map(|length| start + length),
    }
}

fn string_end(json: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr2(b'"', b'\\', json.get(at..)?)?;
        if json[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn container_end(json: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0_usize);
    loop {
        match json.get(at)? {
            b'"' => {
                at = string_end(json, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return Some(at + 1),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_slices_of_the_record() {
        let line = r#"{"_id":"a","startTime":1.50,"endTime":3,"cost":{"x":1,"customer_charge":0.10,"currency":"EUR"},"metadata":{"a":["}\\\"",{"b":1}]},"Ä\n":[1,2],"transcript":[]}"#;
        let row = Row::parse(line).unwrap();
        assert_eq!((row.member(START), row.time(START)), (Some("1.50"), Some(1_500_000_000)));
        assert_eq!(row.cost(), (Some("0.10"), Some("\"EUR\"")));
        assert_eq!(row.member(index_of("metadata")), Some(r#"{"a":["}\\\"",{"b":1}]}"#));
        assert_eq!(row.member(index_of("transcript")), Some("[]"));
        assert_eq!(row.derived_duration(), Some(1_500_000_000));
        assert_eq!(row.extra([(DURATION, "null")].into_iter()).unwrap(), r#"{"Ä\n":[1,2],"duration":null}"#);
        assert_eq!(text(r#""a\ud83d\ude00\"""#), "a😀\"");
    }

    #[test]
    fn what_is_no_record_is_no_row() {
        assert!(Row::parse("{}").is_some());
        let line = r#"{"_id":"a","metadata":{"a":["\"}",1]},"transcript":[{}]}"#;
        for end in 0..line.len() {
            assert!(Row::parse(&line[..end]).is_none(), "{end}");
        }
        for text in ["", "[]", "{}}", "{1}", "{\"a\"}", "{\"a\":1,}", "{\"a\" :1}", "{\"a\":1}x", "nonsense"] {
            assert!(Row::parse(text).is_none(), "{text}");
        }
    }
}
