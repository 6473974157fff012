//! Durable writes compared with one thread that commits the same rows with the same indexes in groups of the same size.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use callhistory_test_support::history::Period;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    bench::Bench,
    error::BoxError,
    histories,
    load::{self, Requests, Round},
    peers::sqlite_baseline::{Loader, Rows, contents},
    server::Server,
    table::{Goal, Line, Outcome},
};

/// How long a sync takes on the slow disk, in milliseconds.
const SLOW_SYNC: u32 = 3;
/// Writes of new calls, each with another id, as the ids and the bodies.
fn inputs(bench: &Bench, count: usize, seed: u64) -> Result<Vec<(String, Vec<u8>)>, BoxError> {
    let calls = bench.history.calls(seed, u32::try_from(count)?, Period::PRESENT);
    let mut inputs = Vec::with_capacity(count);
    for (number, call) in calls.enumerate() {
        // A new call has no times of its own yet; the id is in the path.
        let mut call: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&call.json)?;
        for member in ["_id", "createdAt", "updatedAt"] {
            call.remove(member);
        }
        inputs.push((format!("bench-{seed}-{number:08}"), serde_json::to_vec(&call)?));
    }
    Ok(inputs)
}

fn puts(server: &Server, inputs: &[(String, Vec<u8>)], connections: usize) -> Requests {
    Requests::new(inputs.iter().map(|(id, body)| server.put(id, body)).collect(), "201").over(connections)
}

/// Writes each record once; gives the writes for each commit as well.
async fn write(server: &Server, requests: &Requests) -> Result<(Round, f64), BoxError> {
    let commits = async || {
        let sum = server.metric("callhistory_commit_writes_sum").await?;
        Ok::<_, BoxError>((sum, server.metric("callhistory_commit_writes_count").await?))
    };
    let before = commits().await?;
    let round = load::send_all(&server.process, requests).await?;
    let after = commits().await?;
    if after.1 <= before.1 {
        return Err("the server counts no commits".into());
    }
    Ok((round, (after.0 - before.0) / (after.1 - before.1)))
}

pub(crate) async fn durable(bench: &Bench) -> Outcome {
    let sync = sync_micros(bench.scratch.path(), if bench.quick { 20 } else { 500 })?;
    let mut lines = vec![Line::new("a sync of this disk", Goal::None, sync / 1e3, "ms")];
    let mut sizes = vec![(0, "an empty database"), (bench.records(), "a large one")];
    if bench.ten_million {
        sizes.push((histories::HUGE, "ten million"));
    }
    let mut rates = Vec::new();
    for (records, name) in sizes {
        let (mut rounds, mut bare_rounds, mut group) = (Vec::new(), Vec::new(), 0.0);
        let mut peak = 0.0;
        for round in 0..bench.rounds() {
            let inputs = inputs(bench, if bench.quick { 200 } else { 20_000 }, 10 + round as u64)?;
            let data = base(bench, records)?;
            let written = {
                let server = bench.start(&data).await?;
                let (round, writes) = write(&server, &puts(&server, &inputs, 64)).await?;
                (group, peak) = (writes, server.process.memory_mib()?.1);
                round
            };
            rounds.push(written);
            // The loader's database may take the place of this one.
            let (rows, expected) = (Rows::read(&data)?, contents(&data)?);
            let bare = base(bench, records)?;
            bare_rounds.push(Loader::open(&bare)?.write(&rows, group.round().max(1.0) as usize)?);
            if contents(&bare)? != expected {
                return Err("the loader has other calls than the server".into());
            }
            if records == histories::HUGE {
                break;
            }
        }
        let (ours, bare) = (Round::median(&rounds), load::median(bare_rounds));
        rates.push(ours.per_second);
        lines.push(Line::new(
            format!("64 writers, {name}: CPU of a write"),
            Goal::AtMost(150.0),
            ours.cpu_micros,
            "µs",
        ));
        let mut line = Line::new(format!("64 writers, {name}"), Goal::AtLeast(1.0), ours.per_second / bare, "×");
        line.cpu_micros = Some(ours.cpu_micros);
        let figures = format!(
            "{:.0}/s, {group:.0} to a commit, p50 {:.2} ms, p99 {:.2} ms",
            ours.per_second, ours.p50_millis, ours.p99_millis
        );
        lines.push(line.with_peak(peak).between(figures, format!("{bare:.0}/s")));
    }
    if let [_, one_million, ten_million] = rates[..] {
        lines.push(Line::new("ten million divided by one million", Goal::None, ten_million / one_million, "×"));
    }
    lines.extend(by_writers(bench).await?);
    lines.extend(slow_disk(bench).await?);
    Ok(lines)
}

/// How groups and latencies depend on the number of writers.
async fn by_writers(bench: &Bench) -> Outcome {
    let server = bench.start(&base(bench, 0)?).await?;
    let mut lines = Vec::new();
    for (seed, writers) in [(20, 1), (21, 8), (22, 64), (23, 512)] {
        let count = if bench.quick { 2 * writers } else { (1500 * writers).min(20_000) };
        let (round, group) = write(&server, &puts(&server, &inputs(bench, count, seed)?, writers)).await?;
        let what = format!("{writers} writers: writes to a commit");
        let latency =
            format!("{:.0}/s, p50 {:.2} ms, p99 {:.2} ms", round.per_second, round.p50_millis, round.p99_millis);
        lines.push(Line::new(what, Goal::None, group, "").between(latency, ""));
    }
    Ok(lines)
}

/// The same where a sync takes three milliseconds.
async fn slow_disk(bench: &Bench) -> Outcome {
    let library = slow_sync(bench.scratch.path())?;
    let data = base(bench, 0)?;
    // The first server creates the key.
    let key = bench.start(&data).await?.stop();
    let server = Server::with_key(Command::new(&bench.server_program).env("LD_PRELOAD", library), &data, key).await?;
    let (many, single) = if bench.quick { (200, 5) } else { (10_000, 300) };
    let (alone, _) = write(&server, &puts(&server, &inputs(bench, single, 30)?, 1)).await?;
    let (round, group) = write(&server, &puts(&server, &inputs(bench, many, 31)?, 64)).await?;
    // Its snapshot holds back the WAL until it ends.
    let mut export = TcpStream::connect(server.process.address).await?;
    export.write_all(&server.get("/export", "")).await?;
    export.readable().await?;
    let (during_export, _) = write(&server, &puts(&server, &inputs(bench, many, 32)?, 64)).await?;
    drop(export);
    let sync = f64::from(SLOW_SYNC);
    if alone.p50_millis < sync {
        return Err("the syncs were not slowed down".into());
    }
    let ratio =
        Line::new("syncs of 3 ms: 64 writers divided by one", Goal::None, round.per_second / alone.per_second, "×");
    let p99 = Line::new("syncs of 3 ms: p99 of 64 writers", Goal::AtMost(8.0), round.p99_millis / sync, "syncs");
    let behind = during_export.p99_millis / sync;
    let behind = Line::new("syncs of 3 ms: p99 during an export that nobody reads", Goal::None, behind, "syncs");
    let lone = Line::new("syncs of 3 ms: p50 of a lone writer", Goal::None, alone.p50_millis / sync, "syncs");
    Ok(vec![
        ratio.between(
            format!("{:.0}/s, {group:.0} to a commit", round.per_second),
            format!("{:.0}/s, each with its own commit", alone.per_second),
        ),
        p99.between(format!("{:.1} ms", round.p99_millis), ""),
        behind.between(format!("{:.0}/s, {:.1} ms", during_export.per_second, during_export.p99_millis), ""),
        lone.between(format!("{:.2} ms", alone.p50_millis), ""),
    ])
}

/// A database to write to.
fn base(bench: &Bench, records: u32) -> Result<PathBuf, BoxError> {
    if records > 0 { bench.copy_of(records) } else { bench.empty() }
}

/// A library that makes each sync slow, compiled with the C compiler that SQLite is built with.
fn slow_sync(folder: &Path) -> Result<PathBuf, BoxError> {
    let (source, library) = (folder.join("slow.c"), folder.join("slow.so"));
    let body = |name: &str| {
        let micros = SLOW_SYNC * 1000;
        format!("int {name}(int file) {{ usleep({micros}); return (int)syscall(SYS_{name}, file); }}\n")
    };
    let head = "#define _GNU_SOURCE\n#include <unistd.h>\n#include <sys/syscall.h>\n";
    fs::write(&source, format!("{head}{}{}", body("fsync"), body("fdatasync")))?;
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output();
    let made = made.map_err(|error| format!("there is no C compiler: {error}"))?;
    if made.status.success() { Ok(library) } else { Err(String::from_utf8_lossy(&made.stderr).into_owned().into()) }
}

/// How long it takes to append a page to a file and to sync it, in microseconds; the median.
fn sync_micros(folder: &Path, count: usize) -> Result<f64, BoxError> {
    let mut file = fs::File::create(folder.join("sync"))?;
    let mut micros = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        file.write_all(&[1; 4096])?;
        file.sync_data()?;
        micros.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(load::median(micros))
}
