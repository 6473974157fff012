//! What the server has besides faults.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use callhistory_client::{CallInput, CallStatus, ListQuery};
use callhistory_test_server::{Scope, TestServer};
use chrono::DateTime;

#[tokio::test]
async fn keys_records_and_the_clock_are_chosen() {
    let busy = CallInput { status: Some(CallStatus::Busy), ..CallInput::default() };
    let builder = TestServer::builder().require_keys().record("one", "a1", busy.clone()).record("two", "a2", busy);
    let server = builder.clock(|| DateTime::from_timestamp(1_767_225_600, 0).unwrap()).start().unwrap();
    let call = server.client("one").unwrap().get_call("a1").await.unwrap().call;
    assert_eq!((call.status, call.created_at.as_str()), (Some(CallStatus::Busy), "2026-01-01T00:00:00.000Z"));

    let key = server.api_key("one", &[Scope::CallsRead]).unwrap();
    let client = |workspace: &str| server.client_builder(workspace).api_key(&key).build().unwrap();
    assert_eq!(client("one").list_calls(&ListQuery::default()).await.unwrap().calls.len(), 1);
    assert!(client("one").delete_call("a1").await.unwrap_err().is_forbidden());
    assert!(client("two").get_call("a2").await.unwrap_err().is_forbidden());
}

#[test]
fn a_seed_or_key_that_is_wrong_is_an_error() {
    let error = TestServer::builder().record("one", "a/1", CallInput::default()).start().unwrap_err();
    assert!(error.to_string().starts_with("the test server cannot start: "), "{error}");
    let server = TestServer::start().unwrap();
    assert!(server.api_key("one", &[Scope::CallsRead]).unwrap_err().to_string().contains("require_keys"));
}

/// Without a runtime, and as often as a test needs it.
#[test]
fn servers_are_independent_and_end_when_they_are_dropped() {
    let ask = |server: &TestServer| {
        let mut stream = TcpStream::connect(server.url().trim_start_matches("http://")).unwrap();
        let target = "GET /v2/api/call-history HTTP/1.1\r\nhost: 127.0.0.1\r\n";
        write!(stream, "{target}x-workspace-id: one\r\nconnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    };
    let seeded = TestServer::builder().record("one", "a1", CallInput::default()).start().unwrap();
    let empty = TestServer::start().unwrap();
    assert!(ask(&seeded).contains("\"a1\"") && ask(&empty).ends_with("[]"));
    let address = empty.url().trim_start_matches("http://").to_owned();
    drop(empty);
    assert!(TcpStream::connect(address).is_err());
    assert!(ask(&seeded).contains("\"a1\""));
}
