//! Point reads: they take microseconds and run on the caller's thread, on connections that stay in one state of the database
//! until a commit makes another, and not at all for records, and pages, that were read a moment ago.

use std::{
    hash::{BuildHasher as _, RandomState},
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use callhistory_model::{CallId, ListQuery, WorkspaceId};
use lru::LruCache;
use rusqlite::Connection;

use super::{open, write};
use crate::{CallPage, StoreError, StoredCall};

/// A few connections keep callers from waiting for each other.
const CONNECTIONS: usize = 8;
/// What a connection keeps of the database, in the unit that SQLite takes as a negative number, KiB: the inner pages of ten
/// million records, nearly. Only as many connections as there are processors are busy, and the others keep nothing.
const PAGES_KIB: i32 = -32_768;
/// What remembered records may take together, in bytes; and one of them.
const RECENT_BYTES: usize = 8 * 1024 * 1024;
const MAX_RECENT_BYTES: usize = 32 * 1024;
/// The same for pages.
const PAGES_BYTES: usize = 8 * 1024 * 1024;
const MAX_PAGE_BYTES: usize = 128 * 1024;
/// What is remembered takes so much beside its bytes, about.
const OVERHEAD: usize = 200;
const SHARDS: usize = 16;
/// Records of each shard that were read once and may be read again soon, about.
const SEEN: usize = 1024;

/// The connections, and the records that were read last.
pub(super) struct Readers {
    /// Raised before every commit and behind it, before anyone learns of it: odd while some may see the new state and others
    /// the old one.
    generation: AtomicU64,
    connections: Vec<Mutex<Reader>>,
    recent: Vec<Mutex<Recent>>,
    /// Pages, each with the generation that it is of.
    pages: Vec<Mutex<Memory<(u64, CallPage)>>>,
    has_pages: AtomicBool,
    hasher: RandomState,
}

/// Where a page is remembered, and of which generation it will be.
pub(super) struct PageKey {
    text: String,
    hash: u64,
    generation: u64,
}

/// A connection, and the generation that its open transaction sees.
struct Reader {
    db: Connection,
    sees: Option<u64>,
}

/// What was read last, up to a number of bytes.
struct Memory<T> {
    entries: LruCache<String, (T, usize)>,
    bytes: usize,
    most: usize,
}

/// Some of the records that were read last.
struct Recent {
    calls: Memory<StoredCall>,
    /// Marks of records that were read once: only the second time is one remembered, so that who reads everything once does
    /// not have everything else forgotten.
    seen: Vec<u32>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let reader = |_| {
            let db = open::open_reader(path)?;
            db.pragma_update(None, "cache_size", PAGES_KIB)?;
            Ok(Mutex::new(Reader { db, sees: None }))
        };
        Ok(Self {
            generation: AtomicU64::new(0),
            connections: (0..CONNECTIONS).map(reader).collect::<Result<_, StoreError>>()?,
            recent: (0..SHARDS).map(|_| Mutex::new(Recent::new())).collect(),
            pages: (0..SHARDS).map(|_| Mutex::new(Memory::new(PAGES_BYTES / SHARDS))).collect(),
            has_pages: AtomicBool::new(false),
            hasher: RandomState::new(),
        })
    }

    /// The record as of the last write that was answered.
    pub(super) fn get_call(&self, workspace: &WorkspaceId, id: &CallId) -> Result<Option<StoredCall>, StoreError> {
        let key = key(workspace, id);
        let hash = self.hasher.hash_one(&key);
        let recent = self.shard(hash);
        let was_read_before = {
            let mut recent = lock(recent);
            if let Some(known) = recent.calls.get(&key) {
                return Ok(Some(known.clone()));
            }
            recent.was_seen(hash)
        };
        let generation = self.generation.load(Ordering::Acquire);
        let call = self.read(|db| Ok(write::read_call(db, workspace, id)?.map(|(_, call)| call)))?;
        if let Some(call) = call.as_ref().filter(|call| was_read_before && call.body.len() <= MAX_RECENT_BYTES) {
            let mut recent = lock(recent);
            // A commit since then may have changed the record; one from now on waits for the lock and takes it away.
            if generation.is_multiple_of(2) && self.generation.load(Ordering::Acquire) == generation {
                recent.calls.insert(key, call.clone(), call.body.len());
            }
        }
        Ok(call)
    }

    /// The page of a query, if it was read a moment ago and nothing at all was written since; otherwise, how to remember it.
    pub(super) fn page(&self, workspace: &WorkspaceId, query: &ListQuery) -> Result<CallPage, PageKey> {
        let text = [workspace.as_str(), &query.to_query()].join(" ");
        let (hash, generation) = (self.hasher.hash_one(&text), self.generation.load(Ordering::Acquire));
        match lock(self.pages_of(hash)).get(&text) {
            Some((of, page)) if *of == generation => Ok(page.clone()),
            _ => Err(PageKey { text, hash, generation }),
        }
    }

    /// Remembers a page that was read after its key was made, unless a commit has begun since or was under way then.
    pub(super) fn remember_page(&self, key: PageKey, page: &CallPage) {
        let PageKey { text, hash, generation } = key;
        let bytes = page.calls.json().len() + page.calls.len() * size_of::<usize>();
        if bytes > MAX_PAGE_BYTES || !generation.is_multiple_of(2) {
            return;
        }
        let mut pages = lock(self.pages_of(hash));
        // In this order, so that a commit either is seen here or finds that there are pages, and waits for the lock.
        self.has_pages.store(true, Ordering::SeqCst);
        if self.generation.load(Ordering::SeqCst) == generation {
            pages.insert(text, (generation, page.clone()), bytes);
        }
    }

    fn pages_of(&self, hash: u64) -> &Mutex<Memory<(u64, CallPage)>> {
        &self.pages[hash as usize % SHARDS]
    }

    /// Runs a read of one statement, which sees every write that was answered. A lock is held for that, and never across a
    /// wait.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let free = self.connections.iter().find_map(|reader| reader.try_lock().ok());
        let mut reader = free.unwrap_or_else(|| lock(&self.connections[0]));
        let generation = self.generation.load(Ordering::Acquire);
        if reader.sees != Some(generation) {
            reader.end()?;
            reader.db.prepare_cached("BEGIN")?.execute([])?;
            reader.sees = Some(generation);
        }
        let result = read(&reader.db);
        // In the middle of a commit the next reader has to see at least what this one saw, so it looks for itself.
        if result.is_err() || !generation.is_multiple_of(2) {
            reader.end()?;
        }
        Ok(result?)
    }

    /// Has nothing remember what a commit is about to change, and nobody rely on what was seen before it.
    pub(super) fn expect_commit(&self, changed: &[(WorkspaceId, CallId)]) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        // Nobody takes a page of another generation; but what is deleted should be in memory no longer than it has to.
        if self.has_pages.swap(false, Ordering::SeqCst) {
            self.pages.iter().for_each(|pages| lock(pages).clear());
        }
        for (workspace, id) in changed {
            let key = key(workspace, id);
            lock(self.shard(self.hasher.hash_one(&key))).calls.remove(&key);
        }
    }

    /// Has all later reads see the commit that was expected, if it came to be.
    pub(super) fn renew(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        // What sees an older state holds back the log. One that is busy is renewed by its next read or the next commit.
        for reader in self.connections.iter().filter_map(|reader| reader.try_lock().ok()) {
            Self::end_of(reader);
        }
    }

    /// Has no connection stay in a state that needs the log, so that the next write can begin it anew.
    pub(super) fn let_go(&self) {
        self.generation.fetch_add(2, Ordering::AcqRel);
        self.connections.iter().for_each(|reader| Self::end_of(lock(reader)));
    }

    fn end_of(mut reader: MutexGuard<'_, Reader>) {
        // A connection that cannot end its transaction says so to the next one who reads.
        drop(reader.end());
    }

    fn shard(&self, hash: u64) -> &Mutex<Recent> {
        &self.recent[hash as usize % SHARDS]
    }
}

impl Reader {
    fn end(&mut self) -> rusqlite::Result<()> {
        if self.sees.take().is_some() && !self.db.is_autocommit() {
            self.db.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(())
    }
}

impl Recent {
    fn new() -> Self {
        Self { calls: Memory::new(RECENT_BYTES / SHARDS), seen: vec![0; SEEN] }
    }

    /// Whether a record was read lately; from now on it was.
    fn was_seen(&mut self, hash: u64) -> bool {
        let mark = (hash >> 32) as u32;
        let place = &mut self.seen[hash as usize / SHARDS % SEEN];
        std::mem::replace(place, mark) == mark
    }
}

impl<T> Memory<T> {
    fn new(most: usize) -> Self {
        Self { entries: LruCache::unbounded(), bytes: 0, most }
    }

    fn get(&mut self, key: &str) -> Option<&T> {
        self.entries.get(key).map(|(entry, _)| entry)
    }

    fn insert(&mut self, key: String, entry: T, bytes: usize) {
        let bytes = bytes + key.len() + OVERHEAD;
        self.bytes += bytes;
        if let Some((_, (_, before))) = self.entries.push(key, (entry, bytes)) {
            self.bytes -= before;
        }
        while self.bytes > self.most
            && let Some((_, (_, oldest))) = self.entries.pop_lru()
        {
            self.bytes -= oldest;
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    fn remove(&mut self, key: &str) {
        if let Some((_, bytes)) = self.entries.pop(key) {
            self.bytes -= bytes;
        }
    }
}

/// No id has a blank.
fn key(workspace: &WorkspaceId, id: &CallId) -> String {
    [workspace.as_str(), id.as_str()].join(" ")
}
