//! How long a page takes under each filter and sort, on a small and on a large history: cost is to follow the page, not
//! the table.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use callhistory_server::demo;
use chrono::{DateTime, Utc};
use clap::Args;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::bench::{Failure, Peer, read_answer, release_binaries};

const SMALL: u32 = 10_000;
/// Records that are made up at a time.
const PART: u32 = 50_000;
const ROUNDS: usize = 7;

/// Every kind of filter and sort, alone and in pairs, and what goes together badly.
const QUERIES: [&str; 36] = [
    "",
    "agentId=agent-maya",
    "callFlowId=flow-support",
    "batchId=batch-20500",
    "status=failed",
    "status=!completed",
    "direction=inbound",
    "callType=!*",
    "fromPhoneNumber=%2B1555*",
    "phoneNumber=%2B15551234567",
    "callIds=CA1,CA2",
    "startedBefore=2026-01-20",
    "updatedAfter=2026-01-20",
    "minDuration=479",
    "maxDuration=21",
    "minCost=0.1",
    "postAnalysis=%7B%22score%22:7%7D",
    "postAnalysis=%7B%22score%22:%7B%22gte%22:9%7D%7D",
    "metadata.campaign=spring",
    "metadata.customer=cus_000077",
    "search=parcel",
    "search=parcel%20noon",
    "search=4567",
    "search=nothinghasthis",
    "agentId=agent-maya&status=failed",
    "status=failed&minDuration=10",
    "metadata.customer=cus_000077&status=completed",
    "search=parcel&agentId=agent-maya",
    "sort=createdAt",
    "sort=-updatedAt",
    "sort=duration",
    "sort=-cost",
    "sort=-cost&status=ongoing",
    "sort=createdAt&search=parcel",
    "sort=-updatedAt&metadata.campaign=spring",
    "sort=duration&minCost=0.1&direction=inbound",
];

/// How many records to measure with.
#[derive(Debug, Clone, Copy, Args)]
pub struct Options {
    /// The size of the large history; a million takes some minutes to write, ten millions an hour and 20 GB
    #[arg(long, default_value_t = 200_000)]
    records: u32,
}

/// Measures and prints a line for each query, the slowest one last.
///
/// # Errors
///
/// Fails when the service cannot be built, filled or started, or answers anything but 200.
#[tokio::main]
pub async fn run(root: &Path, options: Options) -> Result<(), Failure> {
    let program = release_binaries(root)?.join("callhistory-server");
    let directory = tempfile::tempdir()?;
    let mut columns = Vec::new();
    for records in [SMALL, options.records] {
        let data: PathBuf = directory.path().join(records.to_string());
        let started = Instant::now();
        fill(&program, &data, records)?;
        println!("{records} records written in {:.1} s", started.elapsed().as_secs_f64());
        let service = Peer::start(Command::new(&program).arg("--data-dir").arg(&data)).await?;
        let mut stream = TcpStream::connect(service.address).await?;
        let mut column = Vec::new();
        for query in QUERIES {
            column.push(median_millis(&mut stream, &format!("?limit=50&{query}")).await?);
        }
        column.push(median_millis(&mut stream, "/metrics?groupBy=day,agentId&timezone=Europe/Berlin").await?);
        columns.push(column);
    }
    let names = QUERIES.iter().copied().chain(["(metrics by day and agent)"]);
    let mut rows: Vec<_> = names.zip(columns[0].iter().zip(&columns[1])).collect();
    rows.sort_by(|(_, (_, one)), (_, (_, other))| one.total_cmp(other));
    println!("\n{:<52}{:>12}{:>12}{:>8}", "page of 50, milliseconds", SMALL, options.records, "ratio");
    for (query, (small, large)) in rows {
        println!("{query:<52}{small:>12.2}{large:>12.2}{:>8.1}", large / small);
    }
    Ok(())
}

/// Writes made-up calls through the import of the program.
fn fill(program: &Path, data: &Path, records: u32) -> Result<(), Failure> {
    let arguments = ["import", "--workspace", demo::WORKSPACE, "-", "--data-dir"];
    let mut import = Command::new(program)
        .args(arguments)
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()?;
    let mut input = std::io::BufWriter::new(import.stdin.take().ok_or("the import takes no input")?);
    let end: DateTime<Utc> = DateTime::from_timestamp(1_769_904_000, 0).ok_or("no such time")?;
    for part in 0..records.div_ceil(PART) {
        // Each part with a seed of its own, one after the other into the past.
        let end = end - chrono::TimeDelta::days(30 * i64::from(part));
        for (id, mut draft) in demo::history(part.into(), PART.min(records - part * PART), end)? {
            draft.id = Some(id);
            serde_json::to_writer(&mut input, &draft)?;
            input.write_all(b"\n")?;
        }
    }
    drop(input);
    if import.wait()?.success() { Ok(()) } else { Err("the import failed".into()) }
}

async fn median_millis(stream: &mut TcpStream, target: &str) -> Result<f64, Failure> {
    let workspace = demo::WORKSPACE;
    let request =
        format!("GET /v2/api/call-history{target} HTTP/1.1\r\nhost: bench\r\nx-workspace-id: {workspace}\r\n\r\n");
    let (mut millis, mut buffer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        read_answer(stream, &mut buffer, b"HTTP/1.1 200").await?;
        millis.push(sent.elapsed().as_secs_f64() * 1000.0);
    }
    millis.sort_by(f64::total_cmp);
    Ok(millis[ROUNDS / 2])
}
