//! The change feed over HTTP: pages, long polls, streams.

use std::time::{Duration, Instant};

use callhistory_client::{CallInput, CallPatch, CallStatus, ChangesQuery, Version};
use reqwest::{Method, StatusCode};

use crate::{
    contract::check_schema,
    harness::{Response, Server, WORKSPACE},
};

const CHANGES: &str = "/v2/api/call-history/changes";
const STREAM: (&str, &str) = ("accept", "text/event-stream");

async fn changes(server: &Server, query: &str) -> Response {
    server.send(Method::GET, &format!("{CHANGES}?{query}"), &[], "").await
}

fn cursor(response: &Response) -> String {
    response.json()["cursor"].as_str().unwrap().to_owned()
}

fn input(status: CallStatus) -> CallInput {
    CallInput { status: Some(status), ..CallInput::default() }
}

#[tokio::test]
async fn changes_are_ordered_and_the_last_one_has_the_record() {
    let server = Server::start().await;
    let client = server.client();
    client.replace_call("a", &input(CallStatus::Ongoing)).await.unwrap();
    client.replace_call("b", &input(CallStatus::Ongoing)).await.unwrap();
    client.update_call("a", &CallPatch::from(input(CallStatus::Completed))).await.unwrap();
    client.delete_call("b").await.unwrap();
    let late = client.update_call("a", &CallPatch::from(input(CallStatus::Ongoing))).await.unwrap_err();
    assert!(late.is_conflict() && late.problem().unwrap().code.as_str() == "final_status", "{late:?}");
    assert!(client.delete_call("b").await.unwrap_err().is_not_found());
    assert!(client.if_absent().replace_call("a", &CallInput::default()).await.unwrap_err().is_precondition_failed());
    let page = client.list_call_changes(&ChangesQuery::default()).await.unwrap();
    let seen: Vec<_> = page
        .changes
        .iter()
        .map(|change| (change.kind.as_str(), change.id.as_str(), change.version, change.call.is_some()))
        .collect();
    assert_eq!(
        seen,
        [("created", "a", 1, false), ("created", "b", 2, false), ("updated", "a", 3, true), ("deleted", "b", 4, false)]
    );
    assert_eq!(page.changes[2].call.as_ref().unwrap().status, Some(CallStatus::Completed));
    assert!(!page.has_more);
    assert_eq!(Version::of_change(&page.changes[3]), None);
    let version = Version::of_change(&page.changes[2]).unwrap();
    assert_eq!(client.get_call("a").await.unwrap().version().unwrap(), &version);
    // With the version of the final status as precondition, the status can be reopened once.
    let seen = client.if_version(&version);
    let reopened = CallPatch::from(input(CallStatus::Ongoing));
    assert_eq!(seen.update_call("a", &reopened).await.unwrap().status, Some(CallStatus::Ongoing));
    assert!(seen.delete_call("a").await.unwrap_err().is_precondition_failed());
    let page = client.list_call_changes(&ChangesQuery::new().cursor(page.cursor)).await.unwrap();
    assert_eq!(page.changes.len(), 1);
    let first = changes(&server, "limit=4").await;
    assert_eq!((first.json()["hasMore"].clone(), first.json()["changes"].as_array().unwrap().len()), (true.into(), 4));
    let rest = changes(&server, &format!("cursor={}", cursor(&first))).await;
    assert_eq!((rest.json()["changes"][0]["_id"].clone(), cursor(&rest)), ("a".into(), page.cursor.clone()));
    let latest = changes(&server, "cursor=latest").await;
    assert_eq!((latest.json()["changes"].clone(), cursor(&latest)), (serde_json::json!([]), page.cursor));
}

#[tokio::test]
async fn a_wait_ends_with_a_change_or_a_timeout() {
    let server = Server::start().await;
    let start = cursor(&changes(&server, "").await);
    let begun = Instant::now();
    let none = changes(&server, &format!("cursor={start}&wait=1")).await;
    assert!(begun.elapsed() >= Duration::from_secs(1) && none.json()["changes"].as_array().unwrap().is_empty());
    assert_eq!(cursor(&none), start);
    let begun = Instant::now();
    let query = format!("cursor={start}&wait=60");
    let waiting = changes(&server, &query);
    let writing = async {
        server.wait_for_request("wait=60").await;
        server.client().replace_call("a", &CallInput::default()).await.unwrap();
    };
    let (response, ()) = tokio::join!(waiting, writing);
    assert!(begun.elapsed() < Duration::from_secs(50), "the change did not end the wait");
    assert_eq!(response.json()["changes"][0]["_id"], "a");
}

#[tokio::test]
async fn a_stream_resumes_after_last_event_id() {
    let server = Server::start().await;
    let client = server.client();
    for id in ["a", "b", "c"] {
        client.replace_call(id, &CallInput::default()).await.unwrap();
    }
    let response = server.first_events(CHANGES, &[("x-workspace-id", WORKSPACE), STREAM], 3).await;
    assert_eq!(response.header("content-type"), "text/event-stream");
    let line = |name: &str, body: &str| -> Vec<String> {
        body.lines().filter_map(|line| line.strip_prefix(name)).map(str::to_owned).collect()
    };
    let data = line("data: ", &response.body);
    data.iter().for_each(|change| check_schema("CallChange", change));
    assert_eq!(line("event: ", &response.body), ["created"; 3]);
    // Generated clients name every media type of the operation, and read the body to its end.
    for accept in ["text/event-stream;q=0", "application/json, text/event-stream, application/problem+json"] {
        let page = server.send(Method::GET, CHANGES, &[("accept", accept)], "").await;
        assert_eq!(page.header("content-type"), "application/json", "{accept}");
    }
    let ids = line("id: ", &response.body);
    // The first ID is the cursor at which the stream starts.
    let headers = [("x-workspace-id", WORKSPACE), STREAM, ("last-event-id", ids[2].as_str())];
    let rest = server.first_events(CHANGES, &headers, 1).await;
    assert!(line("data: ", &rest.body)[0].contains("\"_id\":\"c\""), "{}", rest.body);
    for (path, headers) in [
        (format!("{CHANGES}?wait=1"), vec![STREAM]),
        (format!("{CHANGES}?limit=1"), vec![STREAM]),
        (format!("{CHANGES}?cursor=nothing"), vec![STREAM]),
        (CHANGES.to_owned(), vec![STREAM, ("last-event-id", "nothing")]),
        (CHANGES.to_owned(), vec![("last-event-id", "nothing")]),
        (format!("{CHANGES}?wait=61"), vec![]),
    ] {
        assert_eq!(server.send(Method::GET, &path, &headers, "").await.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn the_sdk_follows_changes_during_writes() {
    let server = Server::start().await;
    let client = server.client();
    let writer = {
        let client = server.client();
        async move {
            for number in 0..50 {
                client.replace_call(&format!("c{number}"), &CallInput::default()).await.unwrap();
            }
        }
    };
    let reader = async {
        let (mut seen, mut cursor) = (Vec::new(), None);
        while seen.len() < 50 {
            // Each iteration opens a new stream at the last cursor.
            let mut pages = client.follow_changes(cursor.clone());
            let page = pages.try_next().await.unwrap().unwrap();
            seen.extend(page.changes.iter().map(|change| change.version));
            cursor = Some(page.cursor);
        }
        seen
    };
    let (seen, ()) = tokio::join!(reader, writer);
    assert_eq!(seen, (1..=50).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_shutdown_ends_streams_and_waits() {
    let mut server = Server::start().await;
    let start = cursor(&changes(&server, "").await);
    let path = server.url(&format!("{CHANGES}?cursor={start}"));
    let request = |path: &str| reqwest::Client::new().get(path).header("x-workspace-id", WORKSPACE);
    let mut stream = request(&path).header(STREAM.0, STREAM.1).send().await.unwrap();
    let wait = tokio::spawn(request(&format!("{path}&wait=60")).send());
    server.wait_for_request("wait=60").await;
    let begun = Instant::now();
    server.stop.cancel();
    while stream.chunk().await.expect("the stream is aborted").is_some() {}
    assert_eq!(wait.await.unwrap().unwrap().status(), StatusCode::OK);
    (&mut server.task).await.unwrap();
    // Far less than the minute of the wait.
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
}
