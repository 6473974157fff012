//! What the methods of a store return.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use callhistory_model::{CallId, ChangeType, FieldWarning, SearchEvidence, Timestamp};

use crate::api_keys::ApiKey;
#[cfg(feature = "engine")]
use crate::record_bytes::RecordBytes;

/// The identity of the history that a store continues: a version or a cursor has a meaning only together with it. A database that
/// is new, was restored, or lost commits in a fail-over is another epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub(crate) [u8; 16]);

impl Epoch {
    /// The bytes of the identity, which do not reveal the secret that it is derived from.
    #[must_use]
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }
}

/// The health of a store, as far as the store knows it: the disk of a database server is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// The size of the database, in bytes.
    pub database_bytes: Option<u64>,
    /// The size of its write-ahead log, in bytes.
    pub wal_bytes: Option<u64>,
    /// The free space on its disk, in bytes.
    pub disk_free_bytes: Option<u64>,
    /// The number of damaged pages that the last scrub found.
    pub damaged_pages: Option<u64>,
    /// Whether writes are refused because the disk is full.
    pub is_full: bool,
    /// Whether writes fail because the disk does not accept any; they resume when it does.
    pub is_read_only: bool,
    /// Whether writes have stopped after an I/O error, until a restart.
    pub has_stopped: bool,
}

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCall {
    /// The canonical JSON bytes.
    pub body: Bytes,
    /// The sequence of its last change in its workspace.
    pub sequence: i64,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The record was created.
    Created,
    /// The record was updated.
    Replaced,
    /// The record had the same content already.
    Unchanged,
}

/// A record after it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenCall {
    /// The ID of the record.
    pub id: CallId,
    /// The record after the write.
    pub call: StoredCall,
    /// What the write did.
    pub outcome: WriteOutcome,
    /// What the write itself changed or left out, apart from the warnings of the parser.
    pub warnings: Vec<FieldWarning>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallPage {
    /// The records.
    pub calls: CallArray,
    /// The cursor of the next page, if there is one.
    pub next: Option<String>,
    /// The number of records on all pages, if the query asks for it.
    pub total: Option<u64>,
    /// The name of the strategy of the planner that found the page, for logs and tests.
    pub strategy: &'static str,
}

/// A record that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct CallSearchHit {
    /// The canonical JSON bytes.
    pub call: Bytes,
    /// The texts that match.
    pub evidence: Vec<SearchEvidence>,
}

/// One page of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct CallSearchPage {
    /// The hits, in the order of the search.
    pub hits: Vec<CallSearchHit>,
    /// The cursor of the next page, if there is one.
    pub next: Option<String>,
    /// The number of all matching records, if the query asks for it.
    pub total: Option<u64>,
    /// The name of the strategy of the planner that found the records, for logs and tests.
    pub strategy: &'static str,
}

/// The canonical JSON bytes of records, as the array of the response. Clones share them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallArray {
    json: Bytes,
    /// Where each record ends.
    ends: Arc<[usize]>,
}

impl CallArray {
    /// The number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Each record.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        each_call(&self.json, &self.ends)
    }

    /// All of them as one JSON array.
    #[must_use]
    pub fn json(&self) -> Bytes {
        self.json.clone()
    }
}

/// A batch of the change feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeBatch {
    /// The cursor before all of them.
    pub start: String,
    /// The changes, each with the cursor that follows it.
    pub changes: Vec<StoredChange>,
    /// The cursor after all of them.
    pub cursor: String,
    /// Whether more changes follow already.
    pub has_more: bool,
}

/// A change of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChange {
    /// The type of the change.
    pub kind: ChangeType,
    /// The ID of the record.
    pub id: CallId,
    /// The sequence of the change in its workspace.
    pub sequence: i64,
    /// The time of the change.
    pub at: Timestamp,
    /// The canonical JSON bytes of the record, if this is its last change and not a deletion.
    pub body: Option<Bytes>,
    /// The cursor after this change.
    pub cursor: String,
}

/// A verified copy of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its size, in bytes.
    pub bytes: u64,
    /// The SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
    /// The number of its workspaces.
    pub workspaces: u64,
    /// The number of its records.
    pub calls: u64,
    /// The number of its changes.
    pub changes: u64,
    /// The time of its last change: what was written, deleted or revoked later is not in it.
    pub last_change: Option<Timestamp>,
    /// Its API keys.
    pub keys: Vec<ApiKey>,
    /// The number of records that a restore deleted again.
    pub deleted_again: u64,
    /// The number of keys that a restore revoked again.
    pub revoked_again: u64,
}

/// What a restore keeps from coming back.
#[derive(Clone, Copy, Debug, Default)]
pub struct RestoreOptions<'a> {
    /// Whether all API keys of the backup are revoked.
    pub revokes_keys: bool,
    /// The old database, whose later deletions and revocations are repeated.
    pub deletions_from: Option<&'a Path>,
}

/// Maximum number of bytes that are reserved for a page before its records are known.
#[cfg(feature = "engine")]
const MAX_RESERVED_BYTES: usize = 128 * 1024;

/// Each record of a JSON array, given where they end.
fn each_call<'a>(json: &'a [u8], ends: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    // A comma follows each end.
    let starts = std::iter::once(1).chain(ends.iter().map(|end| end + 1));
    starts.zip(ends).map(|(start, end)| &json[start..*end])
}

/// Builds the array of a response with one allocation for a page, not one for each record.
#[cfg(feature = "engine")]
#[derive(Default)]
pub(crate) struct CallArrayBuilder {
    json: Vec<u8>,
    ends: Vec<usize>,
}

#[cfg(feature = "engine")]
impl CallArrayBuilder {
    /// Reserves memory for `count` records of about this size.
    pub(crate) fn reserve(&mut self, count: usize, bytes: usize) {
        self.json.reserve((count * (bytes + bytes / 8)).min(MAX_RESERVED_BYTES));
        self.ends.reserve(count);
    }

    pub(crate) fn push(&mut self, record: RecordBytes<'_>) {
        self.json.push(if self.ends.is_empty() { b'[' } else { b',' });
        record.append_to(&mut self.json);
        self.ends.push(self.json.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The approximate size of all records, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.json.len()
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        each_call(&self.json, &self.ends)
    }

    pub(crate) fn finish(mut self) -> CallArray {
        if self.is_empty() {
            self.json.push(b'[');
        }
        self.json.push(b']');
        // The memory lives as long as the response.
        if self.json.capacity() > self.json.len() * 5 / 4 {
            self.json.shrink_to_fit();
        }
        CallArray { json: self.json.into(), ends: self.ends.into() }
    }
}
