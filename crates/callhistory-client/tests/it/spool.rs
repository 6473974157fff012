//! Writes by way of a file.

mod kill;
mod server;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use callhistory_client::{
    CallInput, CallPatch, Client, ProblemCode,
    spool::{SpoolError, SpooledOperation, SpoolingWriter},
};
use tokio::time::{Instant, timeout};

use self::server::{Applied, Server};
use crate::builder;

/// Long enough for a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// A directory of one test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("callhistory-spool-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn client(url: &str) -> Client {
    builder(url).build().unwrap()
}

async fn open(url: &str, directory: &Path) -> Result<SpoolingWriter, SpoolError> {
    SpoolingWriter::builder(client(url), directory).open().await
}

fn call(summary: impl ToString) -> CallInput {
    CallInput { summary: Some(summary.to_string()), ..CallInput::default() }
}

async fn flush(writer: &SpoolingWriter) {
    timeout(LONG, writer.flush()).await.unwrap_or_else(|_| unreachable!("{:?}", writer.status()));
}

/// A port at which nothing listens.
fn closed_port() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn last_segment(directory: &Path) -> PathBuf {
    let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "spool")).max().unwrap()
}

#[tokio::test]
async fn writes_are_taken_without_the_service_and_sent_in_their_order() {
    let directory = Directory::new();
    let address = closed_port();
    let url = format!("http://{address}");
    let writer = open(&url, &directory.spool()).await.unwrap();
    for summary in ["1", "2", "3"] {
        for id in ["a", "b"] {
            writer.upsert_call(id, &CallPatch::from(call(summary))).await.unwrap();
        }
    }
    writer.replace_call("a", &call("4")).await.unwrap();
    writer.delete_call("b").await.unwrap();
    // Its ID is known before the service knows it.
    let new = writer.create_call(&call("new")).await.unwrap();
    writer.update_call(&new, &CallPatch::from(call("changed"))).await.unwrap();
    let status = writer.status();
    assert_eq!((status.queued, status.sent, status.rejected, status.is_connected), (10, 0, 0, false));
    assert!(status.bytes > 0 && status.oldest.is_some());
    // After a restart as well.
    writer.close().await;
    let server = Server::on(std::net::TcpListener::bind(address).unwrap());
    let writer = open(&url, &directory.spool()).await.unwrap();
    flush(&writer).await;
    let status = writer.status();
    assert_eq!((status.sent, status.rejected, status.oldest, status.is_connected), (10, 0, None, true));
    let state = server.state();
    let of = |id: &str| -> Vec<String> {
        let applied = state.applied.iter().filter(|applied| applied.id == id);
        applied.map(|Applied { method, summary, .. }| format!("{method} {summary}")).collect()
    };
    assert_eq!(of("a"), ["PATCH 1", "PATCH 2", "PATCH 3", "PUT 4"]);
    assert_eq!(of("b"), ["PATCH 1", "PATCH 2", "PATCH 3", "DELETE "]);
    assert_eq!(of(&new), ["PUT new", "PATCH changed"]);
    assert_eq!(new.as_str().len(), 24);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_waits_holds_no_other_back() {
    let directory = Directory::new();
    let server = Server::start();
    server.set(|state| state.holds = Some("slow".to_owned()));
    let writer = open(&server.url, &directory.spool()).await.unwrap();
    for (id, summary) in [("slow", "1"), ("slow", "2"), ("quick", "3")] {
        writer.replace_call(id, &call(summary)).await.unwrap();
    }
    server.wait(|state| state.applied.iter().any(|applied| applied.id == "quick"));
    assert!(server.state().applied.iter().all(|applied| applied.summary != "2"), "one after the other");
    server.set(|state| state.holds = None);
    flush(&writer).await;
    assert_eq!(server.state().records["slow"]["summary"], "2");
}

#[tokio::test]
async fn what_the_service_refuses_is_kept_with_its_problem_and_blocks_nothing() {
    let directory = Directory::new();
    let server = Server::start();
    server.fail("bad", 422);
    let writer = open(&server.url, &directory.spool()).await.unwrap();
    writer.replace_call("bad", &call("refused")).await.unwrap();
    writer.delete_call("bad").await.unwrap();
    writer.replace_call("good", &call("stored")).await.unwrap();
    // A deletion of what does not exist is done.
    writer.delete_call("absent").await.unwrap();
    flush(&writer).await;
    let status = writer.status();
    assert_eq!((status.sent, status.rejected), (2, 2));
    let rejected = writer.rejected().await.unwrap();
    assert_eq!((rejected[0].sequence, rejected[0].operation), (1, SpooledOperation::Replace));
    assert_eq!(rejected[0].body.as_ref().unwrap().as_str(), r#"{"summary":"refused"}"#);
    assert_eq!((rejected[0].status, rejected[0].id.as_str()), (Some(422), "bad"));
    assert_eq!(rejected[0].problem.as_ref().unwrap().code, ProblemCode::InvalidRecord);
    writer.close().await;
    // They are not sent again.
    let writer = open(&server.url, &directory.spool()).await.unwrap();
    assert_eq!(writer.status().queued, 0);
    assert_eq!(writer.rejected().await.unwrap().len(), 2);
    assert!(writer.replace_call("a b", &call("")).await.unwrap_err().is_invalid_request());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_holds_everything_back_until_there_is_a_right_one() {
    let directory = Directory::new();
    let server = Server::start();
    server.set(|state| state.key = Some("right".to_owned()));
    let client = builder(&server.url).api_key("wrong").build().unwrap();
    let writer = SpoolingWriter::builder(client.clone(), directory.spool()).open().await.unwrap();
    writer.replace_call("a", &call("1")).await.unwrap();
    server.wait(|state| state.requests > 1);
    assert_eq!((writer.status().queued, writer.status().rejected), (1, 0));
    assert!(writer.status().last_error.unwrap().contains("401"));
    client.set_api_key("right").unwrap();
    flush(&writer).await;
    assert_eq!(server.state().records["a"]["summary"], "1");
}

#[tokio::test]
async fn a_full_spool_takes_no_write_until_it_has_room() {
    let directory = Directory::new();
    let server = Server::start();
    server.fail("*", 503);
    let max_bytes = 4096;
    let builder = SpoolingWriter::builder(client(&server.url), directory.spool()).max_bytes(max_bytes);
    let writer = builder.open().await.unwrap();
    let mut taken = 0;
    let error = loop {
        match writer.replace_call("a", &call(format!("{taken} {}", "x".repeat(100)))).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_full() && !error.is_closed(), "{error}");
    assert!(taken > 5 && writer.status().bytes <= max_bytes, "{taken} {:?}", writer.status());
    assert_eq!(writer.status().queued, taken);
    assert_eq!(std::fs::metadata(last_segment(&directory.spool())).unwrap().len(), writer.status().bytes);
    server.set(|state| state.statuses.clear());
    flush(&writer).await;
    // The space of what was sent is free again.
    writer.replace_call("a", &call("y".repeat(2000))).await.unwrap();
    flush(&writer).await;
    assert_eq!(writer.status().sent, taken + 1);
    assert!(writer.replace_call("a", &call("z".repeat(5000))).await.unwrap_err().is_full(), "larger than the spool");
}

#[tokio::test]
async fn a_spool_has_one_owner_and_one_workspace() {
    let directory = Directory::new();
    let url = format!("http://{}", closed_port());
    let writer = open(&url, &directory.spool()).await.unwrap();
    let error = open(&url, &directory.spool()).await.unwrap_err();
    assert!(error.is_locked(), "{error}");
    let clone = writer.clone();
    writer.close().await;
    assert!(clone.replace_call("a", &call("")).await.unwrap_err().is_closed());
    let other = client(&url).for_workspace("another").unwrap();
    let error = SpoolingWriter::builder(other, directory.spool()).open().await.unwrap_err();
    assert!(error.to_string().contains("another workspace"), "{error}");
    open(&url, &directory.spool()).await.unwrap().close().await;
}

/// A power cut in the middle of a line, and a disk that changed a bit.
#[tokio::test]
async fn a_torn_end_is_removed_and_damage_is_counted() {
    let directory = Directory::new();
    let address = closed_port();
    let url = format!("http://{address}");
    let writer = open(&url, &directory.spool()).await.unwrap();
    for summary in ["1", "2", "3"] {
        writer.replace_call(&format!("call-{summary}"), &call(summary)).await.unwrap();
    }
    writer.close().await;
    let segment = last_segment(&directory.spool());
    let whole = std::fs::read(&segment).unwrap();
    for torn in [&b"0123456789abcdef {\"seq"[..], &whole[..whole.len() / 6], b"\0\0\0\0\n"] {
        std::fs::write(&segment, [&whole[..], torn].concat()).unwrap();
        let writer = open(&url, &directory.spool()).await.unwrap();
        assert_eq!((writer.status().queued, writer.status().damaged), (3, 0));
        writer.close().await;
        assert_eq!(std::fs::read(&segment).unwrap(), whole);
    }
    let damaged = String::from_utf8(whole).unwrap().replace(r#"{"summary":"2"}"#, r#"{"summary":"5"}"#);
    std::fs::write(&segment, damaged).unwrap();
    let server = Server::on(std::net::TcpListener::bind(address).unwrap());
    let writer = open(&url, &directory.spool()).await.unwrap();
    assert_eq!((writer.status().queued, writer.status().damaged), (2, 1));
    writer.replace_call("call-4", &call("4")).await.unwrap();
    flush(&writer).await;
    let mut stored: Vec<_> = server.state().records.keys().cloned().collect();
    stored.sort();
    assert_eq!(stored, ["call-1", "call-3", "call-4"]);
}

/// Lets the paused clock run until nothing waits. It may run out for a request whose response is on its way, which is sent again.
async fn pass_time(writer: &SpoolingWriter) {
    while writer.status().queued > 0 {
        tokio::time::sleep(Duration::from_secs(61)).await;
        tokio::time::resume();
        let _ = timeout(Duration::from_secs(1), writer.flush()).await;
        tokio::time::pause();
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_at_which_the_service_fails_is_tried_again_and_then_rejected() {
    let directory = Directory::new();
    let server = Server::start();
    server.fail("sick", 500);
    let writer = open(&server.url, &directory.spool()).await.unwrap();
    writer.replace_call("sick", &call("1")).await.unwrap();
    writer.replace_call("well", &call("2")).await.unwrap();
    pass_time(&writer).await;
    assert_eq!((writer.status().sent, writer.status().rejected), (1, 1));
    assert_eq!(writer.rejected().await.unwrap()[0].status, Some(500));
    assert!(server.state().requests > 20);
}

/// The clock is paused: a day passes at once.
#[tokio::test(start_paused = true)]
async fn a_day_of_outage_loses_nothing_and_asks_once_a_minute() {
    let directory = Directory::new();
    let server = Server::start();
    server.fail("*", 503);
    let writer = open(&server.url, &directory.spool()).await.unwrap();
    let began = Instant::now();
    for hour in 0..24 {
        for id in ["a", "b", "c"] {
            writer.replace_call(id, &call(hour)).await.unwrap();
        }
        writer.create_call(&call(format!("new {hour}"))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
    let (requests, minutes) = (server.state().requests as u64, began.elapsed().as_secs() / 60);
    // The clock also runs while a write waits for the disk.
    assert!(minutes >= 24 * 60 && (20..minutes + 20).contains(&requests), "{requests} requests in {minutes} minutes");
    assert_eq!((writer.status().queued, writer.status().sent, writer.status().rejected), (96, 0, 0));
    server.set(|state| state.statuses.clear());
    pass_time(&writer).await;
    let state = server.state();
    let is_fixed = |id: &str| ["a", "b", "c"].contains(&id);
    assert_eq!(
        state.applied.iter().filter(|applied| !is_fixed(&applied.id)).count(),
        24,
        "each record was created once"
    );
    for id in ["a", "b", "c"] {
        let mut hours: Vec<u32> = state
            .applied
            .iter()
            .filter(|applied| applied.id == id)
            .map(|applied| applied.summary.parse().unwrap())
            .collect();
        hours.dedup();
        assert_eq!(hours, (0..24).collect::<Vec<_>>(), "{id}");
    }
}
