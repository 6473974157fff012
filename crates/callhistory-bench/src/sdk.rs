//! The SDK compared with bare reqwest, which reads the same bytes and discards them.

use std::time::{Duration, Instant};

use callhistory_client::{Client, ClientBuilder};
use callhistory_model::CallRecord;
use callhistory_test_support::history::WORKSPACE;

use crate::{
    bench::Bench,
    error::BoxError,
    get,
    load::{Requests, median, to_f64},
    peers::static_baseline,
    table::{Goal, Line, Outcome},
};

pub(crate) async fn overhead(bench: &Bench) -> Outcome {
    let data = bench.data(bench.records())?;
    let server = bench.start(&data).await?;
    let ids = get::random_ids(&data, 1)?;
    let id = &ids.first().ok_or("no record")?.0;
    // The server is not what is measured: a static response takes the least time of its own.
    let requests = Requests::new(vec![server.get(&format!("/{id}"), "")], "200");
    let baseline = static_baseline::record(bench, &server.process, &requests).await?;
    let url = format!("http://{}", baseline.address);
    let client = Client::builder(&url).workspace(WORKSPACE).build()?;
    let target = format!("{url}/v2/api/call-history/{id}");
    let bare = reqwest::Client::new();
    // With the timeouts that the SDK always sets.
    let timed = reqwest::Client::builder().timeout(ClientBuilder::TIMEOUT).read_timeout(ClientBuilder::READ_TIMEOUT);
    let timed = timed.build()?;
    let body = read(&bare, &target).await?;
    if serde_json::from_slice::<CallRecord>(&body)? != client.get_call(id).await?.call {
        return Err("the SDK and bare reqwest read different records".into());
    }
    let (mut ours, mut theirs, mut in_time) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        theirs.push(micros(bench.time() / 2, async || read(&bare, &target).await.map(drop)).await?);
        ours.push(micros(bench.time() / 2, async || Ok(client.get_call(id).await.map(drop)?)).await?);
        in_time.push(micros(bench.time() / 2, async || read(&timed, &target).await.map(drop)).await?);
    }
    let [ours, theirs, in_time] = [ours, theirs, in_time].map(median);
    let (url, id, target) = (url.clone(), id.clone(), target.clone());
    let count = if bench.quick { 20 } else { 2000 };
    let counted = std::thread::spawn(move || allocations(&url, &id, &target, &body, count)).join();
    let [our_allocations, their_allocations, parsing] = counted.map_err(|_| "the count of allocations panicked")??;
    let beyond = (our_allocations - parsing) / their_allocations;
    Ok(vec![
        Line::new("SDK get_call, time", Goal::AtMost(1.15), ours / theirs, "×")
            .between(format!("{ours:.1} µs"), format!("{theirs:.1} µs")),
        Line::new("the same compared with reqwest with the timeouts of the SDK", Goal::None, ours / in_time, "×")
            .between("", format!("{in_time:.1} µs")),
        Line::new("SDK get_call, allocations beyond the record", Goal::AtMost(1.05), beyond, "×").between(
            format!("{our_allocations:.0}, of which {parsing:.0} for the record"),
            format!("{their_allocations:.0}"),
        ),
    ])
}

/// Microseconds of one read, one after the other.
async fn micros(time: Duration, read: impl AsyncFn() -> Result<(), BoxError>) -> Result<f64, BoxError> {
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < time {
        read().await?;
        count += 1;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / f64::from(count))
}

/// Average allocations of one read by the SDK, of one by bare reqwest, and of parsing one record. Counted on this thread, on
/// which everything runs.
fn allocations(url: &str, id: &str, target: &str, body: &[u8], count: usize) -> Result<[f64; 3], BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::builder(url).workspace(WORKSPACE).build()?;
    let bare = reqwest::Client::new();
    // The first read opens the connection.
    runtime.block_on(async {
        client.get_call(id).await?;
        read(&bare, target).await
    })?;
    let each = |work: &dyn Fn() -> Result<(), BoxError>| {
        let mut result = Ok(());
        let info = allocation_counter::measure(|| result = (0..count).try_for_each(|_| work()));
        result.map(|()| info.count_total as f64 / to_f64(count))
    };
    Ok([
        each(&|| Ok(runtime.block_on(client.get_call(id)).map(drop)?))?,
        each(&|| runtime.block_on(read(&bare, target)).map(drop))?,
        each(&|| Ok(serde_json::from_slice::<CallRecord>(body).map(drop)?))?,
    ])
}

/// Reads a record with bare reqwest.
async fn read(bare: &reqwest::Client, target: &str) -> Result<bytes::Bytes, BoxError> {
    let response = bare.get(target).header("x-workspace-id", WORKSPACE).send().await?;
    Ok(response.error_for_status()?.bytes().await?)
}
