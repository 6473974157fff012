//! What really happened is kept: each case of a call that a strict service would lose, in strict and in lenient handling.

use std::time::{Duration, Instant};

use callhistory_client::{Client, ListQuery};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::harness::{CALLS, Response, Server, WORKSPACE};

/// The warnings of a write as `pointer code`.
pub(crate) fn warnings(response: &Response) -> Vec<String> {
    let Some(header) = response.headers.get("x-callhistory-warnings") else { return Vec::new() };
    let warnings: Vec<Value> = serde_json::from_str(header.to_str().unwrap()).unwrap();
    assert!(!warnings.is_empty(), "an empty list of warnings was sent");
    warnings.iter().map(|w| format!("{} {}", w["pointer"].as_str().unwrap(), w["code"].as_str().unwrap())).collect()
}

/// The errors of a problem as `pointer code`.
fn errors(response: &Response) -> Vec<String> {
    let problem = response.json();
    let text = |error: &Value, name: &str| error[name].as_str().unwrap_or("").to_owned();
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| format!("{} {}", text(error, "pointer"), text(error, "code"))).collect()
}

/// What a write of a document does.
enum Outcome {
    /// The record is written with these texts in it, without those that start with `!`, and with these warnings.
    Kept(&'static [&'static str], &'static [&'static str]),
    /// The write is refused with this status and these errors.
    Refused(u16, &'static [&'static str]),
}
use Outcome::{Kept, Refused};

async fn check(server: &Server, id: &str, handling: &str, body: &[u8], expected: &Outcome) {
    let shown = format!("{handling} {}", String::from_utf8_lossy(&body[..body.len().min(300)]));
    let prefer = format!("handling={handling}");
    let headers = [("x-workspace-id", WORKSPACE), ("content-type", "application/json"), ("prefer", prefer.as_str())];
    let response = server.send_bare(Method::PUT, &format!("{CALLS}/{id}"), &headers, body.to_vec()).await;
    match expected {
        Refused(status, expected) => {
            assert_eq!(response.status.as_u16(), *status, "{shown}: {}", response.body);
            assert_eq!(errors(&response), *expected, "{shown}: {}", response.body);
            assert_eq!(server.get(id, &[]).await.status, StatusCode::NOT_FOUND, "{shown} was refused and written");
        }
        Kept(texts, expected) => {
            assert_eq!(response.status, StatusCode::CREATED, "{shown}: {}", response.body);
            assert_eq!(warnings(&response), *expected, "{shown}: {}", response.body);
            let stored = server.get(id, &[]).await.body;
            assert_eq!(stored, response.body, "{shown}");
            for text in *texts {
                match text.strip_prefix('!') {
                    Some(absent) => assert!(!stored.contains(absent), "{shown}: {absent} in {stored}"),
                    None => assert!(stored.contains(text), "{shown}: no {text} in {stored}"),
                }
            }
            let deleted = server.send(Method::DELETE, &format!("{CALLS}/{id}"), &[], "").await;
            assert_eq!(deleted.status, StatusCode::NO_CONTENT);
        }
    }
}

/// Sends each document in both handlings.
async fn check_all(cases: &[(&[u8], Outcome, Outcome)]) {
    let server = Server::start().await;
    for (number, (body, strict, lenient)) in cases.iter().enumerate() {
        check(&server, &format!("c{number}"), "strict", body, strict).await;
        check(&server, &format!("c{number}"), "lenient", body, lenient).await;
    }
}

/// A document with the same outcome in both handlings.
macro_rules! both {
    ($body:expr, $outcome:expr) => {
        ($body as &[u8], $outcome, $outcome)
    };
}

#[tokio::test]
async fn contradicting_facts_are_kept_with_a_warning() {
    const LONG: &str = concat!("\"agentId\":\"", "§");
    check_all(&[
        both!(
            br#"{"status":"no-answer","startTime":1781699400.688,"endTime":1781699400.483}"#,
            Kept(&["\"startTime\":1781699400.688", "\"endTime\":1781699400.483"], &["/endTime end_before_start"])
        ),
        both!(
            br#"{"status":"failed","duration":-1589300000}"#,
            Kept(&["\"duration\":-1589300000"], &["/duration out_of_range"])
        ),
        both!(
            br#"{"createdAt":"2026-01-02T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z"}"#,
            Kept(
                &["\"createdAt\":\"2026-01-02T00:00:00Z\"", "\"updatedAt\":\"2026-01-01T00:00:00Z\""],
                &["/updatedAt end_before_start"]
            )
        ),
        both!(
            br#"{"cost":{"customer_charge":0.30000000000000004}}"#,
            Kept(&["\"customer_charge\":0.30000000000000004"], &["/cost/customer_charge rounded"])
        ),
        both!(
            br#"{"duration":12.345678091049194,"startTime":1680000000.12345678901,"endTime":1680000012.1234567891}"#,
            Kept(
                &["12.345678091049194", "1680000000.12345678901", "1680000012.1234567891"],
                &["/startTime rounded", "/endTime rounded", "/duration rounded"]
            )
        ),
        both!(
            br#"{"summary":"cut \ud83d","transcript":[{"content":"\ud83d"}]}"#,
            Kept(
                &["\"summary\":\"cut \u{fffd}\"", r#"[{"content":"\ufffd"}]"#],
                &["/summary characters_replaced", "/transcript characters_replaced"]
            )
        ),
        both!(
            br#"{"metadata":{"\ud83d":1}}"#,
            Kept(&[r#""metadata":{"\ufffd":1}"#], &["/metadata characters_replaced"])
        ),
        both!(
            br#"{"direction":"","agentId":"","fromPhoneNumber":""}"#,
            Kept(&["\"direction\":\"\"", "\"agentId\":\"\""], &[])
        ),
        both!(
            br#"{"fromPhoneNumber":"anonymous","toPhoneNumber":"sip:+4930@host;transport=udp;user=phone"}"#,
            Kept(&["\"anonymous\"", "\"sip:+4930@host;transport=udp;user=phone\""], &[])
        ),
    ])
    .await;
    let server = Server::start().await;
    for (characters, expected) in
        [(300, &[][..]), (1024, &[]), (1025, &["/agentId too_long"]), (9000, &["/agentId too_long"])]
    {
        let label = "a".repeat(characters);
        let response = server.put(&format!("l{characters}"), &[], &format!(r#"{{"agentId":"{label}"}}"#)).await;
        assert_eq!(
            (response.status, warnings(&response)),
            (StatusCode::CREATED, expected.iter().map(|w| (*w).to_owned()).collect())
        );
        assert!(response.body.contains(&LONG.replace('§', &label)));
    }
}

/// What contradicts itself counts as unknown: never negative, never in a sum.
#[tokio::test]
async fn contradicting_facts_are_not_counted() {
    let server = Server::start().await;
    for (id, body) in [
        ("a", r#"{"startTime":1680000000.2,"endTime":1680000000,"status":"completed"}"#),
        ("b", r#"{"startTime":1680000000,"duration":-1589300000,"status":"completed"}"#),
        ("c", r#"{"startTime":1680000000,"endTime":1680000010,"status":"completed"}"#),
        ("d", r#"{"startTime":1680000000,"duration":1e300,"cost":{"customer_charge":1e300},"status":"completed"}"#),
    ] {
        assert_eq!(server.put(id, &[], body).await.status, StatusCode::CREATED, "{id}");
    }
    let metrics = server.send(Method::GET, &format!("{CALLS}/metrics"), &[], "").await.json();
    assert_eq!(
        [&metrics["averageDuration"], &metrics["totalCost"], &metrics["totalCalls"]].map(|n| n.as_f64()),
        [Some(10.0), Some(0.0), Some(4.0)]
    );
    let known = server.send(Method::GET, &format!("{CALLS}?minDuration=0&fields=_id"), &[], "").await.body;
    assert_eq!(known, r#"[{"_id":"c"}]"#);
    let all = server.send(Method::GET, &format!("{CALLS}?fields=_id&sort=duration"), &[], "").await.json();
    assert_eq!(all.as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_null_is_an_absent_member() {
    let server = Server::start().await;
    let schema = &crate::contract::CONTRACT["components"]["schemas"]["CallInput"]["properties"];
    let members: Vec<_> = schema.as_object().unwrap().keys().collect();
    assert!(members.len() >= 28, "{members:?}");
    let empty = server.put("empty", &[], "{}").await.json();
    for handling in ["strict", "lenient"] {
        let prefer = ("prefer", format!("handling={handling}"));
        let prefer = [(prefer.0, prefer.1.as_str())];
        for member in &members {
            let response = server.put("one", &prefer, &format!(r#"{{"{member}":null}}"#)).await;
            assert_eq!(
                (response.status.is_success(), warnings(&response)),
                (true, vec![]),
                "{member}: {}",
                response.body
            );
        }
        let all: Vec<_> = members.iter().map(|member| format!("\"{member}\":null")).collect();
        let response = server.put("all", &prefer, &format!("{{{}}}", all.join(","))).await;
        let mut body = response.json();
        body["_id"] = "empty".into();
        assert_eq!((body, warnings(&response)), (empty.clone(), vec![]));
        let created = server.post(&prefer, &format!("{{{}}}", all.join(","))).await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    }
}

#[tokio::test]
async fn numbers_and_times_in_other_forms_are_read() {
    check_all(&[
        both!(
            br#"{"startTime":"1680000000","duration":"17","cost":{"customer_charge":"-0.0170"}}"#,
            Kept(
                &["\"startTime\":1680000000", "\"duration\":17", "\"customer_charge\":-0.0170"],
                &["/startTime number_as_text", "/duration number_as_text", "/cost/customer_charge number_as_text"]
            )
        ),
        both!(
            br#"{"startTime":"2023-03-28T10:40:00Z","endTime":"2023-03-28T12:45:00.5+02:00"}"#,
            Kept(
                &["\"startTime\":1680000000", "\"endTime\":1680000300.5"],
                &["/startTime time_as_text", "/endTime time_as_text"]
            )
        ),
        both!(br#"{"cost":0.25}"#, Kept(&["\"cost\":{\"customer_charge\":0.25}"], &["/cost cost_as_number"])),
        both!(
            br#"{"timestamp":1737062894.97,"cost":0,"recordingUrl":null,"callId":"x","agent":"a","callFlowName":"f"}"#,
            Kept(
                &["\"startTime\":1737062894.97", "\"cost\":{\"customer_charge\":0}", "!recordingUrl", "!timestamp"],
                &["/timestamp renamed", "/cost cost_as_number"]
            )
        ),
        both!(
            br#"{"metadata":[],"analyzedData":[],"variables":[]}"#,
            Kept(
                &["\"metadata\":{}", "\"analyzedData\":{}", "\"variables\":{}"],
                &["/metadata empty_array", "/analyzedData empty_array", "/variables empty_array"]
            )
        ),
        both!(
            br#"{"createdAt":"2026-01-01T00:00:00.123456+00:00","updatedAt":"2026-01-01T02:00:00+01:00"}"#,
            Kept(&["\"2026-01-01T00:00:00.123456+00:00\"", "\"2026-01-01T02:00:00+01:00\""], &[])
        ),
    ])
    .await;
}

#[tokio::test]
async fn wrong_units_are_refused_by_name_or_converted() {
    check_all(&[
        (
            br#"{"startTime":1680000000,"endTime":1680000300,"duration":300000}"#,
            Refused(422, &["/duration wrong_unit"]),
            Kept(&["\"duration\":300"], &["/duration unit_converted"]),
        ),
        (
            br#"{"startTime":1680000000123,"endTime":1680000300123456}"#,
            Refused(422, &["/startTime wrong_unit", "/endTime wrong_unit"]),
            Kept(
                &["\"startTime\":1680000000.123", "\"endTime\":1680000300.123456"],
                &["/startTime unit_converted", "/endTime unit_converted"],
            ),
        ),
        (
            br#"{"startTime":1680000000123456789}"#,
            Refused(422, &["/startTime wrong_unit"]),
            Kept(&["\"startTime\":1680000000.123456789"], &["/startTime unit_converted"]),
        ),
    ])
    .await;
    let server = Server::start().await;
    for (time, unit) in [
        ("1680000000123", "milliseconds"),
        ("1680000000123456", "microseconds"),
        ("1680000000123456789", "nanoseconds"),
    ] {
        let refused = server.put("u", &[], &format!(r#"{{"startTime":{time}}}"#)).await;
        assert!(refused.body.contains(unit), "{}", refused.body);
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_or_left_out() {
    check_all(&[
        (
            br#"{"status":"completed","startTime":{"seconds":1},"sentiment":"good"}"#,
            Refused(422, &["/startTime wrong_type"]),
            Kept(
                &["\"sentiment\":\"good\"", "\"status\":\"completed\"", "!startTime"],
                &["/startTime left_out", "/sentiment unknown_member"],
            ),
        ),
        (
            br#"{"createdAt":"2026-01-01T00:00:00","summary":"s"}"#,
            Refused(422, &["/createdAt invalid_time"]),
            Kept(&["\"summary\":\"s\"", "!2026-01-01T00:00:00\""], &["/createdAt left_out"]),
        ),
        (
            br#"{"metadata":"text","transcript":{"a":1},"agentId":["a"]}"#,
            Refused(422, &["/metadata wrong_type", "/transcript wrong_type", "/agentId wrong_type"]),
            Kept(
                &["\"metadata\":{}", "!transcript", "!agentId"],
                &["/metadata left_out", "/transcript left_out", "/agentId left_out"],
            ),
        ),
        (
            br#"{"duration":NaN,"cost":{"customer_charge":-Infinity},"summary":"s"}"#,
            Refused(400, &[]),
            Kept(
                &["\"summary\":\"s\"", "!duration", "!customer_charge"],
                &["/duration not_a_number", "/cost not_a_number"],
            ),
        ),
        (
            b"{\"agent\":\"J\xfcrgen\"}",
            Refused(400, &[]),
            Kept(&["\"agent\":\"J\u{fffd}rgen\""], &["/agent characters_replaced"]),
        ),
        both!(b"", Refused(400, &[])),
        both!(b"{", Refused(400, &[])),
        both!(b"{} {}", Refused(400, &[])),
        both!(b"[]", Refused(422, &[" wrong_type"])),
        both!(b"null", Refused(422, &[" wrong_type"])),
        both!(br#""{\"status\":\"busy\"}""#, Refused(422, &[" wrong_type"])),
    ])
    .await;
}

/// Whatever a JSON object says, lenient handling keeps the call, and what it changed is an original.
#[tokio::test]
async fn lenient_handling_loses_no_call_whose_member_is_odd() {
    let server = Server::start().await;
    // Thousands of requests share a connection.
    let client = reqwest::Client::new();
    let odd = [
        "true",
        "-1",
        "1e300",
        "\"\"",
        "\"\\u0000\"",
        "\"\\ud83d\"",
        "[]",
        "[1]",
        "{}",
        "{\"a\":1,\"a\":2}",
        "\"2026\"",
        "1680000000000",
        "\"x y\"",
        "[[[[1]]]]",
        "{\"$date\":\"2026-01-01T00:00:00Z\"}",
        "{\"$numberLong\":\"17\"}",
    ];
    let schema = &crate::contract::CONTRACT["components"]["schemas"]["CallInput"]["properties"];
    for (number, member) in schema.as_object().unwrap().keys().enumerate() {
        // They name the call and the workspace, and must equal the path and the header.
        if matches!(member.as_str(), "_id" | "workspaceId") {
            continue;
        }
        for (case, value) in odd.iter().enumerate() {
            let id = format!("odd-{number}-{case}");
            let body = format!(r#"{{"{member}":{value},"roomName":"{id}"}}"#);
            let body = if member == "roomName" { format!(r#"{{"roomName":{value}}}"#) } else { body };
            let put = |handling: &str, body: &str| {
                let request = client.put(server.url(&format!("{CALLS}/{id}"))).body(body.to_owned());
                let request = request.header("x-workspace-id", WORKSPACE).header("content-type", "application/json");
                let request = request.header("prefer", format!("handling={handling}"));
                async {
                    let response = request.send().await.unwrap();
                    let (status, etag) = (response.status().as_u16(), response.headers().get("etag").cloned());
                    (status, etag, response.text().await.unwrap())
                }
            };
            let (status, etag, stored) = put("lenient", &body).await;
            assert_eq!(status, 201, "{body}: {stored}");
            // What was read can be written back, strictly.
            assert_eq!(put("strict", &stored).await, (200, etag, stored), "{body}");
        }
    }
}

/// The bytes of an ID in a URL.
fn encoded(id: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    id.bytes().map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[tokio::test]
async fn ids_of_the_trade_name_calls() {
    let server = Server::start().await;
    let client: Client = server.client();
    let long = "i".repeat(256);
    let ids = [
        "1680000000.13",
        "a84b4c76e66710@pc33.atlanta.example",
        "F6=+Kx.2@[2001:db8::1]",
        "call:1",
        "{3f2504e0-4f89}",
        "~",
        "=",
        "...",
        "Müller-1",
        "通話",
        "Case",
        "case",
        "0042",
        "a+b",
        "x*",
        "a,b",
        "it's",
        &long,
    ];
    for id in ids {
        let written = server.put(&encoded(id), &[], &serde_json::json!({ "_id": id, "callId": id }).to_string()).await;
        assert_eq!(written.status, StatusCode::CREATED, "{id}: {}", written.body);
        assert_eq!(written.json()["_id"], id);
        assert_eq!(server.get(&encoded(id), &[]).await.body, written.body, "{id}");
        assert_eq!(client.get_call(id).await.unwrap().id.as_str(), id);
    }
    // A server decodes what it must, and takes what need not be encoded as it is.
    for (sent, id) in
        [("1680000000.13", "1680000000.13"), ("call:1", "call:1"), ("a+b", "a+b"), ("a%2Bb", "a+b"), ("a%2bb", "a+b")]
    {
        assert_eq!(server.get(sent, &[]).await.json()["_id"], id, "{sent}");
    }
    let listed = client.list_calls(&ListQuery { limit: Some(100), ..ListQuery::default() }).await.unwrap();
    assert_eq!(listed.calls.len(), ids.len(), "IDs that differ in case are two records");
    let long = "i".repeat(257);
    // A client resolves dots before it sends a URL.
    for dots in ["%2E", "%2e%2E"] {
        let head = format!("GET {CALLS}/{dots} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-workspace-id: w\r\n\r\n");
        let refused = server.raw(head.as_bytes()).await;
        assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("reserved_id"), "{refused}");
    }
    for id in ["a/b", "a b", "a?b", "a#b", "a%b", "a\"b", "a\\b", "a\u{0}b", "a\u{85}b", "\u{feff}a", &long] {
        let refused = server.put(&encoded(id), &[], "{}").await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (400, "invalid_parameter"),
            "{id}: {}",
            refused.body
        );
    }
    let label = "c".repeat(1024);
    let written = server.put("label", &[], &format!(r#"{{"callId":"{label}"}}"#)).await;
    assert_eq!((written.status, warnings(&written)), (StatusCode::CREATED, vec![]));
}

/// The shortest time of several lists of two members.
async fn time_lists(server: &Server, count: usize) -> Duration {
    let mut shortest = Duration::MAX;
    for _ in 0..20 {
        let started = Instant::now();
        let list = server.send(Method::GET, &format!("{CALLS}?fields=_id,status&limit=200"), &[], "").await;
        shortest = shortest.min(started.elapsed());
        assert_eq!(list.json().as_array().unwrap().len(), count);
    }
    shortest
}

#[tokio::test]
async fn a_long_call_goes_in_and_comes_out() {
    let server = Server::start().await;
    for number in 0..20 {
        server.put(&format!("s{number}"), &[], r#"{"status":"completed"}"#).await;
    }
    let before = time_lists(&server, 20).await;
    let turn = format!(r#"{{"role":"user","content":"{}","words":[0.10,0.20]}}"#, "word ".repeat(12_000));
    let turns = vec![turn.as_str(); 12 * 1024 * 1024 / turn.len()].join(",");
    let body = format!(r#"{{"status":"completed","agentId":"a","transcript":[{turns}]}}"#);
    assert!(body.len() > 12_000_000);
    let written = server.put("long", &[], &body).await;
    assert_eq!(written.status, StatusCode::CREATED, "{}", &written.body[..written.body.len().min(300)]);
    assert!(written.body.ends_with(&format!(r#""transcript":[{turns}]}}"#)));
    assert!(server.get("long", &[]).await.body == written.body);
    let read = server.client().get_call("long").await.unwrap();
    assert_eq!(read.call.transcript.unwrap().as_str().len(), turns.len() + 2);
    // A list of other members does not read the transcript, which takes many times as long.
    let after = time_lists(&server, 21).await;
    assert!(after < 3 * before, "{before:?} before, {after:?} after");
}

#[tokio::test]
async fn a_record_has_a_maximum_size() {
    let server = Server::start().await;
    let of_size = |bytes: usize| format!(r#"{{"summary":"{}"}}"#, "x".repeat(bytes - r#"{"summary":""}"#.len()));
    let most = 16 * 1024 * 1024;
    for handling in ["strict", "lenient"] {
        let prefer = format!("handling={handling}");
        let refused = server.put("c", &[("prefer", &prefer)], &of_size(most + 1)).await;
        assert_eq!((refused.status, refused.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"));
        assert!(refused.body.contains("16777216"), "{}", refused.body);
        // The stored record has its own members besides.
        let refused = server.put("c", &[("prefer", &prefer)], &of_size(most)).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.body);
        assert_eq!(errors(&refused), [" too_many_bytes"]);
        let kept = server.put("c", &[("prefer", &prefer)], &of_size(most - 400)).await;
        assert!(kept.status.is_success(), "{}", kept.body);
        assert_eq!(warnings(&kept), ["/summary too_long"]);
    }
    for levels in [65, 100] {
        let deep = format!(r#"{{"variables":{{"a":{}1{}}}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert!(server.put("deep", &[], &deep).await.status.is_success(), "{levels} levels");
    }
}
