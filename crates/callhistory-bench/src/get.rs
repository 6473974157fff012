//! `get_call` compared with a static response of the same bytes.

use std::path::Path;

use callhistory_test_support::history::WORKSPACE;
use rusqlite::{Connection, OpenFlags, params};

use crate::{
    bench::Bench,
    error::BoxError,
    load::{self, Requests},
    peers::static_baseline,
    server::Server,
    table::{Goal, Line, Outcome},
};

/// Records that are read at random, many more than the server caches; and those that are read again and again.
const UNIFORM: u32 = 200_000;
const HOT: usize = 1000;

/// Ids of random records of the workspace, with their versions.
pub(crate) fn random_ids(data: &Path, count: u32) -> Result<Vec<(String, i64)>, BoxError> {
    let db = Connection::open_with_flags(data.join("callhistory.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let (low, high): (i64, i64) =
        db.query_row("SELECT min(position), max(position) FROM call", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut statement = db.prepare(
        "SELECT id, sequence FROM call NOT INDEXED WHERE workspace_id = ?1 AND position >= ?2 ORDER BY position LIMIT 1",
    )?;
    let mut random = fastrand::Rng::with_seed(7);
    let one = |_| {
        let position = random.i64(low..=high);
        Ok(statement.query_row(params![WORKSPACE, position], |row| Ok((row.get(0)?, row.get(1)?)))?)
    };
    (0..count).map(one).collect()
}

fn requests(server: &Server, ids: &[(String, i64)]) -> Requests {
    Requests::new(ids.iter().map(|(id, _)| server.get(&format!("/{id}"), "")).collect(), "200")
}

pub(crate) async fn get_call(bench: &Bench) -> Outcome {
    let data = bench.data(bench.records())?;
    let server = bench.start(&data).await?;
    let ids = random_ids(&data, if bench.quick { 1000 } else { UNIFORM })?;
    let uniform = requests(&server, &ids);
    let hot = requests(&server, &ids[..HOT.min(ids.len())]);
    let process = &server.process;
    let mut lines = Vec::new();
    for (name, requests, rate, cpu) in [("uniform ids", &uniform, 0.65, 1.8), ("read before", &hot, 0.9, 1.4)] {
        let baseline = static_baseline::record(bench, process, requests).await?;
        let [ours, theirs] = bench.alternate((process, requests), (&baseline, requests)).await?;
        lines.push(Line::rates(format!("get_call, {name}"), Goal::AtLeast(rate), &ours, &theirs, process));
        let ratio = ours.cpu_micros / theirs.cpu_micros;
        lines.push(Line::new(format!("get_call, {name}: CPU"), Goal::AtMost(cpu), ratio, "×"));
    }
    Ok(lines)
}

/// What the entity tags of all records have in common: a hash of the workspace, the masking and the database.
async fn tag_hash(server: &Server, id: &str) -> Result<String, BoxError> {
    let mut connection = load::Connection::open(server.process.address).await?;
    connection.exchange(&server.get(&format!("/{id}"), ""), "200").await?;
    let tag = connection.head().lines().find_map(|line| line.strip_prefix("etag: \""));
    let hash = tag.and_then(|tag| tag.trim_end().strip_suffix('"')?.split_once('-'));
    Ok(hash.ok_or("the record has no entity tag")?.1.to_owned())
}

pub(crate) async fn not_modified(bench: &Bench) -> Outcome {
    let data = bench.data(bench.records())?;
    let server = bench.start(&data).await?;
    let ids = random_ids(&data, if bench.quick { 1000 } else { UNIFORM })?;
    let hash = tag_hash(&server, &ids[0].0).await?;
    let request = |(id, version): &(String, i64)| {
        server.get(&format!("/{id}"), &format!("if-none-match: \"{version}-{hash}\"\r\n"))
    };
    let all: Vec<_> = ids.iter().map(request).collect();
    let hot = all[..HOT.min(all.len())].to_vec();
    let mut lines = Vec::new();
    for (name, requests, goal) in [("uniform ids", all, 0.65), ("read before", hot, 0.85)] {
        let requests = Requests::new(requests, "304");
        let process = &server.process;
        let baseline = static_baseline::record(bench, process, &requests).await?;
        let [ours, theirs] = bench.alternate((process, &requests), (&baseline, &requests)).await?;
        lines.push(Line::rates(format!("304, {name}"), Goal::AtLeast(goal), &ours, &theirs, process));
    }
    Ok(lines)
}
