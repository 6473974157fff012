//! The examples of the contract. Each request, sent to a workspace that holds the source's example, gets this response;
//! a creation by `replace_call` to an empty one.
//!
//! JSON is text here, in the order and with the digits in which it is sent and stored: a value would sort the members and turn
//! `0.10` into `0.1`.

use callhistory_model::{
    ExportFormat, ExportQuery,
    examples::{SOURCE_EXAMPLE, source_example},
};
use serde_json::Value;

use crate::{export::Encoder, headers::CURSOR};

/// The first character of an example that is JSON text.
const JSON: char = '\u{1}';

/// A call that has just begun, as it is created.
const ONGOING_INPUT: &str = r#"{
  "agentId": "abcdef1234567890",
  "direction": "outbound",
  "fromPhoneNumber": "+10000000000",
  "toPhoneNumber": "+10000000001",
  "status": "ongoing",
  "startTime": 1680000000
}"#;

const ONGOING_RECORD: &str = r#"{
  "_id": "6955b900a1b2c3d4e5f60718",
  "workspaceId": "abcdef1234567890",
  "agentId": "abcdef1234567890",
  "direction": "outbound",
  "fromPhoneNumber": "+10000000000",
  "toPhoneNumber": "+10000000001",
  "status": "ongoing",
  "startTime": 1680000000,
  "metadata": {},
  "functionCalls": [],
  "analyzedData": {},
  "createdAt": "2026-01-01T00:00:00.000Z",
  "updatedAt": "2026-01-01T00:00:00.000Z"
}"#;

/// A call that has ended, as it is replaced.
const ENDED_INPUT: &str = r#"{
  "agentId": "abcdef1234567890",
  "status": "completed",
  "startTime": 1680000000,
  "endTime": 1680000300,
  "cost": {
    "customer_charge": 0.10
  },
  "summary": "Generic conversation summary about customer engagement."
}"#;

const ENDED_RECORD: &str = r#"{
  "_id": "1234567890abcdef",
  "workspaceId": "abcdef1234567890",
  "agentId": "abcdef1234567890",
  "status": "completed",
  "startTime": 1680000000,
  "endTime": 1680000300,
  "cost": {
    "customer_charge": 0.10
  },
  "metadata": {},
  "functionCalls": [],
  "summary": "Generic conversation summary about customer engagement.",
  "analyzedData": {},
  "createdAt": "2025-01-01T10:00:00Z",
  "updatedAt": "2026-01-01T00:00:00.000Z"
}"#;

const PATCH: &str = r#"{
  "metadata": {
    "ticket": "A-1009"
  },
  "roomName": null
}"#;

/// The record that the patch creates.
const UPSERTED_RECORD: &str = r#"{
  "_id": "1234567890abcdef",
  "workspaceId": "abcdef1234567890",
  "metadata": {
    "ticket": "A-1009"
  },
  "functionCalls": [],
  "analyzedData": {},
  "createdAt": "2026-01-01T00:00:00.000Z",
  "updatedAt": "2026-01-01T00:00:00.000Z"
}"#;

const IMPORT_LINES: &str = r#"{"_id":"call-1","status":"completed"}
{"_id":"call-2","status":"busy"}
"#;

const IMPORT_ARRAY: &str = r#"[
  {
    "_id": "call-1",
    "status": "completed"
  },
  {
    "_id": "call-2",
    "status": "busy"
  }
]"#;

const IMPORT_CSV: &str = "_id,status\r\ncall-1,completed\r\ncall-2,busy\r\n";

const IMPORT_REPORT: &str = r#"{
  "created": 2,
  "replaced": 0,
  "merged": 0,
  "unchanged": 0,
  "stale": 0,
  "deleted": 0,
  "repeated": 0,
  "skipped": 0,
  "rejected": 0,
  "warned": 0,
  "aborted": false,
  "errors": [],
  "warnings": []
}"#;

/// A document that the record does not repeat: the duration is a text.
const ORIGINAL: &str = r#"{"status":"completed","duration":"300"}"#;

const ORIGINALS: &str = r#"[
  {
    "number": 1,
    "receivedAt": "2026-01-01T00:00:00Z",
    "source": "api",
    "mediaType": "application/json",
    "bytes": 39,
    "warnings": [
      {
        "pointer": "/duration",
        "code": "number_as_text",
        "detail": "is a text; it was read as a number"
      }
    ]
  }
]"#;

const METRICS: &str = r#"{
  "totalCalls": 1,
  "completedCalls": 1,
  "failedCalls": 0,
  "averageDuration": 300,
  "totalCost": 0.10,
  "callsWithDuration": 1,
  "answeredCalls": 1,
  "averageTalkTime": 0,
  "callsWithTalkTime": 0,
  "distinctCallers": 1,
  "outcomes": {
    "completed": 1
  },
  "groups": [
    {
      "group": {
        "day": "2023-03-28"
      },
      "totalCalls": 1,
      "completedCalls": 1,
      "failedCalls": 0,
      "averageDuration": 300,
      "totalCost": 0.10,
      "callsWithDuration": 1,
      "answeredCalls": 1,
      "averageTalkTime": 0,
      "callsWithTalkTime": 0,
      "distinctCallers": 1,
      "outcomes": {
        "completed": 1
      },
      "p50Duration": 300,
      "p95Duration": 300,
      "query": "status=completed%2Cfailed&startedAfter=2023-03-27T22:00:00Z&startedBefore=2023-03-28T22:00:00Z"
    }
  ]
}"#;

const EVIDENCE: &str = r#"[
        {
          "member": "/summary",
          "snippet": "Generic conversation summary about customer engagement.",
          "matches": [
            [
              35,
              43
            ],
            [
              44,
              54
            ]
          ]
        }
      ]"#;

fn search_page() -> String {
    let call = nested(6, SOURCE_EXAMPLE);
    format!("{{\n  \"hits\": [\n    {{\n      \"call\": {call},\n      \"evidence\": {EVIDENCE}\n    }}\n  ]\n}}")
}

fn json(text: &str) -> Value {
    format!("{JSON}{}", text.trim_end()).into()
}

/// JSON text inside a value that is indented by `columns`.
fn nested(columns: usize, text: &str) -> String {
    text.trim_end().replace('\n', &format!("\n{}", " ".repeat(columns)))
}

/// The example of a request's body.
pub(crate) fn request(operation: &str, media_type: &str) -> Value {
    match (operation, media_type) {
        ("create_call", _) => json(ONGOING_INPUT),
        ("update_call", _) => json(PATCH),
        ("import_calls", "application/x-ndjson") => IMPORT_LINES.into(),
        ("import_calls", "text/csv") => IMPORT_CSV.into(),
        ("import_calls", _) => json(IMPORT_ARRAY),
        _ => json(ENDED_INPUT),
    }
}

/// The example of a response body.
pub(crate) fn response(operation: &str, status: &str, media_type: &str) -> Value {
    match (operation, media_type) {
        ("list_calls", _) => json(&format!("[\n  {}\n]", nested(2, SOURCE_EXAMPLE))),
        ("create_call", _) => json(ONGOING_RECORD),
        ("list_originals", _) => json(ORIGINALS),
        ("get_original", _) => ORIGINAL.into(),
        ("replace_call", _) if status == "201" => {
            json(&ENDED_RECORD.replace("2025-01-01T10:00:00Z", "2026-01-01T00:00:00.000Z"))
        }
        ("replace_call", _) => json(ENDED_RECORD),
        ("update_call", _) if status == "201" => json(UPSERTED_RECORD),
        ("update_call", _) => {
            let patched = SOURCE_EXAMPLE.replace("  \"roomName\": \"web-1234abcd\",\n", "");
            let patched = patched.replace("\"metadata\": {}", "\"metadata\": {\n    \"ticket\": \"A-1009\"\n  }");
            json(&patched.replace("2025-01-01T10:05:00Z", "2026-01-01T00:00:00.000Z"))
        }
        ("import_calls", _) => json(IMPORT_REPORT),
        ("export_calls", "text/csv") => csv().into(),
        ("export_calls", _) => format!("{}\n", line()).into(),
        ("search_calls", _) => json(&search_page()),
        ("get_call_metrics", _) => json(METRICS),
        ("list_call_changes", "text/event-stream") => events().into(),
        ("list_call_changes", _) => json(&changes()),
        _ => json(SOURCE_EXAMPLE),
    }
}

/// The source's example on one line, as it is stored.
fn line() -> String {
    String::from_utf8_lossy(&source_example().to_json()).into_owned()
}

fn csv() -> String {
    let query = ExportQuery::new().format(ExportFormat::Csv);
    let table =
        Encoder::new(&query).and_then(|(mut encoder, head)| Ok([head, encoder.push(format!("{}\n", line()).into())?]));
    table.into_iter().flatten().map(|part| String::from_utf8_lossy(&part).into_owned()).collect()
}

fn events() -> String {
    let call = line();
    let change = r#"{"type":"created","_id":"1234567890abcdef","version":1,"etag":"\"1-9f86d081884c7d65\"","at":"2026-01-01T00:00:00Z","call":"#;
    format!("event: created\nid: {CURSOR}\ndata: {change}{call}}}\n\n")
}

fn changes() -> String {
    let call = nested(6, SOURCE_EXAMPLE);
    format!(
        r#"{{
  "changes": [
    {{
      "type": "created",
      "_id": "1234567890abcdef",
      "version": 1,
      "etag": "\"1-9f86d081884c7d65\"",
      "at": "2026-01-01T00:00:00Z",
      "call": {call}
    }}
  ],
  "cursor": "{CURSOR}",
  "hasMore": false
}}"#
    )
}

/// A line of the contract, with an example that is JSON text instead of the string that carried it.
pub(crate) fn unquote(line: &str) -> String {
    let Some((start, rest)) = line.split_once(r#""\u0001"#) else { return line.to_owned() };
    let (string, comma) = rest.strip_suffix(',').map_or((rest, ""), |string| (string, ","));
    let text: String = serde_json::from_str(&format!("\"{string}")).unwrap_or_default();
    let columns = start.len() - start.trim_start().len();
    format!("{start}{}{comma}", nested(columns, &text))
}
