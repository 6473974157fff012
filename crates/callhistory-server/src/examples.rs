//! The examples of the contract. Sent in the order of the operations below to an empty workspace that holds the source's
//! example, each request is answered as it says.

use callhistory_model::sample;
use serde_json::{Value, json};

fn record() -> Value {
    serde_json::from_str(sample::SOURCE_EXAMPLE).unwrap_or_default()
}

/// The source's example without the members that a request does not bring.
fn draft(absent: &[&str]) -> Value {
    let mut draft = record();
    if let Some(members) = draft.as_object_mut() {
        members.retain(|name, _| !absent.contains(&name.as_str()));
    }
    draft
}

/// The source's example on one line, as it is stored.
fn line() -> String {
    let draft = sample::source_example().to_json();
    format!("{}\n", String::from_utf8_lossy(&draft))
}

/// The example of a request's body.
pub(crate) fn request(operation: &str, media_type: &str) -> Value {
    match (operation, media_type) {
        ("create_call", _) => draft(&["_id", "createdAt", "updatedAt"]),
        ("patch_call", _) => json!({ "metadata": { "ticket": "A-1009" }, "roomName": null }),
        ("import_calls", "application/x-ndjson") => line().into(),
        ("import_calls", _) => json!([record()]),
        _ => record(),
    }
}

/// The example of an answer's body.
pub(crate) fn response(operation: &str, media_type: &str) -> Value {
    match (operation, media_type) {
        ("list_calls", _) => json!([record()]),
        ("patch_call", _) => {
            let mut patched = draft(&["roomName"]);
            patched["metadata"] = json!({ "ticket": "A-1009" });
            patched["updatedAt"] = "2026-01-01T00:00:00.000Z".into();
            patched
        }
        ("import_calls", _) => json!({ "created": 0, "replaced": 0, "unchanged": 1, "rejected": 0, "errors": [] }),
        ("export_calls", "text/csv") => csv().into(),
        ("export_calls", _) => line().into(),
        ("call_metrics", _) => metrics(),
        ("call_changes", "text/event-stream") => {
            format!("event: created\nid: {CURSOR}\ndata: {}\n\n", change(&line())).into()
        }
        ("call_changes", _) => {
            let change: Value = serde_json::from_str(&change(&line())).unwrap_or_default();
            json!({ "changes": [change], "cursor": CURSOR, "hasMore": false })
        }
        _ => record(),
    }
}

const CURSOR: &str = "AQAAAAAAAAABvH8Wj0m0rP0vUqV4Zc1hXg";

fn change(line: &str) -> String {
    let call = line.trim_end();
    format!(r#"{{"type":"created","_id":"1234567890abcdef","version":1,"at":"2026-01-01T00:00:00Z","call":{call}}}"#)
}

fn csv() -> String {
    let table = [crate::export::csv_header(), crate::export::csv_rows(line().as_bytes())];
    table.into_iter().flatten().map(|part| String::from_utf8_lossy(&part).into_owned()).collect()
}

fn metrics() -> Value {
    json!({
        "totalCalls": 1,
        "completedCalls": 1,
        "failedCalls": 0,
        "averageDuration": 300,
        "totalCost": 0.10,
        "groups": [{
            "group": { "day": "2023-03-28" },
            "totalCalls": 1,
            "completedCalls": 1,
            "failedCalls": 0,
            "averageDuration": 300,
            "totalCost": 0.10,
            "p50Duration": 300,
            "p95Duration": 300,
            "query": "status=completed%2Cfailed&startedAfter=2023-03-27T22:00:00Z&startedBefore=2023-03-28T22:00:00Z",
        }],
    })
}

/// The example of a parameter, where the example of the operation has it.
pub(crate) fn parameter(operation: &str, name: &str) -> Option<Value> {
    let example = match (operation, name) {
        (_, "x-workspace-id") => json!("abcdef1234567890"),
        (_, "callHistoryId") => json!("1234567890abcdef"),
        ("create_call", "idempotency-key") => json!("order-4711"),
        ("list_calls" | "call_metrics", "status") => json!("completed,failed"),
        ("list_calls", "startedAfter") => json!("2023-01-01"),
        ("list_calls", "limit") => json!(50),
        ("call_metrics", "groupBy") => json!("day"),
        ("call_metrics", "timezone") => json!("Europe/Berlin"),
        ("call_changes", "limit") => json!(100),
        ("export_calls", "agentId") => json!("abcdef1234567890"),
        _ => return None,
    };
    Some(example)
}
