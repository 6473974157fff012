//! A fail-over to a standby that lagged loses acknowledged writes. No version is issued twice after it, and followers learn that
//! they must start again.

use std::{collections::BTreeSet, time::Duration};

use callhistory_model::ListQuery;
use callhistory_store::{CallStore, Epoch, Precondition, StoreError, VersionSet};
use callhistory_test_support::{PATIENCE, postgres::Cluster};
use tokio::time::{Instant, sleep};

use super::{CLUSTER, client, empty};
use crate::{
    conformance::{at, id, if_match, input, put, workspace},
    databases::{diagnose, open},
};

/// Waits until a query returns true.
async fn wait_until(url: &str, query: &str) {
    let client = client(url).await;
    let deadline = Instant::now() + PATIENCE;
    while !client.query_one(query, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(Instant::now() < deadline, "{query} stays false");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Writes a record and repeats it while the servers fail over; returns its sequence.
async fn put_patiently(store: &dyn CallStore, call: &str) -> i64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.replace_call(&workspace("w"), &id(call), input("{}").into(), Precondition::default(), at(9)).await {
            Ok(written) => return written.call.sequence,
            Err(StoreError::Unavailable(reason)) => assert!(Instant::now() < deadline, "{reason}"),
            Err(other) => panic!("{other}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Checks a store in which another epoch has begun than that of an old cursor; returns the new one.
async fn assert_new_epoch(store: &dyn CallStore, old: (Epoch, &str)) -> Epoch {
    let ws = workspace("w");
    for refused in
        [store.list_call_changes(&ws, Some(old.1), 100).await.map(drop), store.wait_for_change(&ws, old.1).await]
    {
        assert!(matches!(refused, Err(StoreError::CursorExpired)), "{refused:?}");
    }
    // A follower that starts again sees every record that exists, and comes to the end.
    let (mut seen, mut cursor, mut count) = (BTreeSet::new(), None, 0);
    loop {
        let batch = store.list_call_changes(&ws, cursor.as_deref(), 3).await.unwrap();
        seen.extend(batch.changes.iter().filter(|change| change.body.is_some()).map(|change| change.id.to_string()));
        assert!(!batch.has_more || !batch.changes.is_empty(), "more changes follow, and never come");
        count += batch.changes.len();
        cursor = Some(batch.cursor);
        if !batch.has_more {
            break;
        }
    }
    let all = store.list_call_changes(&ws, None, count).await.unwrap();
    assert_eq!((all.has_more, Some(&all.cursor)), (false, cursor.as_ref()), "a full page can be the last one");
    let page = store.list_calls(&ws, &ListQuery::from_query("limit=1000&fields=_id").unwrap()).await.unwrap();
    assert_eq!(seen.len(), page.calls.len());
    let rest = store.list_call_changes(&ws, cursor.as_deref(), 3).await.unwrap();
    assert_eq!((rest.changes.len(), Some(&rest.cursor)), (0, cursor.as_ref()));
    let latest = store.list_call_changes(&ws, Some("latest"), 3).await.unwrap();
    assert_eq!(Some(latest.cursor), cursor, "a follower at the end waits for a change instead of reading again");
    assert_ne!(store.epoch(), old.0);
    store.epoch()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lagging_standby_repeats_no_version_and_expires_cursors() {
    let primary = Cluster::start(&["fsync = off"]).unwrap();
    let standby = primary.standby().unwrap();
    let url = format!("postgres://callhistory@{},{}/postgres", primary.host(), standby.host());
    let stores = [open(&url).await.unwrap(), open(&url).await.unwrap()];
    let ws = workspace("w");
    let mut issued = BTreeSet::new();
    for number in 0..5 {
        issued.insert(put(&*stores[number % 2], "w", &format!("old{number}"), "{}", 1).await.call.sequence);
    }
    let page = ListQuery::from_query("limit=2").unwrap();
    let list_cursor = stores[0].list_calls(&ws, &page).await.unwrap().next;
    let here = client(&primary.url("postgres")).await;
    let written: String = here.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap().get(0);
    wait_until(&standby.url("postgres"), &format!("SELECT pg_last_wal_replay_lsn() >= '{written}'")).await;
    standby.stop_receiving().unwrap();
    wait_until(&standby.url("postgres"), "SELECT count(*) = 0 FROM pg_stat_wal_receiver").await;
    // These are acknowledged, and lost.
    let mut lost = put(&*stores[0], "w", "old0", r#"{"summary":"lost"}"#, 2).await.call.sequence;
    issued.insert(lost);
    for number in 0..4 {
        lost = put(&*stores[number % 2], "w", &format!("lost{number}"), "{}", 2).await.call.sequence;
        issued.insert(lost);
    }
    let old = (stores[0].epoch(), stores[0].list_call_changes(&ws, None, 100).await.unwrap().cursor);
    drop(here);
    primary.crash().unwrap();
    standby.promote().unwrap();
    // A follower notices it before anything is written.
    let deadline = Instant::now() + PATIENCE;
    while let Err(StoreError::Unavailable(reason)) = stores[0].list_call_changes(&ws, Some(&old.1), 100).await {
        assert!(Instant::now() < deadline, "{reason}");
        sleep(Duration::from_millis(20)).await;
    }
    let first = assert_new_epoch(&*stores[0], (old.0, &old.1)).await;
    for number in 0..7 {
        let sequence = put_patiently(&*stores[number % 2], &format!("new{number}")).await;
        assert!(issued.insert(sequence), "the version {sequence} was issued twice");
        assert!(sequence > lost + 1_000_000, "{sequence} could have been issued and lost");
    }
    // The versions of a workspace that is new, or lost as a whole, are above the lost ones as well.
    assert!(put(&*stores[0], "v", "first", "{}", 9).await.call.sequence > lost + 1_000_000);
    for store in &stores {
        let condition = if_match(VersionSet::OneOf(vec![lost]));
        let refused =
            store.replace_call(&ws, &id("new0"), input(r#"{"summary":"late"}"#).into(), condition, at(9)).await;
        assert!(matches!(refused, Err(StoreError::PreconditionFailed)), "{refused:?}");
        let mut next = page.clone();
        next.cursor = list_cursor.clone();
        let refused = store.list_calls(&ws, &next).await;
        assert!(matches!(refused, Err(StoreError::CursorExpired)), "{refused:?}");
    }
    for store in &stores {
        assert_eq!(assert_new_epoch(&**store, (old.0, &old.1)).await, first, "more than one epoch began");
    }
}

/// The condition of the promise that an acknowledged write is never lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_synchronous_standby_no_acknowledged_write_is_lost() {
    let primary = Cluster::start(&["fsync = off"]).unwrap();
    let standby = primary.standby().unwrap();
    let own = primary.url("postgres");
    let store = open(&format!("postgres://callhistory@{},{}/postgres", primary.host(), standby.host())).await.unwrap();
    wait_until(&own, "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')").await;
    let warns =
        async || diagnose(&own).await.iter().any(|diagnostic| diagnostic.detail.contains("synchronous_standby"));
    assert!(warns().await);
    let here = client(&own).await;
    here.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await.unwrap();
    here.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    wait_until(&own, "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')").await;
    assert!(!warns().await);
    put(&*store, "w", "kept", "{}", 1).await;
    standby.stop_receiving().unwrap();
    wait_until(&standby.url("postgres"), "SELECT count(*) = 0 FROM pg_stat_wal_receiver").await;
    // No time limit of a session turns the wait for the standby into an acknowledgement.
    let refused =
        store.replace_call(&workspace("w"), &id("lost"), input("{}").into(), Precondition::default(), at(1)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    drop(here);
    primary.crash().unwrap();
    standby.promote().unwrap();
    put_patiently(&*store, "new").await;
    let found = async |call: &str| store.get_call(&workspace("w"), &id(call)).await.unwrap().is_some();
    assert_eq!((found("kept").await, found("lost").await, found("new").await), (true, false, true));
}

/// Behind a pooler, the sessions of the servers survive a fail-over: each write checks where the database is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fail_over_behind_open_sessions_begins_one_epoch() {
    let url = empty().url;
    let stores = [open(&url).await.unwrap(), open(&url).await.unwrap(), open(&url).await.unwrap()];
    let before = put(&*stores[0], "w", "c", "{}", 1).await.call.sequence;
    for store in &stores {
        put(&**store, "w", "c", "{}", 1).await;
        // As many as there are sessions for point reads.
        for _ in 0..4 {
            store.get_call(&workspace("w"), &id("c")).await.unwrap();
        }
    }
    let old = (stores[0].epoch(), stores[0].list_call_changes(&workspace("w"), None, 10).await.unwrap().cursor);
    client(&url).await.batch_execute("UPDATE secret SET server = 'another'").await.unwrap();
    // The third one only follows.
    let writes = stores[..2].iter().enumerate().map(|(number, store)| {
        let store = store.clone();
        tokio::spawn(async move { put(&*store, "w", &format!("c{number}"), "{}", 2).await.call.sequence })
    });
    let mut sequences = Vec::new();
    for write in writes.collect::<Vec<_>>() {
        sequences.push(write.await.unwrap());
    }
    sequences.sort_unstable();
    let first = sequences[0];
    assert!(first > before + 1_000_000, "{first}");
    assert_eq!(sequences, [first, first + 1], "more than one epoch began");
    for store in &stores {
        assert_new_epoch(&**store, (old.0, &old.1)).await;
    }
}

/// A logical restore makes new tables: the first server that uses them begins the next epoch.
#[tokio::test]
async fn a_logical_restore_begins_an_epoch() {
    let url = empty().url;
    let store = open(&url).await.unwrap();
    put(&*store, "w", "c", "{}", 1).await;
    let old = (store.epoch(), store.list_call_changes(&workspace("w"), None, 10).await.unwrap().cursor);
    store.close().await;
    // As pg_restore creates them, with the rows of the dump.
    let restored = "ALTER TABLE secret RENAME TO dumped; CREATE TABLE secret (LIKE dumped INCLUDING ALL);
         INSERT INTO secret SELECT * FROM dumped; DROP TABLE dumped";
    client(&url).await.batch_execute(restored).await.unwrap();
    let store = open(&url).await.unwrap();
    assert!(put(&*store, "w", "d", "{}", 1).await.call.sequence > 1_000_000);
    let new = assert_new_epoch(&*store, (old.0, &old.1)).await;
    store.close().await;
    assert_eq!(open(&url).await.unwrap().epoch(), new, "a restart is no new epoch");
}

/// A managed server, or another engine, may not tell where it is.
#[tokio::test]
async fn a_server_that_does_not_tell_its_identity_is_served() {
    let url = CLUSTER.url(&CLUSTER.database(None).unwrap());
    open(&url).await.unwrap().close().await;
    let grants = "CREATE ROLE stranger LOGIN; REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO stranger";
    client(&url).await.batch_execute(grants).await.unwrap();
    let store = open(&url.replace("callhistory@", "stranger@")).await.unwrap();
    let sequences = [put(&*store, "w", "c", "{}", 1).await, put(&*store, "w", "d", "{}", 1).await];
    assert_eq!(sequences.map(|written| written.call.sequence), [1, 2]);
    store.check().await.unwrap();
}
