//! Import and export over HTTP and by the program.

use std::{io::Write as _, process::Stdio, time::Duration};

use callhistory_client::{CallFilter, ListQuery};
use flate2::{Compression, write::GzEncoder};
use futures_util::TryStreamExt as _;
use reqwest::{Method, StatusCode};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::{
    binary::{command, output_of},
    harness::{PATIENCE, Response, Server, WORKSPACE},
};

pub(crate) const BATCH: &str = "/v2/api/call-history/batch";
pub(crate) const EXPORT: &str = "/v2/api/call-history/export";
pub(crate) const LINES: (&str, &str) = ("content-type", "application/x-ndjson");
pub(crate) const ARRAY: (&str, &str) = ("content-type", "application/json");

pub(crate) const STRICT: (&str, &str) = ("prefer", "handling=strict");

pub(crate) async fn import(server: &Server, headers: &[(&str, &str)], body: Vec<u8>) -> Response {
    let mut all = vec![("x-workspace-id", WORKSPACE)];
    all.extend(headers);
    server.send_bare(Method::POST, BATCH, &all, body).await
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The counts of created, replaced, unchanged and rejected records.
pub(crate) fn counts(response: &Response) -> [u64; 4] {
    let names = ["created", "replaced", "unchanged", "rejected"];
    let counts = names.map(|name| count(response, name));
    let is_failure = ["created", "replaced", "merged", "unchanged", "stale"].map(|name| count(response, name))
        == [0; 5]
        && counts[3] + count(response, "skipped") > 0;
    let expected = if is_failure { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    assert_eq!((response.status, response.header("content-type")), (expected, "application/json"), "{}", response.body);
    counts
}

pub(crate) fn count(response: &Response, name: &str) -> u64 {
    let report = response.json();
    report[name].as_u64().unwrap_or_else(|| panic!("{name}: {report}"))
}

pub(crate) fn errors(response: &Response) -> Vec<String> {
    list(response, "errors")
}

pub(crate) fn warnings(response: &Response) -> Vec<String> {
    list(response, "warnings")
}

/// The line, the pointer and the code of each error or warning.
fn list(response: &Response, name: &str) -> Vec<String> {
    let report = response.json();
    let listed = report[name].as_array().unwrap();
    listed
        .iter()
        .map(|error| {
            format!(
                "{} {} {}",
                error["line"],
                error["pointer"].as_str().unwrap_or("-"),
                error["code"].as_str().unwrap()
            )
        })
        .collect()
}

#[tokio::test]
async fn valid_lines_are_imported_and_invalid_ones_reported() {
    let server = Server::start().await;
    let body = concat!(
        "\u{feff}{\"_id\":\"a\",\"cost\":{\"customer_charge\":0.10}}\r\n",
        "\n",
        "{\"_id\":\"b\",\"startTime\":1680000000000,\"statu\":\"busy\"}\n",
        "not json\n",
        "{\"status\":\"busy\"}\n",
        "{\"_id\":\"batch\"}\n",
        "{\"_id\":\"c\",\"workspaceId\":\"other\"}\n",
        "[1]\n",
        "# a comment\n",
        "{\"_id\":\"a\",\"status\":\"busy\"}\n",
        "{\"_id\":\"d\",\"createdAt\":\"2020-01-01T00:00:00Z\",\"updatedAt\":\"2020-01-02T00:00:00Z\"}",
    );
    let response = import(&server, &[LINES, STRICT], body.into()).await;
    assert_eq!(response.header("preference-applied"), "handling=strict");
    assert_eq!((counts(&response), count(&response, "skipped")), ([2, 1, 0, 6], 1));
    let expected = [
        "3 /startTime wrong_unit",
        "4 - malformed",
        "5 /_id missing",
        "6 /_id reserved_id",
        "7 /workspaceId mismatch",
        "9 - malformed",
    ];
    assert_eq!(errors(&response), expected);
    assert_eq!(warnings(&response), ["8  left_out"]);
    assert_eq!(count(&response, "repeated"), 1, "two lines have one id");
    assert_eq!(server.get("a", &[]).await.json()["status"], "busy", "the last line of an id wins");
    assert_eq!(server.get("d", &[]).await.json()["createdAt"], "2020-01-01T00:00:00Z");
    let again = import(&server, &[LINES], "{\"_id\":\"a\",\"status\":\"busy\"}\n".into()).await;
    assert_eq!(counts(&again), [0, 0, 1, 0]);
    assert_eq!(counts(&import(&server, &[LINES], vec![]).await), [0, 0, 0, 0]);
}

#[tokio::test]
async fn an_array_can_be_imported() {
    let server = Server::start().await;
    let text = r#" [ {"_id":"a","summary":"],[}{\" \\"} , {"_id":"b","metadata":{"x":[{}]}},{"_id":"c","nothing":1}, {"_id":"d"}] "#;
    let response = import(&server, &[ARRAY], text.into()).await;
    assert_eq!((counts(&response), warnings(&response)), ([4, 0, 0, 0], vec!["3 /nothing unknown_member".to_owned()]));
    for (text, counted, error) in [
        ("[{\"_id\":\"a\"},", [0, 1, 0, 1], "2 - malformed"),
        ("[{\"_id\":\"a\"} oops, {\"_id\":\"y\"}]", [1, 0, 1, 1], "2 - malformed"),
        ("[{\"_id\":\"a\"}]x", [0, 0, 1, 1], "2 - malformed"),
        ("[{\"_id\":\"a\"", [0, 0, 0, 1], "1 - malformed"),
    ] {
        let response = import(&server, &[ARRAY], text.into()).await;
        assert_eq!((counts(&response), errors(&response)), (counted, vec![error.to_owned()]), "{text}");
    }
    for text in ["", " ", "\u{feff}\n"] {
        let response = import(&server, &[ARRAY], text.into()).await;
        assert_eq!((response.status, response.code().as_str()), (StatusCode::BAD_REQUEST, "malformed_json"), "{text}");
    }
    assert_eq!(counts(&import(&server, &[ARRAY], "[]".into()).await), [0, 0, 0, 0]);
}

#[tokio::test]
async fn a_gzip_import_is_decompressed_up_to_a_limit() {
    let server = Server::start().await;
    let lines: String =
        (0..3000).map(|number| format!("{{\"_id\":\"c{number}\",\"summary\":\"{number}\"}}\n")).collect();
    let packed = [("content-encoding", "gzip"), LINES];
    assert_eq!(counts(&import(&server, &packed, gzip(lines.as_bytes())).await), [3000, 0, 0, 0]);
    // A stream may have several gzip members, like the output of `cat a.gz b.gz`.
    let (first, second) = lines.as_bytes().split_at(1000);
    let joined = [gzip(first), gzip(second)].concat();
    assert_eq!(counts(&import(&server, &packed, joined).await), [0, 0, 3000, 0]);
    let bomb = gzip(&vec![b' '; 64 * 1024 * 1024]);
    let refused = import(&server, &packed, bomb).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"));
    let broken = import(&server, &packed, gzip(lines.as_bytes())[..500].to_vec()).await;
    assert_eq!((broken.status, broken.code().as_str()), (StatusCode::BAD_REQUEST, "invalid_request"));
    let none = import(&server, &packed, lines.clone().into()).await;
    assert_eq!((none.status, none.code().as_str()), (StatusCode::BAD_REQUEST, "invalid_request"));
    let refused = [
        [("content-encoding", "br"), LINES],
        [("content-type", "text/plain"), ("accept", "*/*")],
        [("content-type", "application/json; charset=latin1"), ("accept", "*/*")],
    ];
    for headers in refused {
        assert_eq!(import(&server, &headers, lines.clone().into()).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}

/// Few of the records of a bomb are processed before it is refused.
#[tokio::test]
async fn a_bomb_of_records_is_refused_early() {
    let server = Server::start().await;
    let summary = "x".repeat(1000);
    let record = |number: u32| format!("{{\"_id\":\"a\",\"status\":\"s{}\",\"summary\":\"{summary}\"}}", number % 2);
    let records: Vec<_> = (0..20_000).map(record).collect();
    let array = format!("[{}]", records.join(","));
    for (form, text, before) in [(LINES, records.join("\n"), 0), (ARRAY, array, 2_000)] {
        let response = import(&server, &[("content-encoding", "gzip"), form], gzip(text.as_bytes())).await;
        assert_eq!((response.status, response.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"));
        // The last batch may be written after the response.
        let processed = changes(&server).await;
        assert!(processed < before + 2_500, "{processed} records were processed");
    }
}

/// The number of changes: each processed record is one.
async fn changes(server: &Server) -> usize {
    let (mut count, mut next) = (0, String::new());
    loop {
        let page =
            server.send(Method::GET, &format!("/v2/api/call-history/changes?limit=1000{next}"), &[], "").await.json();
        count += page["changes"].as_array().unwrap().len();
        if page["hasMore"] == false {
            return count;
        }
        next = format!("&cursor={}", page["cursor"].as_str().unwrap());
    }
}

#[tokio::test]
async fn only_the_line_over_the_limit_is_rejected() {
    let server = Server::start().await;
    let long = format!("{{\"_id\":\"long\",\"metadata\":{{\"x\":\"{}\"}}}}", "x".repeat(16 * 1024 * 1024));
    let many = ":".repeat(300);
    let body = format!("{{\"_id\":\"a\"}}\n{long}\n{many}\n{{\"_id\":\"b\"}}\n");
    let response = import(&server, &[LINES], body.into()).await;
    assert_eq!(
        (counts(&response), errors(&response)),
        ([2, 0, 0, 2], vec!["2  too_many_bytes".to_owned(), "3 - malformed".to_owned()])
    );
    let array = format!("[{{\"_id\":\"a\"}},{long},{{\"_id\":\"c\"}}]");
    let response = import(&server, &[ARRAY], array.into()).await;
    assert_eq!((counts(&response), errors(&response)), ([1, 0, 1, 1], vec!["2  too_many_bytes".to_owned()]));
    let bad: String = (0..3000).map(|_| "x\n").collect();
    let response = import(&server, &[LINES], bad.into()).await;
    assert_eq!((counts(&response)[3], errors(&response).len()), (3000, 1000), "all are counted, the first are listed");
}

/// A client disconnects in the middle of a line, and later sends the whole import again.
#[tokio::test]
async fn an_aborted_import_keeps_complete_records() {
    let server = Server::start().await;
    let lines: String =
        (0..10_000).map(|number| format!("{{\"_id\":\"c{number:05}\",\"summary\":\"whole {number}\"}}\n")).collect();
    let mut stream = server.connect().await;
    let head = format!(
        "POST {BATCH} HTTP/1.1\r\nhost: x\r\nx-workspace-id: {WORKSPACE}\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
        lines.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&lines.as_bytes()[..lines.len() - 12_345]).await.unwrap();
    let client = server.client();
    drop(stream);
    // The server writes what it received, after the client has disconnected.
    let all = || client.stream_calls(ListQuery::new().limit(1000)).try_collect::<Vec<_>>();
    let most_landed = async {
        loop {
            let landed = all().await.unwrap();
            if landed.len() >= 2_000 {
                return landed;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let landed = tokio::time::timeout(PATIENCE, most_landed).await.expect("the received lines are not written");
    for call in &landed {
        let number: u32 = call.id.as_str()[1..].parse().unwrap();
        assert_eq!(call.summary.as_deref(), Some(format!("whole {number}").as_str()));
    }
    let [created, replaced, unchanged, rejected] = counts(&import(&server, &[LINES], lines.into()).await);
    // The last batch may have been written after the list.
    assert_eq!((created + unchanged, replaced, rejected), (10_000, 0, 0));
    assert!(unchanged >= landed.len() as u64, "{unchanged} of {} were kept", landed.len());
}

#[tokio::test]
async fn an_export_can_be_imported_into_another_workspace() {
    let server = Server::start().await;
    let history = callhistory_server::commands::demo::history(
        7,
        400,
        chrono::DateTime::from_timestamp(1_767_225_600, 0).unwrap(),
    );
    callhistory_server::commands::demo::fill(&server.store, history.unwrap(), &"2026-01-01T00:00:00Z".parse().unwrap())
        .await
        .unwrap();
    let demo = [("x-workspace-id", callhistory_server::commands::demo::WORKSPACE)];
    let export = server.send_bare(Method::GET, EXPORT, &demo, vec![]).await;
    assert_eq!(export.header("content-type"), "application/x-ndjson");
    // The workspace is part of a record; all other bytes are equal.
    let moved = export.body.replace("\"workspaceId\":\"demo\"", &format!("\"workspaceId\":\"{WORKSPACE}\""));
    let strict = import(&server, &[LINES, STRICT], export.body.clone().into()).await;
    assert_eq!((counts(&strict), errors(&strict)[0].as_str()), ([0, 0, 0, 400], "1 /workspaceId mismatch"));
    let lenient = import(&server, &[LINES], export.body.into()).await;
    assert_eq!((counts(&lenient), count(&lenient, "warned")), ([400, 0, 0, 0], 400));
    assert_eq!(warnings(&lenient)[0], "1 /workspaceId workspace_changed");
    let back = server.send(Method::GET, EXPORT, &[], "").await;
    assert_eq!(back.body, moved);
    assert_eq!(counts(&import(&server, &[LINES], moved.into()).await), [0, 0, 400, 0]);
    let by_day = "/v2/api/call-history/metrics?groupBy=day,status&timezone=America/New_York";
    let there = server.send(Method::GET, by_day, &[], "").await.body;
    assert_eq!(server.send_bare(Method::GET, by_day, &demo, vec![]).await.body, there);
    let some = server.send(Method::GET, &format!("{EXPORT}?status=failed"), &[], "").await;
    let filter = CallFilter::new().status("failed");
    let listed: Vec<_> = server.client().export_calls(filter).await.unwrap().try_collect().await.unwrap();
    assert_eq!(some.body.lines().count(), listed.len());
    assert!(listed.iter().all(|call| call.status.as_ref().unwrap().as_str() == "failed") && !listed.is_empty());
}

/// A history is exported from one workspace and imported into another, through files and pipes.
#[tokio::test]
async fn files_are_imported_and_exported_without_a_server() {
    let directory = TempDir::new().unwrap();
    let run = |arguments: &[&str], input: &[u8]| {
        let mut child = command(directory.path());
        child.args(arguments).args(["--data-dir", "data"]).stdin(Stdio::piped());
        let mut child = child.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let (code, printed, errors) = output_of(child);
        (code == 0, printed, errors)
    };
    let lines: String = (0..1200).map(|number| format!("{{\"_id\":\"c{number}\",\"startTime\":{number}}}\n")).collect();
    std::fs::write(directory.path().join("a.ndjson"), &lines).unwrap();
    std::fs::write(directory.path().join("b.json"), r#"[{"_id":"x","nothing":1},oops]"#).unwrap();
    let (good, out, errors) = run(&["import", "--check", "a.ndjson", "b.json"], b"");
    assert!(
        !good && out == "a.ndjson: 1200 valid, 0 rejected\nb.json: 1 valid, 1 rejected, 1 with warnings\n",
        "{out}"
    );
    assert!(errors.contains("b.json:1: warning: /nothing ") && errors.contains("b.json:2: "), "{errors}");
    assert!(errors.contains("nothing was written"), "{errors}");
    assert!(run(&["import", "--check", "a.ndjson"], b"").0);
    assert!(!directory.path().join("data").exists(), "a check needs no database");
    assert!(run(&["migrate"], b"").0);
    let (good, out, _) = run(&["import", "--workspace", "w", "a.ndjson"], b"");
    assert!(good && out == "a.ndjson: 1200 created, 0 replaced, 0 unchanged, 0 rejected\n", "{out}");
    let (good, out, errors) = run(&["import", "--workspace", "w", "a.ndjson", "b.json"], b"");
    assert!(
        !good && out.contains("0 created, 0 replaced, 1200 unchanged") && out.contains("b.json: 1 created"),
        "{out}"
    );
    assert!(errors.contains("b.json:2: ") && errors.contains("1 records were rejected"), "{errors}");
    let (good, exported, _) = run(
        &[
            "export",
            "--workspace",
            "w",
            "--query",
            "startedAfter=1970-01-01T00:10:00Z&startedBefore=1970-01-01T00:20:00Z",
        ],
        b"",
    );
    assert!(good && exported.lines().count() == 600, "{}", exported.lines().count());
    assert!(run(&["export", "--workspace", "w", "-o", "all.csv", "--format", "csv", "--sort", "-cost"], b"").0);
    assert_eq!(std::fs::read_to_string(directory.path().join("all.csv")).unwrap().lines().count(), 1202);
    let moved = exported.replace("\"workspaceId\":\"w\"", "\"workspaceId\":\"v\"");
    let strict = ["import", "--check", "--workspace", "w", "--handling", "strict", "-"];
    let (good, out, errors) = run(&strict, moved.as_bytes());
    assert!(!good && out == "-: 0 valid, 600 rejected\n" && errors.contains("-:600: /workspaceId is \"v\""), "{out}");
    let (good, out, _) = run(&["import", "--check", "--workspace", "w", "-"], moved.as_bytes());
    assert!(good && out == "-: 600 valid, 0 rejected, 600 with warnings\n", "{out}");
    assert!(run(&["import", "--check", "-"], moved.as_bytes()).0);
    let (good, out, _) = run(&["import", "--workspace", "v", "-"], moved.as_bytes());
    assert!(good && out == "-: 600 created, 0 replaced, 0 unchanged, 0 rejected\n", "{out}");
    for (arguments, reason) in [
        (&["import", "--workspace", "w", "missing"][..], "missing"),
        (&["import", "a.ndjson"], "--workspace"),
        (&["import", "--check", "missing"], "missing"),
        (&["import", "--workspace", "a b", "a.ndjson"], "--workspace"),
        (&["import", "--workspace", "w", "--mode", "merg", "a.ndjson"], "did you mean \"merge\"?"),
        (&["import", "--workspace", "w", "--source", "vapi", "a.ndjson"], "generic"),
        (&["import", "--workspace", "w", "--handling", "loose", "a.ndjson"], "lenient"),
        (&["export", "--workspace", "w", "--query", "statu=x"], "did you mean \"status\"?"),
    ] {
        let (good, _, errors) = run(arguments, b"");
        assert!(!good && errors.contains(reason), "{errors}");
    }
}
