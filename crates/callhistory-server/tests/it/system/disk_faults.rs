//! A full disk, errors of the system calls that read and write, and the order of fsync and response.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use callhistory_client::{Client, ListQuery};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};

use super::input;
use crate::{
    binary::{PROGRAM, Running, run},
    harness::PATIENCE,
};

/// Starts the server below another program, in a folder.
fn spawn_below(command: &mut Command, directory: &Path) -> Running {
    command.env_remove("CALLHISTORY_SERVER").current_dir(directory);
    Running::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()))
}

async fn status_of_readyz(server: &Running) -> (u16, String) {
    let response = reqwest::get(format!("{}/readyz", server.base)).await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn assert_absent(client: &Client, id: &str, what: &str) {
    assert!(client.get_call(id).await.unwrap_err().is_not_found(), "{what}: {id} exists");
}

/// A disk fills up: acknowledged records are kept, writes are refused, reads and deletions succeed. Writes succeed again as
/// soon as there is space.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "mounts a file system of its own: needs unprivileged user namespaces, or root"]
async fn a_full_disk_refuses_only_writes() {
    let directory = TempDir::new().unwrap();
    std::fs::create_dir(directory.path().join("disk")).unwrap();
    let script =
        format!("mount -t tmpfs -o size=48m tmpfs disk && exec {} --listen 127.0.0.1:0 --data-dir disk/data", *PROGRAM);
    let mut server = spawn_below(Command::new("unshare").args(["-Urm", "sh", "-c", &script]), directory.path());
    // Only the server sees the mount; the test reaches it through the server's root.
    let disk = PathBuf::from(format!("/proc/{}/root{}", server.child.id(), directory.path().join("disk").display()));
    let filler = disk.join("filler");
    std::fs::write(&filler, vec![0; 12 * 1024 * 1024]).unwrap();
    let client = server.client("w");
    let large = input("x".repeat(60_000));
    let mut acknowledged = Vec::new();
    let full = loop {
        let id = format!("c{}", acknowledged.len());
        match client.replace_call(&id, &large).await {
            Ok(_) => acknowledged.push(id),
            Err(error) => break error,
        }
    };
    assert_eq!((full.status(), full.problem().unwrap().code.as_str()), (Some(507), "storage_full"));
    let (status, body) = status_of_readyz(&server).await;
    assert!(status == 503 && body.contains("the disk is full"), "{status} {body}");
    for id in &acknowledged {
        client.get_call(id).await.unwrap();
    }
    let query = ListQuery::new().include_total(true);
    assert_eq!(client.list_calls(&query).await.unwrap().total, Some(acknowledged.len() as u64));
    let mut refused = 0;
    for number in 0..20 {
        let id = format!("r{number}");
        match client.replace_call(&id, &large).await {
            // A checkpoint of the WAL may have made space meanwhile.
            Ok(_) => acknowledged.push(id),
            Err(error) => {
                assert_eq!(error.status(), Some(507));
                assert_absent(&client, &id, "refused").await;
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "{refused} of 20 writes were refused");
    let deleted: Vec<_> = acknowledged.drain(..100).collect();
    for id in &deleted {
        client.delete_call(id).await.unwrap();
        assert_absent(&client, id, "deleted").await;
    }
    std::fs::remove_file(filler).unwrap();
    let freed = Instant::now();
    while client.replace_call("after", &input("short")).await.is_err() {
        assert!(freed.elapsed() < PATIENCE, "writes do not resume");
        sleep(Duration::from_millis(50)).await;
    }
    println!(
        "{} acknowledged, {refused} refused, {} deleted, writes resumed after {:?}",
        acknowledged.len(),
        deleted.len(),
        freed.elapsed()
    );
    for id in &acknowledged {
        client.get_call(id).await.unwrap();
    }
    server.signal("-TERM");
    assert!(server.child.wait().unwrap().success());
}

/// Starts a server on a disk of its own after another one has written five records there and has stopped; `then` is what happens
/// to the disk in between.
fn start_again_after(directory: &Path, then: &str) -> Running {
    std::fs::create_dir(directory.join("disk")).unwrap();
    let server = format!("{} --listen 127.0.0.1:0 --data-dir disk/data", *PROGRAM);
    let script = format!(
        "mount -t tmpfs -o size=40m tmpfs disk
         {server} > first & P=$!
         while ! grep -q Reference first; do sleep 0.05; done
         B=$(sed -n 's/.* at \\(http.*\\)/\\1/p' first | head -1)
         for n in 0 1 2 3 4; do
             curl -sf -X PUT $B/v2/api/call-history/c$n -H 'x-workspace-id: w' -H 'content-type: application/json' -d '{{}}'
         done > written
         kill $P; wait $P
         {then}
         exec {server}"
    );
    spawn_below(Command::new("unshare").args(["-Urm", "sh", "-c", &script]), directory)
}

/// Waits until a write succeeds.
async fn write_until_accepted(client: &Client) {
    let since = Instant::now();
    while client.replace_call("after", &input("short")).await.is_err() {
        assert!(since.elapsed() < PATIENCE, "writes do not resume");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "mounts a file system of its own: needs unprivileged user namespaces, or root"]
async fn a_server_starts_on_a_full_disk() {
    let directory = TempDir::new().unwrap();
    let fill = "dd if=/dev/zero of=disk/filler bs=1M 2> /dev/null; dd if=/dev/zero of=disk/rest bs=512 2> /dev/null";
    let server = start_again_after(directory.path(), fill);
    let client = server.client("w");
    for number in 0..5 {
        client.get_call(&format!("c{number}")).await.unwrap();
    }
    assert_eq!(client.list_calls(&ListQuery::default()).await.unwrap().calls.len(), 5);
    client.delete_call("c4").await.unwrap();
    let refused = client.replace_call("large", &input("x".repeat(60_000))).await.unwrap_err();
    assert_eq!(refused.status(), Some(507), "{refused}");
    let (status, body) = status_of_readyz(&server).await;
    assert!(status == 503 && body.contains("the disk is full"), "{status} {body}");
    client.delete_call("c3").await.unwrap();
    let disk = PathBuf::from(format!("/proc/{}/root{}", server.child.id(), directory.path().join("disk").display()));
    std::fs::remove_file(disk.join("filler")).unwrap();
    write_until_accepted(&client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "mounts a file system of its own: needs unprivileged user namespaces, or root"]
async fn a_server_starts_on_a_read_only_disk() {
    let directory = TempDir::new().unwrap();
    let program = &*PROGRAM;
    let remount = format!(
        "mount -o remount,ro disk
         {program} doctor --full --data-dir disk/data > doctor; echo $? > codes
         {program} export --workspace w --data-dir disk/data > out.ndjson; echo $? >> codes
         {program} backup copy.db --data-dir disk/data > backup; echo $? >> codes
         (while [ ! -e go ]; do sleep 0.1; done; mount -o remount,rw disk) > /dev/null &"
    );
    let server = start_again_after(directory.path(), &remount);
    let client = server.client("w");
    client.get_call("c0").await.unwrap();
    assert_eq!(client.list_calls(&ListQuery::default()).await.unwrap().calls.len(), 5);
    let refused = client.replace_call("c0", &input("new")).await.unwrap_err();
    assert!(refused.problem().unwrap().detail.contains("does not accept writes"), "{refused}");
    let (status, body) = status_of_readyz(&server).await;
    assert!(status == 503 && body.contains("does not accept writes"), "{status} {body}");
    let text = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    assert_eq!(text("codes"), "2\n0\n0\n", "{} {}", text("doctor"), text("backup"));
    assert!(text("doctor").contains("is read-only") && text("doctor").contains("every page was read and is valid"));
    assert_eq!(text("out.ndjson").lines().count(), 5);
    std::fs::write(directory.path().join("go"), "").unwrap();
    write_until_accepted(&client).await;
    assert_eq!(client.get_call("after").await.unwrap().summary.as_deref(), Some("short"));
    assert_eq!(client.list_calls(&ListQuery::default()).await.unwrap().calls.len(), 6);
}

/// A server must not read, without the locks of SQLite, what another one writes through another mount.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "mounts a file system of its own: needs unprivileged user namespaces, or root"]
async fn a_read_only_mount_of_a_served_database_is_refused() {
    let directory = TempDir::new().unwrap();
    let program = &*PROGRAM;
    let script = format!(
        "{program} --listen 127.0.0.1:0 --data-dir d > first & P=$!
         while ! grep -q Reference first; do sleep 0.05; done
         B=$(sed -n 's/.* at \\(http.*\\)/\\1/p' first | head -1)
         put() {{ curl -sf -X PUT $B/v2/api/call-history/$1 -H 'x-workspace-id: w' -H 'content-type: application/json' -d '{{}}'; }}
         put before > answers
         while [ -s d/callhistory.db-wal ]; do sleep 0.2; done
         mount --bind d d && mount -o remount,ro,bind d
         put after >> answers
         {program} backup copy.db --data-dir d > backup; echo $? > codes
         {program} export --workspace w --data-dir d > exported 2> errors; echo $? >> codes
         timeout 20 {program} --listen 127.0.0.1:0 --data-dir d > second 2>> errors; echo $? >> codes
         kill $P; wait $P"
    );
    let status = Command::new("unshare").args(["-Urm", "sh", "-c", &script]).current_dir(directory.path()).status();
    assert!(status.unwrap().success());
    let text = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    assert_eq!(text("codes"), "0\n1\n1\n", "{}{}", text("errors"), text("backup"));
    assert!(text("errors").matches("in use by another process").count() == 2, "{}", text("errors"));
    assert!(text("backup").contains("2 records"), "{}", text("backup"));
}

/// A file system that turns read-only under a running server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace"]
async fn a_disk_that_refuses_writes_is_a_state() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &["--log", "off"]);
    let client = server.client("w");
    client.replace_call("before", &input("x")).await.unwrap();
    let id = server.child.id().to_string();
    let mut tracer = Command::new("strace");
    tracer.args(["-f", "-qq", "-o", "/dev/null", "-p", &id, "-e", "trace=pwrite64,openat,write,writev,sendto"]);
    tracer.args(["-e", "inject=pwrite64:error=EROFS"]);
    let mut tracer = tracer.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let since = Instant::now();
    let refused = loop {
        match client.replace_call("c", &input(&*format!("{:?}", since.elapsed()))).await {
            Err(error) => break error,
            Ok(_) => assert!(since.elapsed() < PATIENCE, "no write is refused"),
        }
    };
    assert_eq!(refused.status(), Some(503));
    let refused = client.replace_call("d", &input("x")).await.unwrap_err();
    assert!(refused.problem().unwrap().detail.contains("does not accept writes"), "{refused}");
    let (status, body) = status_of_readyz(&server).await;
    assert!(status == 503 && body.contains("does not accept writes"), "{status} {body}");
    client.get_call("before").await.unwrap();
    tracer.kill().unwrap();
    tracer.wait().unwrap();
    write_until_accepted(&client).await;
    assert_eq!(status_of_readyz(&server).await.0, 200);
}

/// One injected error of a system call: at which of its uses it fails, and whether at all later ones too.
struct Injection {
    call: &'static str,
    error: &'static str,
    at: usize,
    persists: bool,
}

/// Enough writes of 60 KB for a checkpoint of the WAL between them.
const WRITES: u64 = 96;

/// The results of the writes under an injected error.
#[derive(Default)]
struct Outcome {
    /// The IDs and summaries of acknowledged records.
    acknowledged: Vec<(String, String)>,
    deleted: Vec<String>,
    failed_syncs: usize,
}

/// The call with which SQLite syncs, as `.cargo/config.toml` has it built.
const SYNC: &str = "fdatasync";

async fn write_under(directory: &Path, injection: &Injection) -> Outcome {
    let Injection { call, error, at, persists } = *injection;
    let plus = if persists { "+" } else { "" };
    let mut server = Running::start(directory, &["--log", "off"]);
    let id = server.child.id();
    let mut tracer = Command::new("strace");
    tracer.args(["-f", "-qq", "-o", "trace", "-e", &format!("trace={call}"), "-p", &id.to_string()]);
    tracer.args(["-e", &format!("inject={call}:error={error}:when={at}{plus}")]);
    let mut tracer = tracer.current_dir(directory).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let is_traced = |thread: std::fs::DirEntry| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    };
    while !std::fs::read_dir(format!("/proc/{id}/task")).unwrap().flatten().all(is_traced) {
        assert!(tracer.try_wait().unwrap().is_none(), "strace may not trace, or has ended");
        sleep(Duration::from_millis(5)).await;
    }
    let client = server.client("w");
    let mut outcome = Outcome::default();
    let mut writes = JoinSet::new();
    for number in 0..WRITES {
        let client = client.clone();
        writes.spawn(async move {
            sleep(Duration::from_millis(number * 2)).await;
            let id = format!("c{number}");
            let summary = format!("{call} {error} {at}{plus} {number} {}", "x".repeat(60_000));
            let is_written = client.replace_call(&id, &input(summary.as_str())).await.is_ok();
            // Every third record is deleted again.
            let is_deleted = number % 3 == 0 && is_written && client.delete_call(&id).await.is_ok();
            (id, summary, is_written && number % 3 != 0, is_deleted)
        });
    }
    while let Some(write) = writes.join_next().await {
        let (id, summary, is_kept, is_deleted) = write.unwrap();
        if is_deleted {
            outcome.deleted.push(id);
        } else if is_kept {
            outcome.acknowledged.push((id, summary));
        }
    }
    // After a failed sync the content of the disk is unknown: the server must acknowledge nothing more.
    let trace = std::fs::read_to_string(directory.join("trace")).unwrap();
    if call == SYNC && trace.contains("(INJECTED)") {
        outcome.failed_syncs = 1;
        assert_eq!(status_of_readyz(&server).await.0, 503, "{call} at {at}: the server continues");
    }
    server.signal("-KILL");
    drop(server.child.wait());
    drop(tracer.wait());
    outcome
}

/// Each call that writes, syncs, reads or truncates fails once, and permanently, at each of its first uses. After a restart
/// acknowledged records exist, deleted ones do not, and none exists twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace, and takes minutes"]
async fn a_disk_fault_never_causes_a_wrong_response() {
    let calls = [(SYNC, "EIO"), ("pwrite64", "EIO"), ("pwrite64", "ENOSPC"), ("pread64", "EIO"), ("statx", "EIO")];
    let (mut runs, mut acknowledged, mut deleted, mut noticed, mut failed_syncs) = (0, 0, 0, 0, 0);
    for (call, error) in calls {
        for (at, persists) in (1..=20).map(|at| (at, false)).chain([1, 2, 5, 10, 20].map(|at| (at, true))) {
            let directory = TempDir::new().unwrap();
            let outcome = write_under(directory.path(), &Injection { call, error, at, persists }).await;
            let server = Running::start(directory.path(), &[]);
            let client = server.client("w");
            let case = format!("{call} {error} at {at}, permanently: {persists}");
            for (id, summary) in &outcome.acknowledged {
                let record = client.get_call(id).await.unwrap_or_else(|error| panic!("{case}: {id} is lost: {error}"));
                assert_eq!(record.summary.as_ref(), Some(summary), "{case}: {id} is another record");
            }
            for id in &outcome.deleted {
                assert_absent(&client, id, &case).await;
            }
            let all = ListQuery::new().limit(1000);
            let listed = client.list_calls(&all).await.unwrap().calls;
            let ids: HashSet<_> = listed.iter().map(|record| record.id.as_str()).collect();
            assert_eq!(ids.len(), listed.len(), "{case}: a record exists twice");
            let (code, printed, _) = run(directory.path(), &["doctor", "--full"]);
            assert!(code < 2, "{case}: {printed}");
            runs += 1;
            noticed += usize::from(outcome.acknowledged.len() + outcome.deleted.len() < WRITES as usize);
            failed_syncs += outcome.failed_syncs;
            acknowledged += outcome.acknowledged.len();
            deleted += outcome.deleted.len();
        }
    }
    println!(
        "{runs} errors, {noticed} noticed by callers, {failed_syncs} failed syncs, each of which stopped writes; \
         {acknowledged} writes and {deleted} deletions were acknowledged correctly"
    );
    assert!(noticed > runs / 3 && failed_syncs > 0 && acknowledged > 0);
}

/// The number of acknowledgements in the output of strace, if a sync ended between each and the one before it.
fn responses_after_syncs(trace: &str) -> Result<usize, String> {
    let (mut is_synced, mut responses) = (false, 0);
    for line in trace.lines() {
        // strace prints a call in two lines where another thread makes one meanwhile.
        let is_sync =
            ["fsync(", "fdatasync(", "fsync resumed", "fdatasync resumed"].iter().any(|call| line.contains(call));
        is_synced |= is_sync && line.trim_end().ends_with("= 0");
        if line.contains("HTTP/1.1 201") {
            responses += 1;
            if !std::mem::take(&mut is_synced) {
                return Err(format!("response {responses} was sent before a sync"));
            }
        }
    }
    Ok(responses)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace"]
async fn each_response_follows_its_fsync() {
    let directory = TempDir::new().unwrap();
    drop(Running::start(directory.path(), &[]));
    let trace = directory.path().join("trace");
    let mut tracer = Command::new("strace");
    tracer.args(["-f", "-qq", "-s", "16", "-e", "trace=fsync,fdatasync,write,sendto,writev,sendmsg", "-o"]).arg(&trace);
    tracer.args([PROGRAM.as_str(), "--listen", "127.0.0.1:0", "--log", "off"]);
    let server = spawn_below(&mut tracer, directory.path());
    let client = server.client("w");
    for number in 0..200 {
        client.replace_call(&format!("c{number}"), &input("x")).await.unwrap();
    }
    server.kill_all();
    let trace = std::fs::read_to_string(trace).unwrap();
    assert_eq!(responses_after_syncs(&trace), Ok(200));
    let is_kept = |(at, line): &(usize, &str)| at % 50 > 25 || !line.contains("sync");
    let without: String = trace.lines().enumerate().filter(is_kept).map(|(_, line)| format!("{line}\n")).collect();
    assert!(responses_after_syncs(&without).is_err(), "the check does not find a missing sync");
    println!("200 responses, each after a sync of its own");
}
