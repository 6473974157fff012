//! Several servers with one PostgreSQL database.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use callhistory_model::CallInput;
use callhistory_store::{CallStore, Precondition, StoreError, VersionSet};
use callhistory_test_support::PATIENCE;
use tokio::time::{sleep, timeout};

use super::{client, empty};
use crate::{
    concurrent::create_concurrently,
    conformance::{at, id, if_match, input, put, workspace},
    databases::open,
};

const WRITERS: usize = 16;
const WRITES: usize = 40;

/// A change feed with several writers and readers.
trait Feed: Send + Sync + 'static {
    fn write(&self, writer: usize, id: &str) -> impl Future<Output = ()> + Send;
    /// The changes after a cursor, each with its sequence, and the cursor after them.
    fn read(&self, reader: usize, after: Option<String>) -> impl Future<Output = (Vec<(i64, String)>, String)> + Send;
    /// A transaction that writes `stuck` and commits late.
    fn write_slowly(&self) -> impl Future<Output = ()> + Send;
}

/// Three stores of one database.
struct Servers {
    stores: Vec<Arc<dyn CallStore>>,
    url: String,
}

impl Feed for Servers {
    async fn write(&self, writer: usize, name: &str) {
        put(&*self.stores[writer % 3], "w", name, "{}", 1).await;
    }

    async fn read(&self, reader: usize, after: Option<String>) -> (Vec<(i64, String)>, String) {
        let batch = self.stores[reader].list_call_changes(&workspace("w"), after.as_deref(), 20).await.unwrap();
        let changes = batch.changes.iter().map(|change| (change.sequence, change.id.to_string()));
        (changes.collect(), batch.cursor)
    }

    async fn write_slowly(&self) {
        let client = client(&self.url).await;
        let begin = "BEGIN; UPDATE workspace SET last_sequence = last_sequence + 1 WHERE workspace_id = 'w';
             INSERT INTO change SELECT 'w', last_sequence, 3, 'stuck', 0 FROM workspace WHERE workspace_id = 'w'";
        client.batch_execute(begin).await.unwrap();
        sleep(Duration::from_millis(700)).await;
        client.batch_execute("COMMIT").await.unwrap();
    }
}

/// A feed with a PostgreSQL sequence instead of a counter that is locked until the commit.
struct PlainSequence {
    clients: Vec<tokio_postgres::Client>,
}

impl Feed for PlainSequence {
    async fn write(&self, writer: usize, name: &str) {
        self.clients[writer].execute("INSERT INTO plain (id) VALUES ($1)", &[&name]).await.unwrap();
    }

    async fn read(&self, reader: usize, after: Option<String>) -> (Vec<(i64, String)>, String) {
        let last: i64 = after.map_or(0, |after| after.parse().unwrap());
        let client = &self.clients[WRITERS + reader];
        let after = "SELECT sequence, id FROM plain WHERE sequence > $1 ORDER BY 1 LIMIT 20";
        let rows = client.query(after, &[&last]).await.unwrap();
        let rows: Vec<(i64, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let last = rows.last().map_or(last, |(sequence, _)| *sequence);
        (rows, last.to_string())
    }

    async fn write_slowly(&self) {
        let client = &self.clients[WRITERS + 3];
        client.batch_execute("BEGIN; INSERT INTO plain (id) VALUES ('stuck')").await.unwrap();
        sleep(Duration::from_millis(700)).await;
        client.batch_execute("COMMIT").await.unwrap();
    }
}

/// Makes some commits of a table slow.
async fn slow_commits(url: &str, table: &str) {
    let trigger = format!(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF random() < 0.2 THEN PERFORM pg_sleep(random() * 0.02); END IF; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION slow()"
    );
    client(url).await.batch_execute(&trigger).await.unwrap();
}

/// Follows a feed with three readers during writes; fails if one misses a change.
async fn follow(feed: Arc<impl Feed>) -> Result<(), String> {
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let feed = Arc::clone(&feed);
            tokio::spawn(async move {
                for number in 0..WRITES {
                    feed.write(writer, &format!("c{writer}-{number}")).await;
                }
            })
        })
        .collect();
    let stuck = tokio::spawn({
        let feed = Arc::clone(&feed);
        async move {
            sleep(Duration::from_millis(100)).await;
            feed.write_slowly().await;
        }
    });
    let mut expected: BTreeSet<String> =
        (0..WRITERS).flat_map(|writer| (0..WRITES).map(move |number| format!("c{writer}-{number}"))).collect();
    expected.insert("stuck".to_owned());
    let all_written = Arc::new(AtomicBool::new(false));
    let followers: Vec<_> = (0..3)
        .map(|reader| {
            let (feed, expected, all_written) = (Arc::clone(&feed), expected.clone(), Arc::clone(&all_written));
            tokio::spawn(async move {
                let (mut seen, mut cursor, mut last, mut idle) = (BTreeSet::new(), None, 0, 0);
                // Until all changes are seen, or 100 reads after the last write were empty.
                while seen != expected && idle < 100 {
                    // Loaded before the read, which then sees every write.
                    let is_over = all_written.load(Ordering::SeqCst);
                    let (changes, next) = feed.read(reader, cursor).await;
                    idle = if changes.is_empty() && is_over { idle + 1 } else { 0 };
                    for (sequence, id) in changes {
                        if sequence <= last {
                            return Err(format!("{id} is out of order"));
                        }
                        last = sequence;
                        seen.insert(id);
                    }
                    cursor = Some(next);
                    sleep(Duration::from_millis(5)).await;
                }
                let missed: Vec<_> = expected.difference(&seen).collect();
                if missed.is_empty() { Ok(()) } else { Err(format!("{} changes were missed", missed.len())) }
            })
        })
        .collect();
    for task in writers.into_iter().chain([stuck]) {
        task.await.unwrap();
    }
    all_written.store(true, Ordering::SeqCst);
    let mut outcome = Ok(());
    for follower in followers {
        outcome = outcome.and(follower.await.unwrap());
    }
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_share_one_complete_change_feed() {
    let url = empty().url;
    let stores = vec![open(&url).await.unwrap(), open(&url).await.unwrap(), open(&url).await.unwrap()];
    put(&*stores[0], "w", "c0-0", r#"{"summary":"before"}"#, 1).await;
    slow_commits(&url, "change").await;
    follow(Arc::new(Servers { stores, url })).await.unwrap();
}

/// The negative control of the test above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_sequence_misses_changes() {
    let url = empty().url;
    let table = "CREATE TABLE plain (sequence bigserial PRIMARY KEY, id text NOT NULL)";
    client(&url).await.batch_execute(table).await.unwrap();
    slow_commits(&url, "plain").await;
    let mut clients = Vec::new();
    for _ in 0..WRITERS + 4 {
        clients.push(client(&url).await);
    }
    let missed = follow(Arc::new(PlainSequence { clients })).await.unwrap_err();
    assert!(missed.contains("missed") || missed.contains("out of order"), "{missed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotency_key_is_valid_on_every_server() {
    let url = empty().url;
    let stores = [open(&url).await.unwrap(), open(&url).await.unwrap(), open(&url).await.unwrap()];
    create_concurrently(&stores, 100, 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_the_concurrent_conditional_writes_succeeds() {
    let url = empty().url;
    let stores = [open(&url).await.unwrap(), open(&url).await.unwrap(), open(&url).await.unwrap()];
    let mut seen = put(&*stores[0], "w", "c", "{}", 1).await.call.sequence;
    for round in 0..30 {
        let writers: Vec<_> = (0..12)
            .map(|writer| {
                let store = Arc::clone(&stores[writer % 3]);
                tokio::spawn(async move {
                    let input = input(&format!(r#"{{"summary":"{round} {writer}"}}"#));
                    let condition = if_match(VersionSet::OneOf(vec![seen]));
                    store.replace_call(&workspace("w"), &id("c"), input.into(), condition, at(2)).await
                })
            })
            .collect();
        let mut wins = Vec::new();
        for writer in writers {
            match writer.await.unwrap() {
                Ok(written) => wins.push(written.call.sequence),
                Err(StoreError::PreconditionFailed) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(wins.len(), 1, "round {round}: {wins:?}");
        seen = wins[0];
        // Every server reads the write that one has acknowledged.
        for store in &stores {
            let read = store.get_call(&workspace("w"), &id("c")).await.unwrap().unwrap();
            assert_eq!(read.sequence, seen);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_is_woken_by_another_server() {
    let url = empty().url;
    let stores = [open(&url).await.unwrap(), open(&url).await.unwrap()];
    let mut waited = Duration::ZERO;
    for number in 0..20 {
        let ws = workspace("w");
        let cursor = stores[0].list_call_changes(&ws, Some("latest"), 10).await.unwrap().cursor;
        let waiting = tokio::spawn({
            let (store, cursor) = (Arc::clone(&stores[0]), cursor.clone());
            async move { store.wait_for_change(&workspace("w"), &cursor).await }
        });
        sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        let any = Precondition::default();
        stores[1].replace_call(&ws, &id(&format!("c{number}")), CallInput::default().into(), any, at(1)).await.unwrap();
        let start = tokio::time::Instant::now();
        timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
        // The first ones may precede the LISTEN of either server.
        if number >= 10 {
            waited += start.elapsed();
        }
    }
    // Without a notification, a waiter polls every five seconds: ten would wait for nearly fifty.
    assert!(waited < Duration::from_secs(25), "ten waiters waited for {waited:?} together");
}
