//! Generated call histories, equal for equal seeds. The documentation calls them A and B.
//!
//! History A is simple: ordered IDs, whole seconds, few distinct values. History B has the properties of real data: random
//! IDs, microseconds, a skewed distribution, many distinct values, long transcripts.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat};
use fastrand::Rng;

/// The largest workspace of a history, which most measurements use.
pub const WORKSPACE: &str = "bench";
/// The workspaces of history B with their percentage of all calls.
const WORKSPACES: [(&str, u8); 4] = [(WORKSPACE, 70), ("bench-2", 20), ("bench-3", 9), ("bench-4", 1)];
/// The most frequent words of history B; the others are made of syllables.
const COMMON_WORDS: &str = "the caller asked about order parcel delivery and was told when it would arrive agent customer wanted \
    appointment moved to afternoon refund started invoice address changed payment failed card expired account locked reset \
    password please call back tomorrow morning support ticket opened closed resolved escalated manager complaint quality \
    product broken replacement sent warehouse tracking number late early weather holiday weekend contract canceled renewed \
    upgrade plan price discount spring campaign offer interested not now next year roof solar panel square metres energy bill \
    meter reading technician visit scheduled confirmed door code neighbour parking garage lift floor company branch office \
    language german english spanish interpreter doctor clinic patient prescription insurance claim accident vehicle repair \
    workshop loan interest credit score identity verified document missing upload email link expired website error browser";
const DISTINCT_WORDS: usize = 20_000;
const SYLLABLES: [&str; 24] = [
    "ba", "co", "di", "fe", "gu", "ha", "jo", "ki", "le", "mu", "na", "po", "qui", "ra", "se", "ti", "vo", "wa", "xe",
    "ya", "zu", "mon", "ter", "lin",
];

/// The time over which the calls of a history are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The earliest start of a call, in Unix seconds.
    pub start: i64,
    /// How much later the last call may start, in seconds.
    pub seconds: i64,
}

impl Period {
    /// 600 days from 2024-03-01T00:00:00Z on.
    pub const PAST: Self = Self { start: 1_709_251_200, seconds: 600 * 86_400 };
    /// The ten minutes after [`PAST`](Self::PAST): new calls of a running service.
    pub const PRESENT: Self = Self { start: Self::PAST.start + Self::PAST.seconds, seconds: 600 };
}

/// Which history to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// A: ids that sort by time, whole seconds, the values of the demo, one workspace.
    Ordered,
    /// B: random UUIDs, microseconds, and the distributions of real data in four workspaces.
    Real,
}

impl History {
    /// Both, in the order of their names.
    pub const ALL: [Self; 2] = [Self::Ordered, Self::Real];

    /// The name in tables: A or B.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ordered => "A",
            Self::Real => "B",
        }
    }

    /// The workspaces with calls, the largest first.
    #[must_use]
    pub fn workspaces(self) -> &'static [(&'static str, u8)] {
        match self {
            Self::Ordered => &[(WORKSPACE, 100)],
            Self::Real => &WORKSPACES,
        }
    }

    /// `count` calls of a period in the order of their start.
    pub fn calls(self, seed: u64, count: u32, period: Period) -> impl Iterator<Item = Call> {
        let mut rng = Rng::with_seed(seed);
        let words = Words::new();
        let step = period.seconds * 1_000_000 / i64::from(count.max(1));
        (0..count).map(move |number| {
            let start = period.start * 1_000_000 + step * i64::from(number) + rng.i64(0..step.max(1));
            match self {
                Self::Ordered => ordered(&mut rng, number, start),
                Self::Real => real(&mut rng, &words, start),
            }
        })
    }
}

/// One generated call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The record's id.
    pub id: String,
    /// The workspace that it belongs to.
    pub workspace: &'static str,
    /// The record as one line of JSON, with its id and without its workspace.
    pub json: String,
}

/// The flows of history A: id, name, agents, direction, summary.
const FLOWS: [(&str, &str, [&str; 2], &str, &str); 3] = [
    (
        "flow-support",
        "Order support",
        ["agent-maya", "agent-jonas"],
        "inbound",
        "The caller asked about a late parcel and was told the new delivery date.",
    ),
    (
        "flow-appointments",
        "Appointment reminders",
        ["agent-lena", "agent-lena"],
        "outbound",
        "The patient moved the appointment to the afternoon.",
    ),
    (
        "flow-qualify",
        "Lead qualification",
        ["agent-omar", "agent-ines"],
        "outbound",
        "The lead owns a suitable roof and wants an offer.",
    ),
];

fn ordered(rng: &mut Rng, number: u32, start_micros: i64) -> Call {
    let start = start_micros / 1_000_000;
    let (flow, flow_name, agents, direction, summary) = FLOWS[rng.usize(0..FLOWS.len())];
    let agent = agents[rng.usize(0..agents.len())];
    let status =
        pick(rng, &[("completed", 70), ("no-answer", 9), ("failed", 7), ("busy", 6), ("canceled", 5), ("ongoing", 3)]);
    let length = if status == "completed" { rng.i64(20..480) } else { rng.i64(2..45) };
    let customer = format!("+1555{:07}", rng.u32(0..10_000_000));
    let (from, to) =
        if direction == "inbound" { (customer.as_str(), "+18005550100") } else { ("+18005550100", customer.as_str()) };
    let id = format!("{start:08x}{number:016x}");
    let charge = if status == "completed" { 100 + rng.i64(0..1500) } else { 0 };
    let mut json = format!(
        r#"{{"_id":"{id}","agentId":"{agent}","callFlowId":"{flow}","roomName":"sip-{:08x}","direction":"{direction}","fromPhoneNumber":"{from}","toPhoneNumber":"{to}","status":"{status}","startTime":{start}"#,
        rng.u32(..)
    );
    if status != "ongoing" {
        let _ = write!(json, r#","endTime":{},"duration":{length}"#, start + length);
    }
    let _ = write!(
        json,
        r#","cost":{{"customer_charge":{}.{:04}}},"metadata":{{"campaign":"{}","customer":"cus_{:06}","priority":{}}}"#,
        charge / 10_000,
        charge % 10_000,
        ["spring", "newsletter", "referral", "none"][rng.usize(0..4)],
        rng.u32(0..20_000),
        rng.u8(1..=3)
    );
    if status == "completed" {
        let sentiment = ["positive", "neutral", "negative"][rng.usize(0..3)];
        let score = rng.u8(1..=10);
        let _ = write!(
            json,
            r#","summary":"{summary}","analyzedData":{{"outcome":"resolved","sentiment":"{sentiment}","score":{score}}}"#
        );
    }
    let _ = write!(
        json,
        r#","createdAt":"{}","updatedAt":"{}""#,
        rfc3339(start * 1_000_000),
        rfc3339((start + length) * 1_000_000)
    );
    let _ = write!(
        json,
        r#","callId":"CA{:016x}{:016x}","batchId":"batch-{}","callType":"sip","callFlowName":"{flow_name}"}}"#,
        rng.u64(..),
        rng.u64(..),
        start / 86_400
    );
    Call { id, workspace: WORKSPACE, json }
}

fn real(rng: &mut Rng, words: &Words, start: i64) -> Call {
    // A skewed distribution: the first of fifty agents has a fifth of all calls.
    let agent = zipf(rng, 50);
    let flow = agent * 3 + rng.usize(0..1 + agent % 3);
    let status = pick(
        rng,
        &[
            ("completed", 66),
            ("no-answer", 9),
            ("failed", 6),
            ("busy", 5),
            ("canceled", 4),
            ("voicemail", 7),
            ("ongoing", 3),
        ],
    );
    let direction = if rng.u8(0..100) < 45 { "inbound" } else { "outbound" };
    let call_type = ["sip", "web", "phone"][rng.usize(0..3)];
    let id = uuid(rng);
    let workspace = pick(rng, &WORKSPACES);
    let mut json = format!(
        r#"{{"_id":"{id}","agentId":"agent-{agent:02}","callFlowId":"flow-{flow:03}","roomName":"room-{:08x}","direction":"{direction}","fromPhoneNumber":"{}","toPhoneNumber":"{}","status":"{status}","startTime":{}"#,
        rng.u32(..),
        phone_number(rng),
        phone_number(rng),
        seconds(start)
    );
    let mut ended = start;
    if rng.u8(0..100) >= 15 {
        let length = log_normal_micros(rng);
        ended += length;
        let _ = write!(json, r#","endTime":{},"duration":{}"#, seconds(ended), seconds(length));
    }
    let charge = rng.u32(0..500_000);
    let _ = write!(
        json,
        r#","cost":{{"customer_charge":{}.{:06}}},"metadata":{{"campaign":"{}","customer":"cus_{:06}"}},"summary":""#,
        charge / 1_000_000,
        charge % 1_000_000,
        ["spring", "newsletter", "referral", "none"][rng.usize(0..4)],
        rng.u32(0..100_000)
    );
    words.write_text(rng, 25, &mut json);
    let _ = write!(
        json,
        r#"","analyzedData":{{"score":{},"resolved":{},"topic":"{}"}}"#,
        rng.u8(1..=10),
        rng.bool(),
        words.word(rng)
    );
    let _ =
        write!(json, r#","createdAt":"{}","updatedAt":"{}""#, rfc3339(start), rfc3339(ended + rng.i64(1..20_000_000)));
    let _ =
        write!(json, r#","callId":"{}","batchId":"batch-{:03}","callType":"{call_type}""#, uuid(rng), rng.u8(0..200));
    if rng.u8(0..100) < 5 {
        write_transcript(rng, words, &mut json);
    }
    json.push('}');
    Call { id, workspace, json }
}

/// Turns of two speakers, 5 to 50 KB of them.
fn write_transcript(rng: &mut Rng, words: &Words, json: &mut String) {
    let end = json.len() + rng.usize(5_000..50_000);
    json.push_str(r#","transcript":["#);
    let mut turn = 0;
    while json.len() < end {
        let role = if turn % 2 == 0 { "agent" } else { "user" };
        let comma = if turn == 0 { "" } else { "," };
        let _ = write!(json, r#"{comma}{{"role":"{role}","start":{}.{},"content":""#, turn * 4, rng.u8(0..10));
        let length = rng.usize(4..30);
        words.write_text(rng, length, json);
        json.push_str("\"}");
        turn += 1;
    }
    json.push(']');
}

/// One of several values by their weights, whose sum is 100.
fn pick<'a>(rng: &mut Rng, values: &[(&'a str, u8)]) -> &'a str {
    let mut at = rng.u8(0..100);
    for (value, weight) in values {
        if at < *weight {
            return value;
        }
        at -= weight;
    }
    values[0].0
}

/// An index below `count` with a Zipf distribution: the frequency falls with the rank.
fn zipf(rng: &mut Rng, count: usize) -> usize {
    // A number to the power of a uniform one has the density 1 / rank.
    let rank = (count as f64 + 1.0).powf(rng.f64());
    (rank as usize).clamp(1, count) - 1
}

/// The length of a call in microseconds: log-normal around 90 seconds, at most two hours.
fn log_normal_micros(rng: &mut Rng) -> i64 {
    let (one, other) = (rng.f64().max(f64::MIN_POSITIVE), rng.f64());
    let normal = (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos();
    let seconds = 90.0 * (normal * 0.9).exp();
    (seconds.clamp(0.5, 7_200.0) * 1e6) as i64
}

fn uuid(rng: &mut Rng) -> String {
    let (high, low) = (rng.u64(..), rng.u64(..));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff
    )
}

fn phone_number(rng: &mut Rng) -> String {
    match rng.u8(0..3) {
        0 => format!("+1{:03}555{:04}", rng.u16(201..990), rng.u16(0..10_000)),
        1 => format!("+4930{:08}", rng.u32(0..100_000_000)),
        _ => format!("+44207946{:04}", rng.u16(0..10_000)),
    }
}

/// Microseconds as seconds with six decimals.
fn seconds(micros: i64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// Microseconds of Unix time as RFC 3339 in UTC.
fn rfc3339(micros: i64) -> String {
    let time = DateTime::from_timestamp_micros(micros).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A vocabulary with the word frequencies of a natural language.
struct Words(Vec<String>);

impl Words {
    fn new() -> Self {
        let mut rng = Rng::with_seed(1);
        let mut words: Vec<String> = COMMON_WORDS.split_whitespace().map(str::to_owned).collect();
        while words.len() < DISTINCT_WORDS {
            let syllables = rng.usize(2..5);
            words.push((0..syllables).map(|_| SYLLABLES[rng.usize(0..SYLLABLES.len())]).collect());
        }
        Self(words)
    }

    fn word(&self, rng: &mut Rng) -> &str {
        &self.0[zipf(rng, self.0.len())]
    }

    fn write_text(&self, rng: &mut Rng, words: usize, text: &mut String) {
        for number in 0..words {
            if number > 0 {
                text.push(' ');
            }
            text.push_str(self.word(rng));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use serde_json::Value;

    use super::{History, Period, WORKSPACE};

    fn calls(history: History, count: u32) -> Vec<(&'static str, Value)> {
        let parsed = |call: super::Call| (call.workspace, serde_json::from_str(&call.json).unwrap());
        history.calls(7, count, Period::PAST).map(parsed).collect()
    }

    fn share(calls: &[(&str, Value)], is: impl Fn(&Value) -> bool) -> usize {
        calls.iter().filter(|(_, call)| is(call)).count() * 100 / calls.len()
    }

    #[test]
    fn a_history_is_the_same_for_the_same_seed() {
        for history in History::ALL {
            let once: Vec<_> = history.calls(1, 50, Period::PAST).collect();
            assert_eq!(history.calls(1, 50, Period::PAST).collect::<Vec<_>>(), once);
            assert_ne!(history.calls(2, 50, Period::PAST).collect::<Vec<_>>(), once);
        }
    }

    #[test]
    fn history_a_is_ordered_by_id_and_time() {
        let calls = calls(History::Ordered, 2000);
        assert!(calls.is_sorted_by_key(|(_, call)| call["_id"].as_str().unwrap().to_owned()));
        assert!(calls.is_sorted_by_key(|(_, call)| call["startTime"].as_i64().unwrap()));
        assert!(calls.iter().all(|(workspace, _)| *workspace == WORKSPACE));
    }

    #[test]
    fn history_b_has_the_properties_of_real_data() {
        let calls = calls(History::Real, 20_000);
        let count = |member: &str| calls.iter().map(|(_, call)| call[member].to_string()).collect::<HashSet<_>>().len();
        assert_eq!((count("_id"), count("agentId"), count("batchId")), (20_000, 50, 200));
        assert!((13..=17).contains(&share(&calls, |call| call["duration"].is_null())));
        assert!((3..=7).contains(&share(&calls, |call| call["transcript"].is_array())));
        assert!((15..=25).contains(&share(&calls, |call| call["agentId"] == "agent-00")));
        let mut durations: Vec<_> = calls.iter().filter_map(|(_, call)| call["duration"].as_f64()).collect();
        durations.sort_by(f64::total_cmp);
        assert!((80.0..100.0).contains(&durations[durations.len() / 2]));
        let lengths = calls.iter().filter(|(_, call)| call["transcript"].is_array());
        assert!(lengths.clone().all(|(_, call)| (5_000..52_000).contains(&call["transcript"].to_string().len())));
        assert!(calls.iter().all(|(_, call)| call["summary"].as_str().unwrap().split(' ').count() == 25));
        let mut workspaces: HashMap<&str, usize> = HashMap::new();
        for (workspace, _) in &calls {
            *workspaces.entry(workspace).or_default() += 1;
        }
        for (workspace, share) in History::Real.workspaces() {
            assert!((workspaces[workspace] * 100 / calls.len()).abs_diff(usize::from(*share)) <= 1);
        }
    }
}
