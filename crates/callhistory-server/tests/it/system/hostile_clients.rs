//! Clients that send half of something, read nothing, or send a decompression bomb.

use std::time::{Duration, Instant};

use callhistory_client::Client;
use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

use crate::{
    binary::{Running, command, run},
    overload::processor_time,
};

/// A line of the memory of a process, in MiB, such as `VmRSS:` or its maximum `VmHWM:`.
fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// The 99th percentile of the latency of a read, over two seconds and four connections of a well-behaved client.
async fn read_latency(client: &Client) -> Duration {
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        let client = client.clone();
        readers.spawn(async move {
            let (began, mut times) = (Instant::now(), Vec::new());
            while began.elapsed() < Duration::from_secs(2) {
                let started = Instant::now();
                client.get_call("c1").await.unwrap();
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

/// Measures the memory that thousands of hostile clients take, and the latency of a well-behaved client meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute and thousands of connections"]
async fn hostile_clients_do_not_slow_down_others() {
    let directory = TempDir::new().unwrap();
    let lines: String =
        (0..2000).map(|n| format!("{{\"_id\":\"c{n}\",\"summary\":\"{}\"}}\n", "x".repeat(3000))).collect();
    std::fs::write(directory.path().join("a.ndjson"), lines).unwrap();
    assert_eq!(run(directory.path(), &["migrate"]).0, 0);
    assert_eq!(run(directory.path(), &["import", "--workspace", "w", "a.ndjson"]).0, 0);
    let settings = ["--listen", "127.0.0.1:0", "--log", "warn"];
    let start = || Running::spawn(command(directory.path()).args(settings));
    let head = "POST /v2/api/call-history HTTP/1.1\r\nhost: localhost\r\nx-workspace-id: w\r\ncontent-type: application/json\r\n";
    let list = "GET /v2/api/call-history?limit=1000 HTTP/1.1\r\nhost: localhost\r\nx-workspace-id: w\r\n\r\n";
    let import = "POST /v2/api/call-history/batch HTTP/1.1\r\nhost: localhost\r\nx-workspace-id: w\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    let large_head = format!("{head}x: {}", "y".repeat(60_000));
    let slow_body = format!("{head}content-length: 1000000\r\n\r\n{{\"summary\":\"{}", "x".repeat(900_000));
    let stream = "GET /v2/api/call-history/changes HTTP/1.1\r\nhost: localhost\r\nx-workspace-id: w\r\naccept: text/event-stream\r\n\r\n";
    let cases: [(&str, usize, &[u8]); 8] = [
        ("silent connections", 3000, b""),
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
        let (client, pid) = (server.client("w"), server.child.id());
        read_latency(&client).await;
        let (quiet, before) = (read_latency(&client).await, memory(pid, "VmRSS:"));
        let processor_before = processor_time(pid);
        let held = hold(&server, count, bytes).await;
        let (p99, most) = (read_latency(&client).await, memory(pid, "VmHWM:").saturating_sub(before));
        println!(
            "{count} {name}: p99 {p99:?} instead of {quiet:?} ({:.1}x), at most {before} + {most} MiB, {:?} of processor time",
            p99.as_secs_f64() / quiet.as_secs_f64(),
            processor_time(pid) - processor_before,
        );
        // Generous, for busy machines: without optimization, the first reads of a thousand followers take half a second.
        assert!(p99 < quiet * 4 + Duration::from_secs(1), "a read takes {p99:?}");
        assert!(most < 128, "{most} MiB");
        drop(held);
    }
    let server = start();
    let pid = server.child.id();
    // More connections than permits: the server closes incomplete ones soon.
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
    server.client("w").get_call("c1").await.unwrap();
    println!("during a flood of 6,000 connections: a new one is served after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(6));
    println!("{} connections were opened", flood.await.unwrap());
    send_bomb(&server, pid).await;
}

/// Sends a gzip body of a few megabytes that decompresses to gigabytes.
async fn send_bomb(server: &Running, pid: u32) {
    let mut packed = Vec::new();
    let mut encoder = GzEncoder::new(&mut packed, Compression::best());
    let spaces = vec![b' '; 1024 * 1024];
    for _ in 0..2048 {
        std::io::Write::write_all(&mut encoder, &spaces).unwrap();
    }
    encoder.finish().unwrap();
    let before = memory(pid, "VmHWM:");
    let post =
        reqwest::Client::new().post(format!("{}/v2/api/call-history/batch", server.base)).header("x-workspace-id", "w");
    let post = post.header("content-type", "application/x-ndjson").header("content-encoding", "gzip");
    let size = packed.len();
    let response = post.body(packed).send().await;
    let status = response.map_or_else(|error| error.to_string(), |response| response.status().to_string());
    println!(
        "a bomb of {size} bytes that decompresses to 2 GiB: {status}, +{} MiB",
        memory(pid, "VmHWM:").saturating_sub(before)
    );
    assert!(status.starts_with("413") && memory(pid, "VmHWM:") < before + 64);
}
