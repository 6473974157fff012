//! Lists and metrics compared with a naive model of the same records: random records, random writes, random queries.
//!
//! A query consists of clauses. Each clause is the text of a parameter and a plain Rust function over the record that was
//! written; nothing here depends on how a store evaluates a query.

mod clauses;
mod comparison;

use std::collections::BTreeMap;

use callhistory_model::{CallInput, Timestamp};
use fastrand::Rng;
use serde_json::{Value, json};

pub(crate) use self::{
    clauses::{clauses, query_string},
    comparison::{queries_equal_the_reference_model, queries_with_the_default_thresholds_equal_the_reference_model},
};

const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_767_225_600;
const WORDS: [&str; 12] =
    ["refund", "order", "parcel", "Straße", "late", "agent", "ünïcode", "a1b2", "2026", "naïve", "x", "東京"];

/// A record as the test wrote it.
#[derive(Debug)]
pub(crate) struct ModelCall {
    id: String,
    created: i64,
    updated: i64,
    start: Option<i64>,
    duration: Option<i64>,
    cost: Option<i64>,
    currency: Option<&'static str>,
    answered: Option<i64>,
    end: Option<i64>,
    texts: BTreeMap<&'static str, String>,
    metadata: Value,
    analysis: Value,
    summary: String,
    transcript: String,
}

impl ModelCall {
    fn sort_time(&self) -> i64 {
        self.start.unwrap_or(self.created)
    }

    fn text(&self, name: &str) -> Option<&str> {
        // An empty text is no value.
        self.texts.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The value of a member as filters and groups compare it.
    fn value(&self, name: &str) -> Option<String> {
        self.text(name).map(|text| compared(name, text)).filter(|text| !text.is_empty())
    }

    /// What the status says about the result of the call.
    fn outcome(&self) -> &'static str {
        match self.value("status").as_deref() {
            Some("completed") => "completed",
            Some("failed") => "failed",
            Some("busy") => "busy",
            Some("ongoing" | "in-progress") => "live",
            _ => "unknown",
        }
    }

    /// The time of the answer, if it makes sense.
    fn answer(&self) -> Option<i64> {
        self.answered.filter(|answered| self.start.is_none_or(|start| start <= *answered))
    }

    fn is_answered(&self) -> bool {
        self.answer().is_some() || self.outcome() == "completed"
    }

    /// The currency of the cost. A call without a cost has none.
    fn currency(&self) -> Option<String> {
        self.currency.filter(|_| self.cost.is_some()).map(str::to_uppercase)
    }

    fn talk_time(&self) -> Option<i64> {
        let span = self.end? - self.answer()?;
        (span >= 0).then_some(span)
    }

    /// Whether the call has ended.
    fn is_final(&self) -> bool {
        matches!(self.value("status").as_deref(), Some("completed" | "failed" | "busy"))
    }

    /// Whether the call has not ended, or says nothing about it. Nobody knows what "parked" means.
    fn is_live(&self) -> bool {
        matches!(self.value("status").as_deref(), Some("ongoing" | "in-progress") | None)
    }

    /// Whether an item of a search is in the record.
    fn matches_search(&self, item: &ModelSearch) -> bool {
        let phones = ["fromPhoneNumber", "toPhoneNumber"].iter().filter_map(|name| self.text(name));
        let mut texts = vec![self.summary.clone(), self.transcript.clone()];
        collect(&self.metadata, &mut texts);
        collect(&self.analysis, &mut texts);
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        if let ModelSearch::Digits(wanted) = item
            && phones.clone().any(|phone| digits(phone).contains(wanted))
        {
            return true;
        }
        texts.iter().map(|text| (text.as_str(), false)).chain(phones.map(|phone| (phone, true))).any(
            |(text, is_phone)| {
                let words = model_words(text);
                match item {
                    ModelSearch::Digits(wanted) => {
                        !is_phone && words.iter().any(|(have, _)| is_number(have) && have.contains(wanted))
                    }
                    ModelSearch::Word(wanted) => {
                        words.iter().map(|(have, _)| have).chain(&joined(&words)).any(|have| have == wanted)
                    }
                    ModelSearch::Prefix(start) => {
                        words.iter().map(|(have, _)| have).chain(&joined(&words)).any(|have| have.starts_with(start))
                    }
                    ModelSearch::Characters(wanted) => words.iter().any(|(have, _)| have.contains(wanted)),
                    ModelSearch::Phrase(wanted) => {
                        words.windows(wanted.len()).any(|have| have.iter().map(|(have, _)| have).eq(wanted))
                    }
                }
            },
        )
    }

    pub(crate) fn input(&self) -> CallInput {
        let mut members = vec![
            format!(r#""createdAt":"{}","updatedAt":"{}""#, rfc3339(self.created), rfc3339(self.updated)),
            format!(r#""metadata":{},"analyzedData":{}"#, self.metadata, self.analysis),
            format!(r#""summary":{}"#, json!(self.summary)),
            format!(r#""transcript":{}"#, json!([{"role": "", "content": self.transcript}])),
        ];
        members.extend(self.texts.iter().map(|(name, text)| format!("\"{name}\":{}", json!(text))));
        members.extend(self.start.map(|start| format!("\"startTime\":{}", decimal(start))));
        members.extend(self.duration.map(|duration| format!("\"duration\":{}", decimal(duration))));
        let sign = |nanos: i64| if nanos < 0 { format!("-{}", decimal(-nanos)) } else { decimal(nanos) };
        members.extend(self.answered.map(|time| format!("\"answeredAt\":{}", decimal(time))));
        members.extend(self.end.map(|time| format!("\"endTime\":{}", decimal(time))));
        let currency = self.currency.map_or(String::new(), |code| format!(",\"currency\":\"{code}\""));
        members.extend(self.cost.map(|cost| format!("\"cost\":{{\"customer_charge\":{}{currency}}}", sign(cost))));
        CallInput::from_json(format!("{{{}}}", members.join(",")).as_bytes()).unwrap()
    }
}

/// One word, phrase or number of a search.
#[derive(Debug)]
pub(crate) enum ModelSearch {
    Digits(String),
    Word(String),
    Prefix(String),
    Characters(String),
    Phrase(Vec<String>),
}

/// The text as search compares it, for the letters that the test uses.
fn folded(text: &str) -> String {
    text.to_lowercase().replace('ß', "ss").replace('ü', "u").replace('ï', "i")
}

fn is_number(word: &str) -> bool {
    word.len() >= 3 && word.chars().all(|c| c.is_ascii_digit())
}

/// The words of a text, each with whether a hyphen joins it to the one before.
fn model_words(text: &str) -> Vec<(String, bool)> {
    let text = folded(text);
    let (mut words, mut between) = (Vec::<(String, bool)>::new(), String::from(" "));
    let mut is_inside = false;
    for c in text.chars() {
        if !c.is_alphanumeric() {
            between.push(c);
            is_inside = false;
            continue;
        }
        if is_inside {
            words.last_mut().unwrap().0.push(c);
            continue;
        }
        let is_western = |word: &str| !word.contains(['東', '京']);
        let is_joined = between == "-" && words.last().is_some_and(|(last, _)| is_western(last)) && c != '東';
        words.push((c.to_string(), is_joined));
        is_inside = true;
        between.clear();
    }
    words
}

/// The words that are written with hyphens, without them.
fn joined(words: &[(String, bool)]) -> Vec<String> {
    let chains = words.chunk_by(|_, (_, is_joined)| *is_joined).filter(|chain| (2..=8).contains(&chain.len()));
    chains.map(|chain| chain.iter().map(|(word, _)| word.as_str()).collect()).collect()
}

/// A text as the values of a member are compared: those of an enum without case, and `_`, `-` and blank are alike.
fn compared(name: &str, text: &str) -> String {
    match name {
        "fromPhoneNumber" | "toPhoneNumber" => phone_number(text),
        "status" | "direction" | "callType" => text.trim().to_lowercase().replace(['_', ' '], "-"),
        _ => text.to_owned(),
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

fn decimal(nanos: i64) -> String {
    let text = format!("{}.{:09}", nanos / SECOND, nanos % SECOND);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn rfc3339(nanos: i64) -> String {
    Timestamp::from_unix_nanos(nanos).to_string()
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(0..from.len())]
}

fn sentence(rng: &mut Rng) -> String {
    (0..rng.usize(0..6)).map(|_| pick(rng, &WORDS)).collect::<Vec<_>>().join(pick(rng, &[" ", ", ", "-"]))
}

/// One of some numbers, in one of their spellings.
fn phone(rng: &mut Rng) -> String {
    match rng.u8(0..10) {
        0 => pick(rng, &["anonymous", "Anonymous", "sip:anonymous@anonymous.invalid"]).to_owned(),
        1 => format!("sip:{}@example.com", pick(rng, &["alice", "Alice", "bob"])),
        2 => format!("+1 (415) 555-0{:03}", rng.u16(0..30)),
        3 => format!("00141555500{:02}", rng.u16(0..40)),
        4 => format!("tel:+1-415-555-00{:02};npdi", rng.u16(0..40)),
        5 => format!("\"Doe\" <sip:+141555500{:02}@example.com;user=phone>", rng.u16(0..40)),
        _ => format!("+1415555{:04}", rng.u16(0..40)),
    }
}

/// The normalised form of the numbers above, and of their beginnings.
fn phone_number(text: &str) -> String {
    let text = text.to_lowercase();
    let text = text.split_once('<').map_or(text.as_str(), |(_, rest)| rest).trim_end_matches('>');
    let is_uri = text.starts_with("sip:") || text.starts_with("tel:");
    let address = if is_uri { &text[4..] } else { text };
    let number = address.split(['@', ';']).next().unwrap_or("");
    if number.starts_with(|c: char| c.is_ascii_digit() || c == '+') {
        let digits: String = number.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
        return digits.strip_prefix("00").map_or(digits.clone(), |rest| format!("+{rest}"));
    }
    if is_uri && number == "anonymous" { number.to_owned() } else { address.to_owned() }
}

const TEXTS: [(&str, &[&str]); 6] = [
    ("agentId", &["a", "b", "c", "a,b", "!a", "*", "", "A"]),
    ("callFlowId", &["f1", "f2", "f 3", "f&4=5"]),
    ("batchId", &["b1", "b2"]),
    ("status", &["completed", "COMPLETED", "failed", "ongoing", "busy", "parked", "In Progress", "IN_PROGRESS", " "]),
    ("direction", &["inbound", "Inbound", "outbound", ""]),
    ("callType", &["sip", "web", "Web"]),
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

pub(crate) fn random_call(rng: &mut Rng, id: String) -> ModelCall {
    let created = (START + rng.i64(0..200_000)) * SECOND;
    // Few distinct seconds, so that there are many ties; some within a second.
    let start = (START + rng.i64(0..40) * 5_000) * SECOND + [0, 0, 1, 500_000_000][rng.usize(0..4)];
    let mut texts = BTreeMap::new();
    for (name, values) in TEXTS {
        if rng.u8(0..4) > 0 {
            texts.insert(name, pick(rng, values).to_owned());
        }
    }
    for name in ["fromPhoneNumber", "toPhoneNumber"] {
        if rng.u8(0..5) > 0 {
            texts.insert(name, phone(rng));
        }
    }
    if rng.bool() {
        texts.insert("callId", format!("CA{}{}{}", rng.u8(0..20), pick(rng, &[",", "+", " "]), rng.u8(0..3)));
    }
    let duration = (rng.u8(0..4) > 0).then(|| rng.i64(0..20) * 500_000_000);
    let cost = (rng.u8(0..4) > 0).then(|| rng.i64(-3..20) * 12_500_000);
    let has_start = rng.u8(0..6) > 0;
    ModelCall {
        id,
        created,
        updated: created + rng.i64(0..1000) * SECOND,
        start: has_start.then_some(start),
        duration,
        cost,
        currency: [None, Some("EUR"), Some("usd"), Some("USD")][rng.usize(0..4)],
        answered: (rng.u8(0..3) == 0).then(|| start + rng.i64(-2..8) * SECOND / 4),
        // Where the duration is not known, an end would make it known.
        end: (duration.is_some() && rng.bool()).then(|| start + rng.i64(0..40) * SECOND / 4),
        texts,
        metadata: free_form(rng),
        analysis: free_form(rng),
        summary: sentence(rng),
        transcript: sentence(rng),
    }
}
