//! The embedded engine: SQLite in WAL mode, one writer that commits in groups, readers on connections of their own.

use std::{
    fs::File,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use callhistory_model::{
    CallFilter, CallId, CallInput, CallMetrics, CallPatch, FieldErrors, ListQuery, MetricsQuery, SortKey, Timestamp,
    WorkspaceId,
};
use rusqlite::{Connection, ffi};
use tokio::{runtime::Handle, sync::mpsc, time::timeout_at};

use crate::{
    CallPage, CallStore, ChangeBatch, IdempotencyKey, Precondition, StoreError, StoreHealth, StoredCall, WriteOutcome,
    WrittenCall,
    cursor::Seal,
    exports::{self, Exports},
    fair::Fair,
    feed::Feed,
    filter::Predicate,
    write::request_hash,
};

mod backup;
mod candidates;
mod columns;
mod disk;
mod doctor;
mod filter;
mod keys;
mod list;
mod numbers;
mod open;
#[cfg(test)]
mod plans;
mod read;
mod readers;
mod recount;
mod segments;
mod write;
mod writer;

pub(crate) use backup::{backup, restore};
use disk::{Disk, MAX_WAL_BYTES};
pub(crate) use doctor::diagnose;
use readers::Readers;
use write::NewCall;
use writer::Writer;

/// Lists and numbers at a time, and apart from them reads of the feed, for each processor; of one workspace half of them.
/// Each has a connection and a thread of its own while it runs, and more of them would only take turns.
const SCANS_PER_PROCESSOR: usize = 2;
/// How long one list or metric may take before it is broken off.
const SCAN_TIMEOUT: Duration = Duration::from_secs(30);
/// Virtual machine steps between two looks at whether a read is over: less than a millisecond.
const STEPS_PER_LOOK: i32 = 10_000;
/// The looks in a read that is short. Each statement has its own count of steps, which goes on from one run to the next.
const SHORT_LOOKS: usize = 2;
/// I/O errors that are no failed sync: the group is rolled back and nobody was answered, so writes may go on.
const PASSING_IO_ERRORS: [i32; 2] = [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE];

pub(crate) struct SqliteStore {
    writer: Writer,
    readers: Arc<Readers>,
    scanners: Arc<Scanners>,
    followers: Arc<Scanners>,
    exports: Arc<Exports>,
    seal: Arc<Seal>,
    feed: Feed,
    disk: Arc<Disk>,
    /// Held while the store is open: two processes would each believe to be the only writer.
    _lock: File,
}

/// Connections for reads that may take long, opened as they are needed.
struct Scanners {
    path: PathBuf,
    free: Mutex<Vec<Connection>>,
    places: Arc<Fair>,
    disk: Arc<Disk>,
}

impl Scanners {
    fn new(path: &Path, disk: &Arc<Disk>) -> Arc<Self> {
        let processors = thread::available_parallelism().map_or(2, usize::from);
        let scans = (SCANS_PER_PROCESSOR * processors).max(4);
        let (places, disk) = (Fair::new(scans, scans / 2), Arc::clone(disk));
        Arc::new(Self { path: path.to_owned(), free: Mutex::default(), places, disk })
    }

    fn free(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that nobody uses; a new one the first time, and after a panic.
    fn connection(&self) -> Result<Connection, StoreError> {
        let free = self.free().pop();
        free.map_or_else(|| open::open_reader(&self.path), Ok)
    }

    fn give_back(&self, db: Connection) {
        // One that is stuck in a transaction would see an old state for ever, and hold back the log.
        if db.is_autocommit() {
            self.free().push(db);
        }
    }

    /// Runs a read of several statements in one snapshot: one that is short as a rule at once, and others, or one that turns
    /// out to be long, off the threads that serve requests.
    async fn run<T, F>(self: &Arc<Self>, workspace: &WorkspaceId, is_short: bool, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        if is_short && let Ok(mut db) = self.connection() {
            let mut looks = 0;
            let is_long = move || {
                looks += 1;
                looks > SHORT_LOOKS
            };
            let result = in_snapshot(&mut db, is_long, &work);
            self.give_back(db);
            // What failed may have been broken off; if it has to fail, it fails again.
            if result.is_ok() {
                return result;
            }
        }
        let place = self.places.enter(workspace).await?;
        let scanners = Arc::clone(self);
        let result = tokio::task::spawn_blocking(move || {
            let mut db = scanners.connection()?;
            let result = in_snapshot(&mut db, is_over(&scanners.disk, SCAN_TIMEOUT), work);
            scanners.give_back(db);
            // Only now: the read goes on when its caller has hung up.
            drop(place);
            result
        });
        result.await.map_err(|error| StoreError::Internal(error.to_string()))?
    }
}

impl SqliteStore {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, MAX_WAL_BYTES)
    }

    /// Opens a database whose log is bounded to about so many bytes.
    fn open_with(path: &Path, max_wal_bytes: u64) -> Result<Self, StoreError> {
        let (lock, connection) = open::open_writer(path)?;
        let secret = connection.query_row("SELECT value FROM secret WHERE name = 'cursor'", [], |row| row.get(0))?;
        let readers = Arc::new(Readers::open(path)?);
        // Absolute, because the process may change its directory before the file is opened again.
        let path = path.canonicalize().map_err(|error| StoreError::Open(error.to_string()))?;
        let (feed, disk) = (Feed::default(), Disk::new(&path, max_wal_bytes));
        Ok(Self {
            writer: Writer::start(connection, &path, (feed.clone(), Arc::clone(&readers)), Arc::clone(&disk))?,
            readers,
            scanners: Scanners::new(&path, &disk),
            followers: Scanners::new(&path, &disk),
            exports: Arc::default(),
            seal: Arc::new(Seal::new(secret)),
            feed,
            disk,
            _lock: lock,
        })
    }
}

/// The keys of a database, which is made or migrated first where no server does it.
pub(crate) fn open_api_keys(path: &Path) -> Result<keys::SqliteKeys, StoreError> {
    match open::open_writer(path) {
        Ok(writer) => drop(writer),
        // A server has it, in the state that this version needs or in an older one, which is found out below.
        Err(_) if open::is_in_use(path) => {}
        Err(error) => return Err(error),
    }
    keys::SqliteKeys::open(path)
}

/// Puts what numbers are counted from together anew, on a database that no server has.
pub(crate) fn rebuild_metrics(path: &Path) -> Result<u64, StoreError> {
    let (_lock, db) = open::open_writer(path)?;
    recount::rebuild(&db)
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

/// Says of a read when its time is over, or that it holds back too much of the log.
fn is_over(disk: &Disk, limit: Duration) -> impl FnMut() -> bool + Send + 'static {
    let deadline = Instant::now() + limit;
    let pressure = disk.snapshots();
    move || Instant::now() > deadline || pressure.has_changed().unwrap_or(true)
}

/// Runs reads that see one state of the database, and breaks them off where they are over at a look.
fn in_snapshot<T>(
    db: &mut Connection,
    is_over: impl FnMut() -> bool + Send + 'static,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    db.prepare_cached("BEGIN")?.execute([])?;
    // Not before: a statement that is broken off at its end has had its effect.
    db.progress_handler(STEPS_PER_LOOK, Some(is_over))?;
    let result = work(db);
    db.progress_handler(0, None::<fn() -> bool>)?;
    // An error may have ended the transaction already, and says more than the failure to end it again.
    let ended = db.prepare_cached("COMMIT")?.execute([]);
    let result = result?;
    ended?;
    Ok(result)
}

#[async_trait]
impl CallStore for SqliteStore {
    async fn get_call(&self, workspace: &WorkspaceId, id: &CallId) -> Result<Option<StoredCall>, StoreError> {
        self.readers.get_call(workspace, id)
    }

    async fn create_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        input: CallInput,
        key: Option<IdempotencyKey>,
        now: Timestamp,
    ) -> Result<WrittenCall, StoreError> {
        let own = workspace.clone();
        let (workspace, id) = (workspace.clone(), id.clone());
        let key = key.map(|key| Ok::<_, StoreError>((request_hash(&input)?, key))).transpose()?;
        let new = NewCall::make(input, &workspace, &id, &now)?;
        let create = move |tx: &writer::Batch<'_>| {
            let key = key.as_ref().map(|(hash, key)| (key, *hash));
            write::create_call(tx, &workspace, &id, new, key, &now)
        };
        self.writer.run(&own, create).await
    }

    async fn replace_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        input: CallInput,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<WrittenCall, StoreError> {
        let (workspace, id) = (workspace.clone(), id.clone());
        let new = NewCall::make(input.clone(), &workspace, &id, &now);
        self.writer
            .run(&workspace.clone(), move |tx| {
                write::replace_call(tx, &workspace, &id, (input, new), &precondition, &now)
            })
            .await
    }

    async fn update_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        patch: CallPatch,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<Option<WrittenCall>, StoreError> {
        let (workspace, id) = (workspace.clone(), id.clone());
        self.writer
            .run(&workspace.clone(), move |tx| write::update_call(tx, &workspace, &id, &patch, &precondition, &now))
            .await
    }

    async fn delete_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let precondition = Arc::new(precondition);
        let erase = || {
            let (own, id, precondition, now) = (workspace.clone(), id.clone(), Arc::clone(&precondition), now.clone());
            self.writer.erase(workspace, move |tx| write::delete_call(tx, &own, &id, &precondition, &now))
        };
        match erase().await {
            // The first on a full disk has the room given up that is kept aside for it.
            Err(StoreError::Full(_)) => erase().await,
            outcome => outcome,
        }
    }

    async fn import_calls(
        &self,
        workspace: &WorkspaceId,
        calls: Vec<(CallId, CallInput)>,
        now: Timestamp,
    ) -> Result<Vec<Result<WriteOutcome, FieldErrors>>, StoreError> {
        let own = workspace.clone();
        let make = move || {
            let with_new = |(id, input): (CallId, CallInput)| {
                let new = NewCall::make(input.clone(), &own, &id, &now);
                (id, (input, new))
            };
            let calls: Vec<_> = calls.into_iter().map(with_new).collect();
            (own, now, calls)
        };
        let made = tokio::task::spawn_blocking(make).await;
        let (own, now, calls) = made.map_err(|error| StoreError::Internal(error.to_string()))?;
        self.writer.run_many(workspace, calls.len(), move |tx| write::import_calls(tx, &own, calls, &now)).await
    }

    async fn list_calls(&self, workspace: &WorkspaceId, query: &ListQuery) -> Result<CallPage, StoreError> {
        let key = match self.readers.page(workspace, query) {
            Ok(page) => return Ok(page),
            Err(key) => key,
        };
        let cursor = query.cursor.as_ref();
        let after = cursor.map(|cursor| self.seal.open_list(workspace, query, cursor)).transpose()?;
        let (workspace, query, seal) = (workspace.clone(), query.clone(), Arc::clone(&self.seal));
        let own = workspace.clone();
        // The index of terms may go through very much in one step.
        let Predicate { conditions, ranges, time } = Predicate::new(&own, &query.filter);
        let is_of_time = query.sort.key == SortKey::StartTime || (time.low.is_none() && time.high.is_none());
        let is_short = !query.include_total && conditions.is_empty() && ranges.is_empty() && is_of_time;
        let list = move |db: &Connection| list::list_calls(db, &workspace, &query, after.as_ref(), &seal);
        let page = self.scanners.run(&own, is_short, list).await?;
        self.readers.remember_page(key, &page);
        Ok(page)
    }

    async fn get_call_metrics(&self, workspace: &WorkspaceId, query: &MetricsQuery) -> Result<CallMetrics, StoreError> {
        let (workspace, query) = (workspace.clone(), query.clone());
        let own = workspace.clone();
        self.scanners.run(&own, false, move |db| read::get_call_metrics(db, &workspace, &query)).await
    }

    async fn export_calls(
        &self,
        workspace: &WorkspaceId,
        filter: &CallFilter,
    ) -> Result<mpsc::Receiver<Result<Bytes, StoreError>>, StoreError> {
        let place = Exports::enter(&self.exports, workspace)?;
        let (workspace, filter, path) = (workspace.clone(), filter.clone(), self.scanners.path.clone());
        let disk = Arc::clone(&self.disk);
        let (chunks, severity, receiver) = exports::channel();
        let runtime = Handle::current();
        let export = move || {
            let deadline = tokio::time::Instant::now() + exports::TIMEOUT;
            let mut pressure = disk.snapshots();
            // A reader that takes a byte now and then must not keep the snapshot for ever, nor while the log grows.
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
                in_snapshot(&mut db, is_over(&disk, exports::TIMEOUT), |db| {
                    read::export_calls(db, &workspace, &filter, send)
                })
            };
            let result = panic::catch_unwind(AssertUnwindSafe(run));
            let result = result.unwrap_or_else(|_| Err(StoreError::Internal("an export panicked".to_owned())));
            if let Err(error) = result {
                severity.send(Err(error));
            }
            drop(place);
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
        let after = self.seal.start_of_feed(workspace, cursor)?;
        let (workspace, seal) = (workspace.clone(), Arc::clone(&self.seal));
        let own = workspace.clone();
        self.followers.run(&own, true, move |db| read::list_call_changes(db, &workspace, after, limit, &seal)).await
    }

    async fn wait_for_change(&self, workspace: &WorkspaceId, cursor: &str) -> Result<(), StoreError> {
        let after = self.seal.open_feed(workspace, cursor)?;
        // Before the look: what is committed after it is announced.
        let mut announcements = self.feed.subscribe(workspace);
        if self.readers.read(|db| read::last_sequence(db, workspace))? > after {
            return Ok(());
        }
        announcements.changed().await.map_err(|_| closed())
    }

    async fn check(&self) -> Result<(), StoreError> {
        let look = "SELECT count(*) FROM (SELECT 1 FROM workspace LIMIT 1)";
        self.readers.read(|db| db.query_row(look, [], |_| Ok(())))?;
        self.writer.check().await
    }

    fn health(&self) -> StoreHealth {
        self.disk.health()
    }

    async fn close(&self) {
        self.writer.close().await;
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{
            DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase, OperationInterrupted,
            SystemIoFailure,
        };
        // The library's message may quote a value of the row; its code says all that an operator needs.
        let message = error.sqlite_error().map_or_else(|| "unexpected row".to_owned(), ToString::to_string);
        let extended = error.sqlite_error().map(|error| error.extended_code);
        match error.sqlite_error_code() {
            // A quota, or memory for the index of the log: the group failed whole, and the next one may not.
            Some(SystemIoFailure) if extended.is_some_and(|code| PASSING_IO_ERRORS.contains(&code)) => {
                Self::Unavailable(message)
            }
            Some(DiskFull) => Self::Full(message),
            Some(SystemIoFailure | DatabaseCorrupt | NotADatabase) => Self::Io(message),
            Some(DatabaseBusy | DatabaseLocked) => Self::Unavailable(message),
            Some(OperationInterrupted) => Self::Unavailable("a read took too long and was broken off".to_owned()),
            _ => Self::Internal(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes twenty megabytes while an export is stuck; gives the size of the log then, and how the export ended.
    async fn write_beside_a_stuck_export(max_wal_bytes: u64) -> (u64, Option<StoreError>) {
        let directory = tempfile::TempDir::new().unwrap();
        let store = SqliteStore::open_with(&directory.path().join("a.db"), max_wal_bytes).unwrap();
        let workspace: WorkspaceId = "w".parse().unwrap();
        let summary = "x".repeat(50_000);
        let put = async |number: u32| {
            let input = CallInput { summary: Some(format!("{number} {summary}")), ..CallInput::default() };
            let id = format!("c{number}").parse().unwrap();
            store
                .replace_call(&workspace, &id, input, Precondition::default(), Timestamp::from_unix_nanos(1))
                .await
                .unwrap();
        };
        for number in 0..100 {
            put(number).await;
        }
        let mut export = store.export_calls(&workspace, &CallFilter::default()).await.unwrap();
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

    /// A reader that does not read is ended before the log fills the disk, and not without need.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_stuck_export_does_not_hold_the_log_for_ever() {
        let (size, end) = write_beside_a_stuck_export(6_000_000).await;
        assert!(size < 12_000_000, "the log has {size} bytes");
        assert!(matches!(end, Some(StoreError::Unavailable(_))), "{end:?}");
        let (size, end) = write_beside_a_stuck_export(MAX_WAL_BYTES).await;
        assert!(size > 20_000_000 && end.is_none(), "without the bound it has {size} bytes, {end:?}");
    }
}
