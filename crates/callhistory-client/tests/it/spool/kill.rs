//! Processes that are killed while they write and send.

use std::{
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use callhistory_client::spool::SpoolingWriter;
use serde_json::{Value, json};

use super::{Directory, LONG, call, client, flush, open, server::Server};

const TASK: &str = "task.json";
const DONE: &str = "done.txt";

/// What a child process does: it reads its task in its working directory, and does nothing where there is none.
#[tokio::test]
#[ignore = "the process that the other tests start"]
async fn child() {
    let Ok(task) = std::fs::read(TASK) else { return };
    let task: Value = serde_json::from_slice(&task).unwrap();
    let number = |name: &str| task[name].as_u64().unwrap();
    let writer = SpoolingWriter::builder(client(task["url"].as_str().unwrap()), "spool").open().await.unwrap();
    let mut done = std::fs::OpenOptions::new().create(true).append(true).open(DONE).unwrap();
    for at in number("from")..number("to") {
        take(&writer, &task, at).await;
        writeln!(done, "{at}").unwrap();
    }
    flush(&writer).await;
    writer.close().await;
}

async fn take(writer: &SpoolingWriter, task: &Value, at: u64) {
    let write = call(at);
    match (task["isConditional"].as_bool(), at % 5) {
        (Some(true), _) => writer.if_absent().replace_call(&format!("call-{at}"), &write).await,
        (_, 0) => writer.if_absent().replace_call(&format!("job-{at}"), &write).await,
        (_, lane) => writer.replace_call(&format!("call-{lane}"), &write).await,
    }
    .unwrap();
}

fn start(directory: &Path, task: &Value) -> Child {
    std::fs::write(directory.join(TASK), task.to_string()).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "spool::kill::child", "--ignored", "--nocapture"])
        .current_dir(directory)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The number of writes that the child knows to be taken.
fn taken(directory: &Path) -> u64 {
    std::fs::read_to_string(directory.join(DONE)).map_or(0, |text| text.lines().count() as u64)
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// `kill -9` in the middle of writes and requests, with responses that are lost.
#[test]
fn a_killed_process_loses_nothing_and_doubles_nothing() {
    let directory = Directory::new();
    let server = Server::start();
    server.set(|state| state.loses_one_in = Some(7));
    let (total, mut interrupted) = (400, 0);
    for round in 1..=6 {
        let from = taken(&directory.0);
        let mut child = start(&directory.0, &json!({"url": server.url, "from": from, "to": total}));
        // At another point in each round, always while there is something to send.
        let goal = (from + 31 + round * 7).min(total - 1);
        wait_for("the child takes writes", || taken(&directory.0) >= goal);
        child.kill().unwrap();
        child.wait().unwrap();
        interrupted += usize::from((server.state().applied.len() as u64) < taken(&directory.0));
    }
    assert!(interrupted > 0, "something waited");
    let from = taken(&directory.0);
    assert!(from < total, "the last child has something to do");
    let mut last = start(&directory.0, &json!({"url": server.url, "from": from, "to": total}));
    assert!(last.wait().unwrap().success());
    let state = server.state();
    let mut jobs: Vec<u64> =
        state.applied.iter().filter_map(|applied| applied.id.strip_prefix("job-")?.parse().ok()).collect();
    jobs.sort_unstable();
    let expected: Vec<u64> = (0..total).step_by(5).collect();
    assert_eq!(jobs, expected, "each job has made one record: none is missing, none is doubled");
    for lane in 1..5 {
        let of_lane = state.applied.iter().filter(|applied| applied.id == format!("call-{lane}"));
        let mut numbers: Vec<u64> = of_lane.map(|applied| applied.summary.parse().unwrap()).collect();
        // What was on its way is sent again, before what follows.
        numbers.dedup();
        assert_eq!(numbers, (0..total).filter(|at| at % 5 == lane).collect::<Vec<_>>(), "in order, none is missing");
    }
}

/// The service stores a conditional write, and the process is killed before the response: the repeated one is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_write_that_was_stored_counts_as_sent_after_a_kill() {
    let directory = Directory::new();
    let server = Server::start();
    server.set(|state| state.holds = Some("call-0".to_owned()));
    let mut child = start(&directory.0, &json!({"url": server.url, "from": 0, "to": 1, "isConditional": true}));
    server.wait(|state| !state.applied.is_empty());
    let error = open(&server.url, &directory.spool()).await.unwrap_err();
    assert!(error.is_locked(), "another process has it: {error}");
    child.kill().unwrap();
    child.wait().unwrap();
    server.set(|state| state.holds = None);
    let writer = open(&server.url, &directory.spool()).await.unwrap();
    flush(&writer).await;
    assert_eq!((writer.status().sent, writer.status().rejected), (1, 0));
    assert_eq!(server.state().applied.len(), 1);
    // Another one that finds the record is refused.
    writer.if_absent().replace_call("call-0", &call("other")).await.unwrap();
    flush(&writer).await;
    assert_eq!((writer.status().sent, writer.status().rejected), (1, 1));
    assert_eq!(writer.rejected().await.unwrap()[0].status, Some(412));
}
