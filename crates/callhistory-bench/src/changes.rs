//! The change feed: how soon followers receive a write, and how much memory an idle one takes.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

use crate::{
    bench::Bench,
    error::BoxError,
    load::{Connection, percentile, to_f64},
    server::Server,
    table::{Goal, Line, Outcome},
};

const FOLLOWERS: usize = 100;
const IDLE: usize = 1000;
/// How long an event may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

async fn follow(server: &Server) -> Result<BufReader<TcpStream>, BoxError> {
    let mut stream = TcpStream::connect(server.process.address).await?;
    stream.write_all(&server.get("/changes", "accept: text/event-stream\r\n")).await?;
    let mut reader = BufReader::with_capacity(1024, stream);
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    if !line.starts_with("HTTP/1.1 200") {
        return Err(format!("no stream of events: {line}").into());
    }
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).await?;
    }
    Ok(reader)
}

pub(crate) async fn latency(bench: &Bench) -> Outcome {
    let data = bench.scratch.path().join("changes");
    let server = bench.start(&data).await?;
    let (idle, _) = server.process.memory_mib()?;
    let idlers = if bench.quick { 50 } else { IDLE };
    let mut streams = Vec::new();
    for _ in 0..idlers {
        streams.push(follow(&server).await?);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let each = (server.process.memory_mib()?.0 - idle) * 1024.0 / to_f64(idlers);
    drop(streams);
    let writes = if bench.quick { 5 } else { 300 };
    let (sender, mut events) = mpsc::unbounded_channel();
    for _ in 0..FOLLOWERS {
        let (mut reader, sender) = (follow(&server).await?, sender.clone());
        tokio::spawn(async move {
            let mut line = String::new();
            while reader.read_line(&mut line).await.is_ok_and(|count| count > 0) {
                if line.starts_with("data:") {
                    let _ = sender.send(Instant::now());
                }
                line.clear();
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut connection = Connection::open(server.process.address).await?;
    let mut millis = Vec::new();
    for number in 0..writes {
        connection.exchange(&server.put(&format!("changes-{number}"), b"{}"), "201").await?;
        let acknowledged = Instant::now();
        for _ in 0..FOLLOWERS {
            let seen = timeout(PATIENCE, events.recv()).await.map_err(|_| "an event did not come")?;
            let seen = seen.ok_or("no follower is left")?;
            millis.push(seen.saturating_duration_since(acknowledged).as_secs_f64() * 1e3);
        }
    }
    millis.sort_by(f64::total_cmp);
    let memory = server.process.memory_mib()?.1;
    Ok(vec![
        Line::new("write acknowledged to event, 100 followers, p50", Goal::None, percentile(&millis, 0.5), "ms"),
        Line::new("the same, p99", Goal::AtMost(25.0), percentile(&millis, 0.99), "ms").with_peak(memory),
        Line::new(format!("each of {idlers} idle followers"), Goal::AtMost(16.0), each, "KiB"),
    ])
}
