//! Concurrent writes, reads, exports and change feeds.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use callhistory_model::{CallInput, CallPatch, CallRecord, ChangeType, ExportQuery, ListQuery};
use callhistory_store::{CallStore, IdempotencyKey, ImportOptions, Precondition, StoreError, VersionSet, WrittenCall};
use callhistory_test_support::PATIENCE;
use fastrand::Rng;

use crate::conformance::{Database, at, id, if_match, input, put, workspace};

/// Creates a record with an idempotency key; retries while the store is busy.
async fn create_with_key(store: &dyn CallStore, call: &str, number: usize) -> WrittenCall {
    let json = format!(r#"{{"metadata":{{"key":{number}}}}}"#);
    let started = Instant::now();
    // Each may wait for thousands of others.
    while started.elapsed() < 5 * PATIENCE {
        let key = Some(IdempotencyKey(format!("key-{number}")));
        match store.create_call(&workspace("w"), &id(call), input(&json).into(), key, at(1)).await {
            Ok(written) => return written,
            Err(StoreError::Busy(_) | StoreError::Unavailable(_)) => {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the store stays busy");
}

/// Sends several creations with each idempotency key at once, over all stores of one database: all of a key get the same
/// response, and one record exists.
pub(crate) async fn create_concurrently(stores: &[Arc<dyn CallStore>], keys: usize, copies: usize) {
    let mut tasks = Vec::new();
    for number in 0..keys * copies {
        let (store, key) = (Arc::clone(&stores[number % stores.len()]), number % keys);
        tasks.push(tokio::spawn(async move {
            let written = create_with_key(&*store, &format!("c{number}"), key).await;
            (key, (written.id.to_string(), written.call.sequence, written.call.body))
        }));
    }
    let mut responses: HashMap<usize, HashSet<_>> = HashMap::new();
    for task in tasks {
        let (key, response) = task.await.unwrap();
        responses.entry(key).or_default().insert(response);
    }
    assert_eq!(responses.len(), keys);
    assert!(responses.values().all(|responses| responses.len() == 1), "a copy got another response");
    let query = ListQuery::new().include_total(true);
    assert_eq!(stores[0].list_calls(&workspace("w"), &query).await.unwrap().total, Some(keys as u64));
}

pub(crate) async fn concurrent_creations_with_one_key_create_one_record(database: &impl Database) {
    create_concurrently(&[database.open().await], 1000, 16).await;
}

/// Counts completed operations. On a busy machine, some are refused after a timeout.
fn count<T>(ended: &AtomicUsize, result: Result<T, StoreError>) {
    if let Err(error) = result {
        assert!(matches!(error, StoreError::Busy(_) | StoreError::Unavailable(_)), "{error}");
    }
    ended.fetch_add(1, Ordering::Relaxed);
}

/// 400 lists and 400 writes of one workspace are queued before one list and one write of another.
pub(crate) async fn a_busy_workspace_does_not_delay_a_quiet_one(database: &impl Database) {
    let store = database.open().await;
    let calls = (0..50).map(|number| (id(&format!("c{number}")), input(r#"{"analyzedData":{"score":1}}"#).into()));
    store.import_calls(&workspace("busy"), calls.collect(), ImportOptions::default(), at(1)).await.unwrap();
    put(&*store, "quiet", "c", "{}", 1).await;
    let ended = Arc::new(AtomicUsize::new(0));
    let mut busy = Vec::new();
    for number in 0..400 {
        let (reader, writer) = (Arc::clone(&store), Arc::clone(&store));
        let (read, written) = (Arc::clone(&ended), Arc::clone(&ended));
        busy.push(tokio::spawn(async move {
            // No record matches, and the store must examine all of them.
            let query = ListQuery::from_query("postAnalysis=%7B%22score%22%3A%7B%22gt%22%3A1%7D%7D").unwrap();
            count(&read, reader.list_calls(&workspace("busy"), &query).await);
        }));
        busy.push(tokio::spawn(async move {
            let calls =
                vec![(id(&format!("i{number}")), input("{}").into()), (id(&format!("j{number}")), input("{}").into())];
            count(&written, writer.import_calls(&workspace("busy"), calls, ImportOptions::default(), at(2)).await);
        }));
    }
    let first = async {
        while ended.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, first).await.unwrap();
    store.list_calls(&workspace("quiet"), &ListQuery::default()).await.unwrap();
    put(&*store, "quiet", "d", "{}", 2).await;
    let before = ended.load(Ordering::Relaxed);
    // In order of arrival, all 800 would have completed.
    assert!(before < 500, "{before} of the 800 completed before");
    for task in busy {
        task.await.unwrap();
    }
}

/// Writes at random to the records `v0` to `v99` until it is stopped.
async fn disturb(store: Arc<dyn CallStore>, seed: u64, stop: Arc<AtomicBool>) {
    let mut rng = Rng::with_seed(seed);
    while !stop.load(Ordering::Relaxed) {
        let call = id(&format!("v{}", rng.u8(0..100)));
        let start = 1_767_225_600 + rng.i64(0..500);
        let json = format!(r#"{{"startTime":{start},"agentId":"a","summary":"{}"}}"#, rng.u32(..));
        let any = Precondition::default();
        match rng.u8(0..4) {
            0 => drop(store.delete_call(&workspace("w"), &call, any, at(2)).await.unwrap()),
            1 => {
                let patch = CallPatch::from(input(&format!(r#"{{"agentId":"{}"}}"#, ["a", "b"][rng.usize(0..2)])));
                drop(store.update_call(&workspace("w"), &call, patch.into(), any, at(3)).await.unwrap());
            }
            _ => drop(store.replace_call(&workspace("w"), &call, input(&json).into(), any, at(4)).await.unwrap()),
        }
        // A steady record may change, as long as its position in the list does not.
        let steady = id(&format!("s{}", rng.u16(0..300)));
        let patch = CallPatch::from(input(&format!(r#"{{"summary":"{}"}}"#, rng.u32(..))));
        store.update_call(&workspace("w"), &steady, patch.into(), Precondition::default(), at(5)).await.unwrap();
    }
}

pub(crate) async fn pagination_during_writes_returns_each_steady_record_once(database: &impl Database) {
    let store = database.open().await;
    for number in 0..300 {
        let start = 1_767_225_600 + number * 7 % 500;
        let json = format!(r#"{{"startTime":{start},"agentId":"a","createdAt":"2026-01-01T00:0{}:00Z"}}"#, number % 10);
        put(&*store, "w", &format!("s{number}"), &json, 1).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..4).map(|seed| tokio::spawn(disturb(Arc::clone(&store), seed, Arc::clone(&stop)))).collect();
    for text in [
        "",
        "agentId=a",
        "sort=startTime",
        "sort=startTime&agentId=a,b",
        "sort=createdAt",
        "minCost=0",
        "search=nothing",
    ] {
        let expected = if text.contains("minCost") || text.contains("search") { 0 } else { 300 };
        for limit in [3, 50] {
            let mut query = ListQuery::from_query(&format!("{text}&limit={limit}")).unwrap();
            let mut seen: HashMap<String, u32> = HashMap::new();
            loop {
                let page = store.list_calls(&workspace("w"), &query).await.unwrap();
                for body in page.calls.iter() {
                    let call: CallRecord = serde_json::from_slice(body).unwrap();
                    *seen.entry(call.id.to_string()).or_default() += 1;
                }
                let Some(next) = page.next else { break };
                query.cursor = Some(next);
            }
            let steady: Vec<_> = seen.iter().filter(|(id, _)| id.starts_with('s')).collect();
            assert!(steady.iter().all(|(_, times)| **times == 1), "{text}: a record was repeated");
            assert_eq!(steady.len(), expected, "{text}: a record was left out");
        }
    }
    // An export is a snapshot.
    let mut export = store.export_calls(&workspace("w"), &ExportQuery::default()).await.unwrap();
    let mut seen = HashSet::new();
    while let Some(chunk) = export.recv().await {
        for line in chunk.unwrap().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let call: CallRecord = serde_json::from_slice(line).unwrap();
            assert!(seen.insert(call.id.to_string()), "{} is exported twice", call.id);
        }
    }
    assert_eq!(seen.iter().filter(|id| id.starts_with('s')).count(), 300);
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Applies all changes after a cursor; returns the cursor after them.
async fn follow(
    store: &dyn CallStore,
    mut cursor: Option<String>,
    table: &mut BTreeMap<String, Vec<u8>>,
    last: &mut u64,
) -> Option<String> {
    loop {
        let batch = store.list_call_changes(&workspace("w"), cursor.as_deref(), 17).await.unwrap();
        for change in &batch.changes {
            *last += 1;
            assert_eq!(change.sequence.unsigned_abs(), *last, "a change is missing or out of order");
            match (&change.kind, &change.body) {
                (ChangeType::Deleted, None) => drop(table.remove(change.id.as_str())),
                (ChangeType::Deleted, Some(_)) => panic!("a deletion has a record"),
                (_, Some(body)) => drop(table.insert(change.id.to_string(), body.to_vec())),
                (_, None) => {}
            }
        }
        cursor = Some(batch.cursor);
        if !batch.has_more {
            return cursor;
        }
    }
}

pub(crate) async fn a_follower_reconstructs_all_records(database: &impl Database) {
    let store = database.open().await;
    let stop = Arc::new(AtomicBool::new(false));
    for number in 0..300 {
        put(&*store, "w", &format!("s{number}"), "{}", 1).await;
        put(&*store, "other", &format!("s{number}"), "{}", 1).await;
    }
    let writers: Vec<_> =
        (0..16).map(|seed| tokio::spawn(disturb(Arc::clone(&store), seed, Arc::clone(&stop)))).collect();
    let (mut cursor, mut table, mut last) = (None, BTreeMap::new(), 0);
    for _ in 0..30 {
        cursor = follow(&*store, cursor, &mut table, &mut last).await;
        let here = workspace("w");
        let wait = store.wait_for_change(&here, cursor.as_deref().unwrap());
        tokio::time::timeout(PATIENCE, wait).await.unwrap().unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    // A cursor stays valid after the store is reopened.
    store.close().await;
    drop(store);
    let store = database.open().await;
    follow(&*store, cursor, &mut table, &mut last).await;
    let mut query = ListQuery::new().limit(1000);
    query.include_total = true;
    let page = store.list_calls(&workspace("w"), &query).await.unwrap();
    let actual: BTreeMap<_, _> = page
        .calls
        .iter()
        .map(|body| (serde_json::from_slice::<CallRecord>(body).unwrap().id.to_string(), body.to_vec()))
        .collect();
    assert_eq!(page.total, Some(actual.len() as u64));
    assert_eq!(table, actual);
}

pub(crate) async fn a_waiter_is_woken_only_by_its_workspace(database: &impl Database) {
    let store = database.open().await;
    let cursor = store.list_call_changes(&workspace("w"), None, 10).await.unwrap().cursor;
    let waiting = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.wait_for_change(&workspace("w"), &cursor).await })
    };
    put(&*store, "other", "c", "{}", 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    put(&*store, "w", "c", "{}", 1).await;
    tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
}

/// A failed write of a group does not change the full-text index.
pub(crate) async fn a_failed_write_does_not_change_a_list(database: &impl Database) {
    let store = database.open().await;
    for round in 0..20 {
        let write = |call: String, precondition: Precondition| {
            let store = Arc::clone(&store);
            async move {
                let json = format!(r#"{{"agentId":"a{round}","startTime":{round}}}"#);
                store.replace_call(&workspace("w"), &id(&call), input(&json).into(), precondition, at(1)).await.is_ok()
            }
        };
        let never = if_match(VersionSet::OneOf(vec![0]));
        let (good, refused, other) = tokio::join!(
            write("same".to_owned(), Precondition::default()),
            write("same".to_owned(), never),
            write(format!("c{round}"), Precondition::default()),
        );
        assert_eq!((good, refused, other), (true, false, true));
        let query = ListQuery::from_query(&format!("agentId=a{round}&includeTotal=true")).unwrap();
        assert_eq!(store.list_calls(&workspace("w"), &query).await.unwrap().total, Some(2));
        let deleted =
            store.delete_call(&workspace("w"), &id(&format!("c{round}")), Precondition::default(), at(1)).await;
        assert!(deleted.unwrap());
        assert_eq!(store.list_calls(&workspace("w"), &query).await.unwrap().total, Some(1));
    }
    let all = ListQuery::from_query("agentId=*&includeTotal=true").unwrap();
    assert_eq!(store.list_calls(&workspace("w"), &all).await.unwrap().total, Some(1));
    let input = CallInput::default();
    store.replace_call(&workspace("w"), &id("same"), input.into(), Precondition::default(), at(1)).await.unwrap();
    assert_eq!(store.list_calls(&workspace("w"), &all).await.unwrap().total, Some(0));
}

/// Exports that nobody reads hold permits of their workspace only.
pub(crate) async fn exports_of_one_workspace_do_not_block_others(database: &impl Database) {
    let store = database.open().await;
    let large = format!(r#"{{"metadata":{{"x":"{}"}}}}"#, "x".repeat(100_000));
    for number in 0..20 {
        put(&*store, "w", &format!("c{number}"), &large, 1).await;
    }
    let all = ExportQuery::default();
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(store.export_calls(&workspace("w"), &all).await.unwrap());
    }
    assert!(matches!(store.export_calls(&workspace("w"), &all).await, Err(StoreError::Busy(_))));
    let mut other = store.export_calls(&workspace("v"), &all).await.unwrap();
    assert!(other.recv().await.is_none());
    held.clear();
    // The permits are released once the exports notice that their reader is gone.
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match store.export_calls(&workspace("w"), &all).await {
            Ok(mut export) => {
                let mut bytes = 0;
                while let Some(chunk) = export.recv().await {
                    bytes += chunk.unwrap().len();
                }
                assert!(bytes > 2_000_000);
                return;
            }
            Err(StoreError::Busy(_)) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the permits are not released");
}
