//! Lists and numbers against a naive reading of the same records: random records, random writes, random queries.
//!
//! A query is made of clauses. Each clause is the text of a parameter and, beside it, a test in plain Rust over what was
//! put into the record; nothing here knows how a store finds its answer.

use std::{collections::BTreeMap, sync::Arc};

use callhistory_model::{CallId, CallInput, CallPatch, ListQuery, MetricsQuery, WorkspaceId};
use callhistory_store::{CallStore, Precondition};
use callhistory_test_support::loop_count;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::conformance::Database;

const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_767_225_600;
const WORDS: [&str; 12] =
    ["refund", "order", "parcel", "Straße", "late", "agent", "ünïcode", "a1b2", "2026", "naïve", "x", "東京"];

/// What is known of a record: what was put into it, and nothing that was read back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fact {
    id: String,
    created: i64,
    updated: i64,
    start: Option<i64>,
    duration: Option<i64>,
    cost: Option<i64>,
    texts: BTreeMap<&'static str, String>,
    metadata: Value,
    analysis: Value,
    summary: String,
    spoken: String,
}

impl Fact {
    fn when(&self) -> i64 {
        self.start.unwrap_or(self.created)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// The words and the numbers that search finds.
    fn found(&self, word: &str) -> bool {
        let phones = ["fromPhoneNumber", "toPhoneNumber"].iter().filter_map(|name| self.text(name));
        let mut texts = vec![self.summary.clone(), self.spoken.clone()];
        collect(&self.metadata, &mut texts);
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        let number = word.len() >= 3 && word.chars().all(|c| c.is_ascii_digit());
        let split =
            |text: &str| -> Vec<String> { text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase).collect() };
        let in_texts = texts.iter().flat_map(|text| split(text)).any(|have| {
            have == word || number && have.len() >= 3 && have.chars().all(|c| c.is_ascii_digit()) && have.contains(word)
        });
        in_texts
            || phones.clone().flat_map(split).any(|have| have == word)
            || number && phones.clone().any(|phone| digits(phone).contains(word))
    }
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Number(number) => texts.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(members) => members.values().for_each(|item| collect(item, texts)),
        _ => {}
    }
}

/// Every value at a path: members of members by dots, items of arrays at the path of the array.
fn at_path<'a>(value: &'a Value, path: &str, found: &mut Vec<&'a Value>) {
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

fn decimal(nanos: i64) -> String {
    let text = format!("{}.{:09}", nanos / SECOND, nanos % SECOND);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn rfc3339(nanos: i64) -> String {
    callhistory_model::Timestamp::from_unix_nanos(nanos).to_string()
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(0..from.len())]
}

fn sentence(rng: &mut Rng) -> String {
    (0..rng.usize(0..6)).map(|_| pick(rng, &WORDS)).collect::<Vec<_>>().join(pick(rng, &[" ", ", ", "-"]))
}

fn phone(rng: &mut Rng) -> String {
    match rng.u8(0..6) {
        0 => "anonymous".to_owned(),
        1 => format!("sip:{}@example.com", pick(rng, &["alice", "bob"])),
        2 => format!("+1 (415) 555-0{:03}", rng.u16(0..30)),
        _ => format!("+1415555{:04}", rng.u16(0..40)),
    }
}

const TEXTS: [(&str, &[&str]); 6] = [
    ("agentId", &["a", "b", "c", "a,b", "!a", "*", "", "A"]),
    ("callFlowId", &["f1", "f2", "f 3", "f&4=5"]),
    ("batchId", &["b1", "b2"]),
    ("status", &["completed", "failed", "ongoing", "busy", "parked"]),
    ("direction", &["inbound", "outbound"]),
    ("callType", &["sip", "web"]),
];

fn free_form(rng: &mut Rng) -> Value {
    let mut members = serde_json::Map::new();
    for name in ["score", "tag", "crm", "list", "flag", "a.b"] {
        let value = match rng.u8(0..9) {
            0 => json!(rng.i32(-3..6)),
            1 => json!(f64::from(rng.i32(0..12)) / 4.0),
            2 => json!(pick(rng, &["gold", "5", "true", "", "silver"])),
            3 => json!(rng.bool()),
            4 => Value::Null,
            5 => json!({"tag": pick(rng, &["gold", "iron"]), "score": rng.i32(0..4)}),
            6 => json!([pick(rng, &["gold", "iron"]), rng.i32(0..4), {"tag": "gold"}]),
            _ => continue,
        };
        members.insert(name.to_owned(), value);
    }
    Value::Object(members)
}

pub(crate) fn fact(rng: &mut Rng, id: String) -> Fact {
    let created = (START + rng.i64(0..200_000)) * SECOND;
    // Few distinct seconds, so that there are many ties; some within a second.
    let start = (START + rng.i64(0..40) * 5_000) * SECOND + [0, 0, 1, 500_000_000][rng.usize(0..4)];
    let mut texts = BTreeMap::new();
    for (name, values) in TEXTS {
        if rng.u8(0..4) > 0 {
            let value = pick(rng, values);
            // An open set has no empty value.
            if !value.is_empty() || name == "agentId" {
                texts.insert(name, value.to_owned());
            }
        }
    }
    for name in ["fromPhoneNumber", "toPhoneNumber"] {
        if rng.u8(0..5) > 0 {
            texts.insert(name, phone(rng));
        }
    }
    if rng.bool() {
        texts.insert("callId", format!("CA{},{}", rng.u8(0..20), rng.u8(0..3)));
    }
    Fact {
        id,
        created,
        updated: created + rng.i64(0..1000) * SECOND,
        start: (rng.u8(0..6) > 0).then_some(start),
        duration: (rng.u8(0..4) > 0).then(|| rng.i64(0..20) * 500_000_000),
        cost: (rng.u8(0..4) > 0).then(|| rng.i64(-3..20) * 12_500_000),
        texts,
        metadata: free_form(rng),
        analysis: free_form(rng),
        summary: sentence(rng),
        spoken: sentence(rng),
    }
}

pub(crate) fn input(fact: &Fact) -> CallInput {
    let mut members = vec![
        format!(r#""createdAt":"{}","updatedAt":"{}""#, rfc3339(fact.created), rfc3339(fact.updated)),
        format!(r#""metadata":{},"analyzedData":{}"#, fact.metadata, fact.analysis),
        format!(r#""summary":{}"#, json!(fact.summary)),
        format!(r#""transcript":{}"#, json!([{"role": "", "content": fact.spoken}])),
    ];
    members.extend(fact.texts.iter().map(|(name, text)| format!("\"{name}\":{}", json!(text))));
    members.extend(fact.start.map(|start| format!("\"startTime\":{}", decimal(start))));
    members.extend(fact.duration.map(|duration| format!("\"duration\":{}", decimal(duration))));
    let sign = |nanos: i64| if nanos < 0 { format!("-{}", decimal(-nanos)) } else { decimal(nanos) };
    members.extend(fact.cost.map(|cost| format!("\"cost\":{{\"customer_charge\":{}}}", sign(cost))));
    CallInput::from_json(format!("{{{}}}", members.join(",")).as_bytes()).unwrap()
}

type Test = Box<dyn Fn(&Fact) -> bool>;
type ValueTest = Box<dyn Fn(&Value) -> bool>;

/// One parameter and what it means.
pub(crate) struct Clause {
    name: String,
    value: String,
    test: Test,
}

fn clause(name: impl Into<String>, value: impl Into<String>, test: impl Fn(&Fact) -> bool + 'static) -> Clause {
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
        return clause(name, format!("{mark}*"), move |fact| fact.text(name).is_some() != negated);
    }
    let mut chosen: Vec<&str> = (0..rng.usize(1..4)).map(|_| pick(rng, values)).collect();
    if chosen.len() > 1 {
        chosen.retain(|value| !value.is_empty());
    }
    if chosen.is_empty() {
        chosen = vec!["nothing has this"];
    }
    let text = chosen.iter().map(|value| escaped(value)).collect::<Vec<_>>().join(",");
    let chosen: Vec<String> = chosen.into_iter().map(str::to_owned).collect();
    let has = move |fact: &Fact| fact.text(name).is_some_and(|have| chosen.iter().any(|value| value == have));
    clause(name, format!("{mark}{text}"), move |fact| has(fact) != negated)
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
        let start: String = chars[..rng.usize(0..=chars.len())].iter().collect();
        let value = format!("{mark}{}*", escaped(&start));
        let starts =
            move |fact: &Fact| sides.iter().any(|side| fact.text(side).is_some_and(|have| have.starts_with(&start)));
        return clause(name, value, move |fact| starts(fact) != negated);
    }
    let value = format!("{mark}{}", escaped(&number));
    let is = move |fact: &Fact| sides.iter().any(|side| fact.text(side) == Some(&number));
    clause(name, value, move |fact| is(fact) != negated)
}

fn time_clause(rng: &mut Rng) -> Clause {
    let second = START + rng.i64(-1..41) * 5_000;
    let nanos = second * SECOND + [0, 1, 500_000_000][rng.usize(0..3)];
    let value = if rng.bool() { rfc3339(nanos) } else { decimal(nanos) };
    match rng.u8(0..6) {
        0 => clause("startedAfter", value, move |fact| fact.when() >= nanos),
        1 => clause("startedBefore", value, move |fact| fact.when() < nanos),
        2 => clause("updatedAfter", value, move |fact| fact.updated >= nanos),
        3 => clause("updatedBefore", value, move |fact| fact.updated < nanos),
        4 => {
            let (from, to) = (nanos, nanos + rng.i64(0..100_000) * SECOND);
            let names = if rng.bool() { ("from", "to") } else { ("startDate", "endDate") };
            let range = json!({names.0: rfc3339(from), names.1: rfc3339(to)}).to_string();
            clause("dateRange", range, move |fact| (from..=to).contains(&fact.when()))
        }
        _ => {
            let range = r#"{"from":"2026-01-01","to":"2026-01-02"}"#;
            let (from, to) = (START * SECOND, (START + 2 * 86_400) * SECOND);
            clause("dateRange", range, move |fact| (from..to).contains(&fact.when()))
        }
    }
}

fn number_clause(rng: &mut Rng) -> Clause {
    let length = rng.i64(0..22) * 500_000_000;
    let charge = rng.i64(0..21) * 12_500_000;
    match rng.u8(0..4) {
        0 => clause("minDuration", decimal(length), move |fact| fact.duration.is_some_and(|have| have >= length)),
        1 => clause("maxDuration", decimal(length), move |fact| fact.duration.is_some_and(|have| have <= length)),
        2 => clause("minCost", decimal(charge), move |fact| fact.cost.is_some_and(|have| have >= charge)),
        _ => clause("maxCost", decimal(charge), move |fact| fact.cost.is_some_and(|have| have <= charge)),
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
    let text = pick(rng, &["gold", "5", "5.0", "true", "", "null", "iron", "2", "0.25", "-1"]);
    let readings = [json!(text), serde_json::from_str(text).unwrap_or(json!(text))];
    clause(format!("metadata.{path}"), text, move |fact| {
        let mut found = Vec::new();
        at_path(&fact.metadata, path, &mut found);
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
    clause("postAnalysis", json!({path: condition}).to_string(), move |fact| {
        let mut found = Vec::new();
        at_path(&fact.analysis, path, &mut found);
        let holds = |have: &&Value| equals.as_ref().map_or_else(|| any(have), |value| same(have, value));
        found.iter().any(holds) != negated
    })
}

fn search_clause(rng: &mut Rng) -> Clause {
    let words: Vec<String> = (0..rng.usize(1..3))
        .map(|_| match rng.u8(0..3) {
            0 => pick(rng, &["415", "5550", "14155550", "55500", "0012", "202", "5"]).to_owned(),
            _ => pick(rng, &WORDS).to_owned(),
        })
        .collect();
    let text = words.join(pick(rng, &[" ", ", ", "\" OR \""]));
    let words: Vec<String> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    clause("search", text, move |fact| words.iter().all(|word| fact.found(word)))
}

fn ids_clause(rng: &mut Rng) -> Clause {
    let ids: Vec<String> =
        (0..rng.usize(1..8))
            .map(|_| {
                if rng.bool() {
                    format!("c{}", rng.u16(0..300))
                } else {
                    format!("CA{},{}", rng.u8(0..20), rng.u8(0..3))
                }
            })
            .collect();
    let has = ids.clone();
    let test = move |fact: &Fact| {
        has.contains(&fact.id) || fact.text("callId").is_some_and(|id| has.iter().any(|have| have == id))
    };
    clause("callIds", json!(ids).to_string(), test)
}

pub(crate) fn clauses(rng: &mut Rng) -> Vec<Clause> {
    let mut clauses: Vec<Clause> = Vec::new();
    for _ in 0..rng.usize(0..4) {
        let next = match rng.u8(0..12) {
            0..4 => set_clause(rng),
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

struct Exam {
    store: Arc<dyn CallStore>,
    workspace: WorkspaceId,
    facts: BTreeMap<String, Fact>,
    comparisons: usize,
}

impl Exam {
    async fn write(&mut self, rng: &mut Rng) {
        let id = format!("c{}", rng.u16(0..300));
        let call: CallId = id.parse().unwrap();
        let any = Precondition::default();
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        match rng.u8(0..10) {
            0 | 1 => {
                self.facts.remove(&id);
                self.store.delete_call(&self.workspace, &call, any, now).await.unwrap();
            }
            2 if self.facts.contains_key(&id) => {
                let fact = self.facts.get_mut(&id).unwrap();
                let summary = sentence(rng);
                let patch = CallPatch::from_json(json!({"summary": summary, "agentId": null}).to_string().as_bytes());
                let written =
                    self.store.update_call(&self.workspace, &call, patch.unwrap(), any, now).await.unwrap().unwrap();
                fact.summary = summary;
                fact.texts.remove("agentId");
                if written.outcome != callhistory_store::WriteOutcome::Unchanged {
                    fact.updated = 1_780_272_000 * SECOND;
                }
            }
            _ => {
                let fact = fact(rng, id.clone());
                self.store.replace_call(&self.workspace, &call, input(&fact), any, now).await.unwrap();
                self.facts.insert(id, fact);
            }
        }
    }

    async fn compare(&mut self, rng: &mut Rng) {
        let clauses = clauses(rng);
        let query = query_string(&clauses);
        let (sort, key): (&str, fn(&Fact) -> i64) = match rng.u8(0..8) {
            0 => ("createdAt", |fact| fact.created),
            1 => ("updatedAt", |fact| fact.updated),
            2 => ("duration", |fact| fact.duration.unwrap_or(-1)),
            3 => ("cost", |fact| fact.cost.unwrap_or(i64::MIN)),
            _ => ("startTime", Fact::when),
        };
        let ascending = rng.bool();
        let limit = rng.usize(1..40);
        let text = format!("{query}&sort={}{sort}&limit={limit}&includeTotal=true", if ascending { "" } else { "-" });
        let mut list = match ListQuery::from_query(&text) {
            Ok(list) => list,
            // Two clauses may have made a range that is inverted.
            Err(faults) if faults.iter().all(|fault| fault.code.as_str() == "end_before_start") => return,
            Err(faults) => panic!("{text}: {faults}"),
        };
        assert_eq!(ListQuery::from_query(&list.to_query()).as_ref(), Ok(&list), "a query is read as it is written");
        let mut expected: Vec<&Fact> =
            self.facts.values().filter(|fact| clauses.iter().all(|clause| (clause.test)(fact))).collect();
        expected.sort_by(|one, other| (key(one), &one.id).cmp(&(key(other), &other.id)));
        if !ascending {
            expected.reverse();
        }
        let said = || clauses.iter().map(|clause| format!("{}={}", clause.name, clause.value)).collect::<Vec<_>>();
        let (ids, total) = self.pages(&mut list, rng).await;
        let expected_ids: Vec<_> = expected.iter().take(ids.len().max(limit * 3)).map(|fact| fact.id.clone()).collect();
        assert_eq!(ids, expected_ids, "{:?} sort={sort} ascending={ascending} limit={limit}", said());
        assert_eq!(total, Some(expected.len() as u64), "the total of {:?}", said());
        self.comparisons += 2;
        if rng.u8(0..3) == 0 {
            let compared = self.compare_metrics(rng, &query, &expected, &said()).await;
            self.comparisons += compared;
        }
    }

    /// Up to three pages, by cursor or by number.
    async fn pages(&self, list: &mut ListQuery, rng: &mut Rng) -> (Vec<String>, Option<u64>) {
        let numbered = rng.u8(0..4) == 0;
        let (mut ids, mut total) = (Vec::new(), None);
        for number in 1..=3 {
            if numbered {
                list.page = Some(number);
            }
            let page = self.store.list_calls(&self.workspace, list).await.unwrap();
            ids.extend(page.calls.iter().map(|body| {
                let record: Value = serde_json::from_slice(body).unwrap();
                record["_id"].as_str().unwrap().to_owned()
            }));
            total = page.total;
            let Some(next) = page.next else { break };
            if !numbered {
                list.cursor = Some(next);
            }
        }
        (ids, total)
    }

    async fn compare_metrics(&self, rng: &mut Rng, query: &str, expected: &[&Fact], said: &[String]) -> usize {
        let (names, zone): (&[&str], &str) = match rng.u8(0..6) {
            0 => (&["agentId"], ""),
            1 => (&["status", "direction"], ""),
            2 => (&["day"], "&timezone=America%2FNew_York"),
            3 => (&["hour", "callFlowId"], "&timezone=Asia%2FKolkata"),
            4 => (&["week", "callType"], ""),
            _ => (&[], ""),
        };
        let by = if names.is_empty() { String::new() } else { format!("&groupBy={}", names.join(",")) };
        let request = MetricsQuery::from_query(&format!("{query}{by}{zone}")).unwrap();
        let metrics = self.store.get_call_metrics(&self.workspace, &request).await.unwrap();
        let count = |status: &str| expected.iter().filter(|fact| fact.text("status") == Some(status)).count() as u64;
        let numbers = (metrics.total_calls, metrics.completed_calls, metrics.failed_calls);
        assert_eq!(numbers, (expected.len() as u64, count("completed"), count("failed")), "{said:?}");
        let nanos = |decimal: &callhistory_model::ExactDecimal| decimal.nanos();
        let costs: i64 = expected.iter().filter_map(|fact| fact.cost).sum();
        assert_eq!(nanos(&metrics.total_cost), costs, "{said:?}");
        let lengths: Vec<i64> = expected.iter().filter_map(|fact| fact.duration).collect();
        let mean = if lengths.is_empty() { 0.0 } else { lengths.iter().sum::<i64>() as f64 / lengths.len() as f64 };
        assert!((nanos(&metrics.average_duration) as f64 - mean).abs() <= 1.0, "{said:?}");
        let mut comparisons = 1;
        // Every group lists exactly its rows, and the groups together are all of them.
        let groups = metrics.groups.unwrap_or_default();
        assert_eq!(groups.is_empty(), names.is_empty() || expected.is_empty());
        let (mut calls, mut cost) = (0, 0);
        for group in &groups {
            calls += group.total_calls;
            cost += nanos(&group.total_cost);
            if rng.u8(0..4) == 0 {
                let text = format!("{}&includeTotal=true&limit=1000", group.query);
                let page =
                    self.store.list_calls(&self.workspace, &ListQuery::from_query(&text).unwrap()).await.unwrap();
                assert_eq!(page.total, Some(group.total_calls), "{text} of {said:?}");
                let mut lengths = Vec::new();
                for body in page.calls.iter() {
                    let record: Value = serde_json::from_slice(body).unwrap();
                    let fact = &self.facts[record["_id"].as_str().unwrap()];
                    assert!(expected.iter().any(|known| known.id == fact.id), "{text} lists what {said:?} does not");
                    for name in names.iter().filter(|name| TEXTS.iter().any(|(known, _)| known == *name)) {
                        assert_eq!(group.group.get(*name).map(String::as_str), fact.text(name), "{text}");
                    }
                    lengths.extend(fact.duration);
                }
                lengths.sort_unstable();
                let rank = |percent: usize| lengths.get((lengths.len() * percent).div_ceil(100).max(1) - 1).copied();
                assert_eq!(group.p50_duration.as_ref().map(nanos), rank(50), "{text}");
                assert_eq!(group.p95_duration.as_ref().map(nanos), rank(95), "{text}");
                comparisons += 1;
            }
        }
        if !names.is_empty() {
            assert_eq!((calls, cost), (expected.len() as u64, costs), "the groups of {said:?} are not all");
        }
        comparisons
    }
}

/// The number of comparisons of a test; `CALLHISTORY_QUERY_COMPARISONS` sets another one.
fn comparisons() -> usize {
    loop_count("CALLHISTORY_QUERY_COMPARISONS", 10_500).unwrap()
}

async fn diagnose(database: &impl Database, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut exam =
        Exam { store: database.open().await, workspace: "w".parse().unwrap(), facts: BTreeMap::new(), comparisons: 0 };
    // Another workspace has records like ours, and must not be seen.
    for n in 0..100 {
        let fact = fact(&mut rng, format!("c{n}"));
        let (id, other) = (fact.id.parse().unwrap(), "v".parse().unwrap());
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        exam.store.replace_call(&other, &id, input(&fact), Precondition::default(), now).await.unwrap();
    }
    for _ in 0..250 {
        exam.write(&mut rng).await;
    }
    while exam.comparisons < comparisons() {
        for _ in 0..3 {
            exam.write(&mut rng).await;
        }
        for _ in 0..60 {
            exam.compare(&mut rng).await;
        }
    }
}

pub(crate) async fn queries_answer_as_a_naive_reading_does(database: &impl Database) {
    diagnose(database, 1).await;
}

pub(crate) async fn queries_answer_as_a_naive_reading_does_with_other_data(database: &impl Database) {
    diagnose(database, 2).await;
}
