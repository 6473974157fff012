//! Imports of streams that are made to cost much.

use std::time::Duration;

use callhistory_client::model::CallInput;
use reqwest::{Method, StatusCode};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};

use crate::{
    binary::Running,
    harness::{PATIENCE, Response, Server, WORKSPACE},
    import_export::{ARRAY, BATCH, LINES, count, counts, errors, import},
};

const CSV: (&str, &str) = ("content-type", "text/csv");
const MIB: usize = 1024 * 1024;

fn details(response: &Response) -> Vec<String> {
    let report = response.json();
    report["errors"].as_array().unwrap().iter().map(|error| error["detail"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_first_line_of_a_table_has_bounds() {
    let server = Server::start().await;
    let columns = |count: usize| (1..count).fold("_id".to_owned(), |text, at| text + &format!(",c{at}"));
    let many = format!("{}\na\n", columns(4096));
    assert_eq!(counts(&import(&server, &[CSV], many.into()).await), [1, 0, 0, 0]);
    let wide = "a,".repeat(9000);
    let long = format!("_id,{}\na,b\n", "x".repeat(70_000));
    let endless = format!("_id,\"{}", "x".repeat(5 * MIB));
    for (table, detail) in [
        (format!("{}\na\n", columns(4097)), "names more than 4096 columns"),
        (format!("{wide}\n1\n2\n"), "names more than 4096 columns"),
        (wide, "names more than 4096 columns"),
        (long, "has more than 65536 bytes"),
        (endless, "has more than 65536 bytes"),
        (format!("_id,{}\na,b\n", "x".repeat(2000)), "has a name of more than 1024 bytes"),
        ("_id,a,b,a\n1\n".to_owned(), "names the column \"a\" more than once"),
    ] {
        let response = import(&server, &[CSV], table.into()).await;
        assert_eq!(
            (counts(&response), errors(&response)),
            ([0, 0, 0, 1], vec!["1 - malformed".to_owned()]),
            "{detail}"
        );
        assert!(details(&response)[0].contains(detail), "{detail}: {}", response.body);
    }
}

#[tokio::test]
async fn a_row_beyond_the_bounds_is_rejected_and_the_next_one_taken() {
    let server = Server::start().await;
    let wide = "a,".repeat(9000);
    for row in [wide.clone(), format!("{wide}\"x")] {
        let is_open = row.ends_with('x');
        let table = format!("_id,status\na,completed\n{row}\nb,failed\n");
        let response = import(&server, &[CSV], table.into()).await;
        assert_eq!(errors(&response), ["3 - malformed"], "{}", response.body);
        assert!(details(&response)[0].contains("has more than 4096 cells"), "{}", response.body);
        assert_eq!(counts(&response), if is_open { [0, 0, 1, 1] } else { [2, 0, 0, 1] });
    }
    // Too many bytes, without quotes, in them, and of them.
    for cell in
        ["x".repeat(17 * MIB), format!("\"{}\"", "x".repeat(17 * MIB)), format!("\"{}\"", "\"\"".repeat(17 * MIB))]
    {
        let table = format!("_id,summary\nc,x\nd,{cell}\ne,y\n");
        let response = import(&server, &[CSV], table.into()).await;
        assert_eq!((errors(&response), count(&response, "rejected")), (vec!["3  too_many_bytes".to_owned()], 1));
        assert_eq!(count(&response, "created") + count(&response, "unchanged"), 2, "{}", response.body);
    }
}

/// An object with the ID of a call and a list is a record, whatever the list contains.
#[tokio::test]
async fn every_name_of_an_id_distinguishes_a_record_from_a_page() {
    let server = Server::start().await;
    let headers = [("x-workspace-id", WORKSPACE), ARRAY];
    for (at, name) in CallInput::ID_MEMBERS.into_iter().chain(["callId"]).enumerate() {
        let record = format!("{{\"{name}\":\"c{at}\",\"items\":[{{\"role\":\"agent\"}}]}}");
        let target = format!("{BATCH}?source=generic");
        let response = server.send_bare(Method::POST, &target, &headers, record.into()).await;
        assert_eq!(counts(&response), [1, 0, 0, 0], "{name}: {}", response.body);
        assert_eq!(server.get(&format!("c{at}"), &[]).await.status, StatusCode::OK, "{name}");
    }
}

/// The peak of the memory of a process, in KiB.
fn peak_memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A row is short in the stream, but not in the record, and not in an original, which has the first line as well.
#[tokio::test]
async fn an_import_needs_little_more_memory_than_a_batch() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &["--log", "warn"]);
    let names = (0..60).fold("_id".to_owned(), |text, at| text + &format!(",{at:x>1000}"));
    let table = (0..2000).fold(names + "\n", |text, at| text + &format!("{at}\n"));
    let before = peak_memory(server.child.id());
    let import = reqwest::Client::new().post(format!("{}{BATCH}", server.base));
    let import = import.header("x-workspace-id", "w").header(CSV.0, CSV.1).body(table);
    let report = import.send().await.unwrap().text().await.unwrap();
    assert!(report.contains("\"created\":2000,"), "{report}");
    let grown = peak_memory(server.child.id()) - before;
    assert!(grown < 80 * 1024, "{grown} KiB for 120 MB of first lines");
}

/// What waits in memory counts, not only one record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_import_holds_as_much_of_the_budget_as_of_the_memory() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &["--log", "warn", "--max-record-bytes", "1048576"]);
    let record = format!("{{\"_id\":\"c\",\"metadata\":{{\"a\":\"{}\"}}}}\n", "x".repeat(MIB / 2));
    let sent = record.repeat(50);
    let head = format!(
        "POST {BATCH}?atomic=true HTTP/1.1\r\nhost: localhost\r\nx-workspace-id: big\r\ncontent-type: {}\r\n\
         content-length: 30000000\r\n\r\n",
        LINES.1
    );
    let mut stalled = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    timeout(PATIENCE, stalled.write_all((head + &sent).as_bytes())).await.unwrap().unwrap();
    let put = |workspace: &'static str| {
        let put = reqwest::Client::new().put(format!("{}/v2/api/call-history/c", server.base));
        let put = put.header("x-workspace-id", workspace).header("content-type", "application/json");
        put.body(record.trim_end().to_owned()).send()
    };
    let refused = async {
        loop {
            let response = put("big").await.unwrap();
            if !response.status().is_success() {
                break response;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let refused = timeout(PATIENCE, refused).await.unwrap();
    assert_eq!(refused.status().as_u16(), 503);
    assert!(refused.text().await.unwrap().contains("of this workspace"));
    assert!(put("other").await.unwrap().status().is_success());
    drop(stalled);
    let again = async { while !put("big").await.unwrap().status().is_success() {} };
    timeout(PATIENCE, again).await.unwrap();
}
