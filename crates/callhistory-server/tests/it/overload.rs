//! What clients that send or hold too much cost, and what they get.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use callhistory_client::{CallInput, ListQuery};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
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
