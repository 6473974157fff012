//! The command `demo` and its generated history.

use std::{collections::HashSet, path::Path};

use callhistory_client::{CallInput, ListQuery, model::CallStatus};
use callhistory_server::commands::demo;
use chrono::DateTime;
use tempfile::TempDir;

use crate::binary::Running;

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
