//! Which requests are retried, how often, and when.

use std::time::Duration;

use callhistory_client::{CallFilter, model::examples};
use tokio::net::TcpListener;

use crate::{
    ID, builder, client, input, record,
    stub::{Reply, Stub},
};

fn good() -> Reply {
    Reply::json(200, examples::SOURCE_EXAMPLE)
}

#[tokio::test]
async fn transient_failures_are_retried() {
    let html = Reply::new(502, &["content-type: text/html"], "<h1>Bad gateway</h1>");
    let truncated = Reply::raw(200, &["content-length: 1000"], "{");
    for failure in [html, truncated, Reply::nothing(), Reply::new(408, &[], ""), Reply::new(429, &[], "")] {
        let stub = Stub::start([failure.clone(), good()]).await;
        assert_eq!(client(&stub.url).get_call(ID).await.unwrap().call, record(), "{failure:?}");
        assert_eq!(stub.seen().len(), 2);
    }
}

#[tokio::test]
async fn a_retried_create_keeps_its_key() {
    let stub = Stub::start([Reply::nothing(), Reply::new(503, &[], ""), good()]).await;
    client(&stub.url).create_call(&input()).await.unwrap();
    let seen = stub.seen();
    assert_eq!(seen.len(), 3);
    for later in &seen[1..] {
        assert_eq!(later.header("idempotency-key"), seen[0].header("idempotency-key"));
        assert_eq!(later.body, seen[0].body);
    }
}

#[tokio::test]
async fn retries_are_limited_and_back_off() {
    let stub = Stub::start(std::iter::repeat_n(Reply::new(503, &[], ""), 10)).await;
    let error = client(&stub.url).get_call(ID).await.unwrap_err();
    assert_eq!((stub.seen().len(), error.attempts(), error.is_retryable()), (4, 4, true));
    assert!(error.to_string().ends_with("(after 4 attempts, request id req-503)"), "{error}");
    let waits: Vec<_> = stub.seen().windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    for (wait, least) in waits.iter().zip([100, 200, 400]) {
        assert!(*wait >= Duration::from_millis(least), "{waits:?}");
    }
}

/// An error that is found after the last attempt counts the attempts as well.
#[tokio::test]
async fn a_response_that_cannot_be_read_counts_the_attempts() {
    let failed = || [Reply::new(503, &[], ""), Reply::new(503, &[], ""), Reply::json(200, "{}\n")];
    let stub = Stub::start(failed().into_iter().chain(failed())).await;
    let client = client(&stub.url);
    assert_eq!(client.get_call(ID).await.unwrap_err().attempts(), 3);
    let mut export = client.export_calls(CallFilter::default()).await.unwrap();
    assert_eq!(export.try_next().await.unwrap_err().attempts(), 3);
}

#[tokio::test]
async fn an_internal_error_is_not_retried() {
    let stub = Stub::start([Reply::new(500, &[], ""), good()]).await;
    let error = client(&stub.url).get_call(ID).await.unwrap_err();
    assert_eq!((error.status(), error.is_retryable(), stub.seen().len()), (Some(500), false, 1));
}

#[tokio::test]
async fn retry_after_delays_the_retry() {
    let stub = Stub::start([Reply::new(503, &["retry-after: 1"], ""), good()]).await;
    client(&stub.url).get_call(ID).await.unwrap();
    let seen = stub.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_long_retry_after_is_returned_to_the_caller() {
    let stub = Stub::start([Reply::new(429, &["retry-after: 61"], ""), good()]).await;
    let error = client(&stub.url).get_call(ID).await.unwrap_err();
    assert!(error.is_rate_limited() && error.is_retryable());
    assert_eq!((error.retry_after(), stub.seen().len()), (Some(Duration::from_secs(61)), 1));
}

#[tokio::test]
async fn a_refused_connection_is_retried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(&url).get_call(ID).await.unwrap_err();
    assert!(error.is_connect() && error.is_retryable() && !error.is_timeout());
    assert_eq!((error.attempts(), error.status()), (4, None));
    assert!(error.to_string().starts_with("cannot connect to the service: "), "{error}");
    let error = builder(&url).max_retries(0).build().unwrap().replace_call(ID, &input()).await.unwrap_err();
    assert_eq!(error.attempts(), 1);
}
