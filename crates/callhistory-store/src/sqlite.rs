//! The embedded engine: SQLite in WAL mode. One writer commits in groups; readers have connections of their own.

use std::{
    collections::HashSet,
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::Arc,
    thread,
};

use async_trait::async_trait;
use bytes::Bytes;
use callhistory_model::{
    CallId, CallMetrics, ExportQuery, ImportMode, ListQuery, MetricsQuery, OriginalInfo, SearchQuery, SortKey,
    Timestamp, WorkspaceId,
};
use rusqlite::Connection;
use tokio::{runtime::Handle, sync::mpsc, time::timeout_at};

use crate::{
    call_write::{CallWrite, ImportBatch, ImportOptions, Original, PatchWrite},
    concurrency::{change_notifier::ChangeNotifier, export_stream, fair_semaphore::FairSemaphore},
    domain::{
        cursor::CursorSigner,
        import_parts::ImportParts,
        mutation::{IdempotencyKey, Precondition, request_hash},
        options::StoreOptions,
        predicate::Predicate,
        prepared::{LARGE_BYTES, prepare},
        search_text::evidence::search_page,
    },
    error::StoreError,
    results::{CallPage, CallSearchPage, ChangeBatch, Epoch, StoreHealth, StoredCall, WrittenCall},
    store::CallStore,
};

mod admin;
mod columnar;
#[cfg(test)]
mod damage_tests;
mod error;
mod functions;
#[cfg(test)]
mod hot_path_tests;
mod open;
mod page_checksum;
mod pool;
mod read;
mod write;

pub(crate) use admin::{
    backup::{backup, restore},
    diagnose::diagnose,
};

use admin::{
    api_keys::SqliteApiKeys,
    disk::{Disk, MAX_WAL_BYTES, is_read_only},
    files::{DatabaseLock, is_in_use},
    scrub::Scrub,
};
use columnar::rebuild;
use pool::{ReadPool, in_snapshot, is_over};
use read::snapshot_pool::SnapshotPool;
use write::{
    group::{SqliteWriter, WriteKind},
    prepare::{PreparedCall, PreparedPatch, Target, expected_terms, merged_terms, prepare_call},
    reindex,
    statements::{self, WriteTransaction},
};

/// Records of a page that is read on the thread of its request. Hundreds of larger ones would delay all other requests.
const MAX_SHORT_PAGE: usize = 100;

pub(crate) struct SqliteStore {
    writer: SqliteWriter,
    snapshots: Arc<SnapshotPool>,
    read_pool: Arc<ReadPool>,
    follower_pool: Arc<ReadPool>,
    exports: Arc<FairSemaphore>,
    signer: Arc<CursorSigner>,
    notifier: ChangeNotifier,
    disk: Arc<Disk>,
    options: StoreOptions,
    _scrub: Scrub,
}

impl SqliteStore {
    pub(crate) fn open(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        Self::open_with(path, options, MAX_WAL_BYTES)
    }

    fn target(&self, workspace: &WorkspaceId, id: &CallId, now: Timestamp) -> Target {
        Target { workspace: workspace.clone(), id: id.clone(), now, options: self.options }
    }

    /// Imports records in one transaction.
    async fn import_part(
        &self,
        workspace: &WorkspaceId,
        calls: Vec<(CallId, CallWrite)>,
        options: ImportOptions,
        now: Timestamp,
    ) -> Result<ImportBatch, StoreError> {
        let (own, snapshots, at) = (workspace.clone(), Arc::clone(&self.snapshots), now.clone());
        let store = self.options;
        let make = move || {
            let mut seen = HashSet::new();
            let prepared = calls.into_iter().map(|(id, write)| {
                let target = Target { workspace: own.clone(), id: id.clone(), now: at.clone(), options: store };
                // Another line with the ID merges into what the first has written.
                let is_expected = options.mode == ImportMode::Merge && seen.insert(id.clone());
                let merged = if is_expected { merged_terms(&snapshots, &target, &write) } else { None };
                Ok((id, PreparedCall { merged, ..PreparedCall::make(write, &target)? }))
            });
            prepared.collect::<Result<Vec<_>, StoreError>>()
        };
        let calls = prepare(true, make).await?;
        let (own, kind) = (workspace.clone(), WriteKind::Import(calls.len()));
        let import = move |tx: &mut WriteTransaction| statements::import_calls(tx, &own, calls, options, &now);
        self.writer.run(workspace, kind, import).await
    }

    /// Opens a database with a bound on the size of the WAL.
    fn open_with(path: &Path, options: StoreOptions, max_wal_bytes: u64) -> Result<Self, StoreError> {
        let opened = match open::open_writer(path, |db| reindex::ensure(db, options.numbering_plan)) {
            Ok(opened) => Ok(opened),
            // Reads go on. The writer opens the database when the disk accepts writes.
            Err(error) if is_read_only(path) && path.exists() => {
                let lock = DatabaseLock::acquire_read_only(path)?;
                tracing::error!(%error, "the disk is read-only; reads go on");
                Err(lock)
            }
            Err(error) => return Err(error),
        };
        let snapshots = Arc::new(SnapshotPool::open(path)?);
        let secret = snapshots.read(|db| {
            open::check_readable(db, path)?;
            Ok(read::get::cursor_secret(db)?)
        })?;
        let plan = snapshots.read(reindex::numbering_plan)?;
        let options = StoreOptions { numbering_plan: Some(plan), ..options };
        // Absolute, because the process may change its directory before the file is opened again.
        let path = path.canonicalize().map_err(|error| StoreError::Open(error.to_string()))?;
        let (notifier, disk) = (ChangeNotifier::default(), Disk::new(&path, max_wal_bytes));
        Ok(Self {
            writer: SqliteWriter::start(
                opened,
                (notifier.clone(), Arc::clone(&snapshots)),
                Arc::clone(&disk),
                options,
            )?,
            snapshots,
            read_pool: ReadPool::new(&path, &disk),
            follower_pool: ReadPool::new(&path, &disk),
            exports: export_stream::semaphore(),
            signer: Arc::new(CursorSigner::new(secret)),
            notifier,
            _scrub: Scrub::start(path, Arc::clone(&disk))?,
            disk,
            options,
        })
    }
}

/// The API keys of a database, which is created or migrated first unless a server uses it.
pub(crate) fn open_api_keys(path: &Path) -> Result<SqliteApiKeys, StoreError> {
    match open::open_writer(path, rebuild::ensure) {
        Ok(writer) => drop(writer),
        // A server uses it. Whether its schema is current is checked below.
        Err(_) if is_in_use(path) || is_read_only(path) => {}
        Err(error) => return Err(error),
    }
    SqliteApiKeys::open(path)
}

/// Rebuilds the columns of metrics, on a database that no server uses.
pub(crate) fn rebuild_metrics(path: &Path) -> Result<u64, StoreError> {
    let (_lock, db) = open::open_writer(path, |_| Ok(()))?;
    rebuild::rebuild(&db)
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

#[async_trait]
impl CallStore for SqliteStore {
    async fn get_call(&self, workspace: &WorkspaceId, id: &CallId) -> Result<Option<StoredCall>, StoreError> {
        self.snapshots.get_call(workspace, id)
    }

    async fn create_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        write: CallWrite,
        key: Option<IdempotencyKey>,
        now: Timestamp,
    ) -> Result<WrittenCall, StoreError> {
        let target = self.target(workspace, id, now);
        let key = key.map(|key| Ok::<_, StoreError>((request_hash(&write.input)?, key))).transpose()?;
        let (call, target) = prepare_call(write, target).await?;
        let create = move |tx: &mut WriteTransaction| {
            let key = key.as_ref().map(|(hash, key)| (key, *hash));
            statements::create_call(tx, (&target.workspace, &target.id), call, key, &target.now)
        };
        self.writer.run(workspace, WriteKind::Single, create).await
    }

    async fn replace_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        write: CallWrite,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<WrittenCall, StoreError> {
        let (call, target) = prepare_call(write, self.target(workspace, id, now)).await?;
        let replace = move |tx: &mut WriteTransaction| {
            statements::replace_call(tx, (&target.workspace, &target.id), call, &precondition, &target.now)
        };
        self.writer.run(workspace, WriteKind::Single, replace).await
    }

    async fn update_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        write: PatchWrite,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<Option<WrittenCall>, StoreError> {
        let (target, snapshots) = (self.target(workspace, id, now), Arc::clone(&self.snapshots));
        let stored_bytes = snapshots.read(|db| Ok(read::get::call_bytes(db, workspace, id)?))?;
        let is_large = stored_bytes.max(write.sent.as_ref().map_or(0, |sent| sent.body.len())) > LARGE_BYTES;
        let make = move || {
            let terms = if stored_bytes > LARGE_BYTES { expected_terms(&snapshots, &target, &write) } else { None };
            PreparedPatch::make(write, &target, terms).map(|patch| (patch, target))
        };
        let (patch, target) = prepare(is_large, make).await?;
        let update = move |tx: &mut WriteTransaction| {
            statements::update_call(tx, (&target.workspace, &target.id), patch, &precondition, &target.now)
        };
        self.writer.run(workspace, WriteKind::Single, update).await
    }

    async fn delete_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let precondition = Arc::new(precondition);
        let delete = || {
            let (own, id, precondition, now) = (workspace.clone(), id.clone(), Arc::clone(&precondition), now.clone());
            self.writer.run(workspace, WriteKind::Deletion, move |tx| {
                statements::delete_call(tx, &own, &id, &precondition, &now)
            })
        };
        match delete().await {
            // The first deletion on a full disk releases the ballast.
            Err(StoreError::Full(_)) => delete().await,
            outcome => outcome,
        }
    }

    async fn import_calls(
        &self,
        workspace: &WorkspaceId,
        calls: Vec<(CallId, CallWrite)>,
        options: ImportOptions,
        now: Timestamp,
    ) -> Result<ImportBatch, StoreError> {
        let (own, snapshots) = (workspace.clone(), Arc::clone(&self.snapshots));
        let split = move || {
            let size = |id: &CallId| Ok((id.clone(), snapshots.read(|db| Ok(read::get::call_bytes(db, &own, id)?))?));
            let sizes = ImportParts::ids(&calls).into_iter().map(size).collect::<Result<_, StoreError>>()?;
            ImportParts::split(calls, sizes, options)
        };
        let mut parts = prepare(true, split).await?;
        while let Some((calls, options)) = parts.next_part() {
            parts.add(self.import_part(workspace, calls, options, now.clone()).await?);
        }
        Ok(parts.done())
    }

    async fn list_originals(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
    ) -> Result<Option<Vec<OriginalInfo>>, StoreError> {
        let (own, id) = (workspace.clone(), id.clone());
        let list = move |db: &Connection| read::originals::list_originals(db, &own, &id);
        self.read_pool.run(workspace, true, list).await
    }

    async fn get_original(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        number: i64,
    ) -> Result<Option<Original>, StoreError> {
        let (own, id) = (workspace.clone(), id.clone());
        // It can have many megabytes.
        let get = move |db: &Connection| read::originals::get_original(db, &own, &id, number);
        self.read_pool.run(workspace, false, get).await
    }

    async fn list_calls(&self, workspace: &WorkspaceId, query: &ListQuery) -> Result<CallPage, StoreError> {
        let cursor = query.cursor.as_ref();
        let after = cursor.map(|cursor| self.signer.verify_list(workspace, query, cursor)).transpose()?;
        let (workspace, query, signer) = (workspace.clone(), query.clone(), Arc::clone(&self.signer));
        let own = workspace.clone();
        // One step of the full-text index can take long.
        let Predicate { clauses, ranges, time } = Predicate::new(&own, &query.filter, self.options.plan());
        let is_of_time = query.sort.key == SortKey::StartTime || (time.low.is_none() && time.high.is_none());
        let is_small = query.page_size() <= MAX_SHORT_PAGE;
        let is_short = is_small && !query.include_total && clauses.is_empty() && ranges.is_empty() && is_of_time;
        let options = self.options;
        let list =
            move |db: &Connection| read::list::list_calls(db, &workspace, &query, after.as_ref(), (&signer, options));
        self.read_pool.run(&own, is_short, list).await
    }

    async fn search_calls(
        &self,
        workspace: &WorkspaceId,
        query: &SearchQuery,
        sees_phone_numbers: bool,
    ) -> Result<CallSearchPage, StoreError> {
        let (own, query, list, signer) =
            (workspace.clone(), query.clone(), query.list_query(), Arc::clone(&self.signer));
        let cursor = list.cursor.as_ref();
        let after = cursor.map(|cursor| self.signer.verify_list(workspace, &list, cursor)).transpose()?;
        let options = self.options;
        let search = move |db: &Connection| {
            let page = read::list::list_calls(db, &own, &list, after.as_ref(), (&signer, options))?;
            search_page(&page, &query, sees_phone_numbers)
        };
        self.read_pool.run(workspace, false, search).await
    }

    async fn get_call_metrics(&self, workspace: &WorkspaceId, query: &MetricsQuery) -> Result<CallMetrics, StoreError> {
        let (workspace, query) = (workspace.clone(), query.clone());
        let own = workspace.clone();
        let options = self.options;
        let metrics = move |db: &Connection| read::metrics::get_call_metrics(db, &workspace, &query, options);
        self.read_pool.run(&own, false, metrics).await
    }

    async fn export_calls(
        &self,
        workspace: &WorkspaceId,
        query: &ExportQuery,
    ) -> Result<mpsc::Receiver<Result<Bytes, StoreError>>, StoreError> {
        let permit = export_stream::acquire(&self.exports, workspace)?;
        let (workspace, query, path) = (workspace.clone(), query.clone(), self.read_pool.path().to_owned());
        let (disk, options) = (Arc::clone(&self.disk), self.options);
        let (chunks, error_slot, receiver) = export_stream::channel();
        let runtime = Handle::current();
        let export = move || {
            let deadline = tokio::time::Instant::now() + export_stream::TIMEOUT;
            let mut pressure = disk.wal_pressure();
            // A slow reader must not hold the snapshot for ever, and not while the WAL grows.
            let mut send = |chunk| {
                runtime.block_on(async {
                    tokio::select! {
                        sent = timeout_at(deadline, chunks.send(chunk)) => sent.is_ok_and(|sent| sent.is_ok()),
                        _ = pressure.changed() => false,
                    }
                })
            };
            let run = || {
                let mut db = open::open_reader(&path)?;
                let send = |chunk| send(Ok(chunk));
                in_snapshot(&mut db, is_over(&disk, export_stream::TIMEOUT), |db| {
                    read::export::export_calls(db, &workspace, &query, options, send)
                })
            };
            let result = panic::catch_unwind(AssertUnwindSafe(run));
            let result = result.unwrap_or_else(|_| Err(StoreError::Internal("an export panicked".to_owned())));
            if let Err(error) = result {
                error_slot.send(Err(error));
            }
            drop(permit);
        };
        let thread = thread::Builder::new().name("sqlite-export".to_owned()).spawn(export);
        thread.map_err(|error| StoreError::Unavailable(format!("the export cannot be started: {error}")))?;
        Ok(receiver)
    }

    async fn list_call_changes(
        &self,
        workspace: &WorkspaceId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ChangeBatch, StoreError> {
        let after = self.signer.feed_start(workspace, cursor)?;
        let (workspace, signer) = (workspace.clone(), Arc::clone(&self.signer));
        let own = workspace.clone();
        let changes = move |db: &Connection| read::changes::list_call_changes(db, &workspace, after, limit, &signer);
        self.follower_pool.run(&own, true, changes).await
    }

    async fn wait_for_change(&self, workspace: &WorkspaceId, cursor: &str) -> Result<(), StoreError> {
        let after = self.signer.verify_feed(workspace, cursor)?;
        // Before the read: a later commit sends a notification.
        let mut notifications = self.notifier.subscribe(workspace);
        if self.snapshots.read(|db| Ok(read::changes::last_sequence(db, workspace)?))? > after {
            return Ok(());
        }
        notifications.changed().await.map_err(|_| closed())
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.snapshots.read(|db| Ok(read::get::check(db)?))?;
        self.writer.check().await
    }

    fn epoch(&self) -> Epoch {
        self.signer.epoch()
    }

    fn health(&self) -> StoreHealth {
        self.disk.health()
    }

    async fn close(&self) {
        self.writer.close().await;
    }
}

#[cfg(test)]
mod tests {
    use callhistory_model::CallInput;

    use super::*;

    /// Writes twenty megabytes while an export is stuck; returns the size of the WAL, and how the export ended.
    async fn write_during_a_stuck_export(max_wal_bytes: u64) -> (u64, Option<StoreError>) {
        let directory = tempfile::TempDir::new().unwrap();
        let store =
            SqliteStore::open_with(&directory.path().join("a.db"), StoreOptions::default(), max_wal_bytes).unwrap();
        let workspace: WorkspaceId = "w".parse().unwrap();
        let summary = "x".repeat(50_000);
        let put = async |number: u32| {
            let input = CallInput { summary: Some(format!("{number} {summary}")), ..CallInput::default() };
            let id = format!("c{number}").parse().unwrap();
            store
                .replace_call(&workspace, &id, input.into(), Precondition::default(), Timestamp::from_unix_nanos(1))
                .await
                .unwrap();
        };
        for number in 0..100 {
            put(number).await;
        }
        let mut export = store.export_calls(&workspace, &ExportQuery::default()).await.unwrap();
        for number in 100..500 {
            put(number).await;
        }
        let size = store.health().wal_bytes.unwrap();
        let mut end = None;
        while let Some(chunk) = export.recv().await {
            end = chunk.err();
        }
        (size, end)
    }

    /// A reader that does not read is ended before the WAL fills the disk, and not earlier.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_stuck_export_ends_before_the_wal_fills_the_disk() {
        let (size, end) = write_during_a_stuck_export(6_000_000).await;
        assert!(size < 12_000_000, "the WAL has {size} bytes");
        assert!(matches!(end, Some(StoreError::Unavailable(_))), "{end:?}");
        let (size, end) = write_during_a_stuck_export(MAX_WAL_BYTES).await;
        assert!(size > 20_000_000 && end.is_none(), "without the bound it has {size} bytes, {end:?}");
    }

    /// A panic in a write does not end the writer thread.
    #[tokio::test]
    async fn a_panicking_write_does_not_fail_other_writes() {
        let directory = tempfile::TempDir::new().unwrap();
        let store = SqliteStore::open(&directory.path().join("a.db"), StoreOptions::default()).unwrap();
        let workspace: WorkspaceId = "w".parse().unwrap();
        let panics =
            store.writer.run(&workspace, WriteKind::Single, |_| -> Result<(), StoreError> { panic!("in a write") });
        let succeeds = store.writer.run(&workspace, WriteKind::Single, |_| Ok(7));
        let (panicked, other) = tokio::join!(panics, succeeds);
        assert!(matches!(panicked, Err(StoreError::Internal(_))), "{panicked:?}");
        assert_eq!(other.unwrap(), 7);
    }
}
