//! Random clauses of a query, each with its meaning.

use serde_json::{Value, json};

use fastrand::Rng;

use super::{
    ModelCall, ModelSearch, SECOND, START, TEXTS, WORDS, compared, decimal, folded, phone, phone_number, pick, rfc3339,
};

/// Every value at a path: members of members by dots, items of arrays at the path of the array.
pub(super) fn at_path<'a>(value: &'a Value, path: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| {
            if path.is_empty() {
                found.push(item);
            }
            at_path(item, path, found);
        }),
        Value::Object(members) => {
            for (name, member) in members {
                if name == path {
                    found.push(member);
                    at_path(member, "", found);
                } else if let Some(rest) = path.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) {
                    at_path(member, rest, found);
                }
            }
        }
        _ => {}
    }
}

type Test = Box<dyn Fn(&ModelCall) -> bool>;
type ValueTest = Box<dyn Fn(&Value) -> bool>;

/// One parameter, and whether a record matches it.
pub(crate) struct Clause {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) test: Test,
}

fn clause(name: impl Into<String>, value: impl Into<String>, test: impl Fn(&ModelCall) -> bool + 'static) -> Clause {
    Clause { name: name.into(), value: value.into(), test: Box::new(test) }
}

fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        if matches!(c, ',' | '*' | '!' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

fn set_clause(rng: &mut Rng) -> Clause {
    let (name, values) = TEXTS[rng.usize(0..TEXTS.len())];
    let negated = rng.u8(0..3) == 0;
    let mark = if negated { "!" } else { "" };
    if rng.u8(0..6) == 0 {
        return clause(name, format!("{mark}*"), move |call| call.value(name).is_some() != negated);
    }
    let mut chosen: Vec<&str> = (0..rng.usize(1..4)).map(|_| pick(rng, values)).collect();
    // An empty text is no value, and no value of a parameter either.
    chosen.retain(|value| !value.trim().is_empty());
    if chosen.is_empty() {
        chosen = vec!["nothing has this"];
    }
    let text = chosen.iter().map(|value| escaped(value)).collect::<Vec<_>>().join(",");
    let chosen: Vec<String> = chosen.into_iter().map(|value| compared(name, value)).collect();
    let has = move |call: &ModelCall| call.value(name).is_some_and(|have| chosen.contains(&have));
    clause(name, format!("{mark}{text}"), move |call| has(call) != negated)
}

fn outcome_clause(rng: &mut Rng) -> Clause {
    let names: Vec<_> = (0..rng.usize(1..3))
        .map(|_| pick(rng, &["completed", "failed", "busy", "live", "unknown", "voicemail"]))
        .collect();
    let negated = rng.bool();
    let value = format!("{}{}", if negated { "!" } else { "" }, names.join(","));
    let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
    clause("outcome", value, move |call| names.iter().any(|name| name == call.outcome()) != negated)
}

/// The facts that metrics count by: whether a call was answered, and the currency of its cost.
fn fact_clause(rng: &mut Rng) -> Clause {
    let negated = rng.bool();
    if rng.bool() {
        return clause("answered", (!negated).to_string(), move |call| call.is_answered() != negated);
    }
    let mark = if negated { "!" } else { "" };
    if rng.u8(0..3) == 0 {
        return clause("currency", format!("{mark}*"), move |call| call.currency().is_some() != negated);
    }
    let codes: Vec<_> =
        (0..rng.usize(1..3)).map(|_| pick(rng, &["EUR", "eur", "USD", "uSd", "GBP"]).to_owned()).collect();
    let value = format!("{mark}{}", codes.join(","));
    let is = move |have: String| codes.iter().any(|code| code.to_uppercase() == have);
    clause("currency", value, move |call| call.currency().is_some_and(&is) != negated)
}

fn phone_clause(rng: &mut Rng) -> Clause {
    let (name, sides): (_, &[&str]) = match rng.u8(0..3) {
        0 => ("fromPhoneNumber", &["fromPhoneNumber"]),
        1 => ("toPhoneNumber", &["toPhoneNumber"]),
        _ => ("phoneNumber", &["fromPhoneNumber", "toPhoneNumber"]),
    };
    let number = phone(rng);
    let chars: Vec<char> = number.chars().collect();
    let negated = rng.u8(0..4) == 0;
    let mark = if negated { "!" } else { "" };
    if rng.bool() {
        let mut start: String = chars[..rng.usize(0..=chars.len())].iter().collect();
        // The beginning of an address in a display name is no beginning of the number.
        if start.starts_with('"') {
            start = "+1415".to_owned();
        }
        let value = format!("{mark}{}*", escaped(&start));
        let start = phone_number(&start);
        let starts = move |call: &ModelCall| {
            sides.iter().any(|side| call.value(side).is_some_and(|have| have.starts_with(&start)))
        };
        return clause(name, value, move |call| starts(call) != negated);
    }
    let value = format!("{mark}{}", escaped(&number));
    let number = phone_number(&number);
    let is = move |call: &ModelCall| sides.iter().any(|side| call.value(side).as_ref() == Some(&number));
    clause(name, value, move |call| is(call) != negated)
}

fn time_clause(rng: &mut Rng) -> Clause {
    let second = START + rng.i64(-1..41) * 5_000;
    let nanos = second * SECOND + [0, 1, 500_000_000][rng.usize(0..3)];
    let value = if rng.bool() { rfc3339(nanos) } else { decimal(nanos) };
    match rng.u8(0..6) {
        0 => clause("startedAfter", value, move |call| call.sort_time() >= nanos),
        1 => clause("startedBefore", value, move |call| call.sort_time() < nanos),
        2 => clause("updatedAfter", value, move |call| call.updated >= nanos),
        3 => clause("updatedBefore", value, move |call| call.updated < nanos),
        4 => {
            let (from, to) = (nanos, nanos + rng.i64(0..100_000) * SECOND);
            let names = if rng.bool() { ("from", "to") } else { ("startDate", "endDate") };
            let range = json!({names.0: rfc3339(from), names.1: rfc3339(to)}).to_string();
            clause("dateRange", range, move |call| (from..=to).contains(&call.sort_time()))
        }
        _ => {
            let range = r#"{"from":"2026-01-01","to":"2026-01-02"}"#;
            let (from, to) = (START * SECOND, (START + 2 * 86_400) * SECOND);
            clause("dateRange", range, move |call| (from..to).contains(&call.sort_time()))
        }
    }
}

fn number_clause(rng: &mut Rng) -> Clause {
    let length = rng.i64(0..22) * 500_000_000;
    let charge = rng.i64(0..21) * 12_500_000;
    match rng.u8(0..4) {
        0 => clause("minDuration", decimal(length), move |call| call.duration.is_some_and(|have| have >= length)),
        1 => clause("maxDuration", decimal(length), move |call| call.duration.is_some_and(|have| have <= length)),
        2 => clause("minCost", decimal(charge), move |call| call.cost.is_some_and(|have| have >= charge)),
        _ => clause("maxCost", decimal(charge), move |call| call.cost.is_some_and(|have| have <= charge)),
    }
}

const PATHS: [&str; 9] = ["score", "tag", "crm", "list", "flag", "a.b", "crm.tag", "list.tag", "absent"];

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

fn metadata_clause(rng: &mut Rng) -> Clause {
    let path = pick(rng, &PATHS);
    if rng.u8(0..4) == 0 {
        let (text, test): (_, fn(&[&Value]) -> bool) = match rng.u8(0..6) {
            0 => ("*", |found| !found.is_empty()),
            1 => ("!*", |found| found.is_empty()),
            2 => ("\\5", |found| found.contains(&&json!("5"))),
            3 => ("=gold", |found| found == [&json!("gold")]),
            4 => ("=[]", |found| found.len() > 1 || found.iter().any(|value| value.is_object() || value.is_array())),
            _ => ("=[gold]", |found| found.len() > 1 && found.contains(&&json!("gold"))),
        };
        return clause(format!("metadata.{path}"), text, move |call| {
            let mut found = Vec::new();
            at_path(&call.metadata, path, &mut found);
            test(&found)
        });
    }
    let text = pick(rng, &["gold", "5", "5.0", "true", "", "null", "iron", "2", "0.25", "-1"]);
    let readings = [json!(text), serde_json::from_str(text).unwrap_or(json!(text))];
    // A blank parameter is one that was not given.
    let value = if text.is_empty() { "\"\"" } else { text };
    clause(format!("metadata.{path}"), value, move |call| {
        let mut found = Vec::new();
        at_path(&call.metadata, path, &mut found);
        found.iter().any(|have| readings.iter().any(|reading| same(have, reading)))
    })
}

fn analysis_clause(rng: &mut Rng) -> Clause {
    let path = pick(rng, &PATHS);
    let scalars = [json!("gold"), json!("5"), json!(5), json!(2.5), json!(true), Value::Null, json!(0), json!("iron")];
    let scalar = |rng: &mut Rng| scalars[rng.usize(0..scalars.len())].clone();
    let bounds = [json!(2), json!(0.75), json!("iron"), json!("g")];
    let bound = bounds[rng.usize(0..bounds.len())].clone();
    let order = |one: &Value, other: &Value| match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64().partial_cmp(&other.as_f64()),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => None,
    };
    let (condition, any, negated): (Value, ValueTest, bool) = match rng.u8(0..8) {
        0 => (scalar(rng), Box::new(|_| false), false),
        1 => (json!({"gt": bound}), Box::new(move |have| order(have, &bound).is_some_and(|o| o.is_gt())), false),
        2 => (json!({"gte": bound}), Box::new(move |have| order(have, &bound).is_some_and(|o| o.is_ge())), false),
        3 => (json!({"lt": bound}), Box::new(move |have| order(have, &bound).is_some_and(|o| o.is_lt())), false),
        4 => (json!({"lte": bound}), Box::new(move |have| order(have, &bound).is_some_and(|o| o.is_le())), false),
        5 => {
            let value = scalar(rng);
            (json!({"ne": value}), Box::new(move |have| same(have, &value)), true)
        }
        6 => {
            let values = [scalar(rng), scalar(rng)];
            (json!({"in": values}), Box::new(move |have| values.iter().any(|value| same(have, value))), false)
        }
        _ => {
            let expected = rng.bool();
            (json!({"exists": expected}), Box::new(|_| true), !expected)
        }
    };
    let equals = (!condition.is_object()).then(|| condition.clone());
    clause("postAnalysis", json!({path: condition}).to_string(), move |call| {
        let mut found = Vec::new();
        at_path(&call.analysis, path, &mut found);
        let holds = |have: &&Value| equals.as_ref().map_or_else(|| any(have), |value| same(have, value));
        found.iter().any(holds) != negated
    })
}

fn search_clause(rng: &mut Rng) -> Clause {
    let count = rng.usize(1..4);
    let (mut texts, mut items) = (Vec::new(), Vec::new());
    for at in 0..count {
        let word = folded(pick(rng, &WORDS));
        let start: String = word.chars().take(rng.usize(1..7)).collect();
        let is_last = at + 1 == count;
        let (text, item) = match rng.u8(0..6) {
            0 => {
                let digits = pick(rng, &["415", "5550", "14155550", "55500", "0012", "202", "5"]).to_owned();
                (digits.clone(), word_item(digits, false))
            }
            1 => (format!("{start}*"), word_item(start, true)),
            2 => {
                let other = folded(pick(rng, &WORDS));
                (format!("\"{word} {other}\""), ModelSearch::Phrase(vec![word, other]))
            }
            3 => (format!("\"{word}\""), ModelSearch::Phrase(vec![word])),
            4 => (start.to_uppercase(), word_item(start, is_last)),
            _ => {
                let word = pick(rng, &WORDS);
                (word.to_owned(), word_item(folded(word), is_last))
            }
        };
        texts.push(text);
        items.push(item);
    }
    let text = texts.join(pick(rng, &[" ", ", ", " & "]));
    clause("search", text, move |call| items.iter().all(|item| call.matches_search(item)))
}

/// A word of a search outside of quotation marks.
fn word_item(word: String, is_prefix: bool) -> ModelSearch {
    match word.chars().count() {
        _ if word.contains(['東', '京']) => ModelSearch::Characters(word),
        3.. if word.bytes().all(|byte| byte.is_ascii_digit()) => ModelSearch::Digits(word),
        3.. if is_prefix => ModelSearch::Prefix(word),
        _ => ModelSearch::Word(word),
    }
}

fn ids_clause(rng: &mut Rng) -> Clause {
    let ids: Vec<String> = (0..rng.usize(1..8))
        .map(|_| {
            if rng.bool() {
                format!("c{}", rng.u16(0..300))
            } else {
                format!("CA{}{}{}", rng.u8(0..20), pick(rng, &[",", "+", " "]), rng.u8(0..3))
            }
        })
        .collect();
    // A blank is also a plus sign that was not escaped.
    let has: Vec<_> = ids.iter().flat_map(|id| [id.clone(), id.replace(' ', "+")]).collect();
    let test = move |call: &ModelCall| {
        has.contains(&call.id) || call.text("callId").is_some_and(|id| has.iter().any(|have| have == id))
    };
    clause("callIds", json!(ids).to_string(), test)
}

pub(crate) fn clauses(rng: &mut Rng) -> Vec<Clause> {
    let mut clauses: Vec<Clause> = Vec::new();
    for _ in 0..rng.usize(0..4) {
        let next = match rng.u8(0..13) {
            12 => fact_clause(rng),
            0 => outcome_clause(rng),
            1..4 => set_clause(rng),
            4 | 5 => phone_clause(rng),
            6 => time_clause(rng),
            7 => number_clause(rng),
            8 => metadata_clause(rng),
            9 => analysis_clause(rng),
            10 => search_clause(rng),
            _ => ids_clause(rng),
        };
        let bounds_start = |name: &str| name.starts_with("started") || name == "dateRange";
        let clashes =
            clauses.iter().any(|have| have.name == next.name || bounds_start(&have.name) && bounds_start(&next.name));
        if !clashes {
            clauses.push(next);
        }
    }
    clauses
}

pub(crate) fn query_string(clauses: &[Clause]) -> String {
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    clauses
        .iter()
        .map(|clause| format!("{}={}", encode(&clause.name), encode(&clause.value)))
        .collect::<Vec<_>>()
        .join("&")
}
