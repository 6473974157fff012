//! Writing and reading single records.

use callhistory_client::{
    CallInput,
    model::{CallStatus, examples},
};
use reqwest::{Method, StatusCode};

use crate::harness::{CALLS, ID, PATIENCE, Response, Server, WORKSPACE};

/// Removes the white space between tokens. No string of the examples has an escaped quotation mark.
fn compact(json: &str) -> String {
    let mut in_string = false;
    json.chars()
        .filter(|c| {
            in_string ^= *c == '"';
            in_string || !c.is_whitespace()
        })
        .collect()
}

#[tokio::test]
async fn the_examples_are_returned_digit_for_digit() {
    let server = Server::start().await;
    for (id, example) in [(ID, examples::SOURCE_EXAMPLE), ("67375a0f2b8c4e001f3d9a11", examples::COMPLETE_EXAMPLE)] {
        let written = server.put(id, &[], example).await;
        assert_eq!((written.status, written.body), (StatusCode::CREATED, compact(example)));
        let read = server.get(id, &[]).await;
        assert_eq!((read.status, read.header("content-type")), (StatusCode::OK, "application/json"));
        assert_eq!(read.body, compact(example));
    }
}

#[tokio::test]
async fn the_sdk_reads_what_it_wrote() {
    let server = Server::start().await;
    let client = server.client();
    let written = client.replace_call(ID, &examples::source_input()).await.unwrap().call;
    assert_eq!(written, examples::source_example());
    let read = client.get_call(ID).await.unwrap();
    assert_eq!(read.call, examples::source_example());
    assert_eq!(read.call.cost.unwrap().customer_charge().unwrap().as_str(), "0.10");
    let missing = client.get_call("absent").await.unwrap_err();
    assert!(missing.is_not_found());
    assert_eq!(missing.problem().unwrap().code.as_str(), "call_not_found");
    assert_eq!(missing.request_id(), Some(missing.problem().unwrap().request_id.as_str()));
}

#[tokio::test]
async fn created_ids_are_hexadecimal_and_increase() {
    let server = Server::start().await;
    let client = server.client();
    let input = CallInput { status: Some(CallStatus::Ongoing), ..CallInput::default() };
    let mut ids = Vec::new();
    for _ in 0..20 {
        let created = client.create_call(&input).await.unwrap().call;
        assert_eq!(created.created_at.as_str(), "2026-01-01T00:00:00.000Z");
        assert_eq!(client.get_call(created.id.as_str()).await.unwrap().call, created);
        ids.push(created.id.to_string());
    }
    assert!(ids.iter().all(|id| id.len() == 24 && id.chars().all(|c| c.is_ascii_hexdigit() && !c.is_uppercase())));
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
}

#[tokio::test]
async fn a_creation_returns_its_location() {
    let server = Server::start().await;
    let created = server.post(&[], "{}").await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(server.send(Method::GET, &location(&created), &[], "").await.body, created.body);
    assert_eq!(created.json()["metadata"].to_string(), "{}");
    assert_eq!(created.json()["functionCalls"].to_string(), "[]");
    assert_eq!(created.json()["analyzedData"].to_string(), "{}");
    // A proxy may serve it under a path prefix.
    let outside = reqwest::Url::parse("https://example.com/voice/v2/api/call-history").unwrap();
    let path = outside.join(created.header("location")).unwrap().path().to_owned();
    assert_eq!(path, format!("/voice{}", location(&created)));
    let redirect = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let docs = redirect.get(server.url("/docs")).send().await.unwrap();
    let outside = reqwest::Url::parse("https://example.com/voice/docs").unwrap();
    assert_eq!(outside.join(docs.headers()["location"].to_str().unwrap()).unwrap().path(), "/voice/docs/");
}

/// The path of the created record.
fn location(created: &Response) -> String {
    let base = reqwest::Url::parse("http://server").unwrap().join(CALLS).unwrap();
    base.join(created.header("location")).unwrap().path().to_owned()
}

#[tokio::test]
async fn a_repeated_idempotency_key_returns_the_first_response() {
    let server = Server::start().await;
    let key = [("idempotency-key", "order-4711")];
    let first = server.post(&key, r#"{"status": "ongoing", "metadata": {"a": 1.0}}"#).await;
    // The order of members and white space do not make another request.
    let again = server.post(&key, r#"{"metadata":{"a":1.0},"status":"ongoing"}"#).await;
    assert_eq!((again.status, &again.body, again.header("etag")), (first.status, &first.body, first.header("etag")));
    assert_eq!(again.header("location"), first.header("location"));
    let other = server.post(&key, r#"{"status": "completed"}"#).await;
    assert_eq!((other.status, other.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"));
    server.send(Method::DELETE, &location(&first), &[], "").await;
    let deleted = server.post(&key, r#"{"status": "ongoing", "metadata": {"a": 1.0}}"#).await;
    assert_eq!((deleted.status, deleted.code().as_str()), (StatusCode::CONFLICT, "call_deleted"));
    let without = server.post(&[], r#"{"status": "ongoing", "metadata": {"a": 1.0}}"#).await;
    assert_ne!(without.header("location"), first.header("location"));
}

#[tokio::test]
async fn put_returns_201_for_a_creation_and_200_for_a_replacement() {
    let server = Server::start().await;
    assert_eq!(server.put(ID, &[], r#"{"status": "ongoing"}"#).await.status, StatusCode::CREATED);
    let replaced = server.put(ID, &[], r#"{"status": "completed"}"#).await;
    assert_eq!(replaced.status, StatusCode::OK);
    let again = server.put(ID, &[], r#"{"status": "completed"}"#).await;
    assert_eq!((again.status, again.header("etag")), (StatusCode::OK, replaced.header("etag")));
}

#[tokio::test]
async fn if_none_match_returns_304_until_the_record_changes() {
    let server = Server::start().await;
    let written = server.put(ID, &[], r#"{"status": "ongoing"}"#).await;
    let etag = written.header("etag");
    for condition in [etag, "*", &format!("\"other\", W/{etag}")] {
        let response = server.get(ID, &[("if-none-match", condition)]).await;
        assert_eq!((response.status, response.header("etag")), (StatusCode::NOT_MODIFIED, etag), "{condition}");
        assert_eq!(response.body, "");
    }
    server.put(ID, &[], r#"{"status": "completed"}"#).await;
    let changed = server.get(ID, &[("if-none-match", etag)]).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_ne!(changed.header("etag"), etag);
    assert_eq!(server.get("absent", &[("if-none-match", "*")]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn head_returns_the_headers_of_get() {
    let server = Server::start().await;
    server.put(ID, &[], examples::SOURCE_EXAMPLE).await;
    let path = format!("/v2/api/call-history/{ID}");
    let (get, head) = (server.get(ID, &[]).await, server.send(Method::HEAD, &path, &[], "").await);
    assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""));
    for name in ["etag", "content-type", "content-length"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    let absent = server.send(Method::HEAD, "/v2/api/call-history/absent", &[], "").await;
    assert_eq!(absent.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn conditional_writes_fail_after_a_change() {
    let server = Server::start().await;
    let refused = server.put(ID, &[("if-match", "*")], "{}").await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::PRECONDITION_FAILED, "precondition_failed"));
    let created = server.put(ID, &[("if-none-match", "*")], "{}").await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(server.put(ID, &[("if-none-match", "*")], "{}").await.status, StatusCode::PRECONDITION_FAILED);
    let etag = created.header("etag").to_owned();
    let mine = server.put(ID, &[("if-match", &etag)], r#"{"status": "ongoing"}"#).await;
    assert_eq!(mine.status, StatusCode::OK);
    let late = server.put(ID, &[("if-match", &etag)], r#"{"status": "failed"}"#).await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED);
    // A weak tag never matches in `If-Match`, and an unknown tag matches nothing.
    for tag in [format!("W/{}", mine.header("etag")), "\"abc\"".to_owned()] {
        assert_eq!(server.put(ID, &[("if-match", &tag)], "{}").await.status, StatusCode::PRECONDITION_FAILED, "{tag}");
    }
    assert_eq!(server.get(ID, &[]).await.json()["status"], "ongoing");
}

#[tokio::test]
async fn a_write_completes_after_its_client_disconnects() {
    use tokio::io::AsyncWriteExt as _;
    let server = Server::start().await;
    for n in 0..50 {
        let mut stream = server.connect().await;
        let head = format!(
            "PUT /v2/api/call-history/hung-{n} HTTP/1.1\r\nhost: x\r\nx-workspace-id: {WORKSPACE}\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The request is complete; the client disconnects before the response.
        drop(stream);
    }
    let deadline = std::time::Instant::now() + PATIENCE;
    for n in 0..50 {
        while server.get(&format!("hung-{n}"), &[]).await.status != StatusCode::OK {
            assert!(std::time::Instant::now() < deadline, "write {n} was lost");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn readyz_reports_a_closed_store() {
    let server = Server::start().await;
    assert_eq!(server.send(Method::GET, "/healthz", &[], "").await.body, r#"{"status":"alive"}"#);
    assert_eq!(server.send(Method::GET, "/readyz", &[], "").await.body, r#"{"status":"ready"}"#);
    server.store.close().await;
    let unready = server.send(Method::GET, "/readyz", &[], "").await;
    assert_eq!(unready.status, StatusCode::SERVICE_UNAVAILABLE);
    let reason = "store: does not take work; the log says why";
    assert_eq!((unready.code().as_str(), unready.json()["detail"].as_str()), ("unavailable", Some(reason)));
    assert_eq!(unready.header("retry-after"), "1");
    assert_eq!(server.send(Method::GET, "/healthz", &[], "").await.status, StatusCode::OK);
    assert_eq!(server.put(ID, &[], "{}").await.status, StatusCode::SERVICE_UNAVAILABLE);
}
