//! Where call records are kept: one seam, [`CallStore`], and the engines behind it. This is the only crate with SQL.

mod error;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
mod sqlite_open;
#[cfg(feature = "sqlite")]
mod sqlite_writer;
#[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "the engines use it, and this build has none"))]
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use callhistory_model::{CallDraft, CallId, Timestamp, WorkspaceId};

pub use error::StoreError;
pub use write::{IDEMPOTENCY_KEY_LIFETIME, IdempotencyKey, Precondition};

/// The store of call records, as handlers see it.
///
/// Every method takes the workspace first, runs in one transaction, and never sees another workspace's rows. The
/// promises, which the conformance suite holds every engine to:
///
/// * **Durable.** A write whose future resolved to `Ok` is on disk and survives a loss of power.
/// * **Read your writes.** A read that starts after a write was answered sees it, on every server of the database.
/// * **Whole.** A write takes effect entirely or not at all. Dropping its future does not undo or halve it.
/// * **Exact.** A record is answered with the bytes that its last write made of it.
/// * **Idempotent.** Writing what is stored changes nothing: not the bytes, not the sequence.
/// * **Ordered.** Each change has a sequence number in its workspace, without repetition and in commit order; it is the
///   version of the record.
///
/// To add an engine: implement this trait, add a migration folder with the same numbers and names, and an arm in
/// [`open`]. Nothing outside this crate changes.
#[async_trait]
pub trait CallStore: Send + Sync + 'static {
    /// The record under this id, or `None`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Io`] and [`StoreError::Internal`].
    async fn get_call(&self, workspace: &WorkspaceId, id: &CallId) -> Result<Option<StoredCall>, StoreError>;

    /// Creates a record under an id that the caller has generated.
    ///
    /// With a key, the same request under the same key replays the first answer for 24 hours, however many copies
    /// arrive at once; the key is committed together with the record.
    ///
    /// # Errors
    ///
    /// [`StoreError::IdempotencyKeyReused`], [`StoreError::IdTaken`], [`StoreError::Full`],
    /// [`StoreError::Unavailable`], [`StoreError::Io`] and [`StoreError::Internal`].
    async fn create_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        draft: CallDraft,
        key: Option<IdempotencyKey>,
        now: Timestamp,
    ) -> Result<Written, StoreError>;

    /// Creates or replaces the record under this id.
    ///
    /// A draft without `createdAt` keeps the stored one; one without `updatedAt` gets `now`, unless nothing else
    /// changes.
    ///
    /// # Errors
    ///
    /// [`StoreError::PreconditionFailed`], [`StoreError::Full`], [`StoreError::Unavailable`] and
    /// [`StoreError::Internal`].
    async fn put_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        draft: CallDraft,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<Written, StoreError>;

    /// Whether a read is answered and the writer takes work, found out by trying both; nothing is written.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`], [`StoreError::Unavailable`], [`StoreError::Io`] and [`StoreError::Internal`].
    async fn check(&self) -> Result<(), StoreError>;

    /// Finishes the writes that have been handed over, refuses further ones, and leaves the database tidy.
    async fn close(&self);
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
pub enum Effect {
    /// There was no record under this id.
    Created,
    /// The record was another.
    Replaced,
    /// The record was the same already.
    Unchanged,
}

/// A record after it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The record's id.
    pub id: CallId,
    /// The record as it stands now.
    pub call: StoredCall,
    /// What the write did.
    pub effect: Effect,
}

/// Opens the store that a URL names, creating or migrating it as needed.
///
/// `sqlite:PATH` is the embedded engine: a file, created with its directory where it does not exist.
///
/// # Errors
///
/// [`StoreError::Open`] says what is wrong with the URL or the database and what would be right.
pub fn open(url: &str) -> Result<Arc<dyn CallStore>, StoreError> {
    match url.split_once(':') {
        #[cfg(feature = "sqlite")]
        Some(("sqlite", path)) => {
            // Both `sqlite:PATH` and `sqlite://PATH` are in common use.
            let path = path.strip_prefix("//").unwrap_or(path);
            // What other programs read as options, or as no file at all, would here become a file of a strange name.
            if path.is_empty() || path.starts_with(':') || path.contains('?') {
                return Err(StoreError::Open(format!("the database URL {url:?} names no file; use sqlite:PATH")));
            }
            Ok(Arc::new(sqlite::SqliteStore::open(std::path::Path::new(path))?))
        }
        _ => {
            let scheme = url.split(':').next().unwrap_or("");
            Err(StoreError::Open(format!("no engine for a database URL that starts with {scheme:?}; use sqlite:PATH")))
        }
    }
}
