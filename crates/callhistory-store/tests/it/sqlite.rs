//! The conformance suite on SQLite; its file, locks, schema versions and metrics.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use callhistory_model::{CallInput, ExportQuery, ListQuery};
use callhistory_store::{
    CallStore, CallWrite, ImportOptions, Precondition, SentDocument, Severity, StoreError, StoreOptions,
};
use callhistory_test_support::{PATIENCE, loop_count};
use tempfile::TempDir;

use crate::{
    conformance::{self, Database, at, conformance, id, input, put, refusal, workspace},
    databases::{diagnose, open, open_options, rebuild_metrics},
};

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
    const STRATEGIES: &[&str] =
        &["bounded_scan", "filter_then_sort", "narrow_range", "ordered_terms", "position_set", "sort_index"];

    async fn open_with(&self, options: StoreOptions) -> Arc<dyn CallStore> {
        // The previous store may still be closing its connections.
        let free = async {
            loop {
                match open_options(&self.url(), options).await {
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

/// A connection of the test itself that also writes the checksums of pages. The first store of the process must be open before.
pub(crate) fn raw(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open_with_flags_and_vfs(path, rusqlite::OpenFlags::default(), "callhistory").unwrap()
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let file = empty();
    let _store = file.open().await;
    assert!(refusal(&file.url()).await.contains("in use by another process"));
}

#[cfg(unix)]
#[tokio::test]
async fn a_second_process_is_refused_through_a_symlink() {
    let file = empty();
    let _store = file.open().await;
    let alias = file.directory.path().join("alias.db");
    std::os::unix::fs::symlink(file.path(), &alias).unwrap();
    assert!(refusal(&format!("sqlite:{}", alias.display())).await.contains("in use by another process"));
}

/// SQLite locks a path; the other name has a WAL of its own, and two writers would destroy the data.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_second_process_is_refused_through_a_hard_link() {
    let file = empty();
    let _store = file.open().await;
    let alias = file.directory.path().join("alias.db");
    std::fs::hard_link(file.path(), &alias).unwrap();
    assert!(refusal(&format!("sqlite:{}", alias.display())).await.contains("in use by another process"));
}

/// Writes to a file without a name succeed for SQLite; the store must not acknowledge them, and what it has acknowledged is there
/// after a restart, also after a crash of the first server.
#[cfg(unix)]
#[tokio::test]
async fn no_write_is_lost_in_a_deleted_file() {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        for is_replaced in [false, true] {
            let file = empty();
            let store = file.open().await;
            put(&*store, "w", "before", "{}", 1).await;
            let lost = file.path().with_file_name(format!("callhistory.db{suffix}"));
            std::fs::remove_file(&lost).unwrap();
            if is_replaced {
                std::fs::write(&lost, "").unwrap();
            }
            // Without a write: the server notices it by itself.
            let removed = std::time::Instant::now();
            while !store.health().has_stopped {
                assert!(removed.elapsed() < PATIENCE, "{suffix}: nobody noticed");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let any = Precondition::default();
            let written = store.replace_call(&workspace("w"), &id("c"), CallInput::default().into(), any, at(1)).await;
            assert!(matches!(written, Err(StoreError::Unavailable(_))), "{suffix}: {written:?}");
            assert!(store.check().await.is_err(), "a store that cannot write must not be ready");
            // A copy, because the other server is alive; only what is in the database file survives its crash.
            if !suffix.is_empty() {
                let copy = file.directory.path().join("copy.db");
                std::fs::copy(file.path(), &copy).unwrap();
                let after = open(&format!("sqlite:{}", copy.display())).await.unwrap();
                assert!(after.get_call(&workspace("w"), &id("before")).await.unwrap().is_some(), "{suffix}");
            }
        }
    }
}

/// A power failure tears a page that a checkpoint was writing: the WAL still has it.
#[tokio::test]
async fn a_page_that_is_in_the_wal_may_be_torn() {
    let file = empty();
    put(&*file.open().await, "w", "c", "{}", 1).await;
    let store = file.open().await;
    put(&*store, "w", "d", "{}", 1).await;
    let (copy, wal) = (file.directory.path().join("copy.db"), "callhistory.db-wal");
    let frames = std::fs::read(file.path().with_file_name(wal)).unwrap();
    std::fs::write(copy.with_file_name("copy.db-wal"), &frames).unwrap();
    let mut bytes = std::fs::read(file.path()).unwrap();
    let pages = frames[32..].chunks(24 + 4096).map(|frame| u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize);
    let torn: Vec<_> = pages.filter(|page| *page > 1 && page * 4096 <= bytes.len()).collect();
    assert!(torn.len() > 2, "{torn:?}");
    for page in torn {
        bytes[page * 4096 - 2048..page * 4096].fill(0);
    }
    std::fs::write(&copy, bytes).unwrap();
    let url = format!("sqlite:{}", copy.display());
    let diagnostics = diagnose(&url).await;
    assert!(diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error), "{diagnostics:?}");
    let after = open(&url).await.unwrap();
    assert_eq!(after.list_calls(&workspace("w"), &ListQuery::default()).await.unwrap().calls.len(), 2);
    after.close().await;
    let diagnostics = diagnose(&url).await;
    assert!(diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error), "{diagnostics:?}");
}

#[tokio::test]
async fn a_deleted_ballast_is_reserved_again() {
    let file = empty();
    let _store = file.open().await;
    let ballast = file.path().with_file_name("callhistory.db.ballast");
    for is_deleted in [false, true] {
        let since = std::time::Instant::now();
        while std::fs::metadata(&ballast).map_or(0, |file| file.len()) < 8 * 1024 * 1024 {
            assert!(since.elapsed() < PATIENCE, "{is_deleted}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        drop(std::fs::remove_file(&ballast));
    }
}

/// A group that is committed at the moment of the removal.
#[cfg(unix)]
#[tokio::test]
async fn acknowledged_writes_survive_the_removal_of_the_wal() {
    let file = empty();
    let store = file.open().await;
    let mut acknowledged = Vec::new();
    for number in 0..200 {
        if number == 100 {
            std::fs::remove_file(file.path().with_file_name("callhistory.db-wal")).unwrap();
        }
        let (name, any) = (id(&format!("c{number}")), Precondition::default());
        if store.replace_call(&workspace("w"), &name, CallInput::default().into(), any, at(1)).await.is_ok() {
            acknowledged.push(name);
        }
    }
    let copy = file.directory.path().join("copy.db");
    std::fs::copy(file.path(), &copy).unwrap();
    let after = open(&format!("sqlite:{}", copy.display())).await.unwrap();
    assert_eq!(acknowledged.len(), 100);
    for name in acknowledged {
        assert!(after.get_call(&workspace("w"), &name).await.unwrap().is_some(), "{name}");
    }
}

/// A reader holds back the WAL that was deleted; what was acknowledged must get into the database file all the same.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_the_removal_of_a_wal_that_is_read() {
    let file = empty();
    let store = file.open().await;
    let large = format!(r#"{{"summary":"{}"}}"#, "x".repeat(50_000));
    for number in 0..60 {
        put(&*store, "w", &format!("old{number}"), &large, 1).await;
    }
    let export = store.export_calls(&workspace("w"), &ExportQuery::default()).await.unwrap();
    for number in 0..20 {
        put(&*store, "w", &format!("new{number}"), "{}", 1).await;
    }
    std::fs::remove_file(file.path().with_file_name("callhistory.db-wal")).unwrap();
    let removed = std::time::Instant::now();
    let copy = file.directory.path().join("copy.db");
    loop {
        assert!(removed.elapsed() < PATIENCE);
        std::fs::copy(file.path(), &copy).unwrap();
        if let Ok(after) = open(&format!("sqlite:{}", copy.display())).await {
            let page = after.list_calls(&workspace("w"), &ListQuery::from_query("limit=1000").unwrap()).await;
            if page.is_ok_and(|page| page.calls.len() == 80) {
                break;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        for suffix in ["", "-wal", "-shm", ".lock"] {
            drop(std::fs::remove_file(copy.with_file_name(format!("copy.db{suffix}"))));
        }
    }
    drop(export);
}

/// The WAL has the name that the server uses: through another one, a backup would miss what is in it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn another_name_of_a_served_database_is_not_read() {
    let file = empty();
    let store = file.open().await;
    put(&*store, "w", "c", "{}", 1).await;
    let alias = file.directory.path().join("alias.db");
    std::fs::hard_link(file.path(), &alias).unwrap();
    let url = format!("sqlite:{}", alias.display());
    let refused = callhistory_store::backup(&url.parse().unwrap(), &file.directory.path().join("backup.db"));
    assert!(refused.unwrap_err().to_string().contains("under another name"));
    let diagnostics = diagnose(&url).await;
    let found = diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error).unwrap();
    assert!(found.detail.contains("under another name"), "{}", found.detail);
}

/// A ballast that was copied as a hole reserves nothing.
#[cfg(unix)]
#[tokio::test]
async fn a_ballast_without_blocks_is_reserved_again() {
    use std::os::unix::fs::MetadataExt as _;
    let file = empty();
    let ballast = file.path().with_file_name("callhistory.db.ballast");
    let store = file.open().await;
    store.close().await;
    drop(store);
    std::fs::remove_file(&ballast).unwrap();
    std::fs::File::create(&ballast).unwrap().set_len(8 * 1024 * 1024).unwrap();
    assert_eq!(std::fs::metadata(&ballast).unwrap().blocks(), 0);
    let _store = file.open().await;
    let since = std::time::Instant::now();
    while std::fs::metadata(&ballast).map_or(0, |file| file.blocks()) * 512 < 8 * 1024 * 1024 {
        assert!(since.elapsed() < PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The text of a deleted record leaves the WAL and the free pages of an idle server.
#[tokio::test]
async fn an_idle_server_erases_deleted_text() {
    let file = empty();
    let store = file.open().await;
    put(&*store, "w", "c", r#"{"summary":"canary-of-the-deleted"}"#, 1).await;
    assert!(store.delete_call(&workspace("w"), &id("c"), Precondition::default(), at(2)).await.unwrap());
    let holds = || {
        let folder = std::fs::read_dir(file.path().parent().unwrap()).unwrap();
        let files: Vec<_> = folder.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        files.iter().any(|bytes| bytes.windows(21).any(|window| window == b"canary-of-the-deleted"))
    };
    assert!(holds(), "the WAL has it at first");
    let deleted = std::time::Instant::now();
    while holds() {
        assert!(deleted.elapsed() < PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_foreign_or_corrupt_file_is_refused() {
    let file = empty();
    std::fs::create_dir(file.path().parent().unwrap()).unwrap();
    rusqlite::Connection::open(file.path()).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(refusal(&file.url()).await.contains("database of another program"));
    std::fs::remove_file(file.path()).unwrap();
    let theirs = "PRAGMA user_version = 7; CREATE TABLE theirs (x); DROP TABLE theirs";
    rusqlite::Connection::open(file.path()).unwrap().execute_batch(theirs).unwrap();
    let before = std::fs::read(file.path()).unwrap();
    assert!(refusal(&file.url()).await.contains("database of another program"));
    assert!(std::fs::read(file.path()).unwrap() == before, "the file of another program was changed");
    std::fs::write(file.path(), "this is a text file and no database at all").unwrap();
    assert!(refusal(&file.url()).await.contains("cannot be opened"));
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let file = empty();
    drop(file.open().await);
    let raw = raw(&file.path());
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
async fn an_unsupported_url_is_named() {
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

#[tokio::test]
async fn replaced_bytes_are_wiped_from_the_file() {
    let file = empty();
    let store = file.open().await;
    for summary in ["canary-before", "harmless-now!"] {
        put(&*store, "w", "c", &format!(r#"{{"summary":"{summary}"}}"#), 1).await;
    }
    store.close().await;
    drop(store);
    let bytes = std::fs::read(file.path()).unwrap();
    let holds = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    assert!(holds("harmless-now!"), "the WAL was not checkpointed");
    assert!(!holds("canary-before"));
}

#[tokio::test]
async fn corrupt_metrics_are_detected_and_rebuilt() {
    let file = empty();
    let store = file.open().await;
    let calls =
        (0..900).map(|number| (id(&format!("c{number}")), input(&format!(r#"{{"duration":{number}}}"#)).into()));
    store.import_calls(&workspace("w"), calls.collect(), ImportOptions::default(), at(1)).await.unwrap();
    store.close().await;
    drop(store);
    let severity = async || {
        let diagnostics = diagnose(&file.url()).await;
        diagnostics.into_iter().find(|diagnostic| diagnostic.name == "metrics").unwrap().severity
    };
    assert_eq!(severity().await, Severity::Ok);
    let raw = raw(&file.path());
    for damage in ["DELETE FROM metric_segment WHERE part = 1", "UPDATE metric_segment SET columns = x'00'"] {
        assert!(raw.execute(damage, []).unwrap() > 0, "{damage}");
        assert_eq!(severity().await, Severity::Error, "{damage}");
        assert_eq!(rebuild_metrics(&file.url()).unwrap(), 900);
        assert_eq!(severity().await, Severity::Ok);
    }
    // A version with another format rebuilds the segments when it opens the database.
    raw.execute_batch("DELETE FROM metric_segment; UPDATE metric_format SET version = -1").unwrap();
    drop(file.open().await);
    assert_eq!(severity().await, Severity::Ok);
}

/// SQLite counts the steps of a prepared statement over all its runs; the time limit must not abort a later run.
#[tokio::test]
async fn earlier_reads_do_not_shorten_the_limit_of_a_statement() {
    let file = empty();
    let store = file.open().await;
    let ws = "w".parse().unwrap();
    let query = ListQuery::from_query("limit=1").unwrap();
    for number in 0..20_000 {
        let page = store.list_calls(&ws, &query).await;
        assert!(page.is_ok(), "{number}: {:?}", page.err());
    }
}

/// Many records come and go in random order; no text of an erased one is left in the file. `CALLHISTORY_ERASURES` sets the number of
/// rounds.
#[tokio::test]
async fn erased_text_is_left_nowhere() {
    for seed in 0..loop_count("CALLHISTORY_ERASURES", 1).unwrap() {
        write_and_erase(seed as u64).await;
    }
}

async fn write_and_erase(seed: u64) {
    let file = empty();
    let store = file.open().await;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut alive = std::collections::BTreeMap::new();
    for step in 0..2000_u32 {
        let number = rng.usize(0..200);
        let name = format!("c{number}");
        if rng.u8(0..3) == 0 && alive.remove(&name).is_some() {
            store
                .delete_call(&workspace("w"), &id(&name), Precondition::default(), at(u8::try_from(step % 60).unwrap()))
                .await
                .unwrap();
        } else {
            let text = format!("canary-{step:06}-").repeat(rng.usize(1..60) * if rng.u8(0..10) == 0 { 20 } else { 1 });
            let agent = format!("agent-{step:06}");
            let json = format!(
                r#"{{"summary":"{text}","agentId":"{agent}","startTime":{}}}"#,
                1_700_000_000 + rng.u32(0..100_000)
            );
            let sent = rng.bool().then(|| SentDocument {
                body: format!("{{\"canary\":\"canary-{step:06}-\"}}").into(),
                media_type: format!("canary-{step:06}-"),
                source: "api".to_owned(),
                warnings: Vec::new(),
                is_changed: true,
            });
            // Originals outlive the replacement of their record, not its deletion.
            if alive.remove(&name).is_some() {
                store.delete_call(&workspace("w"), &id(&name), Precondition::default(), at(1)).await.unwrap();
            }
            let write = CallWrite { sent, ..input(&json).into() };
            let time = at(u8::try_from(step % 60).unwrap());
            store.replace_call(&workspace("w"), &id(&name), write, Precondition::default(), time).await.unwrap();
            alive.insert(name, step);
        }
    }
    store.close().await;
    drop(store);
    let bytes = std::fs::read(file.path()).unwrap();
    let kept: std::collections::BTreeSet<_> = alive.values().map(|step| format!("{step:06}")).collect();
    let mut left = std::collections::BTreeSet::new();
    for prefix in ["canary-", "agent-"] {
        for (at, window) in bytes.windows(prefix.len() + 6).enumerate() {
            if window.starts_with(prefix.as_bytes()) {
                let found = String::from_utf8_lossy(&window[prefix.len()..]).into_owned();
                if found.bytes().all(|b| b.is_ascii_digit()) && !kept.contains(&found) {
                    left.insert((found, prefix, at / 4096, bytes[at / 4096 * 4096]));
                }
            }
        }
    }
    assert!(left.is_empty(), "seed {seed}: {} left: {:?}", left.len(), left.iter().take(10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_damaged_record_fails_alone() {
    let file = empty();
    let damage = async || {
        let changed =
            "UPDATE call SET body = CAST(replace(CAST(body AS TEXT), '0.10', '0.90') AS BLOB) WHERE id = 'damaged'";
        assert_eq!(raw(&file.path()).execute(changed, []).unwrap(), 1);
        let diagnostics = diagnose(&file.url()).await;
        let integrity = diagnostics.into_iter().find(|diagnostic| diagnostic.name == "integrity").unwrap();
        assert!(integrity.detail.contains("does not match its digest"), "{}", integrity.detail);
    };
    conformance::a_damaged_record_fails_alone(&file, damage).await;
}

#[tokio::test]
async fn a_damaged_transcript_is_not_returned() {
    let file = empty();
    let damage = async || {
        let changed = "UPDATE call SET transcript = CAST(replace(CAST(transcript AS TEXT), '4711', '4712') AS BLOB)";
        assert_eq!(raw(&file.path()).execute(changed, []).unwrap(), 1);
        let diagnostics = diagnose(&file.url()).await;
        assert!(diagnostics.iter().any(|found| found.detail.contains("does not match its digest")), "{diagnostics:?}");
    };
    crate::transcripts::a_damaged_transcript_is_not_returned(&file, damage).await;
}

#[tokio::test]
async fn a_damaged_original_fails_alone() {
    let file = empty();
    let damage = async || {
        let changed =
            "UPDATE original SET body = CAST(substr(body, 1, length(body) - 1) || x'00' AS BLOB) WHERE id = 'damaged'";
        assert_eq!(raw(&file.path()).execute(changed, []).unwrap(), 1);
        let diagnostics = diagnose(&file.url()).await;
        assert!(diagnostics.iter().any(|found| found.detail.contains("an original does not match")), "{diagnostics:?}");
    };
    crate::late_facts::a_damaged_original_fails_alone(&file, damage).await;
}
