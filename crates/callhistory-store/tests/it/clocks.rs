//! The promises of `CallStore` with a clock that jumps.

use std::collections::HashSet;

use callhistory_model::{CallInput, CallPatch, CallRecord, Handling, ListQuery};
use callhistory_store::{IdempotencyKey, ImportOptions, Precondition, StoreError};

use crate::conformance::{Database, at, id, input, put, record, workspace};

/// The clock jumps a day ahead, is corrected, and jumps again: a creation that is repeated within 24 hours creates no second record.
pub(crate) async fn an_idempotency_key_outlives_a_jump_of_the_clock(database: &impl Database) {
    let store = database.open().await;
    let create = |call: String, key: &str, time: &str| {
        let (store, key, time) = (store.clone(), Some(IdempotencyKey(key.to_owned())), time.parse().unwrap());
        async move {
            store.create_call(&workspace("w"), &id(&call), CallInput::default().into(), key, time).await.unwrap().id
        }
    };
    let first = create("first".to_owned(), "k", "2026-01-01T00:00:00Z").await;
    // Each creation with a key deletes keys that are not needed any more.
    for number in 0..40 {
        create(format!("other-{number}"), &format!("other {number}"), "2026-01-02T10:00:00Z").await;
    }
    for time in ["2026-01-02T10:00:00Z", "2026-01-01T01:00:00Z", "2026-01-02T23:00:00Z", "2026-01-01T23:59:59Z"] {
        assert_eq!(create("second".to_owned(), "k", time).await, first, "{time}");
    }
}

/// With a clock that jumps anywhere, over restarts: a reader who asks for what was updated since the last `updatedAt` that it has
/// seen gets every change, and no record has the same `updatedAt` twice.
pub(crate) async fn times_of_changes_do_not_go_back(database: &impl Database) {
    let mut store = database.open().await;
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut seen, mut last) = (HashSet::new(), at(0));
    for step in 0..200 {
        if step % 50 == 49 {
            store.close().await;
            drop(store);
            store = database.open().await;
        }
        let (call, now) = (id(&format!("c{}", rng.u8(0..4))), at(rng.u8(0..40)));
        let any = Precondition::default;
        let ws = workspace("w");
        let written = match rng.u8(0..6) {
            0 => {
                store.delete_call(&ws, &call, any(), now).await.unwrap();
                continue;
            }
            1 => {
                let patch =
                    CallPatch::parse(format!(r#"{{"summary":"{step}"}}"#).as_bytes(), Handling::Strict).unwrap();
                let Some(written) = store.update_call(&ws, &call, patch.into(), any(), now).await.unwrap() else {
                    continue;
                };
                written.call
            }
            2 => {
                let calls = vec![(call.clone(), input(&format!(r#"{{"summary":"{step}"}}"#)).into())];
                let options = ImportOptions { restores_deleted: true, ..ImportOptions::default() };
                store.import_calls(&ws, calls, options, now).await.unwrap();
                store.get_call(&ws, &call).await.unwrap().unwrap()
            }
            3 => {
                let (call, key) = (id(&format!("new-{step}")), IdempotencyKey(step.to_string()));
                store.create_call(&ws, &call, CallInput::default().into(), Some(key), now).await.unwrap().call
            }
            _ => put(&*store, "w", call.as_str(), &format!(r#"{{"summary":"{step}"}}"#), rng.u8(0..40)).await.call,
        };
        let after: CallRecord = serde_json::from_slice(&written.body).unwrap();
        let query = ListQuery::from_query(&format!("updatedAfter={last}&sort=updatedAt&limit=1000")).unwrap();
        let page = store.list_calls(&ws, &query).await.unwrap();
        assert!(
            page.calls.iter().any(|body| body == written.body),
            "step {step}: {} is not after {last}",
            after.updated_at
        );
        assert!(
            seen.insert((after.id.to_string(), after.updated_at.unix_nanos())),
            "step {step}: {} again",
            after.updated_at
        );
        assert!(after.created_at.unix_nanos() <= after.updated_at.unix_nanos());
        last = after.updated_at;
    }
    // Also in the feed. A time that a caller sets has no effect on others.
    let far = record(&put(&*store, "w", "far", r#"{"updatedAt": "2259-12-31T23:59:59.999999999Z"}"#, 1).await);
    let further = record(&put(&*store, "w", "far", r#"{"summary": "1"}"#, 1).await);
    assert_eq!(far.updated_at.unix_nanos(), further.updated_at.unix_nanos(), "there is no later time");
    let near = record(&put(&*store, "w", "near", "{}", 1).await);
    assert!((last.unix_nanos()..at(41).unix_nanos()).contains(&near.updated_at.unix_nanos()), "{}", near.updated_at);
    let changes = store.list_call_changes(&workspace("w"), None, 1000).await.unwrap().changes;
    assert!(changes.len() > 150 && changes.is_sorted_by_key(|change| change.at.unix_nanos()));
}

pub(crate) async fn a_generated_id_is_not_older_than_the_last_change(database: &impl Database) {
    let store = database.open().await;
    put(&*store, "w", "c", "{}", 30).await;
    let create = |ws: &'static str, call: String, second: u8| {
        let store = store.clone();
        async move { store.create_call(&workspace(ws), &id(&call), CallInput::default().into(), None, at(second)).await }
    };
    let generated = |millis: i64| format!("{:012x}{:012x}", at(0).unix_nanos() / 1_000_000 + millis, 7);
    let Err(StoreError::ClockBehind(last_change)) = create("w", generated(10_000), 10).await else {
        panic!("an ID from before the last change was accepted");
    };
    assert_eq!(last_change, at(30));
    for (ws, call) in [("w", generated(30_000)), ("w", generated(29_500)), ("w", "of-the-caller".to_owned())] {
        create(ws, call, 10).await.unwrap();
    }
    create("v", generated(10_000), 10).await.unwrap();
    // The time of an ID ahead of the clock counts, so that the next server can start after it.
    create("w", generated(40_000), 10).await.unwrap();
    let next = create("w", generated(35_000), 10).await;
    assert!(matches!(next, Err(StoreError::ClockBehind(last_change)) if last_change == at(40)));
}
