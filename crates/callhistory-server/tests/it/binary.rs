//! The program itself: its first run, its refusals, its end, and what it writes to its log.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use callhistory_client::{
    CallInput, Client,
    model::{CallStatus, examples},
};
use callhistory_server::commands::demo;
use callhistory_test_support::loop_count;
use chrono::DateTime;
use futures_util::future::try_join_all;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::harness::{PATIENCE, read_to_end};

/// This build's program, or the one that a measurement names.
pub(crate) const PROGRAM: &str = match option_env!("CALLHISTORY_SERVER") {
    Some(path) => path,
    None => env!("CARGO_BIN_EXE_callhistory-server"),
};

pub(crate) fn command(directory: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.current_dir(directory).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A program that serves, with what it printed when it was ready.
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

    /// `None` where it ends by itself.
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
        // The pipe stays open, so that later lines do not end the program.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Some(Self { child, welcome, base })
    }

    /// Ends a program that runs below another, and then that one, at once.
    pub(crate) fn kill_all(&self) {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let all = children.split_whitespace();
        all.for_each(|child| drop(Command::new("kill").args(["-KILL", child]).status()));
        // The lock of the database is free as soon as the program is gone.
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

/// Nobody reads the log of these servers, which writes more than a pipe holds: that must not stop them.
///
/// Creates a record under a key; gives whether that was answered.
async fn create(base: &str, key: &str) -> bool {
    let post = reqwest::Client::new().post(format!("{base}/v2/api/call-history")).header("x-workspace-id", "w");
    let post = post.header("content-type", "application/json").header("idempotency-key", key);
    let answer = post.body(format!(r#"{{"metadata":{{"key":"{key}"}}}}"#)).send().await;
    answer.is_ok_and(|answer| answer.status() == 201)
}

/// How many records the keys of a round have made.
async fn created(base: &str, round: &str) -> (u64, u64) {
    let list = |filter: String| async move {
        let list = reqwest::Client::new().get(format!("{base}/v2/api/call-history?includeTotal=true&limit=1&{filter}"));
        let answer = list.header("x-workspace-id", "w").send().await.unwrap();
        answer.headers()["x-total-count"].to_str().unwrap().parse().unwrap()
    };
    (list(format!("metadata.key={round}")).await, list(String::new()).await)
}

/// After `kill -9` at any moment, a record that was answered is there, and none is there twice: a creation that was not
/// answered is sent again under its key.
#[tokio::test]
async fn answered_writes_survive_kill_9() {
    let rounds = loop_count("CALLHISTORY_KILL_ROUNDS", 20).unwrap();
    let directory = TempDir::new().unwrap();
    let (mut answered, mut unanswered): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut puts, mut keys, mut checked) = (0, 0, 0);
    for round in 0..=rounds {
        let mut server = Running::start(directory.path(), &[]);
        let client = server.client("w");
        for id in &answered[checked..] {
            client.get_call(id).await.unwrap_or_else(|error| panic!("round {round}: {id} is lost: {error}"));
        }
        checked = answered.len();
        for key in unanswered.drain(..) {
            assert!(create(&server.base, &key).await && create(&server.base, &key).await);
            assert_eq!(created(&server.base, &key).await.0, 1, "round {round}: {key} has several effects");
            keys += 1;
        }
        // Also a write that nobody was told of may have been done, but each at most once.
        let total = created(&server.base, "none").await.1;
        assert!((answered.len() as u64 + keys..=puts + keys).contains(&total), "round {round}: {total} records");
        if round == rounds {
            println!("{rounds} rounds: {} answered writes are there, {keys} keys have one effect each", answered.len());
            for id in &answered {
                client.get_call(id).await.unwrap_or_else(|error| panic!("{id} is lost: {error}"));
            }
            break;
        }
        let written = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (client, written, base) = (client.clone(), Arc::clone(&written), server.base.clone());
                tokio::spawn(async move {
                    let (mut answered, mut unanswered) = (Vec::new(), Vec::new());
                    for n in 0.. {
                        let id = format!("r{round}-w{writer}-{n}");
                        if writer == 0 {
                            if !create(&base, &id).await {
                                unanswered.push(id);
                                break;
                            }
                            unanswered.push(id);
                            continue;
                        }
                        if client.replace_call(&id, &CallInput::default()).await.is_err() {
                            break;
                        }
                        answered.push(id);
                        written.store(true, Ordering::Relaxed);
                    }
                    (answered, unanswered)
                })
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
        let before = answered.len();
        for writer in writers {
            let (done, keyed) = writer.await.unwrap();
            // One more of each writer may have been done without an answer.
            puts += done.len() as u64 + 1;
            answered.extend(done);
            unanswered.extend(keyed);
        }
        assert!(answered.len() > before, "round {round} wrote nothing");
    }
}

#[tokio::test]
async fn a_termination_ends_it_in_order() {
    let directory = TempDir::new().unwrap();
    let mut server = Running::start(directory.path(), &[]);
    server.client("w").replace_call("c", &CallInput::default()).await.unwrap();
    server.signal("-TERM");
    assert!(server.child.wait().unwrap().success());
    // SQLite deletes the log with the last connection; where another thread still closes its own, the log is left empty.
    let log = std::fs::metadata(directory.path().join("callhistory-data/callhistory.db-wal"));
    assert_eq!(log.map_or(0, |log| log.len()), 0, "the log was not checkpointed");
}

/// Clients that all come back at once find a place in the kernel's queue, also where the service accepts none for a while.
#[tokio::test]
async fn a_rush_of_connections_waits_to_be_accepted() {
    let directory = TempDir::new().unwrap();
    let mut server = Running::start(directory.path(), &[]);
    let address = server.base.trim_start_matches("http://").to_owned();
    server.signal("-STOP");
    let connecting = (0..300).map(|_| TcpStream::connect(&address));
    let connected = tokio::time::timeout(PATIENCE, try_join_all(connecting)).await;
    server.signal("-CONT");
    for mut stream in connected.expect("some connections are not taken").unwrap() {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn it_refuses_to_expose_records_without_keys() {
    let directory = TempDir::new().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"] {
        let output = command(directory.path()).args(["--listen", address]).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        for way in ["--allow-unauthenticated-network", "--require-keys", "loopback"] {
            assert!(message.contains(way), "{message}");
        }
    }
    assert!(!directory.path().join("callhistory-data").exists(), "a refused start left something behind");
    let server = Running::start(directory.path(), &["--allow-unauthenticated-network"]);
    drop(server);
}

#[test]
fn a_start_that_cannot_work_says_why() {
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

#[tokio::test]
async fn settings_come_from_flags_or_variables() {
    let directory = TempDir::new().unwrap();
    let url = format!("sqlite:{}", directory.path().join("here.db").display());
    drop(Running::start(directory.path(), &["--database-url", &url]));
    assert!(directory.path().join("here.db").exists() && !directory.path().join("callhistory-data").exists());
    let mut child = command(directory.path())
        .env("CALLHISTORY_LISTEN", "127.0.0.1:0")
        .env("CALLHISTORY_DATA_DIR", "from-variable")
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("from-variable/callhistory.db"), "{line}");
    let misspelt = command(directory.path()).env("CALLHISTORY_DATADIR", "x").output().unwrap();
    let message = String::from_utf8(misspelt.stderr).unwrap();
    assert!(!misspelt.status.success() && message.contains("CALLHISTORY_DATA_DIR"), "{message}");
}

#[tokio::test]
async fn the_demonstration_is_filled_and_vanishes() {
    let directory = TempDir::new().unwrap();
    let mut server = Running::start(directory.path(), &["demo", "--calls", "300"]);
    assert!(server.client(demo::WORKSPACE).get_call("absent").await.unwrap_err().is_not_found());
    let database = server.welcome.split("sqlite:").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert!(Path::new(&database).exists());
    server.signal("-TERM");
    assert!(server.child.wait().unwrap().success());
    assert!(!Path::new(&database).parent().unwrap().exists(), "the demonstration left {database} behind");
}

#[test]
fn the_demonstration_is_believable_and_repeatable() {
    let end = DateTime::from_timestamp(1_767_225_600, 0).unwrap();
    let calls = demo::history(1, 3000, end).unwrap();
    assert_eq!(calls, demo::history(1, 3000, end).unwrap());
    assert_ne!(calls, demo::history(2, 3000, end).unwrap());
    for status in CallStatus::KNOWN {
        assert!(calls.iter().any(|(_, call)| call.status.as_ref().unwrap().as_str() == *status), "no call is {status}");
    }
    let distinct = |member: fn(&CallInput) -> Option<&String>| {
        calls.iter().filter_map(|(_, call)| member(call)).collect::<std::collections::HashSet<_>>().len()
    };
    assert!(distinct(|call| call.agent_id.as_ref()) >= 4 && distinct(|call| call.call_flow_id.as_ref()) >= 3);
    assert!(calls.iter().filter(|(_, call)| call.transcript.is_some()).count() > 1500);
    // Every made-up record is one that the service accepts from outside.
    for (_, call) in &calls {
        let json = serde_json::to_vec(call).unwrap();
        assert_eq!(&CallInput::from_json(&json).unwrap(), call);
    }
}

/// A canary in every member of a record, in the key and in the path appears nowhere in the log, not even at its most
/// talkative.
#[tokio::test]
async fn the_log_holds_no_personal_data() {
    let directory = TempDir::new().unwrap();
    let mut server = Running::start(directory.path(), &["--log", "trace"]);
    let mut log = server.child.stderr.take().unwrap();
    let log = std::thread::spawn(move || {
        let mut text = String::new();
        drop(log.read_to_string(&mut text));
        text
    });
    let client = server.client("w");
    let record = examples::COMPLETE_EXAMPLE.replace(['\n'], "");
    let canary = record
        .replace("sip:alice@example.com", "canary-from")
        .replace("+18005550100", "canary-to")
        .replace("The caller returns", "canary-summary")
        .replace("vip", "canary-metadata")
        .replace("lookup_order", "canary-function")
        .replace("How can I help?", "canary-transcript")
        .replace("positive", "canary-analysis")
        .replace("recordings.example.com", "canary-recording")
        .replace("12345678901234567890123", "98765432109876543210")
        .replace("\"workspaceId\": \"abcdef1234567890\",", "");
    let input = CallInput::from_json(canary.as_bytes()).unwrap();
    client.replace_call("67375a0f2b8c4e001f3d9a11", &input).await.unwrap();
    client.get_call("67375a0f2b8c4e001f3d9a11").await.unwrap();
    let raw = reqwest::Client::new();
    let url = format!("{}/v2/api/call-history/canary-path?canary-query=canary-value", server.base);
    let bodies = [
        r#"{"canary-member": 1}"#,
        r#"{"status": "canary-status", "startTime": "canary-time"}"#,
        r#"{"metadata": {"canary-name": 1, "canary-name": 2}}"#,
        "canary-garbage",
    ];
    for body in bodies {
        for target in [url.as_str(), url.split('?').next().unwrap()] {
            let request = raw.put(target).header("x-workspace-id", "w").header("x-api-key", "canary-key");
            let request =
                request.header("authorization", "Bearer canary-bearer").header("x-canary-header", "canary-header");
            let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
            assert!(answer.status().is_client_error());
        }
    }
    drop(raw.request("CANARY".parse().unwrap(), &url).send().await);
    server.signal("-TERM");
    server.child.wait().unwrap();
    let log = log.join().unwrap();
    assert!(log.contains("\"route\":\"/v2/api/call-history/{callHistoryId}\""), "the log is empty or not JSON");
    let leak = log.lines().find(|line| line.to_lowercase().contains("canary") || line.contains("98765432109876543210"));
    assert_eq!(leak, None);
}

/// The same history goes out of one workspace and into another, by files and by pipes.
#[tokio::test]
async fn files_go_in_and_out_without_a_server() {
    let directory = TempDir::new().unwrap();
    let run = |arguments: &[&str], input: &[u8]| {
        let mut child = command(directory.path());
        child.args(arguments).args(["--data-dir", "data"]).stdin(Stdio::piped());
        let mut child = child.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let lines: String = (0..1200).map(|number| format!("{{\"_id\":\"c{number}\",\"startTime\":{number}}}\n")).collect();
    std::fs::write(directory.path().join("a.ndjson"), &lines).unwrap();
    std::fs::write(directory.path().join("b.json"), r#"[{"_id":"x"},{"_id":"y","nothing":1}]"#).unwrap();
    let (good, out, errors) = run(&["import", "--check", "a.ndjson", "b.json"], b"");
    assert!(!good && out == "a.ndjson: 1200 valid, 0 rejected\nb.json: 1 valid, 1 rejected\n", "{out}");
    assert!(errors.contains("b.json:2: /nothing ") && errors.contains("nothing was written"), "{errors}");
    assert!(run(&["import", "--check", "a.ndjson"], b"").0);
    assert!(!directory.path().join("data").exists(), "a check needs no database");
    let (good, out, _) = run(&["import", "--workspace", "w", "a.ndjson"], b"");
    assert!(good && out == "a.ndjson: 1200 created, 0 replaced, 0 unchanged, 0 rejected\n", "{out}");
    let (good, out, errors) = run(&["import", "--workspace", "w", "a.ndjson", "b.json"], b"");
    assert!(
        !good && out.contains("0 created, 0 replaced, 1200 unchanged") && out.contains("b.json: 1 created"),
        "{out}"
    );
    assert!(errors.contains("b.json:2: /nothing ") && errors.contains("1 records were rejected"), "{errors}");
    let (good, exported, _) = run(
        &[
            "export",
            "--workspace",
            "w",
            "--query",
            "startedAfter=1970-01-01T00:10:00Z&startedBefore=1970-01-01T00:20:00Z",
        ],
        b"",
    );
    assert!(good && exported.lines().count() == 600, "{}", exported.lines().count());
    assert!(run(&["export", "--workspace", "w", "--output", "all.csv", "--query", "format=csv"], b"").0);
    assert_eq!(std::fs::read_to_string(directory.path().join("all.csv")).unwrap().lines().count(), 1202);
    let moved = exported.replace("\"workspaceId\":\"w\"", "\"workspaceId\":\"v\"");
    let (good, out, errors) = run(&["import", "--check", "--workspace", "w", "-"], moved.as_bytes());
    assert!(!good && out == "-: 0 valid, 600 rejected\n" && errors.contains("-:600: /workspaceId is \"v\""), "{out}");
    assert!(run(&["import", "--check", "-"], moved.as_bytes()).0);
    let (good, out, _) = run(&["import", "--workspace", "v", "-"], moved.as_bytes());
    assert!(good && out == "-: 600 created, 0 replaced, 0 unchanged, 0 rejected\n", "{out}");
    for (arguments, reason) in [
        (&["import", "--workspace", "w", "missing"][..], "missing"),
        (&["import", "a.ndjson"], "--workspace"),
        (&["import", "--check", "missing"], "missing"),
        (&["import", "--workspace", "a b", "a.ndjson"], "--workspace"),
        (&["export", "--workspace", "w", "--query", "statu=x"], "did you mean \"status\"?"),
    ] {
        let (good, _, errors) = run(arguments, b"");
        assert!(!good && errors.contains(reason), "{errors}");
    }
}

/// The first key is made without one, beside a running server too; revoking and replacing are felt at once.
#[tokio::test]
async fn keys_are_made_and_revoked_beside_a_running_server() {
    let directory = TempDir::new().unwrap();
    let keys = |arguments: &[&str]| {
        let output = command(directory.path()).arg("keys").args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let all = "calls:read,calls:write,calls:delete,calls:export,phone-numbers:read";
    let (good, first, errors) = keys(&["create", "--workspace", "w", "--scopes", all, "--name", "first"]);
    assert!(good && first.starts_with("ch_live_") && first.len() == 8 + 12 + 1 + 64 + 1 + 8, "{first} {errors}");
    let server = Running::start(directory.path(), &["--require-keys"]);
    let client = |key: &str| Client::builder(&server.base).workspace("w").api_key(key).max_retries(0).build().unwrap();
    client(&first).replace_call("a", &CallInput::default()).await.unwrap();
    let none = Client::builder(&server.base).workspace("w").max_retries(0).build().unwrap();
    assert_eq!(none.get_call("a").await.unwrap_err().status().unwrap(), 401);
    let id = &first[8..20];
    let (good, second, _) = keys(&["rotate", id, "--overlap", "1h"]);
    assert!(good && second != first);
    for key in [&first, &second] {
        client(key).get_call("a").await.unwrap();
    }
    let (_, listed, _) = keys(&["list"]);
    assert!(listed.lines().count() == 3 && listed.contains(id) && listed.contains("first"), "{listed}");
    assert!(!listed.contains(&first[21..85]) && !listed.contains(&second[21..85]), "a secret is shown once");
    assert!(keys(&["revoke", &first]).0);
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    let refused = client(&first).get_call("a").await.unwrap_err();
    assert_eq!(refused.problem().unwrap().code.as_str(), "key_revoked");
    client(&second).get_call("a").await.unwrap();
    for (arguments, reason) in [
        (&["revoke", "none"][..], "there is no key none"),
        (&["rotate", id], "has expired or is revoked"),
        (&["create", "--workspace", "w", "--scopes", "calls:reed"], "the scopes are calls:read"),
        (&["create", "--scopes", "calls:read"], "--workspace"),
        (&["create", "--operator", "--workspace", "w", "--scopes", "calls:read"], "cannot be used with"),
        (
            &["create", "--operator", "--scopes", "calls:read", "--expires-in", "soon"],
            "invalid value 'soon' for '--expires-in",
        ),
    ] {
        let (good, _, errors) = keys(arguments);
        assert!(!good && errors.contains(reason), "{errors}");
    }
}
