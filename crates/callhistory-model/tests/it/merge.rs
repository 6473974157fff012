//! Merging: any order of the events of a call gives the same record, and repeated events change nothing.

use callhistory_model::{CallInput, CallRecord, CallStatus, Handling, WarningCode};
use proptest::prelude::*;

const NOW: &str = r#""createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z""#;

fn input(json: &str) -> CallInput {
    CallInput::parse(json.as_bytes(), Handling::Lenient).unwrap().input
}

fn record(mut input: CallInput) -> CallRecord {
    let now: callhistory_model::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    input.id = Some("c".parse().unwrap());
    input.workspace_id = Some("w".parse().unwrap());
    input.created_at.get_or_insert(now.clone());
    input.updated_at = Some(now);
    input.into_record().unwrap()
}

/// The record after these events, without its identity and dates.
fn after<'a>(events: impl IntoIterator<Item = &'a str>) -> String {
    let mut stored: Option<CallRecord> = None;
    for event in events {
        let event = input(event);
        stored = Some(match stored {
            None => record(event),
            Some(stored) => record(event.merge_into(&stored).unwrap().input),
        });
    }
    let json = String::from_utf8(stored.unwrap().to_json()).unwrap();
    json.replace(r#""_id":"c","workspaceId":"w","#, "").replace(&format!(",{NOW}"), "")
}

#[test]
fn a_late_event_does_not_undo_a_final_one() {
    let ended = r#"{"status":"completed","startTime":100,"endTime":160,"summary":"done"}"#;
    let late = r#"{"status":"ringing","startTime":99,"agentId":"a"}"#;
    let expected = r#"{"agentId":"a","status":"completed","startTime":99,"endTime":160,"metadata":{},"functionCalls":[],"summary":"done","analyzedData":{}}"#;
    assert_eq!(after([ended, late]), expected);
    assert_eq!(after([late, ended]), expected);
    let merged = input(late).merge_into(&record(input(ended))).unwrap();
    let warnings: Vec<_> = merged.warnings.iter().map(|warning| (warning.pointer.as_str(), &warning.code)).collect();
    assert_eq!(warnings, [("/status", &WarningCode::StatusKept)]);
    assert!(merged.is_changed, "what was sent is not what is stored");
    for word in ["ended", "DONE", "No Answer", "hangup-before-answer", "voicemail"] {
        let merged =
            input(r#"{"status":"IN_PROGRESS"}"#).merge_into(&record(input(&format!(r#"{{"status":"{word}"}}"#))));
        assert_eq!(merged.unwrap().input.status, Some(CallStatus::from(word)), "{word}");
    }
}

#[test]
fn events_complete_each_other() {
    let cases = [
        // Objects are merged member by member, null and empty values give way.
        (
            r#"{"metadata":{"a":1,"deep":{"x":1}},"summary":""}"#,
            r#"{"metadata":{"b":null,"deep":{"y":2},"a":null},"summary":"s"}"#,
            r#"{"metadata":{"a":1,"b":null,"deep":{"x":1,"y":2}},"functionCalls":[],"summary":"s","analyzedData":{}}"#,
        ),
        // The longer transcript says more.
        (
            r#"{"transcript":[{"c":"hello"}]}"#,
            r#"{"transcript":[{"c":"hello"},{"c":"bye"}]}"#,
            r#"{"metadata":{},"functionCalls":[],"analyzedData":{},"transcript":[{"c":"hello"},{"c":"bye"}]}"#,
        ),
        // A known value says more than one that makes no sense.
        (
            r#"{"duration":-1589300000,"startTime":-1}"#,
            r#"{"duration":33,"startTime":5}"#,
            r#"{"startTime":5,"metadata":{},"functionCalls":[],"analyzedData":{},"duration":33}"#,
        ),
        (
            r#"{"cost":{"customer_charge":0}}"#,
            r#"{"cost":{"customer_charge":-0.02,"currency":"USD"}}"#,
            r#"{"cost":{"customer_charge":-0.02,"currency":"USD"},"metadata":{},"functionCalls":[],"analyzedData":{}}"#,
        ),
        (
            r#"{"zeta":1,"alpha":2}"#,
            r#"{"beta":3}"#,
            r#"{"metadata":{},"functionCalls":[],"analyzedData":{},"alpha":2,"beta":3,"zeta":1}"#,
        ),
    ];
    for (one, other, expected) in cases {
        assert_eq!(after([one, other]), expected);
        assert_eq!(after([other, one]), expected);
        assert_eq!(after([one, other, one, other, other]), expected);
    }
}

#[test]
fn a_repeated_event_changes_nothing() {
    let event = r#"{"status":"ended","metadata":{"b":1,"a":2},"zeta":1,"alpha":{"y":1,"x":2},"cost":{"llm":1,"customer_charge":2}}"#;
    assert_eq!(after([event, event]), after([event]), "not even the order of its members");
    let merged = input(event).merge_into(&record(input(event))).unwrap();
    assert!(merged.warnings.is_empty(), "{:?}", merged.warnings);
}

/// One event of a call: any members, with values that contradict those of other events.
fn event() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "queued",
        "ringing",
        "in-progress",
        "Answering",
        "completed",
        "ended",
        "FAILED",
        "no_answer",
        "voicemail",
        "odd",
    ]);
    let number =
        prop::sample::select(vec!["0", "5", "305", "905", "300000", "5.0", "-1", "17", "99999999999", "0.1", "0.10"]);
    let free = prop::sample::select(vec![
        "1",
        "2.50",
        "\"x\"",
        "\"\"",
        "null",
        "[]",
        "[1]",
        "[2,3]",
        "{}",
        "{\"p\":1}",
        "{\"q\":[1],\"p\":2}",
        "{\"p\":1,\"q\":{}}",
        "true",
    ]);
    let text = prop::sample::select(vec!["a", "b", "longer", ""]);
    let member = prop_oneof![
        word.prop_map(|word| format!("\"status\":\"{word}\"")),
        (prop::sample::select(vec!["startTime", "answeredAt", "endTime"]), number.clone())
            .prop_map(|(name, value)| format!("\"{name}\":{value}")),
        number.clone().prop_map(|value| format!("\"duration\":{value}")),
        (prop::sample::select(vec!["agentId", "summary", "direction", "callId"]), text)
            .prop_map(|(name, value)| format!("\"{name}\":\"{value}\"")),
        (prop::sample::select(vec!["customer_charge", "llm"]), number)
            .prop_map(|(name, value)| format!("\"cost\":{{\"{name}\":{value}}}")),
        (
            prop::sample::select(vec!["metadata", "analyzedData", "variables"]),
            prop::sample::select(vec!["p", "q", "r"]),
            free.clone()
        )
            .prop_map(|(name, key, value)| format!("\"{name}\":{{\"{key}\":{value}}}")),
        (prop::sample::select(vec!["transcript", "functionCalls"]), prop::collection::vec(free.clone(), 0..3))
            .prop_map(|(name, items)| format!("\"{name}\":[{}]", items.join(","))),
        (prop::sample::select(vec!["zeta", "alpha", "unknown"]), free)
            .prop_map(|(name, value)| format!("\"{name}\":{value}")),
    ];
    prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",")))
}

/// How many sets of events are tried; more in the long runs.
fn rounds() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "the number of loops of a test is no setting")]
    let rounds = std::env::var("CALLHISTORY_MERGES");
    rounds.map_or(400, |rounds| rounds.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: rounds(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_the_events_gives_the_same_record(
        events in prop::collection::vec(event(), 1..6),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        shuffle in any::<u64>(),
    ) {
        let expected = after(events.iter().map(String::as_str));
        // Each event at least once, some repeatedly, in another order.
        let mut all: Vec<&str> = events.iter().map(String::as_str).collect();
        all.extend(order.iter().map(|index| index.get(&events).as_str()));
        let mut seed = shuffle;
        for at in (1..all.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            all.swap(at, (seed >> 33) as usize % (at + 1));
        }
        prop_assert_eq!(after(all.iter().copied()), expected, "{:?}", all);
    }
}
