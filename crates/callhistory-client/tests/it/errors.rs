//! The predicates and messages of errors.

use std::{error::Error as _, time::Duration};

use callhistory_client::{ClientBuilder, Error, ProblemCode, model::examples};

use crate::{
    ID, builder, client, input,
    stub::{Reply, Stub},
};

const INVALID: &str = r#"{"type": "urn:callhistory:problem:invalid_record", "title": "The record breaks rules",
    "status": 422, "code": "invalid_record", "detail": "The summary is Alice's secret", "requestId": "req-1",
    "errors": [{"pointer": "/metadata/+15550100", "code": "too_deep", "detail": "is Alice's secret"}]}"#;

async fn get(reply: Reply) -> (Error, usize) {
    let stub = Stub::start([reply]).await;
    let error = client(&stub.url).get_call(ID).await.unwrap_err();
    (error, stub.seen().len())
}

#[tokio::test]
async fn not_found_carries_the_problem() {
    let body = r#"{"type": "urn:callhistory:problem:call_not_found", "title": "No such record", "status": 404,
        "code": "call_not_found", "detail": "This workspace has no such record.", "requestId": "req-404"}"#;
    let (error, requests) = get(Reply::problem(404, body)).await;
    assert!(error.is_not_found() && !error.is_retryable() && !error.is_invalid_request());
    assert_eq!((error.status(), requests, error.attempts()), (Some(404), 1, 1));
    assert_eq!(error.code(), Some(&ProblemCode::CallNotFound));
    assert_eq!(error.request_id(), Some("req-404"));
    assert_eq!(error.to_string(), "the service responded 404 call_not_found: No such record (request id req-404)");
}

#[tokio::test]
async fn the_message_has_pointers_and_no_content() {
    let stub = Stub::start([Reply::problem(422, INVALID)]).await;
    let error = client(&stub.url).replace_call(ID, &input()).await.unwrap_err();
    assert!(error.is_invalid_request() && !error.was_accepted());
    assert_eq!(error.problem().unwrap().errors.len(), 1);
    let expected = "the service responded 422 invalid_record: The record breaks rules: /metadata too_deep";
    assert_eq!(error.to_string(), format!("{expected} (request id req-422)"));
}

#[tokio::test]
async fn each_status_has_its_predicate() {
    type Predicate = fn(&Error) -> bool;
    let cases: [(u16, Predicate); 10] = [
        (400, Error::is_invalid_request),
        (413, Error::is_invalid_request),
        (415, Error::is_invalid_request),
        (401, Error::is_unauthorized),
        (403, Error::is_forbidden),
        (409, Error::is_conflict),
        (412, Error::is_precondition_failed),
        (429, Error::is_rate_limited),
        (504, Error::is_timeout),
        (503, Error::is_retryable),
    ];
    for (status, predicate) in cases {
        let stub = Stub::start([Reply::new(status, &["content-type: text/html"], "<h1>secret</h1>")]).await;
        let error = builder(&stub.url).max_retries(0).build().unwrap().get_call(ID).await.unwrap_err();
        assert!(predicate(&error), "{status}: {error:?}");
        assert_eq!((error.status(), error.problem()), (Some(status), None));
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (error, requests) = get(Reply::new(307, &["location: /elsewhere"], "")).await;
    assert_eq!((error.status(), requests), (Some(307), 1));
    assert!(error.to_string().contains("redirects are not followed"), "{error}");
}

#[tokio::test]
async fn an_invalid_id_is_refused_before_a_request_is_sent() {
    let stub = Stub::start([]).await;
    let client = client(&stub.url);
    for id in ["", "a/b", "..", "metrics", "a?b"] {
        let error = client.get_call(id).await.unwrap_err();
        assert!(error.is_invalid_request() && error.source().is_some(), "{error:?}");
        assert!(client.replace_call(id, &input()).await.unwrap_err().is_invalid_request());
    }
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn a_response_with_a_too_large_content_length_is_not_read() {
    let length = format!("content-length: {}", ClientBuilder::MAX_RECORD_BYTES + 1);
    let (error, requests) = get(Reply::raw(200, &[&length], "").hold()).await;
    assert_eq!((error.status(), requests, error.is_retryable()), (Some(200), 1, false));
    assert!(error.to_string().contains("more than 67108864 bytes"), "{error}");
}

#[tokio::test]
async fn a_response_that_grows_too_large_is_not_read_to_its_end() {
    let (error, requests) = get(Reply::raw(200, &[], &" ".repeat(ClientBuilder::MAX_RECORD_BYTES + 1)).hold()).await;
    assert_eq!((error.status(), requests), (Some(200), 1));
    assert!(error.to_string().contains("more than 67108864 bytes"), "{error}");
}

#[tokio::test]
async fn an_invalid_record_is_not_quoted_in_the_error() {
    let wrong = examples::SOURCE_EXAMPLE.replace("1680000000", r#""+15550100""#);
    let (error, requests) = get(Reply::json(200, &wrong)).await;
    assert_eq!((error.status(), requests, error.was_accepted()), (Some(200), 1, false));
    assert!(!error.to_string().contains("+15550100"), "{error}");
    assert!(error.to_string().contains(", in startTime"), "{error}");
    assert!(error.source().is_some());
}

#[tokio::test]
async fn a_write_with_a_truncated_response_was_accepted_and_is_not_retried() {
    let broken = || Reply::raw(201, &["content-length: 1000"], "{\"_id\": ");
    let stub = Stub::start([broken(), broken()]).await;
    let client = client(&stub.url);
    for error in [client.replace_call(ID, &input()).await.unwrap_err(), client.create_call(&input()).await.unwrap_err()]
    {
        assert!(error.was_accepted() && !error.is_retryable(), "{error:?}");
        assert_eq!((error.status(), error.request_id(), error.attempts()), (Some(201), Some("req-201"), 1));
        assert!(error.to_string().contains("accepted the write"), "{error}");
    }
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test]
async fn each_time_limit_causes_a_timeout_error() {
    // The head of the second response must arrive within this limit.
    let short = Duration::from_secs(2);
    let stalled = || [Reply::nothing().hold(), Reply::raw(200, &["content-length: 1000"], "{").hold()];
    for limit in [ClientBuilder::timeout, ClientBuilder::read_timeout] {
        let stub = Stub::start(stalled()).await;
        let client = limit(builder(&stub.url), short).max_retries(0).build().unwrap();
        let silent = client.get_call(ID).await.unwrap_err();
        assert!(silent.is_timeout() && silent.is_retryable() && !silent.is_connect(), "{silent:?}");
        assert_eq!(silent.to_string(), "the service did not respond in time");
        let stalled = client.replace_call(ID, &input()).await.unwrap_err();
        assert!(stalled.is_timeout() && stalled.was_accepted(), "{stalled:?}");
    }
}
