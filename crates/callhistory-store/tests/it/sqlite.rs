//! SQLite against the conformance suite, and what only an embedded file can do wrong.

use std::{path::PathBuf, sync::Arc};

use callhistory_model::{CallInput, ListQuery, Timestamp};
use callhistory_store::{CallStore, Precondition, Severity, StoreError};
use tempfile::TempDir;

use crate::conformance::{Database, PATIENCE, conformance, refusal};
use crate::databases::{diagnose, open, rebuild_metrics};

struct SqliteFile {
    directory: TempDir,
}

impl SqliteFile {
    fn path(&self) -> PathBuf {
        self.directory.path().join("data").join("callhistory.db")
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }
}

impl Database for SqliteFile {
    async fn open(&self) -> Arc<dyn CallStore> {
        // The store before may still be closing its connections.
        let free = async {
            loop {
                match open(&self.url()).await {
                    Err(StoreError::Open(message)) if message.contains("in use") => {
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    }
                    opened => return opened.unwrap(),
                }
            }
        };
        tokio::time::timeout(PATIENCE, free).await.unwrap()
    }
}

fn empty() -> SqliteFile {
    SqliteFile { directory: TempDir::new().unwrap() }
}

conformance!(empty);

#[tokio::test]
async fn one_process_at_a_time() {
    let file = empty();
    let _store = file.open().await;
    assert!(refusal(&file.url()).await.contains("in use by another process"));
}

#[cfg(unix)]
#[tokio::test]
async fn one_process_at_a_time_under_any_name() {
    let file = empty();
    let _store = file.open().await;
    let alias = file.directory.path().join("alias.db");
    std::os::unix::fs::symlink(file.path(), &alias).unwrap();
    assert!(refusal(&format!("sqlite:{}", alias.display())).await.contains("in use by another process"));
}

/// A deleted file still takes writes; they must not be acknowledged.
#[cfg(unix)]
#[tokio::test]
async fn a_deleted_database_acknowledges_nothing() {
    let file = empty();
    let store = file.open().await;
    let (ws, call) = ("w".parse().unwrap(), "c".parse().unwrap());
    std::fs::remove_file(file.path()).unwrap();
    for _ in 0..2 {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let written = store.replace_call(&ws, &call, CallInput::default(), Precondition::default(), now).await;
        assert!(matches!(written, Err(StoreError::Io(_) | StoreError::Unavailable(_))), "{written:?}");
    }
    assert!(store.check().await.is_err(), "a store that cannot write must not be ready");
}

#[tokio::test]
async fn a_foreign_or_broken_file_is_refused() {
    let file = empty();
    std::fs::create_dir(file.path().parent().unwrap()).unwrap();
    rusqlite::Connection::open(file.path()).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(refusal(&file.url()).await.contains("database of another program"));
    std::fs::write(file.path(), "this is a text file and no database at all").unwrap();
    assert!(refusal(&file.url()).await.contains("cannot be opened"));
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let file = empty();
    drop(file.open().await);
    let raw = rusqlite::Connection::open(file.path()).unwrap();
    raw.execute_batch("INSERT INTO refinery_schema_history VALUES (9999, 'future', '2026-01-01T00:00:00Z', '1')")
        .unwrap();
    drop(raw);
    let mut message = refusal(&file.url()).await;
    while message.contains("in use") {
        message = refusal(&file.url()).await;
    }
    assert!(message.contains("newer version"), "{message}");
}

#[tokio::test]
async fn an_unknown_engine_is_named() {
    assert!(refusal("mysql://localhost/db").await.contains("\"mysql\""));
    assert!(refusal("nonsense").await.contains("sqlite:PATH"));
}

#[cfg(unix)]
#[tokio::test]
async fn the_data_directory_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = empty();
    let _store = file.open().await;
    let mode = std::fs::metadata(file.path().parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

/// The bytes of a replaced record are wiped: erasure is erasure.
#[tokio::test]
async fn replaced_bytes_leave_the_file() {
    let file = empty();
    let store = file.open().await;
    let (ws, call) = ("w".parse().unwrap(), "c".parse().unwrap());
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for summary in ["canary-before", "harmless-now!"] {
        let input = CallInput { summary: Some(summary.to_owned()), ..CallInput::default() };
        store.replace_call(&ws, &call, input, Precondition::default(), now.clone()).await.unwrap();
    }
    store.close().await;
    drop(store);
    let bytes = std::fs::read(file.path()).unwrap();
    let holds = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    assert!(holds("harmless-now!"), "the log was not folded into the file");
    assert!(!holds("canary-before"));
}

#[tokio::test]
async fn numbers_that_are_not_right_are_found_and_made_anew() {
    let file = empty();
    let store = file.open().await;
    let input = |number: u32| CallInput::from_json(format!(r#"{{"duration":{number}}}"#).as_bytes()).unwrap();
    let calls = (0..900).map(|number| (format!("c{number}").parse().unwrap(), input(number)));
    let (ws, now) = ("w".parse().unwrap(), "2026-01-01T00:00:00Z".parse().unwrap());
    store.import_calls(&ws, calls.collect(), now).await.unwrap();
    store.close().await;
    drop(store);
    let severity = async || {
        let diagnostics = diagnose(&file.url()).await;
        diagnostics.into_iter().find(|diagnostic| diagnostic.name == "metrics").unwrap().severity
    };
    assert_eq!(severity().await, Severity::Ok);
    let raw = rusqlite::Connection::open(file.path()).unwrap();
    for damage in ["DELETE FROM metric_segment WHERE part = 1", "UPDATE metric_segment SET columns = x'00'"] {
        assert!(raw.execute(damage, []).unwrap() > 0, "{damage}");
        assert_eq!(severity().await, Severity::Error, "{damage}");
        assert_eq!(rebuild_metrics(&file.url()).unwrap(), 900);
        assert_eq!(severity().await, Severity::Ok);
    }
    // A program that needs another shape makes it when it opens the database.
    raw.execute_batch("DELETE FROM metric_segment; UPDATE metric_shape SET shape = -1").unwrap();
    drop(file.open().await);
    assert_eq!(severity().await, Severity::Ok);
}

/// What a statement has done before counts for how long it may take, and must not break it off.
#[tokio::test]
async fn reads_do_not_wear_out() {
    let file = empty();
    let store = file.open().await;
    let ws = "w".parse().unwrap();
    let query = ListQuery::from_query("limit=1").unwrap();
    for number in 0..20_000 {
        let page = store.list_calls(&ws, &query).await;
        assert!(page.is_ok(), "{number}: {:?}", page.err());
    }
}
