//! The follower of the change feed: it outlasts failures, loses no page, and stops when it should.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use callhistory_client::Changes;
use tokio::{sync::oneshot, time::timeout};

use crate::{
    builder, client,
    stub::{Reply, Stub},
};

const PATIENCE: Duration = Duration::from_secs(120);

fn page(version: u64) -> Reply {
    let change = format!(r#"{{"type":"created","_id":"a","version":{version},"at":"2026-01-01T00:00:00Z"}}"#);
    Reply::json(200, &format!(r#"{{"changes":[{change}],"cursor":"c{version}","hasMore":false}}"#))
}

fn idle() -> Reply {
    Reply::json(200, r#"{"changes":[],"cursor":"c1","hasMore":false}"#)
}

async fn cursor(changes: &mut Changes) -> String {
    timeout(PATIENCE, changes.try_next()).await.unwrap().unwrap().unwrap().cursor
}

/// More failures than the retries of its client: it goes on at its cursor, and reports each.
#[tokio::test]
async fn a_follower_outlasts_an_outage() {
    let failures = [Reply::nothing(), Reply::new(503, &[], ""), Reply::new(429, &[], "")];
    let script = [page(1), idle()].into_iter().chain(failures).chain([page(2)]);
    let stub = Stub::start(script).await;
    let outages = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&outages);
    let client = builder(&stub.url).max_retries(1).build().unwrap();
    let changes = client.follow_changes(Some("c0".to_owned()));
    let mut changes = changes.on_outage(move |error| seen.lock().unwrap().push((error.attempts(), error.status())));
    assert_eq!(cursor(&mut changes).await, "c1");
    assert_eq!(cursor(&mut changes).await, "c2");
    let outages = outages.lock().unwrap().clone();
    assert_eq!(outages, [(1, None), (2, Some(503)), (3, Some(429))]);
    let lines: Vec<_> = stub.seen().iter().map(|seen| seen.line.clone()).collect();
    assert_eq!(lines[0], "GET /v2/api/call-history/changes?cursor=c0&wait=55");
    assert!(lines[1..].iter().all(|line| line == "GET /v2/api/call-history/changes?cursor=c1&wait=55"), "{lines:?}");
}

#[tokio::test]
async fn a_permanent_error_is_returned_and_the_next_call_repeats_the_request() {
    let stub = Stub::start([Reply::new(401, &[], ""), page(1)]).await;
    let mut changes = client(&stub.url).follow_changes(None);
    assert!(changes.try_next().await.unwrap_err().is_unauthorized());
    assert_eq!(cursor(&mut changes).await, "c1");
}

#[tokio::test]
async fn a_long_poll_outlasts_the_timeouts_of_the_client() {
    let stub = Stub::start([page(1).delayed(Duration::from_secs(1))]).await;
    let short = Duration::from_millis(300);
    let client = builder(&stub.url).timeout(short).read_timeout(short).build().unwrap();
    assert_eq!(cursor(&mut client.follow_changes(None)).await, "c1");
    assert_eq!(stub.seen().len(), 1);
}

/// A caller that selects between the next page and something else.
#[tokio::test]
async fn a_dropped_wait_loses_no_page() {
    let stub = Stub::start([page(1).delayed(Duration::from_secs(1)), page(2)]).await;
    let mut changes = client(&stub.url).follow_changes(None);
    assert!(timeout(Duration::from_millis(50), changes.next()).await.is_err());
    assert_eq!(cursor(&mut changes).await, "c1");
    assert_eq!(cursor(&mut changes).await, "c2");
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test]
async fn a_follower_stops_between_pages() {
    let stub = Stub::start([page(1), Reply::nothing().hold()]).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let mut changes = client(&stub.url).follow_changes(None).stop_on(async { drop(stopped.await) });
    assert_eq!(cursor(&mut changes).await, "c1");
    let (end, ()) = tokio::join!(timeout(PATIENCE, changes.next()), async { stop.send(()).unwrap() });
    assert!(end.unwrap().is_none() && changes.next().await.is_none());
}
