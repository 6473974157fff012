//! A whole history in and out: beside loops in one process that do no more than they must.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, BufWriter, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use callhistory_model::{Amount, CallDraft, CallStatus, CallType, Cost, Direction};
use callhistory_server::demo;
use rusqlite::{params_from_iter, types::Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    Bench, Failure, Goal, Line, Outcome, data,
    load::{file_mib, to_f64},
    writes::{BareWriter, terms},
};

/// Records in one transaction of the bare loop: as many as in a part of an import.
const GROUP: usize = 1000;

pub(super) async fn import(bench: &Bench) -> Outcome {
    let records = bench.records();
    let lines = bench.scratch.path().join("lines");
    let mut output = BufWriter::new(File::create(&lines)?);
    data::write_lines(&mut output, records)?;
    output.flush()?;
    let (folder, bare) = (bench.scratch.path().join("import"), bench.scratch.path().join("bare"));
    let (first, peak) = run_import(bench, &lines, &folder)?;
    let again = run_import(bench, &lines, &folder)?.0;
    let made = Command::new(&bench.server).arg("migrate").arg("--data-dir").arg(&bare).output()?;
    if !made.status.success() {
        return Err("no empty database could be made".into());
    }
    let bare_seconds = bare_import(&lines, &bare)?;
    let rate = |seconds: f64| format!("{:.0}/s", f64::from(records) / seconds);
    let size = file_mib(&folder.join("callhistory.db"))?;
    for folder in [&folder, &bare] {
        fs::remove_dir_all(folder)?;
    }
    let idle = super::start::idle_mib(bench).await?;
    Ok(vec![
        Line::new(format!("import of {records} records"), Goal::AtLeast(0.5), bare_seconds / first, "×")
            .between(rate(first), rate(bare_seconds))
            .with_peak(peak),
        Line::new("memory above an idle service", Goal::AtMost(64.0), peak - idle, "MiB"),
        Line::new("the same file again", Goal::AtLeast(2.0), first / again, "×").between(rate(again), rate(first)),
        Line::new("the database", Goal::Shown, size, "MiB"),
    ])
}

/// Seconds of an import, and the most memory that it took in MiB.
fn run_import(bench: &Bench, lines: &Path, data: &Path) -> Result<(f64, f64), Failure> {
    let started = Instant::now();
    let mut import = Command::new(&bench.server)
        .args(["import", "--workspace", demo::WORKSPACE, "--data-dir"])
        .args([data, lines])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut peak: f64 = 0.0;
    let status = loop {
        // It is gone with the process, so the last look counts.
        let status = fs::read_to_string(format!("/proc/{}/status", import.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        peak = peak.max(now.unwrap_or(0.0) / 1024.0);
        if let Some(status) = import.try_wait()? {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    if status.success() { Ok((started.elapsed().as_secs_f64(), peak)) } else { Err("the import failed".into()) }
}

/// Parses, validates and inserts every line in one thread, with the same indexes; gives the seconds.
fn bare_import(lines: &Path, data: &Path) -> Result<f64, Failure> {
    let writer = BareWriter::open(data)?;
    let started = Instant::now();
    let text = |text: Option<&str>| text.map_or(Value::Null, |text| Value::Text(text.to_owned()));
    let number = |number: Option<i64>| number.map_or(Value::Null, Value::Integer);
    let mut sequence = 0;
    let mut lines = BufReader::new(File::open(lines)?).lines();
    loop {
        let part: Vec<String> = lines.by_ref().take(GROUP).collect::<io::Result<_>>()?;
        if part.is_empty() {
            return Ok(started.elapsed().as_secs_f64());
        }
        writer.db().execute_batch("BEGIN IMMEDIATE")?;
        let mut all_terms = Vec::with_capacity(part.len());
        for line in part {
            let mut draft = CallDraft::from_json(line.as_bytes()).map_err(|faults| format!("{faults:?}"))?;
            draft.workspace_id = Some(demo::WORKSPACE.parse()?);
            let record = draft.into_record()?;
            let body = record.to_json();
            sequence += 1;
            let position = record.sort_time_nanos() / 1_000_000_000 * 1_000_000_000 + sequence;
            let terms = terms(&body);
            let charge = record.cost.as_ref().and_then(Cost::customer_charge);
            let row = [
                Value::Integer(position),
                text(Some(record.workspace_id.as_str())),
                text(Some(record.id.as_str())),
                Value::Integer(sequence),
                Value::Integer(record.sort_time_nanos()),
                Value::Integer(record.created_at.unix_nanos()),
                Value::Integer(record.updated_at.unix_nanos()),
                number(record.duration_nanos()),
                number(charge.map(Amount::nanos)),
                text(record.agent_id.as_deref()),
                text(record.call_flow_id.as_deref()),
                text(record.batch_id.as_deref()),
                text(record.call_id.as_deref()),
                text(record.status.as_ref().map(CallStatus::as_str)),
                text(record.direction.as_ref().map(Direction::as_str)),
                text(record.call_type.as_ref().map(CallType::as_str)),
                text(record.from_phone_number.as_deref()),
                text(record.to_phone_number.as_deref()),
                Value::Blob(body),
            ];
            writer
                .db()
                .prepare_cached(
                    "INSERT INTO call (position, workspace_id, id, sequence, sort_time, created_at, updated_at, duration,
                     cost, agent_id, call_flow_id, batch_id, call_id, status, direction, call_type, from_phone_number,
                     to_phone_number, body)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                )?
                .execute(params_from_iter(&row))?;
            writer.insert_change(&row[1], &row[2], &row[3])?;
            all_terms.push((position, terms));
        }
        writer.insert_terms(all_terms.iter().map(|(position, terms)| (*position, terms)).collect())?;
        writer.db().execute_batch("COMMIT")?;
    }
}

pub(super) async fn export(bench: &Bench) -> Outcome {
    let data = bench.history(bench.records())?;
    let service = bench.service(&data).await?;
    let (idle, _) = service.peer.memory_mib()?;
    let (mut ours, mut firsts, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let mut bytes = 0;
    for _ in 0..bench.rounds() {
        bare.push(bare_export(&data)?);
        service.peer.forget_peak();
        let started = Instant::now();
        let mut stream = tokio::net::TcpStream::connect(service.peer.address).await?;
        let request = String::from_utf8(service.get("/export", "connection: close\r\n"))?;
        stream.write_all(request.as_bytes()).await?;
        let mut buffer = vec![0; 1 << 18];
        let (mut lines, mut first, mut last) = (0, None, 0);
        bytes = 0;
        loop {
            let count = stream.read(&mut buffer).await?;
            if count == 0 {
                break;
            }
            let read = &buffer[..count];
            if first.is_none() && !read.starts_with(b"HTTP/1.1 200") {
                return Err(String::from_utf8_lossy(read).into_owned().into());
            }
            first.get_or_insert_with(|| started.elapsed().as_secs_f64() * 1e3);
            bytes += count;
            // The end of a record may lie where a read ends.
            lines += read.windows(2).filter(|window| window == b"}\n").count();
            lines += usize::from([last, read[0]] == *b"}\n");
            last = read[count - 1];
        }
        if lines != bench.records() as usize {
            return Err(format!("the export has {lines} lines").into());
        }
        ours.push(started.elapsed().as_secs_f64());
        firsts.push(first.unwrap_or(f64::NAN));
    }
    let [ours, first, bare] = [ours, firsts, bare].map(super::load::median);
    let (_, peak) = service.peer.memory_mib()?;
    let rate = |seconds: f64| format!("{:.2} s, {:.0} MB/s", seconds, to_f64(bytes) / 1e6 / seconds);
    let what = format!("export of {} records", bench.records());
    Ok(vec![
        Line::new(what, Goal::AtLeast(0.5), bare / ours, "×").between(rate(ours), rate(bare)).with_peak(peak),
        Line::new("its first byte", Goal::AtMost(20.0), first, "ms"),
        Line::new("memory above the idle service", Goal::AtMost(64.0), peak - idle, "MiB"),
    ])
}

/// Seconds to read every body in the order of the table, and to write it to nobody.
fn bare_export(data: &Path) -> Result<f64, Failure> {
    let db = rusqlite::Connection::open(data.join("callhistory.db"))?;
    let mut output = BufWriter::new(File::create("/dev/null")?);
    let started = Instant::now();
    let mut statement = db.prepare("SELECT body FROM call")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        output.write_all(row.get_ref(0)?.as_blob()?)?;
        output.write_all(b"\n")?;
    }
    output.flush()?;
    Ok(started.elapsed().as_secs_f64())
}
