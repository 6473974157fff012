//! Invalid requests: each problem names what is wrong.

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::harness::{Response, Server, WORKSPACE};

const PATH: &str = "/v2/api/call-history/c1";
const JSON: (&str, &str) = ("content-type", "application/json");

/// The errors of a problem as `location code`.
fn errors(response: &Response) -> Vec<String> {
    let problem = response.json();
    let text = |error: &Value, name: &str| error[name].as_str().unwrap_or("").to_owned();
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|f| format!("{}{} {}", text(f, "pointer"), text(f, "parameter"), text(f, "code"))).collect()
}

async fn assert_refused(response: Response, status: u16, code: &str, expected: &[&str]) {
    assert_eq!((response.status.as_u16(), response.code().as_str()), (status, code), "{}", response.body);
    assert_eq!(errors(&response), expected, "{}", response.body);
    let problem = response.json();
    assert_eq!(problem["type"], format!("urn:callhistory:problem:{code}"));
    assert_eq!(problem["status"], status);
    assert_eq!(problem["requestId"].as_str().unwrap(), response.header("x-request-id"));
    assert!(problem["title"].as_str().unwrap().len() > 5 && problem["detail"].as_str().unwrap().len() > 10);
}

#[tokio::test]
async fn the_workspace_header_must_occur_once_and_be_valid() {
    let server = Server::start().await;
    // The test of header vectors has more values.
    let cases: [(&[&str], &str); 5] = [
        (&[], "missing"),
        (&[""], "too_short"),
        (&["a", "a"], "repeated"),
        (&["a,a"], "invalid_id"),
        (&["wörk"], "invalid_id"),
    ];
    for (values, code) in cases {
        for (method, path) in [(Method::GET, PATH), (Method::PUT, PATH), (Method::POST, "/v2/api/call-history")] {
            let mut headers = vec![JSON];
            headers.extend(values.iter().map(|value| ("x-workspace-id", *value)));
            let response = server.send_bare(method, path, &headers, b"{}".to_vec()).await;
            assert_refused(response, 400, "invalid_header", &[&format!("x-workspace-id {code}")]).await;
        }
    }
    let long = "w".repeat(129);
    let response = server.send_bare(Method::GET, PATH, &[("x-workspace-id", &long)], vec![]).await;
    assert_refused(response, 400, "invalid_header", &["x-workspace-id too_long"]).await;
}

#[tokio::test]
async fn the_id_is_validated_after_decoding() {
    let server = Server::start().await;
    let cases = [
        ("a%2Fb", "invalid_id"),
        ("a%00", "invalid_id"),
        ("a%0D%0Ax-evil:1", "invalid_id"),
        ("%FF", "invalid_id"),
        ("a%20b", "invalid_id"),
        ("..%2F..", "invalid_id"),
        ("%EF%BB%BFa", "invalid_id"),
        // Encoded: otherwise it would be another route.
        ("%62atch", "reserved_id"),
    ];
    for (id, code) in cases {
        assert_refused(server.get(id, &[]).await, 400, "invalid_parameter", &[&format!("callHistoryId {code}")]).await;
        assert_refused(server.put(id, &[], "{}").await, 400, "invalid_parameter", &[&format!("callHistoryId {code}")])
            .await;
    }
    for word in ["batch", "metrics", "export", "changes"] {
        let response = server.put(word, &[], "{}").await;
        assert_refused(response, 405, "method_not_allowed", &[]).await;
    }
    let response = server.get(&"x".repeat(257), &[]).await;
    assert_refused(response, 400, "invalid_parameter", &["callHistoryId too_long"]).await;
    // Percent-encoded letters are decoded.
    server.put("c1", &[], "{}").await;
    assert_eq!(server.get("%631", &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn unknown_parameters_are_named() {
    let server = Server::start().await;
    for (method, path) in [(Method::GET, PATH), (Method::PUT, PATH), (Method::POST, "/v2/api/call-history")] {
        let path = format!("{path}?limit=1&x&limit=2");
        let response = server.send(method, &path, &[JSON], "{}").await;
        let expected = ["limit unknown", "x unknown", "limit unknown"];
        assert_refused(response, 400, "invalid_parameter", &expected).await;
    }
}

#[tokio::test]
async fn a_body_must_be_one_valid_record() {
    let server = Server::start().await;
    let text = |body: &str| body.as_bytes().to_vec();
    let cases: Vec<(Vec<u8>, u16, &str, &[&str])> = vec![
        (vec![], 400, "malformed_json", &[]),
        (text("{"), 400, "malformed_json", &[]),
        (text("{} {}"), 400, "malformed_json", &[]),
        (text("{'a': 1}"), 400, "malformed_json", &[]),
        (b"{\"summary\": \"\xff\"}".to_vec(), 400, "malformed_json", &[]),
        (vec![b'['; 100_000], 400, "malformed_json", &[]),
        (text("[]"), 422, "invalid_record", &[" wrong_type"]),
        (text("null"), 422, "invalid_record", &[" wrong_type"]),
        (
            text(r#"{"startTime": "x", "agent": 1}"#),
            422,
            "invalid_record",
            &["/startTime wrong_type", "/agent wrong_type"],
        ),
        (text(r#"{"extra": 1, "statu": "a"}"#), 422, "invalid_record", &["/extra unknown", "/statu unknown"]),
        (text(r#"{"startTime": 1680000000000}"#), 422, "invalid_record", &["/startTime wrong_unit"]),
        (
            text(r#"{"cost": {"customer_charge": "free"}}"#),
            422,
            "invalid_record",
            &["/cost/customer_charge wrong_type"],
        ),
        (text(r#"{"status": "a", "status": "b"}"#), 422, "invalid_record", &["/status duplicate_member"]),
        (text(r#"{"metadata": {"a": {"b": 1, "b": 2}}}"#), 422, "invalid_record", &["/metadata/a/b duplicate_member"]),
        (text(r#"{"_id": "c2"}"#), 422, "invalid_record", &["/_id mismatch"]),
        (
            text(r#"{"_id": "c2", "workspaceId": "other"}"#),
            422,
            "invalid_record",
            &["/_id mismatch", "/workspaceId mismatch"],
        ),
    ];
    let headers = [("x-workspace-id", WORKSPACE), JSON];
    for (body, status, code, expected) in cases {
        let response = server.send_bare(Method::PUT, PATH, &headers, body).await;
        assert_refused(response, status, code, expected).await;
    }
    let response =
        server.post(&[], r#"{"_id": "c", "createdAt": "2025-01-01T00:00:00Z", "workspaceId": "other"}"#).await;
    let expected = ["/_id not_writable", "/createdAt not_writable", "/workspaceId mismatch"];
    assert_refused(response, 422, "invalid_record", &expected).await;
    assert_eq!(server.get("c1", &[]).await.status, StatusCode::NOT_FOUND, "a refused write wrote something");
}

#[tokio::test]
async fn a_body_must_have_a_supported_content_type() {
    let server = Server::start().await;
    let accepted = [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=utf8;",
        "application/json; charset=\"us-ascii\"",
        "application/a+json",
        "application/cloudevents+json; profile=\"a; b\"",
        "application/merge-patch+json",
        "text/json",
    ];
    for accepted in accepted {
        let response = server.send(Method::PUT, PATH, &[("content-type", accepted)], "{}").await;
        assert!(response.status.is_success(), "{accepted}: {}", response.body);
    }
    let wrong = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/json; charset=ISO-8859-1",
        "application/jsonp",
        "application/+json",
        "image/a+json",
    ];
    for media_type in wrong {
        let response = server.send(Method::PUT, PATH, &[("content-type", media_type)], "{}").await;
        assert_refused(response, 415, "unsupported_media_type", &[]).await;
    }
    // Without a media type, the body is parsed as JSON.
    let unnamed = server.send(Method::PUT, PATH, &[], "{}").await;
    assert!(unnamed.status.is_success(), "{}", unnamed.body);
    assert_refused(server.send(Method::PUT, PATH, &[], "a=b").await, 400, "malformed_json", &[]).await;
    let response = server.send(Method::PUT, PATH, &[JSON, JSON], "{}").await;
    assert_refused(response, 400, "invalid_header", &["content-type repeated"]).await;
}

#[tokio::test]
async fn a_body_has_a_size_limit() {
    let server = Server::start().await;
    let of_size =
        |bytes: usize| format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "x".repeat(bytes - r#"{"metadata":{"a":""}}"#.len()));
    let most = 16 * 1024 * 1024;
    // The stored record has the same limit: every response can be written back.
    let refused = server.put("c1", &[], &of_size(most)).await;
    assert_refused(refused, 422, "invalid_record", &[" too_many_bytes"]).await;
    assert_eq!(server.put("c1", &[], &of_size(most - 300)).await.status, StatusCode::CREATED);
    let stored = server.get("c1", &[]).await;
    assert_eq!(server.put("c1", &[], &stored.body).await.header("etag"), stored.header("etag"));
    // The server reads up to twice the limit, so that the client receives the response.
    for bytes in [most + 1, 30 * 1024 * 1024] {
        let response = server.put("c1", &[], &of_size(bytes)).await;
        assert_refused(response, 413, "body_too_large", &[]).await;
    }
    // An error quotes only the start of a long value.
    let del = "\u{7f}".repeat(500_000);
    for body in [
        format!(r#"{{"createdAt": "{del}"}}"#),
        format!(r#"{{"{del}": 1}}"#),
        format!(r#"{{"metadata": {{"{del}": {{"a": 1, "a": 1}}}}}}"#),
    ] {
        let response = server.put("c1", &[], &body).await;
        assert_eq!(response.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(response.body.len() < 16_384, "{} bytes of refusal", response.body.len());
    }
}

/// Its memory is reserved while it arrives.
#[tokio::test]
async fn a_body_of_unknown_length_has_the_same_limit() {
    let server = Server::start().await;
    let chunked = |id: &str, bytes: usize| {
        let body = format!(r#"{{"summary":"{}"}}"#, "x".repeat(bytes - r#"{"summary":""}"#.len()));
        let chunks = body.as_bytes().chunks(700_000).map(|chunk| String::from_utf8_lossy(chunk).into_owned());
        let chunks: String = chunks.map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
        format!(
            "PUT /v2/api/call-history/{id} HTTP/1.1\r\nhost: x\r\nx-workspace-id: {WORKSPACE}\r\nconnection: close\r\n\
             content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
        )
    };
    for (id, bytes) in [("small", 100), ("large", 15 * 1024 * 1024)] {
        let response = server.raw(chunked(id, bytes).as_bytes()).await;
        assert!(response.starts_with("HTTP/1.1 201"), "{}", &response[..response.len().min(500)]);
        assert_eq!(server.get(id, &[]).await.json()["summary"].as_str().unwrap().len(), bytes - 14);
    }
    // Its share of the memory is released.
    for number in 0..4 {
        let response = server.raw(chunked(&format!("again{number}"), 2_000_000).as_bytes()).await;
        assert!(response.starts_with("HTTP/1.1 201"), "{}", &response[..response.len().min(500)]);
    }
    let response = server.raw(chunked("huge", 16 * 1024 * 1024 + 1).as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 413") || response.is_empty(), "{response}");
    assert_eq!(server.get("huge", &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn malformed_preconditions_and_idempotency_keys_are_refused() {
    let server = Server::start().await;
    let cases = [
        (Method::PUT, PATH, ("if-match", "nonsense")),
        (Method::PUT, PATH, ("if-none-match", "\"unclosed")),
        (Method::GET, PATH, ("if-none-match", "\"a\",")),
        // The library that compares tags panics if a tag contains white space.
        (Method::GET, PATH, ("if-none-match", "W/\" a\"")),
        (Method::PUT, PATH, ("if-match", "\"ä\"")),
    ];
    for (method, path, header) in cases {
        let response = server.send(method, path, &[JSON, header], "{}").await;
        assert_refused(response, 400, "invalid_header", &[&format!("{} malformed", header.0)]).await;
    }
    assert_eq!(server.put("c2", &[], "{}").await.status, StatusCode::CREATED, "writes have stopped");
    for lines in [["*", "*"], ["*", "\"a\""], ["\"a\"", "*"]] {
        let doubled = lines.map(|line| ("if-none-match", line));
        let response = server.put("c2", &doubled, r#"{"status": "failed"}"#).await;
        assert_refused(response, 400, "invalid_header", &["if-none-match malformed"]).await;
    }
    for name in ["if-match", "if-none-match"] {
        let response = server.post(&[(name, "*")], "{}").await;
        assert_refused(response, 400, "invalid_header", &[&format!("{name} unknown")]).await;
    }
    let response = server.get("c1", &[("if-match", "\"1\"")]).await;
    assert_refused(response, 400, "invalid_header", &["if-match unknown"]).await;
    let long = format!("\"{}\"", "1".repeat(8190));
    assert_eq!(server.get("c1", &[("if-none-match", &long)]).await.status, StatusCode::NOT_FOUND);
    let response = server.get("c1", &[("if-none-match", &format!("{long},\"2\""))]).await;
    assert_refused(response, 400, "invalid_header", &["if-none-match too_long"]).await;
    for tag in ["nonsense", "\"a b\""] {
        let response = server.send(Method::GET, "/openapi.json", &[("if-none-match", tag)], "").await;
        assert_refused(response, 400, "invalid_header", &["if-none-match malformed"]).await;
    }
    for key in ["", "two words", "ümlaut", &"k".repeat(256)] {
        let response = server.post(&[("idempotency-key", key)], "{}").await;
        assert_refused(response, 400, "invalid_header", &["idempotency-key malformed"]).await;
    }
    let response = server.post(&[("idempotency-key", "a"), ("idempotency-key", "a")], "{}").await;
    assert_refused(response, 400, "invalid_header", &["idempotency-key repeated"]).await;
}

#[tokio::test]
async fn unknown_routes_and_methods_return_problems() {
    let server = Server::start().await;
    for path in ["/", "/v2/api/call-history//", "/v2/api/call-history/a/b", "/v1/api/call-history/a", "/docs/../secret"]
    {
        let response = server.send(Method::GET, path, &[], "").await;
        assert_refused(response, 404, "route_not_found", &[]).await;
    }
    let response = server.send(Method::POST, PATH, &[], "").await;
    assert_eq!(response.header("allow"), "GET,HEAD,PUT,PATCH,DELETE");
    assert_refused(response, 405, "method_not_allowed", &[]).await;
    let response = server.send(Method::PUT, "/v2/api/call-history", &[], "").await;
    assert_eq!(response.header("allow"), "GET,HEAD,POST");
    assert_refused(response, 405, "method_not_allowed", &[]).await;
}

#[tokio::test]
async fn request_ids_are_kept_or_generated() {
    let server = Server::start().await;
    assert_eq!(server.get("c1", &[("x-request-id", "mine-1.2_3")]).await.header("x-request-id"), "mine-1.2_3");
    for invalid in ["", "a b", "<script>", &"r".repeat(129)] {
        let id = server.get("c1", &[("x-request-id", invalid)]).await.header("x-request-id").to_owned();
        assert_eq!(id.len(), 32, "{invalid} became {id}");
    }
    let doubled = server.get("c1", &[("x-request-id", "a"), ("x-request-id", "b")]).await;
    assert_eq!(doubled.header("x-request-id").len(), 32);
}
