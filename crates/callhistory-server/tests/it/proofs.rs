//! Proofs that need more of the machine than a test run may ask for: rights to mount, `strace`, nginx, minutes. They run
//! with `--ignored`, and print what they measured.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Client, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::binary::{PROGRAM, Running, command};

/// A caller of one workspace over raw HTTP.
#[derive(Clone)]
struct Caller {
    client: Client,
    base: String,
}

impl Caller {
    fn new(server: &Running) -> Self {
        let client = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        Self { client, base: format!("{}/v2/api/call-history", server.base) }
    }

    async fn put(&self, id: &str, summary: &str) -> reqwest::Result<Response> {
        let put = self.client.put(format!("{}/{id}", self.base)).header("x-workspace-id", "w");
        put.header("content-type", "application/json").body(format!("{{\"summary\":\"{summary}\"}}")).send().await
    }

    async fn get(&self, id: &str) -> reqwest::Result<Response> {
        self.client.get(format!("{}/{id}", self.base)).header("x-workspace-id", "w").send().await
    }

    async fn delete(&self, id: &str) -> reqwest::Result<Response> {
        self.client.delete(format!("{}/{id}", self.base)).header("x-workspace-id", "w").send().await
    }

    async fn total(&self) -> u64 {
        let list = self.client.get(format!("{}?includeTotal=true&limit=1", self.base)).header("x-workspace-id", "w");
        list.send().await.unwrap().headers()["x-total-count"].to_str().unwrap().parse().unwrap()
    }
}

async fn code(answer: Response) -> String {
    let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    problem["code"].as_str().unwrap().to_owned()
}

/// A disk that fills up: what was answered is there, writes are refused, reads and deletions go on, and as soon as there
/// is room, so do writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "mounts a file system of its own: needs unprivileged user namespaces, or root"]
async fn a_full_disk_refuses_writes_alone() {
    let directory = TempDir::new().unwrap();
    std::fs::create_dir(directory.path().join("disk")).unwrap();
    let script =
        format!("mount -t tmpfs -o size=48m tmpfs disk && exec {PROGRAM} --listen 127.0.0.1:0 --data-dir disk/data");
    let mut shell = Command::new("unshare");
    shell.args(["-Urm", "sh", "-c", &script]).env_remove("CALLHISTORY_SERVER").current_dir(directory.path());
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = Running::spawn(&mut shell);
    // The disk is there for the server alone, and reached through it.
    let disk = PathBuf::from(format!("/proc/{}/root{}", server.child.id(), directory.path().join("disk").display()));
    let filler = disk.join("filler");
    std::fs::write(&filler, vec![0; 12 * 1024 * 1024]).unwrap();
    let caller = Caller::new(&server);
    let summary = "x".repeat(60_000);
    let mut answered = Vec::new();
    let full = loop {
        let id = format!("c{}", answered.len());
        let answer = caller.put(&id, &summary).await.unwrap();
        if answer.status() != 201 {
            break answer;
        }
        answered.push(id);
    };
    assert_eq!(full.status().as_u16(), 507);
    assert_eq!(code(full).await, "storage_full");
    let ready = caller.client.get(format!("{}/readyz", server.base)).send().await.unwrap();
    assert_eq!(ready.status().as_u16(), 503);
    assert!(ready.text().await.unwrap().contains("the disk is full"));
    for id in &answered {
        assert_eq!(caller.get(id).await.unwrap().status().as_u16(), 200, "{id} is lost");
    }
    assert_eq!(caller.total().await, answered.len() as u64);
    let mut refused = 0;
    for number in 0..20 {
        let answer = caller.put(&format!("r{number}"), &summary).await.unwrap();
        // The log may have been folded meanwhile: what is then answered counts.
        if answer.status() == 201 {
            answered.push(format!("r{number}"));
            continue;
        }
        assert_eq!(answer.status().as_u16(), 507);
        assert_eq!(caller.get(&format!("r{number}")).await.unwrap().status().as_u16(), 404);
        refused += 1;
    }
    assert!(refused > 10, "{refused} of 20 writes were refused");
    let deleted: Vec<_> = answered.drain(..100).collect();
    for id in &deleted {
        assert_eq!(caller.delete(id).await.unwrap().status().as_u16(), 204, "{id} could not be deleted");
        assert_eq!(caller.get(id).await.unwrap().status().as_u16(), 404);
    }
    std::fs::remove_file(filler).unwrap();
    let freed = Instant::now();
    while caller.put("after", "short").await.unwrap().status() != 201 {
        assert!(freed.elapsed() < Duration::from_secs(10), "writes did not go on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!(
        "{} answered, {refused} refused, {} deleted, writes went on after {:?}",
        answered.len(),
        deleted.len(),
        freed.elapsed()
    );
    for id in &answered {
        assert_eq!(caller.get(id).await.unwrap().status().as_u16(), 200, "{id} is lost");
    }
    server.signal("-TERM");
    assert!(server.child.wait().unwrap().success());
}

/// One injected fault of the system: which call, with which error, at which of its uses, and whether for good.
struct Injection {
    call: &'static str,
    error: &'static str,
    at: usize,
    persists: bool,
}

/// Enough writes of 60 KB for the log to be folded meanwhile.
const WRITES: u64 = 96;

/// What became of the writes under a fault.
#[derive(Default)]
struct Outcome {
    answered: Vec<(String, String)>,
    deleted: Vec<String>,
    failed_syncs: usize,
}

/// With which SQLite syncs, as `.cargo/config.toml` has it built.
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
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let caller = Caller::new(&server);
    let mut outcome = Outcome::default();
    let mut writes = JoinSet::new();
    for number in 0..WRITES {
        let caller = caller.clone();
        writes.spawn(async move {
            tokio::time::sleep(Duration::from_millis(number * 2)).await;
            let (id, summary) = (
                format!("{call}-{error}-{at}-{plus}-{number}").replace('+', "p"),
                format!("the {number}th {}", "x".repeat(60_000)),
            );
            let answer = caller.put(&id, &summary).await;
            let written = answer.is_ok_and(|answer| answer.status() == 201);
            // Every third is deleted again.
            let deleted =
                written && number % 3 == 0 && caller.delete(&id).await.is_ok_and(|answer| answer.status() == 204);
            (id, summary, written, deleted, number % 3 == 0)
        });
    }
    while let Some(done) = writes.join_next().await {
        let (id, summary, written, deleted, was_to_be_deleted) = done.unwrap();
        if deleted {
            outcome.deleted.push(id);
        } else if written && !was_to_be_deleted {
            outcome.answered.push((id, summary));
        }
    }
    // After a failed sync, whose ever, nobody knows what the disk holds: nothing more may be promised.
    let trace = std::fs::read_to_string(directory.join("trace")).unwrap();
    if call == SYNC && trace.contains("(INJECTED)") {
        outcome.failed_syncs = 1;
        let ready = caller.client.get(format!("{}/readyz", server.base)).send().await.unwrap();
        assert_eq!(ready.status().as_u16(), 503, "{call} at {at}: the service goes on");
    }
    server.signal("-KILL");
    drop(server.child.wait());
    drop(tracer.wait());
    outcome
}

/// Each call that writes, syncs, reads or cuts fails once, and for good, at each of its first uses: what was answered all
/// the same is there after a restart, what was deleted is not, and nothing is there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace, and takes minutes"]
async fn no_answer_is_false_after_a_fault_of_the_disk() {
    let calls = [(SYNC, "EIO"), ("pwrite64", "EIO"), ("pwrite64", "ENOSPC"), ("pread64", "EIO"), ("statx", "EIO")];
    let (mut runs, mut answered, mut deleted, mut felt, mut failed_syncs) = (0, 0, 0, 0, 0);
    for (call, error) in calls {
        for (at, persists) in (1..=20).map(|at| (at, false)).chain([1, 2, 5, 10, 20].map(|at| (at, true))) {
            let directory = TempDir::new().unwrap();
            let injection = Injection { call, error, at, persists };
            let outcome = write_under(directory.path(), &injection).await;
            let server = Running::start(directory.path(), &[]);
            let caller = Caller::new(&server);
            let place = format!("{call} {error} at {at}, for good: {persists}");
            for (id, summary) in &outcome.answered {
                let answer = caller.get(id).await.unwrap();
                assert_eq!(answer.status().as_u16(), 200, "{place}: {id} was answered and is lost");
                assert!(answer.text().await.unwrap().contains(summary), "{place}: {id} is another");
            }
            for id in &outcome.deleted {
                assert_eq!(
                    caller.get(id).await.unwrap().status().as_u16(),
                    404,
                    "{place}: {id} was deleted and is there"
                );
            }
            let list =
                caller.client.get(format!("{}?limit=1000&fields=_id", caller.base)).header("x-workspace-id", "w");
            let list: Vec<Value> = serde_json::from_str(&list.send().await.unwrap().text().await.unwrap()).unwrap();
            let mut seen = HashMap::new();
            for record in &list {
                *seen.entry(record["_id"].to_string()).or_insert(0) += 1;
            }
            assert!(seen.values().all(|times| *times == 1), "{place}: a record is there twice");
            let (code, printed, _) = crate::operate::run(directory.path(), &["doctor", "--full"]);
            assert!(code < 2, "{place}: {printed}");
            runs += 1;
            felt += usize::from(outcome.answered.len() + outcome.deleted.len() < WRITES as usize);
            failed_syncs += outcome.failed_syncs;
            answered += outcome.answered.len();
            deleted += outcome.deleted.len();
        }
    }
    println!(
        "{runs} errors, {felt} felt by callers, {failed_syncs} of them failed syncs, after each of which writes stopped; \
         {answered} writes and {deleted} deletions were answered, all true"
    );
    assert!(felt > runs / 3 && failed_syncs > 0 && answered > 0);
}

/// Whether each answer that a write is done comes after a sync that began after the write was read, in the lines of strace.
fn answers_follow_syncs(log: &str) -> Result<usize, String> {
    let (mut synced, mut answers) = (0, 0);
    for line in log.lines() {
        // A sync that returned; one that is cut in two by another thread ends in its second half.
        let is_sync =
            ["fsync(", "fdatasync(", "fsync resumed", "fdatasync resumed"].iter().any(|call| line.contains(call));
        if is_sync && line.trim_end().ends_with("= 0") {
            synced += 1;
        }
        if line.contains("HTTP/1.1 201") {
            answers += 1;
            if synced == 0 {
                return Err(format!("answer {answers} was sent before a sync"));
            }
            synced = 0;
        }
    }
    Ok(answers)
}

/// One write after another: between two answers lies a sync.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace"]
async fn each_answer_comes_after_its_sync() {
    let directory = TempDir::new().unwrap();
    drop(Running::start(directory.path(), &[]));
    let log = directory.path().join("log");
    let mut tracer = Command::new("strace");
    tracer.args(["-f", "-qq", "-s", "16", "-e", "trace=fsync,fdatasync,write,sendto,writev,sendmsg", "-o"]).arg(&log);
    tracer.args([PROGRAM, "--listen", "127.0.0.1:0", "--log", "off"]);
    tracer
        .env_remove("CALLHISTORY_SERVER")
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let server = Running::spawn(&mut tracer);
    let caller = Caller::new(&server);
    for number in 0..200 {
        assert_eq!(caller.put(&format!("c{number}"), "x").await.unwrap().status().as_u16(), 201);
    }
    server.kill_all();
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(answers_follow_syncs(&log), Ok(200));
    let without: String = log
        .lines()
        .enumerate()
        .filter(|(at, line)| at % 50 > 25 || !line.contains("sync"))
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    assert!(answers_follow_syncs(&without).is_err(), "the proof does not see a missing sync");
    println!("200 answers, each behind a sync of its own");
}

/// The memory of a process, in MiB: the resident one, or the most that it ever was.
fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// The 99th percentile of an honest client's time for a record, over two seconds and four connections.
async fn honest(caller: &Caller) -> Duration {
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        let caller = caller.clone();
        readers.spawn(async move {
            let (began, mut times) = (Instant::now(), Vec::new());
            while began.elapsed() < Duration::from_secs(2) {
                let started = Instant::now();
                assert_eq!(caller.get("c1").await.unwrap().status().as_u16(), 200);
                times.push(started.elapsed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            times
        });
    }
    let mut times: Vec<_> = readers.join_all().await.into_iter().flatten().collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Sends the same bytes on each of this number of connections and keeps them open.
async fn hold(server: &Running, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let address = server.base.trim_start_matches("http://").to_owned();
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        drop(stream.write_all(bytes).await);
        held.push(stream);
    }
    held
}

/// Thousands of clients that send half of something, read nothing, or unpack to too much: the figures are the memory that
/// they take and what an honest client waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute and thousands of connections"]
async fn hostile_clients_do_not_matter() {
    let directory = TempDir::new().unwrap();
    let lines: String =
        (0..2000).map(|n| format!("{{\"_id\":\"c{n}\",\"summary\":\"{}\"}}\n", "x".repeat(3000))).collect();
    std::fs::write(directory.path().join("a.ndjson"), lines).unwrap();
    assert_eq!(crate::operate::run(directory.path(), &["import", "--workspace", "w", "a.ndjson"]).0, 0);
    let start = || Running::spawn(command(directory.path()).args(["--listen", "127.0.0.1:0", "--log", "warn"]));
    let head =
        "POST /v2/api/call-history HTTP/1.1\r\nhost: x\r\nx-workspace-id: w\r\ncontent-type: application/json\r\n";
    let list = "GET /v2/api/call-history?limit=1000 HTTP/1.1\r\nhost: x\r\nx-workspace-id: w\r\n\r\n";
    let import = "POST /v2/api/call-history/batch HTTP/1.1\r\nhost: x\r\nx-workspace-id: w\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    let large_head = format!("{head}x: {}", "y".repeat(60_000));
    let slow_body = format!("{head}content-length: 1000000\r\n\r\n{{\"summary\":\"{}", "x".repeat(900_000));
    let stream = "GET /v2/api/call-history/changes HTTP/1.1\r\nhost: x\r\nx-workspace-id: w\r\naccept: text/event-stream\r\n\r\n";
    let cases: [(&str, usize, &[u8]); 8] = [
        ("connections that say nothing", 3000, b""),
        ("half heads", 3000, head.as_bytes()),
        ("half heads of 60 KB", 500, large_head.as_bytes()),
        ("bodies of 1 MB that stop", 300, slow_body.as_bytes()),
        ("readers of 3 MB that read nothing", 300, list.as_bytes()),
        ("imports that never send", 500, import.as_bytes()),
        ("followers that read nothing", 1000, stream.as_bytes()),
        ("half prefaces of HTTP/2", 1000, b"PRI * HT"),
    ];
    for (name, count, bytes) in cases {
        let server = start();
        let (caller, pid) = (Caller::new(&server), server.child.id());
        honest(&caller).await;
        let (quiet, before) = (honest(&caller).await, memory(pid, "VmRSS:"));
        let held = hold(&server, count, bytes).await;
        let (p99, most) = (honest(&caller).await, memory(pid, "VmHWM:").saturating_sub(before));
        println!(
            "{count} {name}: p99 {p99:?} instead of {quiet:?} ({:.1}x), at most {before} + {most} MiB",
            p99.as_secs_f64() / quiet.as_secs_f64()
        );
        // Generous, for machines that are busy with something else.
        assert!(p99 < quiet * 4 + Duration::from_millis(50), "an honest client waits {p99:?}");
        assert!(most < 128, "{most} MiB");
        drop(held);
    }
    let server = start();
    let pid = server.child.id();
    // More connections than there are places: who says nothing is let go soon.
    let address = server.base.trim_start_matches("http://").to_owned();
    let flood = tokio::spawn(async move {
        let mut held = Vec::new();
        for _ in 0..6000 {
            let Ok(Ok(mut stream)) = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(&address)).await
            else {
                break;
            };
            drop(stream.write_all(b"GET / HTTP/1.1\r\n").await);
            held.push(stream);
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        held.len()
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let started = Instant::now();
    let fresh = Caller::new(&server);
    assert_eq!(fresh.get("c1").await.unwrap().status().as_u16(), 200);
    println!("behind a flood of 6000: a new honest connection is answered after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(6));
    println!("{} connections were made", flood.await.unwrap());
    bomb(&server, pid).await;
}

/// Who reads slowly over HTTP/2 gets a whole export, however much of it waits in the buffers between: also where it takes
/// longer than any time-out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes about a minute"]
async fn a_slow_reader_of_http2_gets_everything() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &[]);
    let caller = Caller::new(&server);
    for number in 0..400 {
        assert_eq!(caller.put(&format!("c{number}"), &"x".repeat(60_000)).await.unwrap().status().as_u16(), 201);
    }
    let address = server.base.trim_start_matches("http://");
    let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (mut far_read, mut far_write) = tokio::io::split(far);
    let sending = tokio::spawn(async move { tokio::io::copy(&mut far_read, &mut to).await });
    let receiving = tokio::spawn(async move {
        let mut buffer = vec![0; 50_000];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            far_write.write_all(&buffer[..count]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        far_write.shutdown().await.unwrap();
    });
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
    let (client, connection) = builder.handshake::<_, bytes::Bytes>(near).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = http::Request::get(format!("{}/export", caller.base)).header("x-workspace-id", "w").body(()).unwrap();
    let started = Instant::now();
    let mut body = client.send_request(request, true).unwrap().0.await.unwrap().into_body();
    let mut lines = 0;
    while let Some(bytes) = body.data().await {
        lines += bytes.expect("the server ends the answer").iter().filter(|byte| **byte == b'\n').count();
    }
    assert_eq!(lines, 400);
    println!("24 MB took {:?}", started.elapsed());
    for task in [connection.abort_handle(), sending.abort_handle(), receiving.abort_handle()] {
        task.abort();
    }
}

/// A gzip body of a few megabytes that unpacks to gigabytes.
async fn bomb(server: &Running, pid: u32) {
    let mut packed = Vec::new();
    let mut encoder = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::best());
    let zeros = vec![b' '; 1024 * 1024];
    for _ in 0..2048 {
        std::io::Write::write_all(&mut encoder, &zeros).unwrap();
    }
    encoder.finish().unwrap();
    let before = memory(pid, "VmHWM:");
    let post = Client::new().post(format!("{}/v2/api/call-history/batch", server.base)).header("x-workspace-id", "w");
    let post = post.header("content-type", "application/x-ndjson").header("content-encoding", "gzip");
    let size = packed.len();
    let answer = post.body(packed).send().await;
    let status = answer.map_or_else(|error| error.to_string(), |answer| answer.status().to_string());
    println!(
        "a bomb of {size} bytes that unpacks to 2 GiB: {status}, +{} MiB",
        memory(pid, "VmHWM:").saturating_sub(before)
    );
    assert!(status.starts_with("413") && memory(pid, "VmHWM:") < before + 64);
}

/// Requests that a proxy and the service could read differently, sent through nginx: each connection ends with at most one
/// answer more than requests that nginx saw, and no smuggled request is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx"]
async fn nothing_is_smuggled_through_nginx() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &[]);
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let backend = server.base.trim_start_matches("http://");
    let configuration = format!(
        "daemon off; pid nginx.pid; error_log stderr; events {{}}\nhttp {{ access_log off; client_body_temp_path body; \
         proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
         upstream backend {{ server {backend}; keepalive 8; }}\nserver {{ listen 127.0.0.1:{port};\n\
         location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}"
    );
    std::fs::write(directory.path().join("nginx.conf"), configuration).unwrap();
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(directory.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
    let mut nginx = nginx.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let connect = || async { TcpStream::connect(("127.0.0.1", port)).await };
    for _ in 0..100 {
        if connect().await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let smuggled = "GET /v2/api/call-history/smuggled HTTP/1.1\r\nhost: x\r\nx-workspace-id: w\r\n\r\n";
    let start =
        "POST /v2/api/call-history HTTP/1.1\r\nhost: x\r\nx-workspace-id: w\r\ncontent-type: application/json\r\n";
    let length = smuggled.len();
    let vectors = [
        format!("{start}content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{start}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{start}transfer-encoding: xchunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{start}transfer-encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{start}transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{start}content-length: 0\r\ncontent-length: {length}\r\n\r\n{smuggled}"),
        format!("{start}content-length: +0\r\n\r\n{smuggled}"),
        format!("{start}content-length: {length}\r\nx-workspace-id: other\r\n\r\n{smuggled}"),
        format!("{start}x: a\r\n transfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n{smuggled}"),
        format!("{start}x: a\rtransfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n{smuggled}"),
        "GET /v2/api/call-history/a%20HTTP/1.1%0d%0ahost:%20x%0d%0a%0d%0a HTTP/1.1\r\nhost: x\r\nx-workspace-id: w\r\n\r\n".to_owned(),
        "GET /v2/api/call-history/..%2f..%2fhealthz HTTP/1.1\r\nhost: x\r\nx-workspace-id: w\r\n\r\n".to_owned(),
    ];
    let proxied = Client::new();
    for vector in &vectors {
        for direct in [false, true] {
            let mut stream = if direct { TcpStream::connect(backend).await.unwrap() } else { connect().await.unwrap() };
            stream.write_all(vector.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            drop(tokio::time::timeout(Duration::from_millis(700), stream.read_to_end(&mut answer)).await);
            let answer = String::from_utf8_lossy(&answer);
            // The smuggled request would be answered by the service, as a second answer that tells of the record.
            let seconds = answer.matches("call_not_found").count();
            assert_eq!(seconds, 0, "{vector:?}, directly: {direct}: {answer}");
            assert!(answer.matches("HTTP/1.1 ").count() <= 2, "{answer}");
        }
        // Nobody else is answered with what was left on a connection to the service.
        for _ in 0..4 {
            let next = proxied.get(format!("http://127.0.0.1:{port}/healthz")).send().await.unwrap();
            assert_eq!(next.text().await.unwrap(), r#"{"status":"alive"}"#, "{vector:?}");
        }
    }
    println!("{} vectors, directly and through nginx", vectors.len());
    drop(nginx.kill());
    drop(nginx.wait());
}
