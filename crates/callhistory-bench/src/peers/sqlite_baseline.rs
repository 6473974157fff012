//! The baseline of writes, imports and exports: one thread that inserts rows with the same columns and indexes, durably, and one
//! that reads every body.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, BufRead as _, BufReader, BufWriter, Write as _},
    path::Path,
    time::Instant,
};

use callhistory_model::{Amount, CallCost, CallInput, CallOutcome, CallStatus, CallType, Direction};
use callhistory_test_support::history::WORKSPACE;
use rusqlite::{Connection, OpenFlags, params_from_iter, types::Value};

use crate::{
    error::BoxError,
    load::{Digest, to_f64},
};

/// Records in one transaction of an import: as many as in a batch of the server.
const GROUP: usize = 1000;
const INSERT_CALL: &str = "INSERT INTO call (position, workspace_id, id, sequence, sort_time, created_at, updated_at, duration,
    cost, talk_time, is_answered, currency, caller, agent_id, call_flow_id, batch_id, call_id, status, direction, call_type,
    outcome, from_phone_number, to_phone_number, digest, body, transcript)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)";

/// Rows of the table of calls with their terms, ready to be inserted.
pub(crate) struct Rows {
    columns: Vec<String>,
    rows: Vec<(Vec<Value>, String)>,
}

impl Rows {
    /// Those that a server has written in a measurement.
    pub(crate) fn read(data: &Path) -> Result<Self, BoxError> {
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

/// About as many terms as the server has of a record, for the same index.
fn terms(body: &[u8]) -> String {
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

/// The ids, costs and bodies of the calls of a database: equal on both sides of a measurement.
pub(crate) fn contents(data: &Path) -> Result<Digest, BoxError> {
    let database = data.join("callhistory.db");
    let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = db.prepare("SELECT id, cost, body, transcript FROM call")?;
    let mut rows = statement.query([])?;
    let mut digest = Digest::default();
    while let Some(row) = rows.next()? {
        let bytes = (row.get_ref(2)?.as_blob()?, row.get_ref(3)?.as_blob_or_null()?);
        digest.add((row.get_ref(0)?.as_str()?, row.get::<_, Option<i64>>(1)?, bytes));
    }
    Ok(digest)
}

/// A connection that inserts as fast as SQLite does.
pub(crate) struct Loader {
    db: Connection,
}

impl Loader {
    pub(crate) fn open(data: &Path) -> Result<Self, BoxError> {
        let db = Connection::open(data.join("callhistory.db"))?;
        db.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA cache_size = -40960; PRAGMA secure_delete = 1; PRAGMA temp_store = 2;
             PRAGMA wal_autocheckpoint = 4000",
        )?;
        db.set_prepared_statement_cache_capacity(16);
        Ok(Self { db })
    }

    /// Inserts all rows in groups of this size; gives the rows a second.
    pub(crate) fn write(&self, rows: &Rows, group: usize) -> Result<f64, BoxError> {
        let parameters: Vec<_> = (1..=rows.columns.len()).map(|column| format!("?{column}")).collect();
        let insert = format!("INSERT INTO call ({}) VALUES ({})", rows.columns.join(", "), parameters.join(", "));
        let started = Instant::now();
        for group in rows.rows.chunks(group) {
            self.db.execute_batch("BEGIN IMMEDIATE")?;
            let mut all_terms = Vec::with_capacity(group.len());
            for (row, terms) in group {
                self.db.prepare_cached(&insert)?.execute(params_from_iter(row))?;
                let [Value::Integer(position), workspace, id, sequence, ..] = &row[..] else {
                    return Err("the table of calls has other columns".into());
                };
                self.insert_change(workspace, id, sequence)?;
                all_terms.push((*position, terms));
            }
            self.insert_terms(all_terms)?;
            self.db.execute_batch("COMMIT")?;
        }
        Ok(to_f64(rows.rows.len()) / started.elapsed().as_secs_f64())
    }

    /// Parses, validates and inserts every line; gives the seconds.
    pub(crate) fn import(&self, lines: &Path) -> Result<f64, BoxError> {
        let started = Instant::now();
        let mut sequence = 0;
        let mut lines = BufReader::new(File::open(lines)?).lines();
        loop {
            let part: Vec<String> = lines.by_ref().take(GROUP).collect::<io::Result<_>>()?;
            if part.is_empty() {
                return Ok(started.elapsed().as_secs_f64());
            }
            self.db.execute_batch("BEGIN IMMEDIATE")?;
            let mut all_terms = Vec::with_capacity(part.len());
            for line in part {
                sequence += 1;
                let (row, terms) = row(line.as_bytes(), sequence)?;
                self.db.prepare_cached(INSERT_CALL)?.execute(params_from_iter(&row))?;
                self.insert_change(&row[1], &row[2], &row[3])?;
                if let Value::Integer(position) = row[0] {
                    all_terms.push((position, terms));
                }
            }
            self.insert_terms(all_terms.iter().map(|(position, terms)| (*position, terms)).collect())?;
            self.db.execute_batch("COMMIT")?;
        }
    }

    fn insert_change(&self, workspace: &Value, id: &Value, sequence: &Value) -> Result<(), BoxError> {
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

    /// Inserts in the order of positions, in which the index takes them fast.
    fn insert_terms(&self, mut terms: Vec<(i64, &String)>) -> Result<(), BoxError> {
        terms.sort_unstable();
        for (position, terms) in terms {
            self.db
                .prepare_cached("INSERT OR REPLACE INTO call_term (rowid, terms) VALUES (?1, ?2)")?
                .execute((position, terms))?;
        }
        Ok(())
    }
}

/// About what the server stores of the number of a caller.
fn digest(number: &str) -> i64 {
    let mut hasher = DefaultHasher::new();
    number.hash(&mut hasher);
    hasher.finish().cast_signed()
}

/// The row of one line of an import, and its terms.
fn row(line: &[u8], sequence: i64) -> Result<([Value; 25], String), BoxError> {
    let text = |text: Option<&str>| text.map_or(Value::Null, |text| Value::Text(text.to_owned()));
    let number = |number: Option<i64>| number.map_or(Value::Null, Value::Integer);
    let mut input = CallInput::from_json(line).map_err(|errors| errors.to_string())?;
    input.workspace_id = Some(WORKSPACE.parse()?);
    let mut record = input.into_record()?;
    let terms = terms(&record.to_json());
    // The transcript has a column of its own.
    let transcript = record.transcript.take();
    let transcript = transcript.map_or(Value::Null, |text| Value::Blob(text.as_str().as_bytes().to_vec()));
    let body = record.to_json();
    let charge = record.cost.as_ref().and_then(CallCost::customer_charge);
    let outcome = record.status.as_ref().map_or(CallOutcome::Unknown, CallStatus::outcome);
    let row = [
        Value::Integer(record.sort_time_nanos() / 1_000_000_000 * 1_000_000_000 + sequence),
        text(Some(record.workspace_id.as_str())),
        text(Some(record.id.as_str())),
        Value::Integer(sequence),
        Value::Integer(record.sort_time_nanos()),
        Value::Integer(record.created_at.unix_nanos()),
        Value::Integer(record.updated_at.unix_nanos()),
        number(record.duration_nanos()),
        number(charge.and_then(Amount::nanos)),
        number(record.talk_time_nanos()),
        Value::Integer(record.is_answered().into()),
        text(record.cost.as_ref().and_then(CallCost::currency)),
        number(record.from_phone_number.as_deref().map(digest)),
        text(record.agent_id.as_deref()),
        text(record.call_flow_id.as_deref()),
        text(record.batch_id.as_deref()),
        text(record.call_id.as_deref()),
        text(record.status.as_ref().map(CallStatus::as_str)),
        text(record.direction.as_ref().map(Direction::as_str)),
        text(record.call_type.as_ref().map(CallType::as_str)),
        text(Some(outcome.as_str())),
        text(record.from_phone_number.as_deref()),
        text(record.to_phone_number.as_deref()),
        Value::Blob(body),
        transcript,
    ];
    Ok((row, terms))
}

/// Reads every body of the workspace in the order of the table and discards it; gives the seconds.
pub(crate) fn read_bodies(data: &Path, with_digest: bool) -> Result<(f64, Digest), BoxError> {
    let db = Connection::open(data.join("callhistory.db"))?;
    let mut output = BufWriter::new(File::create("/dev/null")?);
    let mut digest = Digest::default();
    let started = Instant::now();
    let mut statement = db.prepare("SELECT body, transcript FROM call NOT INDEXED WHERE workspace_id = ?1")?;
    let mut rows = statement.query([WORKSPACE])?;
    let mut line = Vec::new();
    while let Some(row) = rows.next()? {
        let body = row.get_ref(0)?.as_blob()?;
        line.clear();
        line.extend_from_slice(body);
        if let Some(transcript) = row.get_ref(1)?.as_blob_or_null()? {
            line.pop();
            [&b",\"transcript\":"[..], transcript, b"}"].iter().for_each(|part| line.extend_from_slice(part));
        }
        output.write_all(&line)?;
        output.write_all(b"\n")?;
        if with_digest {
            digest.add(line.as_slice());
        }
    }
    output.flush()?;
    Ok((started.elapsed().as_secs_f64(), digest))
}
