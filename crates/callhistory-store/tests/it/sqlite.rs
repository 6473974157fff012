//! SQLite against the conformance suite, and what only an embedded file can do wrong.

use std::{path::PathBuf, sync::Arc};

use callhistory_model::{CallDraft, Timestamp};
use callhistory_store::{CallStore, Precondition, StoreError, open};
use tempfile::TempDir;

use crate::conformance::{Database, conformance};

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
    fn open(&self) -> Arc<dyn CallStore> {
        // The store before may still be closing its connections.
        for _ in 0..100 {
            match open(&self.url()) {
                Err(StoreError::Open(message)) if message.contains("in use") => {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                opened => return opened.unwrap(),
            }
        }
        panic!("the database stays in use");
    }
}

fn empty() -> SqliteFile {
    SqliteFile { directory: TempDir::new().unwrap() }
}

conformance!(empty:
    a_record_comes_back_byte_for_byte,
    an_absent_record_is_none,
    a_workspace_sees_nothing_of_another,
    an_answered_write_survives_reopening,
    the_same_write_again_changes_nothing,
    a_replacement_keeps_created_and_stamps_updated,
    original_times_can_be_brought,
    each_change_has_the_next_sequence,
    concurrent_writes_get_distinct_gapless_sequences,
    preconditions_are_checked_in_the_transaction,
    a_creation_does_not_replace,
    a_keyed_creation_happens_once,
    a_write_survives_a_caller_that_hangs_up,
    a_write_that_panics_harms_no_other,
    a_closed_store_refuses_writes,
    a_patch_changes_what_it_names,
    a_deletion_leaves_a_change,
    a_cursor_is_good_for_its_list_alone,
    numbers_add_up_at_the_ends_of_time,
    a_failed_write_leaves_no_trace_in_a_list,
    a_follower_rebuilds_the_table,
    a_scan_under_writes_meets_each_steady_record_once,
    a_thousand_keys_in_sixteen_copies_have_a_thousand_effects,
    a_waiter_is_woken_by_its_workspace_alone,
    exports_of_one_workspace_leave_room_for_others,
    queries_answer_as_a_naive_reading_does,
    queries_answer_as_a_naive_reading_does_with_other_data,
);

fn refusal(url: &str) -> String {
    match open(url) {
        Err(StoreError::Open(message)) => message,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("{url} was opened"),
    }
}

#[test]
fn one_process_at_a_time() {
    let file = empty();
    let _store = file.open();
    assert!(refusal(&file.url()).contains("in use by another process"));
}

#[cfg(unix)]
#[test]
fn one_process_at_a_time_under_any_name() {
    let file = empty();
    let _store = file.open();
    let alias = file.directory.path().join("alias.db");
    std::os::unix::fs::symlink(file.path(), &alias).unwrap();
    assert!(refusal(&format!("sqlite:{}", alias.display())).contains("in use by another process"));
}

/// A deleted file still takes writes; they must not be acknowledged.
#[cfg(unix)]
#[tokio::test]
async fn a_deleted_database_acknowledges_nothing() {
    let file = empty();
    let store = file.open();
    let (ws, call) = ("w".parse().unwrap(), "c".parse().unwrap());
    std::fs::remove_file(file.path()).unwrap();
    for _ in 0..2 {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let written = store.put_call(&ws, &call, CallDraft::default(), Precondition::default(), now).await;
        assert!(matches!(written, Err(StoreError::Io(_) | StoreError::Unavailable(_))), "{written:?}");
    }
    assert!(store.check().await.is_err(), "a store that cannot write must not be ready");
}

#[test]
fn a_foreign_or_broken_file_is_refused() {
    let file = empty();
    std::fs::create_dir(file.path().parent().unwrap()).unwrap();
    rusqlite::Connection::open(file.path()).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(refusal(&file.url()).contains("database of another program"));
    std::fs::write(file.path(), "this is a text file and no database at all").unwrap();
    assert!(refusal(&file.url()).contains("cannot be opened"));
}

#[test]
fn a_newer_schema_is_refused() {
    let file = empty();
    drop(file.open());
    let raw = rusqlite::Connection::open(file.path()).unwrap();
    raw.execute_batch("INSERT INTO refinery_schema_history VALUES (9999, 'future', '2026-01-01T00:00:00Z', '1')")
        .unwrap();
    drop(raw);
    let message = (0..100).map(|_| refusal(&file.url())).find(|message| !message.contains("in use")).unwrap();
    assert!(message.contains("newer version"), "{message}");
}

#[test]
fn an_unknown_engine_is_named() {
    assert!(refusal("mysql://localhost/db").contains("\"mysql\""));
    assert!(refusal("nonsense").contains("sqlite:PATH"));
}

#[cfg(unix)]
#[test]
fn the_data_directory_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = empty();
    let _store = file.open();
    let mode = std::fs::metadata(file.path().parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

/// The bytes of a replaced record are wiped: erasure is erasure.
#[tokio::test]
async fn replaced_bytes_leave_the_file() {
    let file = empty();
    let store = file.open();
    let (ws, call) = ("w".parse().unwrap(), "c".parse().unwrap());
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for summary in ["canary-before", "harmless-now!"] {
        let draft = CallDraft { summary: Some(summary.to_owned()), ..CallDraft::default() };
        store.put_call(&ws, &call, draft, Precondition::default(), now.clone()).await.unwrap();
    }
    store.close().await;
    drop(store);
    let bytes = std::fs::read(file.path()).unwrap();
    let holds = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    assert!(holds("harmless-now!"), "the log was not folded into the file");
    assert!(!holds("canary-before"));
}
