//! The cache of records that are read repeatedly.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use callhistory_model::{CallId, WorkspaceId};
use lru::LruCache;

use crate::results::StoredCall;

/// Maximum size of all cached records, and of one, in bytes.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
const MAX_RECORD_BYTES: usize = 32 * 1024;
/// Approximate memory of a cached record besides its bytes.
const OVERHEAD_BYTES: usize = 200;
const SHARDS: usize = 16;
/// Approximate number of records per shard that are known to have been read once.
const SEEN_RECORDS: usize = 1024;

/// Records that were read at least twice, least recently used first out.
pub(crate) struct RecordCache {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
}

struct Shard {
    calls: LruCache<String, (StoredCall, usize)>,
    bytes: usize,
    /// Marks of records that were read once. Only the second read caches a record, so that a scan of all records does not evict
    /// the cache.
    seen: Vec<u32>,
}

/// The cache key of a record.
pub(crate) struct RecordKey {
    text: String,
    hash: u64,
}

impl RecordCache {
    pub(crate) fn new() -> Self {
        let shard = |_| Mutex::new(Shard { calls: LruCache::unbounded(), bytes: 0, seen: vec![0; SEEN_RECORDS] });
        Self { shards: (0..SHARDS).map(shard).collect(), hasher: RandomState::new() }
    }

    pub(crate) fn key(&self, workspace: &WorkspaceId, id: &CallId) -> RecordKey {
        // No ID contains a blank.
        let text = [workspace.as_str(), id.as_str()].join(" ");
        RecordKey { hash: self.hasher.hash_one(&text), text }
    }

    fn shard(&self, key: &RecordKey) -> MutexGuard<'_, Shard> {
        self.shards[key.hash as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cached record, or whether it was read before.
    pub(crate) fn get(&self, key: &RecordKey) -> Result<StoredCall, bool> {
        let mut shard = self.shard(key);
        if let Some((call, _)) = shard.calls.get(&key.text) {
            return Ok(call.clone());
        }
        let mark = (key.hash >> 32) as u32;
        let seen = &mut shard.seen[key.hash as usize / SHARDS % SEEN_RECORDS];
        Err(std::mem::replace(seen, mark) == mark)
    }

    /// Caches a record if `is_current` still holds under the lock, which an invalidation takes as well.
    pub(crate) fn insert(&self, key: RecordKey, call: &StoredCall, is_current: impl FnOnce() -> bool) {
        if call.body.len() > MAX_RECORD_BYTES {
            return;
        }
        let mut shard = self.shard(&key);
        if !is_current() {
            return;
        }
        let bytes = call.body.len() + key.text.len() + OVERHEAD_BYTES;
        shard.bytes += bytes;
        if let Some((_, (_, before))) = shard.calls.push(key.text, (call.clone(), bytes)) {
            shard.bytes -= before;
        }
        while shard.bytes > CACHE_BYTES / SHARDS
            && let Some((_, (_, oldest))) = shard.calls.pop_lru()
        {
            shard.bytes -= oldest;
        }
    }

    pub(crate) fn remove(&self, key: &RecordKey) {
        let mut shard = self.shard(key);
        if let Some((_, bytes)) = shard.calls.pop(&key.text) {
            shard.bytes -= bytes;
        }
    }
}
