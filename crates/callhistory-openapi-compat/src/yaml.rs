//! YAML 1.2 as JSON values, with the line of each.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use serde_json::{Map, Number, Value};

/// Maximum depth, as in `serde_json`.
const MAX_DEPTH: usize = 128;
/// Maximum number of values with those that aliases repeat: a small text can stand for billions.
const MAX_VALUES: usize = 10_000_000;

/// A value, and the lines of all values by JSON pointer.
pub(crate) fn parse(text: &str) -> Result<(Value, BTreeMap<String, usize>), String> {
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), lines: BTreeMap::new(), values: 0 };
    let mut document = None;
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => break,
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
            (_, line) if document.is_some() => return Err(format!("line {line}: there is a second document")),
            (event, line) => document = Some(reader.value(event, line, "", 0)?),
        }
    }
    Ok((document.ok_or("it is empty")?, reader.lines))
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Value>,
    lines: BTreeMap<String, usize>,
    values: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), String> {
        let (event, span) = self.parser.next().ok_or("it ends too early")?.map_err(|error| error.to_string())?;
        Ok((event, span.start.line()))
    }

    fn value(&mut self, event: Event<'a>, line: usize, pointer: &str, depth: usize) -> Result<Value, String> {
        self.lines.entry(pointer.to_owned()).or_insert(line);
        self.count(1, line)?;
        if depth > MAX_DEPTH {
            return Err(format!("line {line}: more than {MAX_DEPTH} levels"));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (scalar(&text, style, tag.as_deref()).map_err(|error| format!("line {line}: {error}"))?, anchor)
            }
            Event::SequenceStart(_, Some(tag)) | Event::MappingStart(_, Some(tag)) => {
                return Err(format!("line {line}: the tag {tag} is not supported"));
            }
            Event::SequenceStart(anchor, None) => (self.sequence(pointer, depth)?, anchor),
            Event::MappingStart(anchor, None) => (self.mapping(pointer, depth)?, anchor),
            Event::Alias(anchor) => {
                let value =
                    self.anchors.get(&anchor).ok_or(format!("line {line}: the alias is inside of its anchor"))?;
                let value = value.clone();
                self.count(size(&value), line)?;
                return Ok(value);
            }
            other => return Err(format!("line {line}: unexpected {other:?}")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn count(&mut self, values: usize, line: usize) -> Result<(), String> {
        self.values += values;
        if self.values > MAX_VALUES { Err(format!("line {line}: more than {MAX_VALUES} values")) } else { Ok(()) }
    }

    fn sequence(&mut self, pointer: &str, depth: usize) -> Result<Value, String> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                (event, line) => {
                    items.push(self.value(event, line, &format!("{pointer}/{}", items.len()), depth + 1)?)
                }
            }
        }
    }

    fn mapping(&mut self, pointer: &str, depth: usize) -> Result<Value, String> {
        let mut members = Map::new();
        loop {
            let (key, line) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Object(members)),
                (Event::Scalar(key, ScalarStyle::Plain, ..), line) if key == "<<" => {
                    return Err(format!("line {line}: YAML 1.2 has no merge key; write the members out"));
                }
                (Event::Scalar(key, ..), line) => (key.into_owned(), line),
                (_, line) => return Err(format!("line {line}: a key is not a text")),
            };
            let inside = format!("{pointer}/{}", crate::references::escape(&key));
            self.lines.insert(inside.clone(), line);
            let (event, line) = self.next()?;
            let value = self.value(event, line, &inside, depth + 1)?;
            if members.insert(key.clone(), value).is_some() {
                return Err(format!("line {line}: the key {key:?} occurs twice"));
            }
        }
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(size).sum::<usize>(),
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// A scalar by the core schema of YAML 1.2: `yes` and dates are texts.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => return Ok(text.into()),
        Some(tag) => return Err(format!("the tag {tag} is not supported")),
        None if style != ScalarStyle::Plain => return Ok(text.into()),
        None => {}
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        ".inf" | ".Inf" | ".INF" | "-.inf" | "-.Inf" | "-.INF" | "+.inf" | ".nan" | ".NaN" | ".NAN" => {
            return Err(format!("{text} is not a number of JSON"));
        }
        _ => number(text).map_or_else(|| text.into(), Value::Number),
    })
}

fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().map(Number::from);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return u64::from_str_radix(digits, 8).ok().map(Number::from);
    }
    let is_number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.contains(|c: char| c.is_ascii_digit())
        && unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    if !is_number {
        return None;
    }
    let whole = text.parse::<u64>().map(Number::from).or_else(|_| text.parse::<i64>().map(Number::from));
    whole.ok().or_else(|| Number::from_f64(text.parse::<f64>().ok()?))
}
