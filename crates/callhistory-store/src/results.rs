//! What the methods of a store return.

use std::sync::Arc;

use bytes::Bytes;
use callhistory_model::{CallId, ChangeType, Timestamp};

/// How a store is doing, as far as it knows: a database server knows its own disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// The size of the database.
    pub database_bytes: Option<u64>,
    /// The size of its write-ahead log.
    pub wal_bytes: Option<u64>,
    /// What is left on its disk.
    pub disk_free_bytes: Option<u64>,
    /// Writes are refused because the disk is full.
    pub is_full: bool,
    /// Writes have stopped after an I/O error, until a restart.
    pub has_stopped: bool,
}

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCall {
    /// The canonical JSON bytes.
    pub body: Bytes,
    /// The number of its last change in its workspace.
    pub sequence: i64,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// There was no record under this id.
    Created,
    /// The record was another.
    Replaced,
    /// The record was the same already.
    Unchanged,
}

/// A record after it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenCall {
    /// The record's id.
    pub id: CallId,
    /// The record as it stands now.
    pub call: StoredCall,
    /// What the write did.
    pub outcome: WriteOutcome,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallPage {
    /// The records.
    pub calls: CallArray,
    /// The cursor of the page after this one, if there is one.
    pub next: Option<String>,
    /// How many records there are on all pages, where that was asked for.
    pub total: Option<u64>,
    /// The name of the strategy of the planner that found the page, for logs and tests.
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
    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
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

/// Some changes of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeBatch {
    /// The cursor before all of them.
    pub start: String,
    /// The changes, each with the cursor that follows it.
    pub changes: Vec<StoredChange>,
    /// The cursor after all of them.
    pub cursor: String,
    /// Whether there are more already.
    pub has_more: bool,
}

/// A change of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChange {
    /// What happened.
    pub kind: ChangeType,
    /// The record's id.
    pub id: CallId,
    /// The number of the change in its workspace.
    pub sequence: i64,
    /// When it was committed.
    pub at: Timestamp,
    /// The canonical JSON bytes of the record, if this is its last change and no deletion.
    pub body: Option<Bytes>,
    /// The cursor after this change.
    pub cursor: String,
}

/// A copy of a database that was proved to be whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
    /// How many workspaces are in it.
    pub workspaces: u64,
    /// How many records.
    pub calls: u64,
    /// How many changes.
    pub changes: u64,
}

/// Bytes that are reserved for a page before its records are known, at most.
#[cfg(feature = "engine")]
const MAX_RESERVED_BYTES: usize = 128 * 1024;

/// Each record of a JSON array, given where they end.
fn each_call<'a>(json: &'a [u8], ends: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    // Behind each end stands what comes before the next record.
    let starts = std::iter::once(1).chain(ends.iter().map(|end| end + 1));
    starts.zip(ends).map(|(start, end)| &json[start..*end])
}

/// Builds the array of a response: a page costs one allocation, and not one for each record.
#[cfg(feature = "engine")]
#[derive(Default)]
pub(crate) struct CallArrayBuilder {
    json: Vec<u8>,
    ends: Vec<usize>,
}

#[cfg(feature = "engine")]
impl CallArrayBuilder {
    /// Reserves memory for this number of records that are about as large as this one.
    pub(crate) fn reserve(&mut self, count: usize, body: &[u8]) {
        self.json.reserve((count * (body.len() + body.len() / 8)).min(MAX_RESERVED_BYTES));
        self.ends.reserve(count);
    }

    pub(crate) fn push(&mut self, body: &[u8]) {
        self.json.push(if self.ends.is_empty() { b'[' } else { b',' });
        self.json.extend_from_slice(body);
        self.ends.push(self.json.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes they have together, about.
    pub(crate) fn bytes(&self) -> usize {
        self.json.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        each_call(&self.json, &self.ends)
    }

    pub(crate) fn finish(mut self) -> CallArray {
        if self.is_empty() {
            self.json.push(b'[');
        }
        self.json.push(b']');
        // The memory is held as long as the response: what was reserved in excess is returned.
        if self.json.capacity() > self.json.len() * 5 / 4 {
            self.json.shrink_to_fit();
        }
        CallArray { json: self.json.into(), ends: self.ends.into() }
    }
}
