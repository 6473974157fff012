//! Faults of the database server and of the network: no acknowledged write is lost, none is applied twice, and each caller gets
//! a response in time.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use callhistory_model::{CallInput, CallRecord, ListQuery};
use callhistory_store::{CallStore, IdempotencyKey, Precondition, StoreError, WrittenCall};
use callhistory_test_support::{PATIENCE, postgres::Cluster};
use fastrand::Rng;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    time::{Instant, sleep, timeout},
};

use super::{CLUSTER, client, empty};
use crate::{
    conformance::{at, id, input, put, workspace},
    databases::open,
};

/// A proxy in front of the socket of the server, which cuts connections at a commit, or stops forwarding.
struct FaultyProxy {
    directory: TempDir,
    cuts: Arc<AtomicBool>,
    silent: Arc<AtomicBool>,
}

impl FaultyProxy {
    fn new(server: PathBuf) -> Self {
        let directory = TempDir::new().unwrap();
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
        let (cuts, chance) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Rng::with_seed(9))));
        let silent = Arc::new(AtomicBool::new(false));
        let (cutting, silenced) = (Arc::clone(&cuts), Arc::clone(&silent));
        tokio::spawn(async move {
            while let Ok((here, _)) = listener.accept().await {
                let Ok(there) = UnixStream::connect(&server).await else { continue };
                tokio::spawn(relay(here, there, Arc::clone(&cutting), Arc::clone(&silenced), Arc::clone(&chance)));
            }
        });
        Self { directory, cuts, silent }
    }

    fn url(&self, database: &str) -> String {
        let socket = self.directory.path().display().to_string().replace('/', "%2F");
        format!("postgres://callhistory@{socket}/{database}")
    }
}

async fn relay(
    here: UnixStream,
    there: UnixStream,
    cuts: Arc<AtomicBool>,
    silent: Arc<AtomicBool>,
    chance: Arc<Mutex<Rng>>,
) {
    let (mut from_client, mut to_client) = here.into_split();
    let (mut from_server, mut to_server) = there.into_split();
    let responses = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
        while silent.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(10)).await;
        }
        let sent = &buffer[..count];
        let commit = sent.windows(7).position(|window| window == b"COMMIT\0");
        // The message starts with a head of five bytes.
        let commit = commit.map(|at| at.saturating_sub(5));
        let fate = if cuts.load(Ordering::Relaxed) { chance.lock().unwrap().u8(0..10) } else { 9 };
        match (commit, fate) {
            // The commit is lost.
            (Some(at), 0) => {
                let _ = to_server.write_all(&sent[..at]).await;
                break;
            }
            // The response to the commit is lost.
            (Some(_), 1) => {
                responses.abort();
                let _ = to_server.write_all(sent).await;
                break;
            }
            _ => {
                if to_server.write_all(sent).await.is_err() {
                    break;
                }
            }
        }
    }
    responses.abort();
}

/// Creates records with idempotency keys and retries each until it is acknowledged; returns them and the number of errors.
async fn create_with_retries(store: Arc<dyn CallStore>, writer: usize, count: usize) -> (Vec<WrittenCall>, usize) {
    let (mut written, mut errors) = (Vec::new(), 0);
    for number in 0..count {
        let name = format!("c{writer}-{number}");
        let key = Some(IdempotencyKey(name.clone()));
        let json = format!(r#"{{"agentId":"a{writer}","summary":"{number}"}}"#);
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Each attempt has a new ID; only the key identifies the creation.
            let call = id(&format!("{name}-{errors}"));
            match store.create_call(&workspace("w"), &call, input(&json).into(), key.clone(), at(1)).await {
                Ok(call) => {
                    written.push(call);
                    break;
                }
                Err(StoreError::Unavailable(_)) if Instant::now() < deadline => {
                    errors += 1;
                    sleep(Duration::from_millis(5)).await;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    (written, errors)
}

/// Each acknowledged record exists unchanged, there is no other one, and the change feed has each once.
async fn verify(store: &dyn CallStore, written: &[WrittenCall]) {
    for call in written {
        let read = store.get_call(&workspace("w"), &call.id).await.unwrap();
        assert_eq!(read.as_ref(), Some(&call.call), "{}", call.id);
    }
    let query = ListQuery::from_query("includeTotal=true&limit=1000").unwrap();
    let total = store.list_calls(&workspace("w"), &query).await.unwrap().total;
    assert_eq!(total, Some(written.len() as u64), "a creation took effect twice");
    let (mut cursor, mut last) = (None, 0);
    loop {
        let batch = store.list_call_changes(&workspace("w"), cursor.as_deref(), 500).await.unwrap();
        for change in &batch.changes {
            last += 1;
            assert_eq!(change.sequence, last);
            let call: CallRecord = serde_json::from_slice(change.body.as_ref().unwrap()).unwrap();
            assert_eq!(call.id, change.id);
        }
        cursor = Some(batch.cursor);
        if !batch.has_more {
            break;
        }
    }
    assert_eq!(last as usize, written.len());
}

async fn create_with_twelve_writers(store: &Arc<dyn CallStore>, count: usize) -> (Vec<WrittenCall>, usize) {
    let writers: Vec<_> =
        (0..12).map(|writer| tokio::spawn(create_with_retries(Arc::clone(store), writer, count))).collect();
    let (mut written, mut errors) = (Vec::new(), 0);
    for writer in writers {
        let (own, refused) = writer.await.unwrap();
        written.extend(own);
        errors += refused;
    }
    (written, errors)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_during_commit_loses_and_repeats_no_write() {
    let database = empty().url.rsplit_once('/').unwrap().1.to_owned();
    let proxy = FaultyProxy::new(CLUSTER.directory().join(".s.PGSQL.5432"));
    let store = open(&proxy.url(&database)).await.unwrap();
    proxy.cuts.store(true, Ordering::Relaxed);
    let (written, errors) = create_with_twelve_writers(&store, 60).await;
    assert!(errors > 0, "no response was lost, so nothing was tested");
    proxy.cuts.store(false, Ordering::Relaxed);
    verify(&*store, &written).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_crash_loses_no_acknowledged_write() {
    let cluster = Arc::new(Cluster::start(&["fsync = off"]).unwrap());
    let url = cluster.url(&cluster.database(None).unwrap());
    let store = open(&url).await.unwrap();
    let crashing = Arc::clone(&cluster);
    let crashes = tokio::task::spawn_blocking(move || {
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(400));
            crashing.crash_and_restart().unwrap();
        }
    });
    let mut all = Vec::new();
    let mut round = 0;
    while !crashes.is_finished() || round == 0 {
        // Each round has its own IDs and keys.
        let writers =
            (0..12).map(|writer| tokio::spawn(create_with_retries(Arc::clone(&store), round * 100 + writer, 20)));
        for writer in writers.collect::<Vec<_>>() {
            all.extend(writer.await.unwrap().0);
        }
        round += 1;
    }
    crashes.await.unwrap();
    verify(&*store, &all).await;
    store.check().await.unwrap();
    // Notifications work after the crash.
    let cursor = store.list_call_changes(&workspace("w"), Some("latest"), 1).await.unwrap().cursor;
    let woken = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.wait_for_change(&workspace("w"), &cursor).await }
    });
    put(&*store, "w", "last", "{}", 1).await;
    timeout(PATIENCE, woken).await.unwrap().unwrap().unwrap();
}

/// Makes one of `every` insertions of changes fail with a SQLSTATE.
async fn fail_with(url: &str, code: &str, every: u32) {
    let trigger = format!(
        "CREATE SEQUENCE tries;
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('tries') % {every} = 0 THEN RAISE EXCEPTION 'as an engine may' USING ERRCODE = '{code}'; END IF;
             RETURN NULL; END $$;
         CREATE TRIGGER fail BEFORE INSERT ON change FOR EACH STATEMENT EXECUTE FUNCTION fail()"
    );
    client(url).await.batch_execute(&trigger).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_is_retried() {
    for code in ["40001", "40P01"] {
        let url = empty().url;
        let store = open(&url).await.unwrap();
        fail_with(&url, code, 3).await;
        let (written, errors) = create_with_twelve_writers(&store, 20).await;
        assert_eq!(errors, 0, "{code} reached a caller");
        verify(&*store, &written).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permanent_conflict_is_reported_in_time() {
    let url = empty().url;
    let store = open(&url).await.unwrap();
    fail_with(&url, "40001", 1).await;
    let (ws, call, any) = (workspace("w"), id("c"), Precondition::default());
    let refused =
        timeout(PATIENCE, store.replace_call(&ws, &call, CallInput::default().into(), any, at(1))).await.unwrap();
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(store.get_call(&workspace("w"), &id("c")).await.unwrap(), None);
}

/// A value that only the database refuses fails its own write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_row_does_not_fail_other_writes() {
    let url = empty().url;
    let store = open(&url).await.unwrap();
    let rule = "ALTER TABLE call ADD CHECK (agent_id <> 'refused')";
    client(&url).await.batch_execute(rule).await.unwrap();
    let writes: Vec<_> = (0..40)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let agent = if number % 10 == 3 { "refused" } else { "a" };
                let input = input(&format!(r#"{{"agentId":"{agent}"}}"#));
                let call = id(&format!("c{number}"));
                let written =
                    store.replace_call(&workspace("w"), &call, input.into(), Precondition::default(), at(1)).await;
                (agent, written)
            })
        })
        .collect();
    for write in writes {
        match write.await.unwrap() {
            ("refused", Err(StoreError::Internal(message))) => assert!(!message.contains("refused"), "{message}"),
            ("a", Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_transaction_blocks_only_its_workspace() {
    let url = empty().url;
    let store = open(&url).await.unwrap();
    put(&*store, "w", "c", "{}", 1).await;
    let stuck = client(&url).await;
    let lock = "BEGIN; UPDATE workspace SET last_sequence = last_sequence WHERE workspace_id = 'w'";
    stuck.batch_execute(lock).await.unwrap();
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        let any = Precondition::default();
        async move { store.replace_call(&workspace("w"), &id("d"), CallInput::default().into(), any, at(1)).await }
    });
    let quick = async {
        put(&*store, "v", "c", "{}", 1).await;
        store.get_call(&workspace("w"), &id("c")).await.unwrap().unwrap();
        assert_eq!(store.list_call_changes(&workspace("w"), None, 10).await.unwrap().changes.len(), 1);
        let page = store.list_calls(&workspace("w"), &ListQuery::default()).await.unwrap();
        assert_eq!(page.calls.len(), 1);
    };
    timeout(PATIENCE, quick).await.unwrap();
    stuck.batch_execute("ROLLBACK").await.unwrap();
    // On a busy machine it may have timed out before.
    match timeout(PATIENCE, waiting).await.unwrap().unwrap() {
        Ok(written) => assert_eq!(written.call.sequence, 2),
        Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
    }
    put(&*store, "w", "e", "{}", 1).await;
}

/// Repeats an aggregate over the sessions that wait for a lock until it is not zero.
async fn for_lock_waiters(client: &tokio_postgres::Client, aggregate: &str) {
    let query = format!(
        "SELECT {aggregate} FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    );
    let repeated = async {
        while client.query_one(&query, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, repeated).await.unwrap();
}

/// Stuck transactions occupy all sessions for writes: every write gets an error in time, and reads succeed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exhausted_pool_is_reported_in_time() {
    let url = empty().url;
    let store = open(&url).await.unwrap();
    for number in 0..12 {
        put(&*store, &format!("w{number}"), "c", "{}", 1).await;
    }
    let stuck = client(&url).await;
    stuck.batch_execute("BEGIN; UPDATE workspace SET last_sequence = last_sequence").await.unwrap();
    let writes: Vec<_> = (0..12)
        .map(|number| {
            let store = Arc::clone(&store);
            let ws = workspace(&format!("w{number}"));
            tokio::spawn(async move {
                store.replace_call(&ws, &id("d"), CallInput::default().into(), Precondition::default(), at(1)).await
            })
        })
        .collect();
    for_lock_waiters(&client(&url).await, "count(*)").await;
    let read = timeout(PATIENCE, store.get_call(&workspace("w11"), &id("c"))).await;
    assert!(read.unwrap().unwrap().is_some());
    for write in writes {
        let refused = timeout(PATIENCE, write).await.unwrap().unwrap();
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    stuck.batch_execute("ROLLBACK").await.unwrap();
    for number in 0..12 {
        assert_eq!(put(&*store, &format!("w{number}"), "d", "{}", 1).await.call.sequence, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canceled_statement_is_reported() {
    let url = empty().url;
    let store = open(&url).await.unwrap();
    put(&*store, "w", "c", "{}", 1).await;
    let other = client(&url).await;
    other.batch_execute("BEGIN; LOCK TABLE call IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let query = ListQuery::default();
    let watcher = client(&url).await;
    // The server does the same after its statement timeout.
    let cancel = for_lock_waiters(&watcher, "count(*) FILTER (WHERE pg_cancel_backend(pid))");
    let ws = workspace("w");
    let (page, ()) = tokio::join!(store.list_calls(&ws, &query), cancel);
    assert!(matches!(page, Err(StoreError::Unavailable(_))), "{page:?}");
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(store.list_calls(&ws, &query).await.unwrap().calls.len(), 1);
}

/// The server accepts connections and never responds, like a stopped or unreachable one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_reported_in_time() {
    let database = empty().url.rsplit_once('/').unwrap().1.to_owned();
    let proxy = FaultyProxy::new(CLUSTER.directory().join(".s.PGSQL.5432"));
    let store = open(&proxy.url(&database)).await.unwrap();
    put(&*store, "w", "c", "{}", 1).await;
    proxy.silent.store(true, Ordering::Relaxed);
    let (ws, call, query) = (workspace("w"), id("c"), ListQuery::default());
    let any = Precondition::default();
    let requests = async {
        tokio::join!(
            store.get_call(&ws, &call),
            store.replace_call(&ws, &call, input(r#"{"summary":"late"}"#).into(), any, at(2)),
            store.list_calls(&ws, &query),
            store.check(),
        )
    };
    let (read, written, listed, checked) = timeout(PATIENCE, requests).await.unwrap();
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    assert!(matches!(written, Err(StoreError::Unavailable(_))), "{written:?}");
    assert!(matches!(listed, Err(StoreError::Unavailable(_))), "{listed:?}");
    assert!(matches!(checked, Err(StoreError::Unavailable(_))), "{checked:?}");
    proxy.silent.store(false, Ordering::Relaxed);
    put(&*store, "w", "c", r#"{"summary":"back"}"#, 3).await;
    assert_eq!(store.list_calls(&ws, &query).await.unwrap().calls.len(), 1);
    store.get_call(&ws, &call).await.unwrap().unwrap();
    store.check().await.unwrap();
}
