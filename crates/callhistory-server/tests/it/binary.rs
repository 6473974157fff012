//! The program: its first run, refused starts, crashes and its shutdown.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use callhistory_client::{CallInput, Client, ListQuery};
use callhistory_test_support::{loop_count, setting};
use futures_util::future::try_join_all;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::harness::{PATIENCE, read_to_end};

/// The program that the variable names, or that of this build.
pub(crate) static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    setting("CALLHISTORY_SERVER").unwrap_or_else(|| env!("CARGO_BIN_EXE_callhistory-server").to_owned())
});

/// The program in a folder, without an environment.
pub(crate) fn command(directory: &Path) -> Command {
    let mut command = Command::new(&*PROGRAM);
    command.current_dir(directory).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program to its end; returns its exit code, output and error output.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    output_of(command(directory).args(arguments).spawn().unwrap())
}

pub(crate) fn output_of(child: Child) -> (i32, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A running server, with what it printed when it was ready.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) welcome: String,
    pub(crate) base: String,
}

impl Running {
    pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Self {
        Self::spawn(command(directory).args(["--listen", "127.0.0.1:0"]).args(arguments))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self::try_spawn(command).unwrap()
    }

    /// Returns `None` if it exits by itself.
    pub(crate) fn try_spawn(command: &mut Command) -> Option<Self> {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut welcome = String::new();
        while !welcome.contains("Reference: ") {
            if lines.read_line(&mut welcome).unwrap() == 0 {
                drop(child.wait());
                return None;
            }
        }
        let base = welcome.split(" at ").nth(1).unwrap().lines().next().unwrap().to_owned();
        // The pipe stays open: otherwise the program would end at its next line.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Some(Self { child, welcome, base })
    }

    /// Kills the child processes of the program.
    pub(crate) fn kill_all(&self) {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let all = children.split_whitespace();
        all.for_each(|child| drop(Command::new("kill").args(["-KILL", child]).status()));
        // The lock of the database is free when the process has ended.
        while children.split_whitespace().any(|child| Path::new(&format!("/proc/{child}/exe")).exists()) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn client(&self, workspace: &str) -> Client {
        Client::builder(&self.base).workspace(workspace).max_retries(0).build().unwrap()
    }

    pub(crate) fn signal(&mut self, signal: &str) {
        Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn the_first_run_prints_commands_that_work() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &[]);
    assert!(directory.path().join("callhistory-data/callhistory.db").exists());
    let commands =
        server.welcome.split("\ncurl ").skip(1).map(|rest| format!("curl {}", rest.split("\n\n").next().unwrap()));
    let outputs: Vec<String> = commands
        .map(|command| {
            let output = Command::new("sh").args(["-c", &command]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        })
        .collect();
    assert_eq!(outputs.len(), 2);
    assert_eq!(outputs[0], outputs[1]);
    assert!(outputs[1].contains(r#""cost":{"customer_charge":0.10}"#), "{}", outputs[1]);
}

/// Creates a record with an idempotency key; returns whether the write was acknowledged.
async fn create(base: &str, key: &str) -> bool {
    let post = reqwest::Client::new().post(format!("{base}/v2/api/call-history")).header("x-workspace-id", "w");
    let post = post.header("content-type", "application/json").header("idempotency-key", key);
    let response = post.body(format!(r#"{{"metadata":{{"key":"{key}"}}}}"#)).send().await;
    response.is_ok_and(|response| response.status() == 201)
}

async fn total(client: &Client, filter: &str) -> u64 {
    let query = ListQuery::from_query(&format!("{filter}&includeTotal=true&limit=1")).unwrap();
    client.list_calls(&query).await.unwrap().total.unwrap()
}

/// Writes records, or creates them with idempotency keys, until a request fails; returns the IDs of acknowledged writes and
/// all keys.
async fn write_until_killed(
    client: Client,
    base: String,
    prefix: String,
    has_keys: bool,
    written: Arc<AtomicBool>,
) -> (Vec<String>, Vec<String>) {
    let (mut ids, mut keys) = (Vec::new(), Vec::new());
    for number in 0.. {
        let id = format!("{prefix}-{number}");
        if has_keys {
            keys.push(id.clone());
            if !create(&base, &id).await {
                break;
            }
        } else if client.replace_call(&id, &CallInput::default()).await.is_ok() {
            ids.push(id);
            written.store(true, Ordering::Relaxed);
        } else {
            break;
        }
    }
    (ids, keys)
}

/// After `kill -9` at any moment, every acknowledged record exists and none exists twice: a creation that was not
/// acknowledged is sent again with its idempotency key. Nobody reads the logs of these servers, which exceed the buffer of a
/// pipe and must not block the server.
#[tokio::test]
async fn acknowledged_writes_survive_kill_9() {
    let rounds = loop_count("CALLHISTORY_KILL_ROUNDS", 20).unwrap();
    let directory = TempDir::new().unwrap();
    let (mut acknowledged, mut unacknowledged): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut puts, mut keys, mut checked) = (0, 0, 0);
    for round in 0..=rounds {
        let mut server = Running::start(directory.path(), &[]);
        let client = server.client("w");
        for id in &acknowledged[checked..] {
            client.get_call(id).await.unwrap_or_else(|error| panic!("round {round}: {id} is lost: {error}"));
        }
        checked = acknowledged.len();
        for key in unacknowledged.drain(..) {
            assert!(create(&server.base, &key).await && create(&server.base, &key).await);
            assert_eq!(
                total(&client, &format!("metadata.key={key}")).await,
                1,
                "round {round}: {key} created several records"
            );
            keys += 1;
        }
        // A write without a response may have been committed, but each at most once.
        let total = total(&client, "").await;
        assert!((acknowledged.len() as u64 + keys..=puts + keys).contains(&total), "round {round}: {total} records");
        if round == rounds {
            println!(
                "{rounds} rounds: {} acknowledged writes exist, {keys} keys created one record each",
                acknowledged.len()
            );
            for id in &acknowledged {
                client.get_call(id).await.unwrap_or_else(|error| panic!("{id} is lost: {error}"));
            }
            break;
        }
        let written = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let prefix = format!("r{round}-w{writer}");
                let written = Arc::clone(&written);
                tokio::spawn(write_until_killed(client.clone(), server.base.clone(), prefix, writer == 0, written))
            })
            .collect();
        let first_write = async {
            while !written.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, first_write).await.expect("nothing is written");
        tokio::time::sleep(Duration::from_millis(u64::try_from(round % 40).unwrap() * 7)).await;
        server.signal("-KILL");
        let before = acknowledged.len();
        for writer in writers {
            let (done, keyed) = writer.await.unwrap();
            // One more write of each writer may have been committed without a response.
            puts += done.len() as u64 + 1;
            acknowledged.extend(done);
            unacknowledged.extend(keyed);
        }
        assert!(acknowledged.len() > before, "round {round} wrote nothing");
    }
}

#[tokio::test]
async fn sigterm_checkpoints_the_wal_and_exits() {
    let directory = TempDir::new().unwrap();
    let mut server = Running::start(directory.path(), &[]);
    server.client("w").replace_call("c", &CallInput::default()).await.unwrap();
    server.signal("-TERM");
    assert!(server.child.wait().unwrap().success());
    // SQLite deletes the WAL with the last connection; if another thread is still closing its own, the WAL is left empty.
    let wal = std::fs::metadata(directory.path().join("callhistory-data/callhistory.db-wal"));
    assert_eq!(wal.map_or(0, |wal| wal.len()), 0, "the WAL was not checkpointed");
}

/// The kernel queues connections while the server does not accept any.
#[tokio::test]
async fn a_burst_of_connections_waits_in_the_backlog() {
    let directory = TempDir::new().unwrap();
    let mut server = Running::start(directory.path(), &[]);
    let address = server.base.trim_start_matches("http://").to_owned();
    server.signal("-STOP");
    let connecting = (0..300).map(|_| TcpStream::connect(&address));
    let connected = tokio::time::timeout(PATIENCE, try_join_all(connecting)).await;
    server.signal("-CONT");
    for mut stream in connected.expect("some connections are refused").unwrap() {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn a_network_address_needs_keys_or_a_flag() {
    let directory = TempDir::new().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"] {
        let output = command(directory.path()).args(["--listen", address]).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        for way in ["--allow-unauthenticated-network", "--require-keys", "loopback"] {
            assert!(message.contains(way), "{message}");
        }
    }
    assert!(!directory.path().join("callhistory-data").exists(), "a refused start created files");
    drop(Running::spawn(command(directory.path()).args(["--listen", "0.0.0.0:0", "--allow-unauthenticated-network"])));
}

#[test]
fn a_failed_start_names_its_reason() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &[]);
    let port = server.base.rsplit(':').next().unwrap();
    let cases: [(&[&str], &str); 12] = [
        (&["--listen", "127.0.0.1:0"], "in use by another process"),
        (&["--data-dir", "other", "--listen", &format!("127.0.0.1:{port}")], "choose another with --listen"),
        (&["--database-url", "mysql://x"], "mysql"),
        (&["--listen", "nonsense"], "--listen"),
        (&["--log", "info,a=b=c"], "--log info,a=b=c"),
        (&["--log", "verbose"], "\"verbose\" is not a level"),
        (&["--database-url", "sqlite:"], "names no file"),
        (&["--database-url", "sqlite::memory:"], "names no file"),
        (&["--database-url", "sqlite:x.db?mode=ro"], "names no file"),
        (&["--no-such-flag"], "--no-such-flag"),
        (&["--data-dir", "a", "--database-url", "sqlite:b"], "set one of them"),
        (&["demo", "--data-dir", "a"], "temporary"),
    ];
    for (arguments, expected) in cases {
        let output = command(directory.path()).args(arguments).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && message.contains(expected), "{arguments:?}: {message}");
    }
}
