//! The examples of the contract. Each request, sent to a workspace that holds the source's example, gets this response;
//! a creation by `replace_call` to an empty one.

use callhistory_model::examples;
use serde_json::{Value, json};

/// The moment at which the examples were made.
const NOW: &str = "2026-01-01T00:00:00.000Z";

fn record() -> Value {
    serde_json::from_str(examples::SOURCE_EXAMPLE).unwrap_or_default()
}

/// The source's example on one line, as it is stored.
fn line() -> String {
    let input = examples::source_example().to_json();
    format!("{}\n", String::from_utf8_lossy(&input))
}

/// What is created: a call that has just begun.
fn begun() -> Value {
    json!({
        "agentId": "abcdef1234567890",
        "direction": "outbound",
        "fromPhoneNumber": "+10000000000",
        "toPhoneNumber": "+10000000001",
        "status": "ongoing",
        "startTime": 1680000000,
    })
}

/// What is written over it: a call that has ended.
fn ended() -> Value {
    json!({
        "agentId": "abcdef1234567890",
        "status": "completed",
        "startTime": 1680000000,
        "endTime": 1680000300,
        "cost": { "customer_charge": 0.10 },
        "summary": "Generic conversation summary about customer engagement.",
    })
}

/// What is imported.
fn lines() -> [&'static str; 2] {
    [r#"{"_id":"call-1","status":"completed"}"#, r#"{"_id":"call-2","status":"busy"}"#]
}

/// An input as the service stores it.
fn stored(input: Value, id: &str, created_at: &str) -> Value {
    let mut record = json!({
        "_id": id,
        "workspaceId": "abcdef1234567890",
        "metadata": {},
        "functionCalls": [],
        "analyzedData": {},
        "createdAt": created_at,
        "updatedAt": NOW,
    });
    for (name, value) in input.as_object().into_iter().flatten() {
        record[name] = value.clone();
    }
    record
}

/// The example of a request's body.
pub(crate) fn request(operation: &str, media_type: &str) -> Value {
    match (operation, media_type) {
        ("create_call", _) => begun(),
        ("update_call", _) => json!({ "metadata": { "ticket": "A-1009" }, "roomName": null }),
        ("import_calls", "application/x-ndjson") => format!("{}\n", lines().join("\n")).into(),
        ("import_calls", _) => serde_json::from_str(&format!("[{}]", lines().join(","))).unwrap_or_default(),
        _ => ended(),
    }
}

/// The example of a response body.
pub(crate) fn response(operation: &str, status: &str, media_type: &str) -> Value {
    match (operation, media_type) {
        ("list_calls", _) => json!([record()]),
        ("create_call", _) => stored(begun(), "6955b900a1b2c3d4e5f60718", NOW),
        ("replace_call", _) => {
            let created_at = if status == "201" { NOW } else { "2025-01-01T10:00:00Z" };
            stored(ended(), "1234567890abcdef", created_at)
        }
        ("update_call", _) => {
            let mut patched = record();
            patched["metadata"] = json!({ "ticket": "A-1009" });
            patched["updatedAt"] = NOW.into();
            if let Some(members) = patched.as_object_mut() {
                members.remove("roomName");
            }
            patched
        }
        ("import_calls", _) => json!({ "created": 2, "replaced": 0, "unchanged": 0, "rejected": 0, "errors": [] }),
        ("export_calls", "text/csv") => csv().into(),
        ("export_calls", _) => line().into(),
        ("get_call_metrics", _) => metrics(),
        ("list_call_changes", "text/event-stream") => {
            format!("event: created\nid: {CURSOR}\ndata: {}\n\n", change(&line())).into()
        }
        ("list_call_changes", _) => {
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
    let table = [crate::export_csv::csv_header(), crate::export_csv::csv_rows(line().as_bytes())];
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
        ("list_calls" | "get_call_metrics", "status") => json!("completed,failed"),
        ("list_calls", "startedAfter") => json!("2023-01-01T00:00:00Z"),
        ("list_calls", "limit") => json!(50),
        ("get_call_metrics", "groupBy") => json!("day"),
        ("get_call_metrics", "timezone") => json!("Europe/Berlin"),
        ("list_call_changes", "limit") => json!(100),
        ("export_calls", "agentId") => json!("abcdef1234567890"),
        _ => return None,
    };
    Some(example)
}
