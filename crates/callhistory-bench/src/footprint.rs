//! The start, the idle memory, the memory of a connection, the size of the program.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    bench::Bench,
    error::BoxError,
    get,
    load::{Connection, file_mib, median, to_f64},
    server::Server,
    table::{Goal, Line, Outcome},
};

pub(crate) async fn footprint(bench: &Bench) -> Outcome {
    let data = bench.data(bench.records())?;
    let ids = get::random_ids(&data, 1)?;
    let mut millis = Vec::new();
    let mut connections = Vec::new();
    let mut server = bench.start(&data).await?;
    for _ in 0..bench.rounds() * 2 {
        let key = server.stop();
        // The kernel frees what the last process had.
        std::thread::sleep(Duration::from_millis(200));
        let started = Instant::now();
        server = Server::with_key(&mut Command::new(&bench.server_program), &data, key).await?;
        let mut connection = Connection::open(server.process.address).await?;
        connection.exchange(&server.get(&format!("/{}", ids[0].0), ""), "200").await?;
        millis.push(started.elapsed().as_secs_f64() * 1e3);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (idle, _) = server.process.memory_mib()?;
    let count = if bench.quick { 50 } else { 1000 };
    for _ in 0..count {
        let mut connection = Connection::open(server.process.address).await?;
        connection.exchange(&server.get(&format!("/{}", ids[0].0), ""), "200").await?;
        connections.push(connection);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let each = (server.process.memory_mib()?.0 - idle) * 1024.0 / to_f64(count);
    let what = format!("start on {} records until the first response", bench.records());
    Ok(vec![
        Line::new(what, Goal::AtMost(50.0), median(millis), "ms"),
        Line::new("memory of the idle server", Goal::AtMost(25.0), idle, "MiB"),
        Line::new(format!("each of {count} idle connections"), Goal::AtMost(12.0), each, "KiB"),
        Line::new("the program", Goal::AtMost(30.0), file_mib(&bench.server_program)?, "MiB"),
    ])
}

/// The memory of an idle server on an empty database, in MiB.
pub(crate) async fn idle_mib(bench: &Bench) -> Result<f64, BoxError> {
    let server = bench.start(&bench.scratch.path().join("idle")).await?;
    Ok(server.process.memory_mib()?.0)
}
