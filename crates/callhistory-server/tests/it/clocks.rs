//! A service whose clock jumps, over restarts.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use axum::{Router, body::Body, extract::Request};
use callhistory_server::{AppState, router};
use chrono::{DateTime, Utc};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::harness::{CALLS, counter};

/// The clock of this test, in seconds since 1970.
static NOW: AtomicI64 = AtomicI64::new(1_767_225_600);
const HOUR: i64 = 3600;

fn clock() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW.load(Ordering::Relaxed), 0).unwrap()
}

async fn send(app: &Router, method: &str, target: &str, key: Option<&str>, body: &str) -> Value {
    let request = Request::builder().method(method).uri(format!("{CALLS}{target}"));
    let request = request.header("host", "localhost").header("x-workspace-id", "w");
    let request = request.header("content-type", "application/json");
    let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
    let response = app.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let (status, body) = (response.status(), response.into_body().collect().await.unwrap().to_bytes());
    assert!(status.is_success(), "{status} {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

/// IDs rise, a poller by `updatedAt` sees each change, and a repeated creation creates no second record.
#[tokio::test]
async fn a_clock_that_jumps_breaks_no_promise() {
    let directory = TempDir::new().unwrap();
    let url = format!("sqlite:{}", directory.path().join("callhistory.db").display());
    let store = callhistory_store::open(&url.parse().unwrap()).await.unwrap();
    let text = |json: &Value, name: &str| json[name].as_str().unwrap().to_owned();
    let start = || router(Arc::new(AppState::new(Arc::clone(&store), clock, counter)));
    let first = send(&start(), "POST", "", Some("first"), "{}").await;
    let (mut last_id, mut seen) = (String::new(), text(&first, "updatedAt"));
    let mut times = HashSet::new();
    // A day ahead, corrected, then behind, by steps that a restart follows each time.
    for step in [0, HOUR, 23 * HOUR, -24 * HOUR, 0, -30 * HOUR, 1, 0, 60] {
        NOW.fetch_add(step, Ordering::Relaxed);
        let app = start();
        for number in 0..2 {
            let created = send(&app, "POST", "", Some(&format!("{step}.{number}.{last_id}")), "{}").await;
            let id = text(&created, "_id");
            assert!(id > last_id, "{id} does not sort after {last_id}, by a step of {step}");
            last_id = id;
            let body = format!(r#"{{"summary":"{last_id}"}}"#);
            let changed = send(&app, "PUT", "/polled", None, &body).await;
            let target = format!("?updatedAfter={seen}&sort=updatedAt&limit=1000");
            let polled = send(&app, "GET", &target, None, "").await;
            for record in [&created, &changed] {
                assert!(polled.as_array().unwrap().contains(record), "after {seen} there is no {record}");
            }
            seen = text(&changed, "updatedAt");
            assert!(times.insert(seen.clone()), "two changes of a record have the time {seen}");
        }
        let again = send(&app, "POST", "", Some("first"), "{}").await;
        assert_eq!(again["_id"], first["_id"], "by a step of {step} a second record was created");
    }
}
