//! What it takes to be there: the start, the memory, the connections, the size of the program.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use super::{
    Bench, Failure, Goal, Line, Outcome, Service,
    load::{Connection, Peer, file_mib, median, to_f64},
    reads, writes,
};

pub(super) async fn footprint(bench: &Bench) -> Outcome {
    let data = bench.history(bench.records())?;
    let ids = reads::sample(&data, 1)?;
    let mut millis = Vec::new();
    let mut connections = Vec::new();
    let mut service = bench.service(&data).await?;
    for _ in 0..bench.rounds() * 2 {
        let Service { key, operations, peer } = service;
        drop(peer);
        writes::settle();
        let started = Instant::now();
        let mut command = Command::new(&bench.server);
        command.args(["--require-keys", "--operations-listen", &operations.to_string(), "--data-dir"]).arg(&data);
        let peer = Peer::start(&mut command).await?;
        service = Service { peer, operations, key };
        let mut connection = Connection::open(service.peer.address).await?;
        connection.exchange(&service.get(&format!("/{}", ids[0].0), ""), "200").await?;
        millis.push(started.elapsed().as_secs_f64() * 1e3);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (idle, _) = service.peer.memory_mib()?;
    let count = if bench.quick { 50 } else { 1000 };
    for _ in 0..count {
        let mut connection = Connection::open(service.peer.address).await?;
        connection.exchange(&service.get(&format!("/{}", ids[0].0), ""), "200").await?;
        connections.push(connection);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let each = (service.peer.memory_mib()?.0 - idle) * 1024.0 / to_f64(count);
    let what = format!("start on {} records until the first answer", bench.records());
    Ok(vec![
        Line::new(what, Goal::AtMost(50.0), median(millis), "ms"),
        Line::new("memory of the idle service", Goal::AtMost(25.0), idle, "MiB"),
        Line::new(format!("each of {count} idle connections"), Goal::AtMost(12.0), each, "KiB"),
        Line::new("the program", Goal::AtMost(25.0), file_mib(&bench.server)?, "MiB"),
    ])
}

/// The memory of a service that has nothing to do.
pub(super) async fn idle_mib(bench: &Bench) -> Result<f64, Failure> {
    let service = bench.service(&bench.scratch.path().join("idle")).await?;
    Ok(service.peer.memory_mib()?.0)
}
