//! What clients that send or hold too much cost, and what they get.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use callhistory_client::{CallInput, ListQuery};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    binary::{PROGRAM, Running},
    harness::{PATIENCE, read_to_end},
};

fn address(server: &Running) -> &str {
    server.base.trim_start_matches("http://")
}

/// Opens this number of connections that send the same bytes.
async fn hold(server: &Running, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = timeout(PATIENCE, TcpStream::connect(address(server))).await.unwrap().unwrap();
        drop(stream.write_all(bytes).await);
        held.push(stream);
    }
    held
}

/// The processor time of a process so far.
pub(crate) fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // User and system time, in hundredths of a second.
    let ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    Duration::from_millis(ticks.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
}

#[tokio::test]
async fn connections_that_wait_with_half_a_preface_cost_nothing() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &["--log", "warn"]);
    let held = hold(&server, 1000, b"P").await;
    // They are accepted in order.
    server.client("w").list_calls(&ListQuery::default()).await.unwrap();
    let before = processor_time(server.child.id());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = processor_time(server.child.id()) - before;
    assert!(used < Duration::from_millis(200), "{used:?} in three seconds");
    drop(held);
}

fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, 0, 0, 0, 0, stream][..], payload].concat()
}

/// The error code of a GOAWAY frame among the frames that a server has sent.
fn goaway(mut bytes: &[u8]) -> Option<u32> {
    while bytes.len() >= 9 {
        let length = usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
        if bytes[3] == 7 {
            return bytes.get(13..17).map(|code| u32::from_be_bytes(code.try_into().unwrap()));
        }
        bytes = bytes.get(9 + length..)?;
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_control_frames_end_with_goaway() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &["--log", "warn"]);
    let cases = [
        ("PING", frame(6, 0, b"pingpong")),
        ("SETTINGS", frame(4, 0, &[])),
        ("PRIORITY", frame(2, 3, &[0, 0, 0, 0, 16])),
        ("WINDOW_UPDATE", frame(8, 0, &[0, 0, 0, 1])),
        ("unknown", frame(0x20, 0, b"x")),
    ];
    for (name, flood) in cases {
        let (mut read, mut write) = TcpStream::connect(address(&server)).await.unwrap().into_split();
        let flooding = async {
            write.write_all(PREFACE).await.unwrap();
            let frames = flood.repeat(100);
            // Far more than the budget, until the server closes the connection.
            for _ in 0..500 {
                if write.write_all(&frames).await.is_err() {
                    break;
                }
            }
            drop(write);
        };
        let mut received = Vec::new();
        let (_, read) =
            timeout(PATIENCE, async { tokio::join!(flooding, read.read_to_end(&mut received)) }).await.unwrap();
        drop(read);
        assert_eq!(goaway(&received), Some(11), "{name}: no GOAWAY with ENHANCE_YOUR_CALM in {} bytes", received.len());
    }
    server.client("w").list_calls(&ListQuery::default()).await.unwrap();
}

/// A client with a small window sends more updates of it than the budget has frames.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_download_may_update_its_window() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &["--log", "warn"]);
    let lines: String =
        (0..400).map(|n| format!("{{\"_id\":\"c{n}\",\"summary\":\"{}\"}}\n", "x".repeat(60_000))).collect();
    let import = reqwest::Client::new().post(format!("{}/v2/api/call-history/batch", server.base));
    let import = import.header("x-workspace-id", "w").header("content-type", "application/x-ndjson").body(lines);
    assert!(import.send().await.unwrap().status().is_success());
    let stream = TcpStream::connect(address(&server)).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (client, connection) =
        builder.initial_window_size(8 * 1024).handshake::<_, bytes::Bytes>(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let url = format!("{}/v2/api/call-history/export", server.base);
    let request = http::Request::get(url).header("x-workspace-id", "w").body(()).unwrap();
    let mut client = client.ready().await.unwrap();
    let mut body = client.send_request(request, true).unwrap().0.await.unwrap().into_body();
    let mut bytes = 0;
    while let Some(part) = timeout(PATIENCE, body.data()).await.unwrap() {
        let part = part.expect("the connection is cut");
        body.flow_control().release_capacity(part.len()).unwrap();
        bytes += part.len();
    }
    assert!(bytes > 24_000_000, "{bytes}");
    connection.abort();
}

/// The kernel would drop the handshakes that find the queue of the listener full.
#[tokio::test]
async fn a_thousand_connections_can_wait_to_be_accepted() {
    let directory = TempDir::new().unwrap();
    let mut server = Running::start(directory.path(), &["--log", "warn"]);
    server.signal("-STOP");
    let held = hold(&server, 1000, b"").await;
    server.signal("-CONT");
    server.client("w").list_calls(&ListQuery::default()).await.unwrap();
    drop(held);
}

/// Starts the program with limits of open files, which are the arguments of `ulimit`.
fn start_with_files(directory: &TempDir, limits: &str) -> Running {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {limits}; exec {} --listen 127.0.0.1:0", *PROGRAM)]);
    shell.current_dir(directory.path()).env_clear().stdin(Stdio::null());
    Running::spawn(shell.stdout(Stdio::piped()).stderr(Stdio::piped()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_leave_descriptors_for_the_database() {
    let directory = TempDir::new().unwrap();
    let server = start_with_files(&directory, "-S -n 300; ulimit -H -n 1024");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.child.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["1024", "1024"], "{files}");
    let client = server.client("w");
    client.replace_call("c1", &CallInput::default()).await.unwrap();
    let held = hold(&server, 1100, b"").await;
    assert_eq!(client.list_calls(&ListQuery::default()).await.unwrap().calls.len(), 1);
    let export = reqwest::Client::new().get(format!("{}/v2/api/call-history/export", server.base));
    let export = export.header("x-workspace-id", "w").send().await.unwrap();
    assert_eq!(export.status().as_u16(), 200);
    drop(held);
}

/// Reads one response with a body from a connection that stays open.
async fn exchange(stream: &mut TcpStream, target: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nx-workspace-id: w\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut seen, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let count = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        seen.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        let length =
            seen.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse::<usize>().ok());
        if count == 0 || seen.split_once("\r\n\r\n").is_some_and(|(_, body)| Some(body.len()) >= length) {
            return seen;
        }
    }
}

#[tokio::test]
async fn a_lack_of_descriptors_is_503() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &[]);
    let mut stream = TcpStream::connect(address(&server)).await.unwrap();
    assert!(exchange(&mut stream, "/v2/api/call-history/absent").await.starts_with("HTTP/1.1 404"));
    let pid = i32::try_from(server.child.id()).unwrap();
    // No descriptor but those of the standard streams, which are taken. What is open stays open.
    let limit = Rlimit { current: Some(3), maximum: Some(3) };
    prlimit(Pid::from_raw(pid), Resource::Nofile, limit).unwrap();
    for target in ["/v2/api/call-history", "/v2/api/call-history/metrics", "/v2/api/call-history/export"] {
        let response = exchange(&mut stream, target).await;
        assert!(response.starts_with("HTTP/1.1 503") && response.contains("\r\nretry-after: "), "{target}: {response}");
    }
}

/// Each head that is refused before there is a request gets a problem, a line in the log and a number.
#[tokio::test]
async fn a_refused_head_gets_a_problem() {
    let directory = TempDir::new().unwrap();
    let mut server = Running::start(directory.path(), &["--operations-listen", "127.0.0.1:0"]);
    let head = |lines: &str| format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n");
    let many: String = (0..101).map(|number| format!("x-{number}: 1\r\n")).collect();
    let cases = [
        (head(&format!("x: {}\r\n", "y".repeat(100_000))), 431, "head_too_large"),
        (head(&many), 431, "head_too_large"),
        (format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "y".repeat(66_000)), 431, "head_too_large"),
        ("GET /healthz HTTP/1.1 x\r\nhost: localhost\r\n\r\n".to_owned(), 400, "invalid_request"),
        ("GET\r\n\r\n".to_owned(), 400, "invalid_request"),
        (head("content-length: x\r\n"), 400, "invalid_request"),
        (head("fo\0o: 1\r\n"), 400, "invalid_request"),
        (format!("{}{}", head(""), head("content-length: x\r\n")), 400, "invalid_request"),
    ];
    let mut ids = Vec::new();
    for (request, status, code) in &cases {
        let mut stream = TcpStream::connect(address(&server)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let all = timeout(PATIENCE, read_to_end(&mut stream)).await.unwrap();
        let response = &all[all.rfind("HTTP/1.1").unwrap_or(0)..];
        let start: String = request.chars().take(40).collect();
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{start:?}: {all}");
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\ncontent-type: application/problem+json\r\n"), "{start:?}: {all}");
        assert!(head.contains("\r\ndate: ") && head.contains("\r\nconnection: close\r\n"), "{all}");
        // A strict peer refuses a response that has one of these twice.
        let mut names: Vec<_> = head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0)).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|two| two[0] != two[1]), "a header occurs twice: {all}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((problem["code"].as_str(), problem["status"].as_u64()), (Some(*code), Some(*status)), "{all}");
        ids.push(problem["requestId"].as_str().unwrap().to_owned());
        assert!(head.contains(&format!("\r\nx-request-id: {}", ids[ids.len() - 1])), "{all}");
    }
    let metrics = server.welcome.split("Operations: ").nth(1).unwrap().lines().next().unwrap();
    let metrics = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    for (status, count) in [(431, 3), (400, 5)] {
        let line = format!(r#"callhistory_http_requests_total{{route="-",method="other",status="{status}"}} {count}"#);
        assert!(metrics.contains(&line), "no {line} in {metrics}");
    }
    server.signal("-TERM");
    server.child.wait().unwrap();
    let mut log = String::new();
    std::io::Read::read_to_string(&mut server.child.stderr.take().unwrap(), &mut log).unwrap();
    for id in ids {
        assert_eq!(log.lines().filter(|line| line.contains(&id)).count(), 1, "{id} is not in the log once: {log}");
    }
}

/// Heads up to four times the limit. Beyond, the library refuses them itself.
#[tokio::test]
async fn a_too_large_http2_head_gets_a_problem() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &[]);
    let stream = TcpStream::connect(address(&server)).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get(format!("{}/healthz", server.base)).header("x", "y".repeat(100_000));
    let mut client = client.ready().await.unwrap();
    let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    assert_eq!(
        (head.status.as_u16(), head.headers["content-type"].as_bytes()),
        (431, &b"application/problem+json"[..])
    );
    let problem: serde_json::Value = serde_json::from_slice(&body.data().await.unwrap().unwrap()).unwrap();
    assert_eq!(
        (problem["code"].as_str(), problem["requestId"].as_str()),
        (Some("head_too_large"), head.headers["x-request-id"].to_str().ok())
    );
    connection.abort();
}

/// Imports 200 records of 30 KB into a workspace.
async fn import_large_records(server: &Running, workspace: &str) {
    let lines: String =
        (0..200).map(|n| format!("{{\"_id\":\"c{n}\",\"summary\":\"{}\"}}\n", "x".repeat(30_000))).collect();
    let import = reqwest::Client::new().post(format!("{}/v2/api/call-history/batch", server.base));
    let import = import.header("x-workspace-id", workspace).header("content-type", "application/x-ndjson").body(lines);
    assert!(import.send().await.unwrap().status().is_success());
}

/// Requests the largest page, whose body is in memory until it is read.
async fn request_page(server: &Running, workspace: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut stream = socket.connect(address(server).parse().unwrap()).await.unwrap();
    let head = format!(
        "GET /v2/api/call-history?limit=1000 HTTP/1.1\r\nhost: localhost\r\nx-workspace-id: {workspace}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stall_hold_the_share_of_their_own_workspace() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &["--log", "warn"]);
    for workspace in ["big", "other"] {
        import_large_records(&server, workspace).await;
    }
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(request_page(&server, "big").await);
    }
    let page = |workspace: &'static str| {
        let page = reqwest::Client::new().get(format!("{}/v2/api/call-history?limit=1000", server.base));
        page.header("x-workspace-id", workspace).send()
    };
    // Until the requests have been read, so that they hold what they can get.
    let refused = first_refusal(|| page("big")).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
    let refused = refused.text().await.unwrap();
    assert!(refused.contains("of this workspace"), "{refused}");
    for _ in 0..5 {
        let response = page("other").await.unwrap();
        let status = response.status().as_u16();
        assert_eq!((status, response.bytes().await.unwrap().len() > 4_000_000), (200, true));
    }
    drop(held);
    // The share is free again.
    let again = async { while page("big").await.unwrap().status().as_u16() != 200 {} };
    timeout(PATIENCE, again).await.unwrap();
}

/// Sends a request until it is refused.
async fn first_refusal<F>(send: impl Fn() -> F) -> reqwest::Response
where
    F: Future<Output = reqwest::Result<reqwest::Response>>,
{
    let refused = async {
        loop {
            let response = send().await.unwrap();
            if response.status().as_u16() != 200 {
                break response;
            }
        }
    };
    timeout(PATIENCE, refused).await.unwrap()
}

/// An import keeps a batch in memory, however slowly it arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imports_that_stall_hold_the_share_of_their_own_workspace() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &["--log", "warn"]);
    let path = "/v2/api/call-history/batch";
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nx-workspace-id: big\r\ncontent-type: application/x-ndjson\r\ncontent-length: 1000000\r\n\r\n"
    );
    let held = hold(&server, 20, format!("{head}{{\"summary\":\"{}", "x".repeat(300_000)).as_bytes()).await;
    let import = |workspace: &'static str, bytes: usize| {
        let import = reqwest::Client::new().post(format!("{}{path}", server.base));
        let import = import.header("x-workspace-id", workspace).header("content-type", "application/x-ndjson");
        import.body(format!("{{\"_id\":\"c\",\"metadata\":{{\"a\":\"{}\"}}}}\n", "x".repeat(bytes))).send()
    };
    // Until the others have been read.
    let refused = first_refusal(|| import("big", 300_000)).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
    assert!(refused.text().await.unwrap().contains("Four imports of this workspace"));
    // Small ones do not count, and others have their own share.
    for (workspace, bytes) in [("big", 1000), ("other", 300_000)] {
        assert_eq!(import(workspace, bytes).await.unwrap().status().as_u16(), 200);
    }
    drop(held);
}

/// Many readers of one workspace that do read wait for each other instead of being refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_pages_of_one_workspace_wait_in_turn() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &["--log", "warn"]);
    import_large_records(&server, "big").await;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let client = server.client("big");
        readers.spawn(async move {
            let query = ListQuery::new().limit(1000);
            client.list_calls(&query).await.unwrap().calls.len()
        });
    }
    assert!(readers.join_all().await.into_iter().all(|calls| calls > 100));
}

/// The value of a metric, which is there once something has set it.
pub(crate) async fn metric(server: &Running, name: &str) -> Option<f64> {
    let url = server.welcome.split("Operations: ").nth(1).unwrap().lines().next().unwrap();
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Reads until this number of events has arrived.
async fn read_events(stream: &mut TcpStream, count: usize) {
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    while seen.windows(7).filter(|window| window == b"\ndata: ").count() < count {
        let read = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "the stream ended: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..read]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_followers_at_one_position_share_a_read() {
    const FOLLOWERS: usize = 1000;
    const WRITES: usize = 4;
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &["--log", "warn", "--operations-listen", "127.0.0.1:0"]);
    let head = "GET /v2/api/call-history/changes?cursor=latest HTTP/1.1\r\nhost: localhost\r\nx-workspace-id: w\r\naccept: text/event-stream\r\n\r\n";
    let mut followers = hold(&server, FOLLOWERS, head.as_bytes()).await;
    let all = async {
        while metric(&server, "callhistory_followers").await.unwrap_or(0.0) < FOLLOWERS as f64 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, all).await.unwrap();
    for _ in 0..WRITES {
        let writer = server.client("w");
        writer.create_call(&CallInput::default()).await.unwrap();
        for follower in &mut followers {
            read_events(follower, 1).await;
        }
    }
    // Those who are late read for themselves: many on a busy machine. Without sharing, each event is a read.
    let reads = metric(&server, "callhistory_follower_reads_total").await.unwrap();
    println!("{reads} reads for {} events", FOLLOWERS * WRITES);
    assert!(reads < (FOLLOWERS * WRITES / 2) as f64, "{reads} reads");
    drop(followers);
    let none = async {
        while metric(&server, "callhistory_followers").await.unwrap() > 0.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, none).await.unwrap();
}
