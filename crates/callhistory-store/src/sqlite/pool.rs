//! Connections for reads, and the snapshot that a read sees.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use callhistory_model::WorkspaceId;
use rusqlite::{Connection, MAIN_DB};

use super::{admin::disk::Disk, open};
use crate::{concurrency::fair_semaphore::FairSemaphore, error::StoreError};

/// Concurrent reads of a pool per processor; a workspace gets half of them. Each has a connection and a thread while it runs;
/// more would only compete.
const READS_PER_PROCESSOR: usize = 2;
/// Timeout of one list or metrics query.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Virtual machine steps between two checks of the timeout: less than a millisecond.
const STEPS_PER_CHECK: i32 = 10_000;
/// Checks after which a read is not short any more. Each statement counts its own steps, from one run to the next.
const SHORT_CHECKS: usize = 2;
/// Connections for reads that can take long, opened on demand.
pub(super) struct ReadPool {
    path: PathBuf,
    free: Mutex<Vec<Connection>>,
    semaphore: Arc<FairSemaphore>,
    disk: Arc<Disk>,
}

impl ReadPool {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn new(path: &Path, disk: &Arc<Disk>) -> Arc<Self> {
        let processors = thread::available_parallelism().map_or(2, usize::from);
        let permits = (READS_PER_PROCESSOR * processors).max(4);
        let (semaphore, disk) = (FairSemaphore::new(permits, permits / 2), Arc::clone(disk));
        Arc::new(Self { path: path.to_owned(), free: Mutex::default(), semaphore, disk })
    }

    fn free(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free connection, or a new one.
    fn connection(&self) -> Result<Connection, StoreError> {
        let free = self.free().pop();
        free.map_or_else(|| open::open_reader(&self.path), Ok)
    }

    fn give_back(&self, db: Connection) {
        // A connection that is stuck in a transaction would see an old state for ever, and hold the WAL.
        // One of a read-only disk must be opened again when the disk accepts writes.
        if db.is_autocommit() && !db.is_readonly(MAIN_DB).unwrap_or(true) {
            self.free().push(db);
        }
    }

    /// Runs a read of several statements in one snapshot. A read that is usually short runs on the thread of the caller; other
    /// reads, and those that turn out to be long, run on a blocking thread.
    pub(super) async fn run<T, F>(
        self: &Arc<Self>,
        workspace: &WorkspaceId,
        is_short: bool,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        if is_short && let Ok(mut db) = self.connection() {
            let mut checks = 0;
            let is_long = move || {
                checks += 1;
                checks > SHORT_CHECKS
            };
            let result = in_snapshot(&mut db, is_long, &work);
            self.give_back(db);
            // An error can be the abort of a long read; any other error occurs again.
            if result.is_ok() {
                return result;
            }
        }
        let permit = self.semaphore.acquire(workspace).await?;
        let pool = Arc::clone(self);
        let result = tokio::task::spawn_blocking(move || {
            let mut db = pool.connection()?;
            let result = in_snapshot(&mut db, is_over(&pool.disk, READ_TIMEOUT), work);
            pool.give_back(db);
            // Only now: the read continues when its caller hangs up.
            drop(permit);
            result
        });
        result.await.map_err(|error| StoreError::Internal(error.to_string()))?
    }
}

/// Returns whether a read must end: its time is over, or it holds too much of the WAL.
pub(super) fn is_over(disk: &Disk, limit: Duration) -> impl FnMut() -> bool + Send + 'static {
    let deadline = Instant::now() + limit;
    let pressure = disk.wal_pressure();
    move || Instant::now() > deadline || pressure.has_changed().unwrap_or(true)
}

/// Runs reads in one snapshot, and aborts them when `is_over` returns true.
pub(super) fn in_snapshot<T>(
    db: &mut Connection,
    is_over: impl FnMut() -> bool + Send + 'static,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    db.prepare_cached("BEGIN")?.execute([])?;
    // After BEGIN: a statement that is aborted at its end has had its effect.
    db.progress_handler(STEPS_PER_CHECK, Some(is_over))?;
    let result = work(db);
    db.progress_handler(0, None::<fn() -> bool>)?;
    // An error can have ended the transaction already, and is more specific than a failed COMMIT.
    let ended = db.prepare_cached("COMMIT")?.execute([]);
    let result = result?;
    ended?;
    Ok(result)
}
