//! Point reads: `get_call` beside a static answer of the same bytes.

use std::path::Path;

use callhistory_server::demo;
use rusqlite::{Connection, OpenFlags, params};

use super::{Bench, Failure, Goal, Line, Outcome, Service, fixed, load::Requests};

/// Records that are read at random, many times what the service may remember; and those that are read again and again.
const UNIFORM: u32 = 200_000;
const HOT: usize = 1000;

/// Ids and versions of records that lie all over a history.
pub(super) fn sample(data: &Path, count: u32) -> Result<Vec<(String, i64)>, Failure> {
    let db = Connection::open_with_flags(data.join("callhistory.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let (low, high): (i64, i64) =
        db.query_row("SELECT min(position), max(position) FROM call", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut statement = db.prepare(
        "SELECT id, sequence FROM call NOT INDEXED WHERE workspace_id = ?1 AND position >= ?2 ORDER BY position LIMIT 1",
    )?;
    let mut random = fastrand::Rng::with_seed(7);
    let one = |_| {
        let place = random.i64(low..=high);
        Ok(statement.query_row(params![demo::WORKSPACE, place], |row| Ok((row.get(0)?, row.get(1)?)))?)
    };
    (0..count).map(one).collect()
}

fn reads(service: &Service, ids: &[(String, i64)]) -> Requests {
    Requests::new(ids.iter().map(|(id, _)| service.get(&format!("/{id}"), "")).collect(), "200")
}

pub(super) async fn point(bench: &Bench) -> Outcome {
    let data = bench.history(bench.records())?;
    let service = bench.service(&data).await?;
    let ids = sample(&data, if bench.quick { 1000 } else { UNIFORM })?;
    let uniform = reads(&service, &ids);
    let hot = reads(&service, &ids[..HOT.min(ids.len())]);
    let peer = &service.peer;
    let fixed = fixed::like(&bench.xtask, bench.scratch.path(), peer, &uniform.all[0], "200").await?;
    let mut lines = Vec::new();
    for (name, requests, goal) in [("uniform ids", &uniform, 0.75), ("records read before", &hot, 0.9)] {
        let [ours, theirs] = bench.in_turns((peer, requests), (&fixed, requests)).await?;
        lines.push(Line::rates(format!("get_call, {name}"), Goal::AtLeast(goal), &ours, &theirs, peer));
        let cpu =
            Line::new(format!("get_call, {name}: CPU"), Goal::AtMost(1.4), ours.cpu_micros / theirs.cpu_micros, "×");
        lines.push(cpu);
    }
    Ok(lines)
}

pub(super) async fn not_modified(bench: &Bench) -> Outcome {
    let data = bench.history(bench.records())?;
    let service = bench.service(&data).await?;
    let ids = sample(&data, if bench.quick { 1000 } else { UNIFORM })?;
    let request =
        |(id, version): &(String, i64)| service.get(&format!("/{id}"), &format!("if-none-match: \"{version}\"\r\n"));
    let all: Vec<_> = ids.iter().map(request).collect();
    let mut lines = Vec::new();
    for (name, all) in [("uniform ids", all.clone()), ("records read before", all[..HOT.min(all.len())].to_vec())] {
        let requests = Requests::new(all, "304");
        let peer = &service.peer;
        let fixed = fixed::like(&bench.xtask, bench.scratch.path(), peer, &requests.all[0], "304").await?;
        let [ours, theirs] = bench.in_turns((peer, &requests), (&fixed, &requests)).await?;
        lines.push(Line::rates(format!("304, {name}"), Goal::AtLeast(0.95), &ours, &theirs, peer));
    }
    Ok(lines)
}
