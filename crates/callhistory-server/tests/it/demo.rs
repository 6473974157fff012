//! The command `demo` and its generated history.

use std::{collections::HashSet, path::Path, process::Command};

use callhistory_client::{CallInput, ListQuery, model::CallStatus};
use callhistory_server::commands::demo;
use chrono::DateTime;
use reqwest::StatusCode;
use tempfile::TempDir;

use crate::{
    binary::{Running, run},
    harness::{CALLS, Server},
};

#[tokio::test]
async fn the_demo_database_is_filled_and_deleted_at_exit() {
    let directory = TempDir::new().unwrap();
    let mut server = Running::start(directory.path(), &["demo", "--calls", "300"]);
    let query = ListQuery::new().include_total(true);
    assert_eq!(server.client(demo::WORKSPACE).list_calls(&query).await.unwrap().total, Some(300));
    let database = server.welcome.split("sqlite:").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert!(Path::new(&database).exists());
    server.signal("-TERM");
    assert!(server.child.wait().unwrap().success());
    assert!(!Path::new(&database).parent().unwrap().exists(), "{database} was not deleted");
}

#[test]
fn the_demo_history_is_reproducible_and_valid() {
    let end = DateTime::from_timestamp(1_767_225_600, 0).unwrap();
    let calls = demo::history(1, 3000, end).unwrap();
    assert_eq!(calls, demo::history(1, 3000, end).unwrap());
    assert_ne!(calls, demo::history(2, 3000, end).unwrap());
    for status in CallStatus::KNOWN {
        assert!(calls.iter().any(|(_, call)| call.status.as_ref().unwrap().as_str() == *status), "no call is {status}");
    }
    let distinct = |member: fn(&CallInput) -> Option<&String>| {
        calls.iter().filter_map(|(_, call)| member(call)).collect::<HashSet<_>>().len()
    };
    assert!(distinct(|call| call.agent_id.as_ref()) >= 4 && distinct(|call| call.call_flow_id.as_ref()) >= 3);
    assert!(calls.iter().filter(|(_, call)| call.transcript.is_some()).count() > 1500);
    // The service would accept every generated record.
    for (_, call) in &calls {
        let json = serde_json::to_vec(call).unwrap();
        assert_eq!(&CallInput::from_json(&json).unwrap(), call);
    }
}

/// Runs curl: its exit code, the status, and the body.
fn curl(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new("curl").args(["-sS", "-w", "\n%{http_code}"]).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (output.status.code().unwrap(), status.to_owned(), body.to_owned())
}

#[test]
fn faults_are_scripted_without_the_sdk() {
    let directory = TempDir::new().unwrap();
    let faults = ["--faults", "list_calls:429*2,retry-after=7", "--faults", "get_call_metrics:503"];
    let server = Running::start(directory.path(), &[&["demo", "--calls", "3"], &faults[..]].concat());
    let (calls, script) = (format!("{}{CALLS}", server.base), format!("{}/faults", server.base));
    let list = |options: &[&str]| curl(&[&["-H", "x-workspace-id: demo", &calls], options].concat());
    let (_, status, problem) = list(&["-i"]);
    assert!(status == "429" && problem.contains("retry-after: 7") && problem.contains("\"rate_limited\""), "{problem}");
    assert_eq!(list(&[]).1, "429");
    assert_eq!(list(&[]).1, "200");
    let report =
        r#"[{"fault":"list_calls:429*2,retry-after=7","served":2},{"fault":"get_call_metrics:503","served":0}]"#;
    assert_eq!(curl(&[&script]).2, report);

    // At run time, as a test in any language does.
    assert_eq!(curl(&["-X", "DELETE", &script]).1, "204");
    let (_, status, report) = curl(&["--data-binary", "list_calls:cut_body\nlist_calls:drop_request", &script]);
    assert_eq!((status.as_str(), report.matches("\"served\":0").count()), ("200", 2));
    let (code, status, half) = list(&[]);
    assert!(code == 18 && status == "200" && half.starts_with("[{"), "{code} {half}");
    assert_eq!(list(&[]).0, 52);
    curl(&["-d", "broken_json", &script]);
    let (code, status, half) = list(&[]);
    assert!(code == 0 && status == "200" && serde_json::from_str::<serde_json::Value>(&half).is_err(), "{half}");
    curl(&["-d", "slow_body,delay=1h", &script]);
    let (code, status, half) = list(&["--max-time", "2"]);
    assert!(code == 28 && status == "200" && half.starts_with("[{"), "{code} {half}");
    let (_, status, problem) = curl(&["--data-binary", "503\nlist_cals:503", &script]);
    assert!(status == "400" && problem.contains("did you mean \\\"list_calls\\\"?"), "{problem}");
    assert_eq!(list(&[]).1, "200", "a script with an error has no effect");
}

#[tokio::test]
async fn faults_are_refused_or_absent() {
    let directory = TempDir::new().unwrap();
    let (code, _, error) = run(directory.path(), &["demo", "--faults", "list_cals:503"]);
    assert!(code == 1 && error.contains("did you mean \"list_calls\"?"), "{error}");
    let (code, _, error) = run(directory.path(), &["demo", "--faults", "504"]);
    assert!(code == 2 && error.contains("\"504\" is not a fault; the faults are 400, "), "{error}");
    let server = Server::start().await;
    assert_eq!(server.send(reqwest::Method::GET, "/faults", &[], "").await.status, StatusCode::NOT_FOUND);
}
