//! The SDK beside bare reqwest that reads the same bytes and does nothing with them.

use std::time::{Duration, Instant};

use callhistory_client::{Client, ClientBuilder};
use callhistory_model::CallRecord;
use callhistory_server::demo;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region};

use super::{
    Bench, Failure, Goal, Line, Outcome, fixed,
    load::{median, to_f64},
    reads,
};

pub(super) async fn overhead(bench: &Bench) -> Outcome {
    let data = bench.history(bench.records())?;
    let service = bench.service(&data).await?;
    let ids = reads::sample(&data, 1)?;
    let id = &ids.first().ok_or("no record")?.0;
    // The service is not what is measured: a static answer takes the least time of its own.
    let request = service.get(&format!("/{id}"), "");
    let fixed = fixed::like(&bench.xtask, bench.scratch.path(), &service.peer, &request, "200").await?;
    let url = format!("http://{}", fixed.address);
    let client = Client::builder(&url).workspace(demo::WORKSPACE).build()?;
    let target = format!("{url}/v2/api/call-history/{id}");
    let read = async |bare: &reqwest::Client| -> Result<bytes::Bytes, Failure> {
        let answer = bare.get(&target).header("x-workspace-id", demo::WORKSPACE).send().await?;
        Ok(answer.error_for_status()?.bytes().await?)
    };
    let bare = reqwest::Client::new();
    // What the SDK does not do without, although reqwest does.
    let timed = reqwest::Client::builder().timeout(ClientBuilder::TIMEOUT).read_timeout(ClientBuilder::READ_TIMEOUT);
    let timed = timed.build()?;
    let body = read(&bare).await?;
    client.get_call(id).await?;
    let (mut ours, mut theirs, mut in_time) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        theirs.push(micros(bench.time() / 2, async || read(&bare).await.map(drop)).await?);
        ours.push(micros(bench.time() / 2, async || Ok(client.get_call(id).await.map(drop)?)).await?);
        in_time.push(micros(bench.time() / 2, async || read(&timed).await.map(drop)).await?);
    }
    let [ours, theirs, in_time] = [ours, theirs, in_time].map(median);
    let count = if bench.quick { 20 } else { 2000 };
    let our_allocations = allocations(count, async || Ok(client.get_call(id).await.map(drop)?)).await?;
    let their_allocations = allocations(count, async || read(&bare).await.map(drop)).await?;
    // What it takes to have the record at all.
    let parsing = allocations(count, async || Ok(serde_json::from_slice::<CallRecord>(&body).map(drop)?)).await?;
    let beyond = (our_allocations - parsing) / their_allocations;
    Ok(vec![
        Line::new("SDK get_call, time", Goal::AtMost(1.10), ours / theirs, "×")
            .between(format!("{ours:.1} µs"), format!("{theirs:.1} µs")),
        Line::new("the same beside reqwest with the time-outs of the SDK", Goal::Shown, ours / in_time, "×")
            .between("", format!("{in_time:.1} µs")),
        Line::new("SDK get_call, allocations beyond the record", Goal::AtMost(1.05), beyond, "×").between(
            format!("{our_allocations:.0}, of which {parsing:.0} for the record"),
            format!("{their_allocations:.0}"),
        ),
    ])
}

/// Microseconds of one read, one after the other.
async fn micros(time: Duration, read: impl AsyncFn() -> Result<(), Failure>) -> Result<f64, Failure> {
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < time {
        read().await?;
        count += 1;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / f64::from(count))
}

/// Allocations of one read, on the average.
async fn allocations(count: usize, read: impl AsyncFn() -> Result<(), Failure>) -> Result<f64, Failure> {
    let region = Region::new(&INSTRUMENTED_SYSTEM);
    for _ in 0..count {
        read().await?;
    }
    let change = region.change();
    Ok(to_f64(change.allocations + change.reallocations) / to_f64(count))
}
