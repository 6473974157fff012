//! Durable writes beside one thread that commits the same rows with the same indexes in groups of the same size.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use callhistory_server::demo;
use chrono::DateTime;
use rusqlite::{Connection, params_from_iter, types::Value};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{
    Bench, Failure, Goal, Line, Outcome, Service, data,
    load::{self, Peer, Requests, Round, to_f64},
};

/// How long a sync takes on the slow disk, in milliseconds.
const SLOW_SYNC: u32 = 3;
/// Records of made-up calls of these minutes: they begin now, as those of a live service do.
const MINUTES: i64 = 10;

/// Writes of new records, no two of the same, as their ids and bodies.
fn drafts(count: usize, seed: u64) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let now = DateTime::from_timestamp(1_769_904_000, 0).ok_or("no such time")?;
    let count = u32::try_from(count)?;
    let mut random = fastrand::Rng::with_seed(seed);
    let history = demo::history(seed, count, now)?;
    let draft = |(number, (_, mut draft)): (usize, (_, callhistory_model::CallDraft))| {
        (draft.transcript, draft.function_calls) = (None, None);
        let start = now.timestamp_millis() + random.i64(0..MINUTES * 60_000);
        draft.start_time = Some(format!("{}.{:03}", start / 1000, start % 1000).parse()?);
        (draft.end_time, draft.created_at, draft.updated_at) = (None, None, None);
        Ok((format!("bench-{seed}-{number:08}"), serde_json::to_vec(&draft)?))
    };
    history.into_iter().enumerate().map(draft).collect()
}

fn puts(service: &Service, drafts: &[(String, Vec<u8>)], connections: usize) -> Requests {
    Requests::new(drafts.iter().map(|(id, body)| service.put(id, body)).collect(), "201").over(connections)
}

/// Writes each record once; gives the writes for each commit as well.
async fn write(service: &Service, requests: &Requests) -> Result<(Round, f64), Failure> {
    let numbers = async || {
        let sum = service.metric("callhistory_commit_writes_sum").await?;
        Ok::<_, Failure>((sum, service.metric("callhistory_commit_writes_count").await?))
    };
    let before = numbers().await?;
    let round = load::send_all(&service.peer, requests).await?;
    let after = numbers().await?;
    if after.1 <= before.1 {
        return Err("the service counts no commits".into());
    }
    Ok((round, (after.0 - before.0) / (after.1 - before.1)))
}

pub(super) async fn durable(bench: &Bench) -> Outcome {
    let sync = sync_micros(bench.scratch.path(), if bench.quick { 20 } else { 500 })?;
    let mut lines = vec![Line::new("a sync of this disk", Goal::Shown, sync / 1e3, "ms")];
    let mut sizes = vec![(0, "an empty database"), (bench.records(), "a large one")];
    if bench.ten_million {
        sizes.push((data::HUGE, "ten million"));
    }
    let mut rates = Vec::new();
    for (records, name) in sizes {
        let (mut rounds, mut bare_rounds, mut group) = (Vec::new(), Vec::new(), 0.0);
        let mut peak = 0.0;
        for round in 0..bench.rounds() {
            let drafts = drafts(if bench.quick { 200 } else { 20_000 }, 10 + round as u64)?;
            let data = base(bench, records)?;
            let written = {
                let service = bench.service(&data).await?;
                let (round, writes) = write(&service, &puts(&service, &drafts, 64)).await?;
                (group, peak) = (writes, service.peer.memory_mib()?.1);
                round
            };
            rounds.push(written);
            let rows = Rows::read(&data)?;
            let bare = base(bench, records)?;
            bare_rounds.push(BareWriter::open(&bare)?.write(&rows, group.round().max(1.0) as usize)?);
            if records == data::HUGE {
                break;
            }
        }
        let (ours, bare) = (Round::median(&rounds), load::median(bare_rounds));
        rates.push(ours.per_second);
        let mut line = Line::new(format!("64 writers, {name}"), Goal::AtLeast(0.7), ours.per_second / bare, "×");
        line.cpu_micros = Some(ours.cpu_micros);
        let figures = format!(
            "{:.0}/s, {group:.0} to a commit, p50 {:.2} ms, p99 {:.2} ms",
            ours.per_second, ours.p50_millis, ours.p99_millis
        );
        lines.push(line.with_peak(peak).between(figures, format!("{bare:.0}/s")));
    }
    if let [_, one_million, ten_million] = rates[..] {
        lines.push(Line::new("ten million beside one", Goal::AtLeast(0.5), ten_million / one_million, "×"));
    }
    lines.extend(by_writers(bench).await?);
    lines.extend(slow_disk(bench).await?);
    Ok(lines)
}

/// How groups and latencies go with the number of writers.
async fn by_writers(bench: &Bench) -> Outcome {
    let service = bench.service(&base(bench, 0)?).await?;
    let mut lines = Vec::new();
    for (seed, writers) in [(20, 1), (21, 8), (22, 64), (23, 512)] {
        let count = if bench.quick { 2 * writers } else { (1500 * writers).min(20_000) };
        let (round, group) = write(&service, &puts(&service, &drafts(count, seed)?, writers)).await?;
        let what = format!("{writers} writers: writes to a commit");
        let latency =
            format!("{:.0}/s, p50 {:.2} ms, p99 {:.2} ms", round.per_second, round.p50_millis, round.p99_millis);
        lines.push(Line::new(what, Goal::Shown, group, "").between(latency, ""));
    }
    Ok(lines)
}

/// The same where a sync takes three milliseconds.
async fn slow_disk(bench: &Bench) -> Outcome {
    let library = slow_sync(bench.scratch.path())?;
    let data = base(bench, 0)?;
    let mut service = bench.service(&data).await?;
    let address = load::free_address()?;
    // In place of the first one, whose key stays.
    drop(service.peer);
    let mut command = Command::new(&bench.server);
    command.env("LD_PRELOAD", library).args(["--require-keys", "--operations-listen", &address.to_string()]);
    service.peer = Peer::start(command.arg("--data-dir").arg(&data)).await?;
    service.operations = address;
    let (many, single) = if bench.quick { (200, 5) } else { (10_000, 300) };
    let (alone, _) = write(&service, &puts(&service, &drafts(single, 30)?, 1)).await?;
    let (round, group) = write(&service, &puts(&service, &drafts(many, 31)?, 64)).await?;
    // Its snapshot holds back the log until it is over.
    let mut export = TcpStream::connect(service.peer.address).await?;
    export.write_all(&service.get("/export", "")).await?;
    export.readable().await?;
    let (beside_export, _) = write(&service, &puts(&service, &drafts(many, 32)?, 64)).await?;
    drop(export);
    let sync = f64::from(SLOW_SYNC);
    if alone.p50_millis < sync {
        return Err("the syncs were not slowed down".into());
    }
    let beside = Line::new(
        "syncs of 3 ms: 64 writers beside one",
        Goal::AtLeast(20.0),
        round.per_second / alone.per_second,
        "×",
    );
    let p99 = Line::new("syncs of 3 ms: p99 of 64 writers", Goal::AtMost(4.0), round.p99_millis / sync, "syncs");
    let behind = beside_export.p99_millis / sync;
    let behind = Line::new("syncs of 3 ms: p99 beside an export that nobody reads", Goal::AtMost(4.0), behind, "syncs");
    let lone = Line::new("syncs of 3 ms: p50 of a lone writer", Goal::AtMost(1.5), alone.p50_millis / sync, "syncs");
    Ok(vec![
        beside.between(
            format!("{:.0}/s, {group:.0} to a commit", round.per_second),
            format!("{:.0}/s, each with its own commit", alone.per_second),
        ),
        p99.between(format!("{:.1} ms", round.p99_millis), ""),
        behind.between(format!("{:.0}/s, {:.1} ms", beside_export.per_second, beside_export.p99_millis), ""),
        lone.between(format!("{:.2} ms", alone.p50_millis), ""),
    ])
}

/// A database to write to: with so many records, or an empty one.
fn base(bench: &Bench, records: u32) -> Result<PathBuf, Failure> {
    if records > 0 {
        return bench.copy_of(records);
    }
    let data = bench.scratch.path().join("empty");
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    let made = Command::new(&bench.server).arg("migrate").arg("--data-dir").arg(&data).output()?;
    if made.status.success() { Ok(data) } else { Err("no empty database could be made".into()) }
}

/// A library that makes each sync slow, made with the compiler that SQLite is built with.
fn slow_sync(folder: &Path) -> Result<PathBuf, Failure> {
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
fn sync_micros(folder: &Path, count: usize) -> Result<f64, Failure> {
    use std::io::Write as _;
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

/// Rows of the table of calls with what else belongs to them, ready to be inserted.
pub(super) struct Rows {
    columns: Vec<String>,
    rows: Vec<(Vec<Value>, String)>,
}

impl Rows {
    /// Those that a service has written in a measurement.
    fn read(data: &Path) -> Result<Self, Failure> {
        let db = Connection::open(data.join("callhistory.db"))?;
        let mut statement = db.prepare("SELECT * FROM call WHERE id LIKE 'bench-%' ORDER BY sequence")?;
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let width = columns.len();
        let rows = statement.query_map([], |row| (0..width).map(|column| row.get(column)).collect::<Result<_, _>>())?;
        let with_terms = |row: rusqlite::Result<Vec<Value>>| {
            let row = row?;
            let terms = match row.last() {
                Some(Value::Blob(body)) => terms(body),
                _ => String::new(),
            };
            Ok((row, terms))
        };
        Ok(Self { columns, rows: rows.map(with_terms).collect::<Result<_, rusqlite::Error>>()? })
    }
}

/// As many terms as the service has of a record, for the same index.
pub(super) fn terms(body: &[u8]) -> String {
    let words = body.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let terms: BTreeSet<u64> = words
        .map(|word| {
            let mut hasher = DefaultHasher::new();
            word.hash(&mut hasher);
            hasher.finish()
        })
        .collect();
    let mut text = String::new();
    for term in terms {
        let _ = write!(text, "{term:016x} ");
    }
    text
}

/// One thread that inserts rows as fast as SQLite does, and durably.
pub(super) struct BareWriter {
    db: Connection,
}

impl BareWriter {
    pub(super) fn open(data: &Path) -> Result<Self, Failure> {
        let db = Connection::open(data.join("callhistory.db"))?;
        db.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA cache_size = -40960; PRAGMA secure_delete = 1; PRAGMA temp_store = 2;
             PRAGMA wal_autocheckpoint = 4000",
        )?;
        db.set_prepared_statement_cache_capacity(16);
        Ok(Self { db })
    }

    /// Inserts all rows in groups of so many; gives how many a second.
    fn write(&self, rows: &Rows, group: usize) -> Result<f64, Failure> {
        let places: Vec<_> = (1..=rows.columns.len()).map(|place| format!("?{place}")).collect();
        let insert = format!("INSERT INTO call ({}) VALUES ({})", rows.columns.join(", "), places.join(", "));
        let started = Instant::now();
        for group in rows.rows.chunks(group) {
            self.db.execute_batch("BEGIN IMMEDIATE")?;
            let mut all_terms = Vec::with_capacity(group.len());
            for (row, terms) in group {
                self.db.prepare_cached(&insert)?.execute(params_from_iter(row))?;
                let [Value::Integer(position), workspace, id, sequence, ..] = &row[..] else {
                    return Err("the table of calls is another".into());
                };
                self.insert_change(workspace, id, sequence)?;
                all_terms.push((*position, terms));
            }
            self.insert_terms(all_terms)?;
            self.db.execute_batch("COMMIT")?;
        }
        Ok(to_f64(rows.rows.len()) / started.elapsed().as_secs_f64())
    }

    pub(super) fn db(&self) -> &Connection {
        &self.db
    }

    pub(super) fn insert_change(&self, workspace: &Value, id: &Value, sequence: &Value) -> Result<(), Failure> {
        self.db
            .prepare_cached(
                "INSERT INTO workspace (workspace_id, last_sequence) VALUES (?1, 1)
                 ON CONFLICT (workspace_id) DO UPDATE SET last_sequence = last_sequence + 1",
            )?
            .execute([workspace])?;
        self.db
            .prepare_cached(
                "INSERT INTO change (workspace_id, sequence, kind, id, changed_at) VALUES (?1, ?2, 1, ?3, 0)",
            )?
            .execute([workspace, sequence, id])?;
        Ok(())
    }

    /// In the order of positions, in which the index takes them fast.
    pub(super) fn insert_terms(&self, mut terms: Vec<(i64, &String)>) -> Result<(), Failure> {
        terms.sort_unstable();
        for (position, terms) in terms {
            self.db
                .prepare_cached("INSERT OR REPLACE INTO call_term (rowid, terms) VALUES (?1, ?2)")?
                .execute((position, terms))?;
        }
        Ok(())
    }
}

/// A pause between a measurement and the next, in which what is left over gets done.
pub(super) fn settle() {
    std::thread::sleep(Duration::from_millis(200));
}
