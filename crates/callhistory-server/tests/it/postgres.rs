//! Several servers with one PostgreSQL database.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use callhistory_client::{
    CallInput, Client,
    model::{ChangeType, ListQuery},
};
use futures_util::StreamExt as _;
use tempfile::TempDir;

use callhistory_test_support::postgres::Cluster;

use crate::{
    binary::{Running, command},
    harness::PATIENCE,
    overload::metric,
};

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(&["fsync = off"]).unwrap());

/// The URL of a new database, with a password that must not be printed.
pub(crate) fn database() -> String {
    CLUSTER.url(&CLUSTER.database(None).unwrap()).replace("callhistory@", "callhistory:s3cret@")
}

#[test]
fn migrate_creates_the_schema_and_hides_the_password() {
    let (directory, url) = (TempDir::new().unwrap(), database());
    for _ in 0..2 {
        let output = command(directory.path()).args(["migrate", "--database-url", &url]).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && printed.contains("has the schema of this version"), "{printed}");
        assert!(!printed.contains("s3cret") && !String::from_utf8_lossy(&output.stderr).contains("s3cret"));
    }
    let output =
        command(directory.path()).args(["--database-url", "postgres://me:s3cret@127.0.0.1:1/x"]).output().unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && printed.contains("cannot use the database postgres://me@127.0.0.1:1/x"),
        "{printed}"
    );
    assert!(!printed.contains("s3cret"));
}

/// Writes through one server and reads through the next; continues with another server after a crash.
async fn write(clients: Arc<Vec<Client>>, writer: usize, written: Arc<AtomicUsize>) {
    for number in 0..30 {
        let (id, mut server) = (format!("c{writer}-{number}"), writer + number);
        while let Err(error) = clients[server % 3].replace_call(&id, &CallInput::default()).await {
            assert!(error.is_retryable() || error.is_connect(), "{error}");
            server += 1;
        }
        written.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = clients[(server + 1) % 3].get_call(&id).await {
            assert!(error.is_connect() || error.is_retryable(), "{id} cannot be read through another server: {error}");
        }
    }
}

async fn follow(client: Client) -> Vec<(u64, String)> {
    let (mut seen, mut pages) = (Vec::new(), Box::pin(client.follow_changes(None)));
    while seen.len() < 480 {
        let page = tokio::time::timeout(PATIENCE, pages.next()).await.unwrap().unwrap().unwrap();
        seen.extend(page.changes.iter().map(|change| {
            assert_eq!(change.kind, ChangeType::Created);
            (change.version, change.id.to_string())
        }));
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_are_one_service_and_one_may_crash() {
    let (directory, url) = (TempDir::new().unwrap(), database());
    let start = || Running::start(directory.path(), &["--database-url", &url]);
    let mut programs = [start(), start(), start()];
    assert!(!programs[0].welcome.contains("s3cret"));
    let clients = Arc::new(programs.iter().map(|program| program.client("w")).collect::<Vec<_>>());
    let followers: Vec<_> = clients[..2].iter().map(|client| tokio::spawn(follow(client.clone()))).collect();
    let written = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> =
        (0..16).map(|writer| tokio::spawn(write(Arc::clone(&clients), writer, Arc::clone(&written)))).collect();
    let some_are_written = async {
        while written.load(Ordering::Relaxed) < 50 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, some_are_written).await.unwrap();
    programs[2].signal("-9");
    for writer in writers {
        writer.await.unwrap();
    }
    let mut first: Option<Vec<_>> = None;
    for follower in followers {
        let seen = follower.await.unwrap();
        assert!(seen.iter().zip(1..).all(|((sequence, _), expected)| *sequence == expected), "a gap, or out of order");
        assert_eq!(first.get_or_insert_with(|| seen.clone()), &seen);
    }
    assert_eq!(clients[0].list_calls(&ListQuery::new().include_total(true)).await.unwrap().total, Some(480));
}

/// The response to a creation is emptied when its record is deleted. That is no damage, which would page an operator.
#[tokio::test]
async fn a_retry_after_a_deletion_raises_no_alarm() {
    let (directory, url) = (TempDir::new().unwrap(), database());
    let server = Running::start(directory.path(), &["--database-url", &url, "--operations-listen", "127.0.0.1:0"]);
    let create = || {
        let create = reqwest::Client::new().post(format!("{}/v2/api/call-history", server.base)).body("{}");
        let create = create.header("x-workspace-id", "w").header("content-type", "application/json");
        create.header("idempotency-key", "k").send()
    };
    let created: serde_json::Value = serde_json::from_str(&create().await.unwrap().text().await.unwrap()).unwrap();
    server.client("w").delete_call(created["_id"].as_str().unwrap()).await.unwrap();
    assert_eq!(create().await.unwrap().status().as_u16(), 409);
    assert_eq!(metric(&server, "callhistory_damage_total{where=\"record\"}").await, Some(0.0));
}
