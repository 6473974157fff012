//! Where call records are kept: one seam, [`CallStore`], and the engines behind it. This is the only crate with SQL.

#[cfg(feature = "engine")]
mod cursor;
mod diagnostic;
mod error;
#[cfg(feature = "engine")]
mod exports;
#[cfg(feature = "engine")]
mod fair;
#[cfg(feature = "engine")]
mod feed;
#[cfg(feature = "engine")]
mod filter;
mod keys;
#[cfg(feature = "engine")]
mod metrics;
#[cfg(feature = "engine")]
mod page;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "engine")]
mod terms;
#[cfg_attr(not(feature = "engine"), expect(dead_code, reason = "the engines use it, and this build has none"))]
mod write;

/// What the fuzz targets of this repository call. No other build has it.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::cursor::assert_only_given_cursors_open;
}

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use callhistory_model::{
    CallFilter, CallId, CallInput, CallMetrics, CallPatch, ChangeType, FieldErrors, ListQuery, MetricsQuery, Timestamp,
    WorkspaceId,
};
use tokio::sync::mpsc;

pub use diagnostic::{Diagnostic, Severity};
pub use error::StoreError;
pub use keys::{ApiKey, ApiKeyStore, Scope};
pub use write::{IDEMPOTENCY_KEY_LIFETIME, IdempotencyKey, Precondition, check_new_call};

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
/// * **Complete.** A reader that goes through a list by its cursors meets every record that was there all the time exactly
///   once, whatever is written meanwhile, as long as its value of the sort stays; one that follows the feed misses no
///   change.
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
    /// [`StoreError::IdempotencyKeyReused`], [`StoreError::Deleted`], [`StoreError::IdTaken`], [`StoreError::Full`],
    /// [`StoreError::Unavailable`], [`StoreError::Io`] and [`StoreError::Internal`].
    async fn create_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        input: CallInput,
        key: Option<IdempotencyKey>,
        now: Timestamp,
    ) -> Result<WrittenCall, StoreError>;

    /// Creates or replaces the record under this id.
    ///
    /// An input without `createdAt` keeps the stored one; one without `updatedAt` gets `now`, unless nothing else
    /// changes.
    ///
    /// # Errors
    ///
    /// [`StoreError::PreconditionFailed`], [`StoreError::Full`], [`StoreError::Unavailable`] and
    /// [`StoreError::Internal`].
    async fn replace_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        input: CallInput,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<WrittenCall, StoreError>;

    /// Changes the record under this id in part; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`], [`StoreError::TerminalStatus`], and those of [`replace_call`](Self::replace_call).
    async fn update_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        patch: CallPatch,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<Option<WrittenCall>, StoreError>;

    /// Deletes the record under this id, and leaves a change that says so; `false` where there is none.
    ///
    /// # Errors
    ///
    /// Those of [`replace_call`](Self::replace_call).
    async fn delete_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Creates or replaces many records in one transaction, each as [`replace_call`](Self::replace_call) does.
    ///
    /// # Errors
    ///
    /// Those of [`replace_call`](Self::replace_call); then none of them was written. A record that breaks rules is an error of its
    /// own among the outcomes, and does not keep the others from being written.
    async fn import_calls(
        &self,
        workspace: &WorkspaceId,
        calls: Vec<(CallId, CallInput)>,
        now: Timestamp,
    ) -> Result<Vec<Result<WriteOutcome, FieldErrors>>, StoreError>;

    /// One page of the records of a filter.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for a cursor that was not given out for this list, and those of
    /// [`get_call`](Self::get_call).
    async fn list_calls(&self, workspace: &WorkspaceId, query: &ListQuery) -> Result<CallPage, StoreError>;

    /// The numbers of the records of a filter.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for an unknown time zone or too many groups, and those of [`get_call`](Self::get_call).
    async fn get_call_metrics(&self, workspace: &WorkspaceId, query: &MetricsQuery) -> Result<CallMetrics, StoreError>;

    /// Every record of a filter as it is at one moment, newest first, in constant memory: chunks of JSON texts, each
    /// followed by a line feed. A chunk that is an error is the last one. Dropping the receiver ends the export.
    ///
    /// # Errors
    ///
    /// [`StoreError::Busy`] where two exports of the workspace are under way already, and those of [`get_call`](Self::get_call).
    async fn export_calls(
        &self,
        workspace: &WorkspaceId,
        filter: &CallFilter,
    ) -> Result<mpsc::Receiver<Result<Bytes, StoreError>>, StoreError>;

    /// The changes after a cursor, in the order of their commits; from the first one on without a cursor.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for a cursor that is not of this feed, and those of [`get_call`](Self::get_call).
    async fn list_call_changes(
        &self,
        workspace: &WorkspaceId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ChangeBatch, StoreError>;

    /// Waits until there may be a change after a cursor. The caller bounds the wait.
    ///
    /// # Errors
    ///
    /// Those of [`list_call_changes`](Self::list_call_changes).
    async fn wait_for_change(&self, workspace: &WorkspaceId, cursor: &str) -> Result<(), StoreError>;

    /// Whether a read is answered and the writer takes work, found out by trying both; nothing is written.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`], [`StoreError::Unavailable`], [`StoreError::Io`] and [`StoreError::Internal`].
    async fn check(&self) -> Result<(), StoreError>;

    /// How the store is doing, without a read or a write.
    fn health(&self) -> StoreHealth {
        StoreHealth::default()
    }

    /// Finishes the writes that have been handed over, refuses further ones, and leaves the database tidy.
    async fn close(&self);
}

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
}

/// The canonical JSON bytes of records, as the array that is answered. A copy shares them.
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
        page::each_call(&self.json, &self.ends)
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
    pub changes: Vec<Change>,
    /// The cursor after all of them.
    pub cursor: String,
    /// Whether there are more already.
    pub has_more: bool,
}

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
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

/// A database URL as it may be shown and logged: without its password.
#[must_use]
pub fn redacted(url: &str) -> String {
    match url.split_once(':') {
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => postgres::redacted(url),
        _ => url.to_owned(),
    }
}

/// Opens the store that a URL names, creating or migrating it as needed.
///
/// `sqlite:PATH` is the embedded engine: a file, created with its directory where it does not exist.
/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE` is a PostgreSQL database, in the form of its own clients; `sslmode` and
/// `sslrootcert` say how far the server is trusted.
///
/// # Errors
///
/// [`StoreError::Open`] says what is wrong with the URL or the database and what would be right.
pub async fn open(url: &str) -> Result<Arc<dyn CallStore>, StoreError> {
    match url.split_once(':') {
        #[cfg(feature = "sqlite")]
        Some(("sqlite", path)) => Ok(Arc::new(sqlite::SqliteStore::open(file(url, path)?)?)),
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => Ok(Arc::new(postgres::PostgresStore::open(url).await?)),
        _ => Err(no_engine(url)),
    }
}

/// Opens the keys of the database that a URL names, beside servers that may be running on it.
///
/// # Errors
///
/// Those of [`open`].
pub async fn open_api_keys(url: &str) -> Result<Arc<dyn ApiKeyStore>, StoreError> {
    match url.split_once(':') {
        #[cfg(feature = "sqlite")]
        Some(("sqlite", path)) => Ok(Arc::new(sqlite::open_api_keys(file(url, path)?)?)),
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => Ok(Arc::new(postgres::open_api_keys(url).await?)),
        _ => Err(no_engine(url)),
    }
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

/// Copies the embedded database that a URL names to a file, while a server may write to it, reads the copy from end to end,
/// and leaves its checksum beside it in `FILE.sha256`.
///
/// # Errors
///
/// [`StoreError::Open`] where there is nothing to copy or the file exists, and for PostgreSQL, which has its own tools;
/// [`StoreError::Full`] and [`StoreError::Io`].
#[cfg_attr(
    not(feature = "sqlite"),
    expect(unused_variables, reason = "the embedded engine takes it, and this build has none")
)]
pub fn backup(url: &str, to: &std::path::Path) -> Result<Backup, StoreError> {
    match url.split_once(':') {
        #[cfg(feature = "sqlite")]
        Some(("sqlite", path)) => sqlite::backup(file(url, path)?, to),
        _ => Err(only_embedded(url, "pg_dump")),
    }
}

/// Puts together anew what the embedded database counts the numbers of calls from; gives how many records there are. It is
/// done by itself where a version of this program needs it in another shape.
///
/// # Errors
///
/// [`StoreError::Open`] where a server has the database, and for PostgreSQL, which counts from its indexes;
/// [`StoreError::Full`] and [`StoreError::Io`].
pub fn rebuild_metrics(url: &str) -> Result<u64, StoreError> {
    match url.split_once(':') {
        #[cfg(feature = "sqlite")]
        Some(("sqlite", path)) => sqlite::rebuild_metrics(file(url, path)?),
        _ => Err(only_embedded(url, "REINDEX")),
    }
}

/// Makes a copy the embedded database that a URL names, where there is none, once it is proved to be whole. The cursors and
/// versions that the copy's original gave out later are not given out again: who follows changes begins anew.
///
/// # Errors
///
/// [`StoreError::Open`] where there is a database already, where the copy is not what its checksum says or is damaged, and
/// for PostgreSQL; [`StoreError::Full`] and [`StoreError::Io`].
#[cfg_attr(
    not(feature = "sqlite"),
    expect(unused_variables, reason = "the embedded engine takes it, and this build has none")
)]
pub fn restore(from: &std::path::Path, url: &str, now: &Timestamp) -> Result<Backup, StoreError> {
    match url.split_once(':') {
        #[cfg(feature = "sqlite")]
        Some(("sqlite", path)) => sqlite::restore(from, file(url, path)?, now),
        _ => Err(only_embedded(url, "pg_restore")),
    }
}

/// Looks at the database that a URL names, without changing it; with `whole`, reads all of an embedded one.
#[cfg_attr(
    not(feature = "sqlite"),
    expect(unused_variables, reason = "the embedded engine takes it, and this build has none")
)]
pub async fn diagnose(url: &str, whole: bool) -> Vec<Diagnostic> {
    match url.split_once(':') {
        #[cfg(feature = "sqlite")]
        Some(("sqlite", path)) => match file(url, path) {
            Ok(path) => sqlite::diagnose(path, whole),
            Err(error) => vec![Diagnostic::error("database", error.to_string())],
        },
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => postgres::diagnose(url).await,
        _ => vec![Diagnostic::error("database", no_engine(url).to_string())],
    }
}

fn only_embedded(url: &str, tool: &str) -> StoreError {
    StoreError::Open(format!("{} is not an embedded database; use {tool} for it", redacted(url)))
}

/// The file that a URL of the embedded engine names.
#[cfg(feature = "sqlite")]
fn file<'a>(url: &str, path: &'a str) -> Result<&'a std::path::Path, StoreError> {
    // Both `sqlite:PATH` and `sqlite://PATH` are in common use.
    let path = path.strip_prefix("//").unwrap_or(path);
    // What other programs read as options, or as no file at all, would here become a file of a strange name.
    if path.is_empty() || path.starts_with(':') || path.contains('?') {
        return Err(StoreError::Open(format!("the database URL {url:?} names no file; use sqlite:PATH")));
    }
    Ok(std::path::Path::new(path))
}

fn no_engine(url: &str) -> StoreError {
    let scheme = url.split(':').next().unwrap_or("");
    StoreError::Open(format!(
        "no engine for a database URL that starts with {scheme:?}; use sqlite:PATH or postgres://…"
    ))
}
