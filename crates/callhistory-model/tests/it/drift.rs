//! What the server of tomorrow sends: it is read, kept, and written back as it was.

use callhistory_model::{
    CallChangePage, CallInput, CallMetrics, CallRecord, ChangeType, ImportReport, OriginalInfo, Problem, SearchPage,
    examples,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// The source's example with other values, or without members where the value is null.
fn record(changes: Value) -> Value {
    let mut record: Value = serde_json::from_str(examples::SOURCE_EXAMPLE).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        record[name] = value.clone();
    }
    record
}

fn answer<T: DeserializeOwned>(sent: &Value) -> T {
    serde_json::from_value(sent.clone()).map_err(|error| format!("{error}: {sent}")).unwrap()
}

fn is_kept<T: DeserializeOwned + Serialize>(sent: &Value) -> T {
    let read: T = answer(sent);
    assert_eq!(serde_json::to_value(&read).unwrap(), *sent);
    read
}

#[test]
fn a_value_of_another_type_is_kept_and_counts_as_absent() {
    let odd = record(json!({
        "agentId": 17,
        "status": {"code": 3},
        "startTime": "2023-03-28T10:40:00Z",
        "duration": [300],
        "cost": [{"amount": "0.10"}],
        "metadata": ["a"],
        "functionCalls": {"count": 1},
        "analyzedData": "none",
        "transcript": {"url": "https://example.com"},
    }));
    let call: CallRecord = is_kept(&odd);
    assert_eq!((call.agent_id, call.status, call.start_time, call.cost), (None, None, None, None));
    assert_eq!((call.metadata.as_str(), call.function_calls.as_str()), ("{}", "[]"));
    assert_eq!(call.end_time.unwrap().as_str(), "1680000300");
    let kept = call.extra.iter().find(|(name, _)| name == "startTime").unwrap();
    assert_eq!(kept.1.as_str(), "\"2023-03-28T10:40:00Z\"");
    // Written back as well.
    let input = CallInput::from(answer::<CallRecord>(&odd));
    assert_eq!(serde_json::to_value(&input).unwrap(), odd);
}

#[test]
fn a_required_member_may_be_null_or_missing() {
    for name in CallRecord::MEMBERS.iter().filter(|name| **name != "_id") {
        let call: CallRecord = answer(&record(json!({ *name: null })));
        assert_eq!(call.id, "1234567890abcdef");
        let mut without = record(json!({}));
        without.as_object_mut().unwrap().remove(*name);
        let call: CallRecord = answer(&without);
        let written = serde_json::to_value(&call).unwrap();
        let is_free_form = ["metadata", "functionCalls", "analyzedData"].contains(name);
        assert!(is_free_form || written[*name].is_null(), "{written}");
        assert_eq!(serde_json::from_value::<CallRecord>(written).unwrap(), call, "{name}");
    }
    // Without an ID it is something else, such as the page of a proxy.
    assert!(serde_json::from_value::<CallRecord>(json!({"ok": true})).is_err());
    assert_eq!(answer::<CallRecord>(&record(json!({"_id": 17}))).id, "17");
}

#[test]
fn ids_and_times_of_another_form_are_kept() {
    let odd = record(json!({
        "_id": "region:eu/call 7",
        "workspaceId": "acme inc.",
        "createdAt": "2025-01-01T10:00:00+00:00",
        "updatedAt": "2300-W01",
        "startTime": 1_680_000_000.123_456_f64,
    }));
    let call: CallRecord = is_kept(&odd);
    assert_eq!((call.id.as_str(), call.workspace_id.as_str()), ("region:eu/call 7", "acme inc."));
    assert_eq!(call.created_at.unix_nanos(), 1_735_725_600_000_000_000);
    assert_eq!((call.updated_at.as_str(), call.updated_at.is_known()), ("2300-W01", false));
}

#[test]
fn a_cost_of_other_members_is_kept() {
    let text =
        r#"{"customer_charge":0.1234567891,"currency":"credits","plan":"gold","tax":{"rate":0.190},"llm":"0.30"}"#;
    let cost: callhistory_model::CallCost = serde_json::from_str(text).unwrap();
    assert_eq!(cost.customer_charge().unwrap().as_str(), "0.1234567891");
    assert_eq!(cost.currency(), Some("credits"));
    let others: Vec<_> = cost.others().map(|(name, json)| (name, json.as_str())).collect();
    assert_eq!(others, [("plan", "\"gold\""), ("tax", r#"{"rate":0.190}"#), ("llm", "\"0.30\"")]);
    assert_eq!(serde_json::to_string(&cost).unwrap(), text);
}

/// One odd record among others.
#[test]
fn an_odd_record_does_not_fail_its_page() {
    let odd = record(json!({"_id": "odd", "metadata": null, "cost": {"currency": 978}, "createdAt": 0}));
    let page: Vec<CallRecord> = answer(&json!([record(json!({})), odd, record(json!({}))]));
    assert_eq!(page[1].id, "odd");
    let hits = json!({
        "hits": [{"call": odd, "evidence": [{"member": "/summary", "snippet": "a", "matches": [], "time": "00:12", "score": 0.5}]}],
        "next": {"cursor": "c"},
        "took": 12,
    });
    let page: SearchPage = answer(&hits);
    assert_eq!(page.hits[0].evidence[0].time, None);
    let evidence: Vec<_> = page.hits[0].evidence[0].extra.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(evidence, ["score", "time"]);
    assert_eq!(page.extra.len(), 2);
    let changes = json!({"changes": [
        {"type": "archived", "_id": "a b", "version": 7, "at": "tomorrow", "call": odd, "by": "retention"},
        {"type": "deleted", "_id": "b", "version": 8, "at": "2026-01-01T00:00:00Z", "call": "gone"},
    ], "cursor": "c", "hasMore": false, "lag": 1.50});
    let page: CallChangePage = answer(&changes);
    assert_eq!(page.changes[0].kind, ChangeType::Other("archived".to_owned()));
    assert_eq!(page.changes[0].call.as_ref().unwrap().id, "odd");
    assert_eq!(page.changes[1].call, None);
}

#[test]
fn every_answer_keeps_unknown_members_and_codes() {
    let figures = json!({
        "totalCalls": 1, "completedCalls": 1, "failedCalls": 0, "averageDuration": 1, "totalCost": 1, "callsWithDuration": 1,
        "answeredCalls": 1, "averageTalkTime": 0, "callsWithTalkTime": 0, "outcomes": {"completed": 1}, "medianCost": 2,
    });
    let mut group = figures.clone();
    group["group"] = json!({"day": "2026-01-01"});
    group["query"] = json!("x");
    group["p50Duration"] = json!("1 s");
    let mut metrics = figures;
    metrics["groups"] = json!([group]);
    let metrics: CallMetrics = is_kept(&metrics);
    let names: Vec<_> = metrics.groups.unwrap()[0].extra.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, ["medianCost", "p50Duration"]);
    let report: ImportReport = is_kept(&json!({
        "created": 1, "replaced": 0, "merged": 0, "unchanged": 0, "stale": 0, "deleted": 0, "repeated": 0, "skipped": 0,
        "rejected": 1, "warned": 1, "aborted": false, "queued": 3,
        "errors": [{"line": 2, "code": "too_new", "detail": "d", "hint": "h"}],
        "warnings": [{"line": 1, "pointer": "/a", "code": "odd", "detail": "d", "value": 1}],
    }));
    assert_eq!(report.errors[0].code.as_str(), "too_new");
    assert_eq!((report.errors[0].extra.len(), report.warnings[0].extra.len(), report.extra.len()), (1, 1, 1));
    let problem: Problem = is_kept(&json!({
        "type": "urn:x", "title": "t", "status": 418, "code": "teapot", "detail": "d", "requestId": "r", "docs": "https://e.com",
        "errors": [{"pointer": "/a", "code": "cold", "detail": "d", "limit": 3}],
    }));
    assert_eq!((problem.extra.len(), problem.errors[0].extra.len()), (1, 1));
    let original: OriginalInfo = is_kept(&json!({
        "number": 1, "receivedAt": "2026-01-01T00:00:00Z", "source": "api", "mediaType": "text/csv", "bytes": 3, "sha256": "s",
        "warnings": [{"pointer": "/a", "code": "odd", "detail": "d", "value": 1}],
    }));
    assert_eq!((original.extra.len(), original.warnings[0].extra.len()), (1, 1));
}

/// Digits of unknown members survive in answers as in records.
#[test]
fn digits_of_unknown_members_are_kept() {
    let text = r#"{"changes":[],"cursor":"c","hasMore":true,"lag":1.50,"next":12345678901234567890123}"#;
    let page: CallChangePage = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&page).unwrap(), text);
}
