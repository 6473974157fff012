//! Point reads. They take microseconds and run on the thread of the caller, on connections that keep a snapshot until the next
//! commit, or from the record cache.

use std::{
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use callhistory_model::{CallId, WorkspaceId};
use rusqlite::Connection;

use super::{get, record_cache::RecordCache};
use crate::{error::StoreError, results::StoredCall, sqlite::open};

/// Several connections, so that callers do not wait for each other.
const CONNECTIONS: usize = 8;
/// Page cache of a connection, in KiB, which SQLite takes as a negative number: almost the inner pages of ten million records.
/// Only as many connections as processors are busy; the others hold nothing.
const PAGE_CACHE_KIB: i32 = -32_768;

/// Connections with snapshots, and the record cache.
pub(crate) struct SnapshotPool {
    /// Incremented before and after every commit, before anyone is notified: odd while some readers can see the new state and
    /// others the old one.
    generation: AtomicU64,
    connections: Vec<Mutex<SnapshotConnection>>,
    cache: RecordCache,
}

/// A connection, and the generation that its open transaction sees.
struct SnapshotConnection {
    db: Connection,
    generation: Option<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SnapshotPool {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = |_| {
            let db = open::open_reader(path)?;
            db.pragma_update(None, "cache_size", PAGE_CACHE_KIB)?;
            Ok(Mutex::new(SnapshotConnection { db, generation: None }))
        };
        let connections = (0..CONNECTIONS).map(connection).collect::<Result<_, StoreError>>()?;
        Ok(Self { generation: AtomicU64::new(0), connections, cache: RecordCache::new() })
    }

    /// Opens every connection again, because they are of a read-only disk, which accepts writes now.
    pub(crate) fn reopen(&self, path: &Path) -> Result<(), StoreError> {
        let others = Self::open(path)?;
        for (connection, other) in self.connections.iter().zip(others.connections) {
            *lock(connection) = other.into_inner().unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// The record, including every acknowledged write.
    pub(crate) fn get_call(&self, workspace: &WorkspaceId, id: &CallId) -> Result<Option<StoredCall>, StoreError> {
        let key = self.cache.key(workspace, id);
        let was_read_before = match self.cache.get(&key) {
            Ok(call) => return Ok(Some(call)),
            Err(was_read_before) => was_read_before,
        };
        let generation = self.generation.load(Ordering::Acquire);
        let call = self.read(|db| Ok(get::get_call(db, workspace, id)?.map(|(_, call)| call)))?;
        if let Some(call) = call.as_ref().filter(|_| was_read_before && generation.is_multiple_of(2)) {
            // A commit since then can have changed the record; a later one waits for the lock and removes it.
            self.cache.insert(key, call, || self.generation.load(Ordering::Acquire) == generation);
        }
        Ok(call)
    }

    /// Runs a read of one statement, which sees every acknowledged write. It holds a lock, and never across a wait.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let free = self.connections.iter().find_map(|connection| connection.try_lock().ok());
        let mut connection = free.unwrap_or_else(|| lock(&self.connections[0]));
        let generation = self.generation.load(Ordering::Acquire);
        if connection.generation != Some(generation) {
            connection.release()?;
            connection.db.prepare_cached("BEGIN")?.execute([])?;
            connection.generation = Some(generation);
        }
        let result = read(&connection.db);
        // During a commit, the next read must see at least what this one saw, so it opens its own snapshot.
        if result.is_err() || !generation.is_multiple_of(2) {
            connection.release()?;
        }
        result
    }

    /// Before a commit: removes the records that it changes from the cache, and marks snapshots as old.
    pub(crate) fn begin_invalidation(&self, changed: &[(WorkspaceId, CallId)]) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        for (workspace, id) in changed {
            self.cache.remove(&self.cache.key(workspace, id));
        }
    }

    /// After a commit, successful or not: later reads open new snapshots.
    pub(crate) fn refresh_snapshots(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        // An old snapshot holds the WAL. The next read or commit refreshes a connection that is busy now.
        for connection in self.connections.iter().filter_map(|connection| connection.try_lock().ok()) {
            Self::release(connection);
        }
    }

    /// Releases all snapshots, so that the next write can start the WAL from its beginning.
    pub(crate) fn release_snapshots(&self) {
        self.generation.fetch_add(2, Ordering::AcqRel);
        self.connections.iter().for_each(|connection| Self::release(lock(connection)));
    }

    fn release(mut connection: MutexGuard<'_, SnapshotConnection>) {
        // A connection that cannot end its transaction returns the error to its next reader.
        drop(connection.release());
    }
}

impl SnapshotConnection {
    fn release(&mut self) -> rusqlite::Result<()> {
        if self.generation.take().is_some() && !self.db.is_autocommit() {
            self.db.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(())
    }
}
