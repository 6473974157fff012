//! The storage interface and its promises.

use async_trait::async_trait;
use bytes::Bytes;
use callhistory_model::{
    CallId, CallMetrics, ExportQuery, ListQuery, MetricsQuery, OriginalInfo, SearchQuery, Timestamp, WorkspaceId,
};
use tokio::sync::mpsc;

use crate::{
    call_write::{CallWrite, ImportBatch, ImportOptions, Original, PatchWrite},
    domain::mutation::{IdempotencyKey, Precondition},
    error::StoreError,
    results::{CallPage, CallSearchPage, ChangeBatch, Epoch, StoreHealth, StoredCall, WrittenCall},
};

/// The store of call records.
///
/// Every method takes the workspace first, runs in one transaction, and never reads rows of another workspace. The
/// conformance suite tests these promises for every engine:
///
/// * **Durable.** A write whose future resolved to `Ok` is on disk and survives a power failure.
/// * **Read your writes.** A read that starts after a write was acknowledged sees it, on every server of the database.
/// * **Atomic.** A write takes effect entirely or not at all. Dropping its future does not undo it.
/// * **Exact.** A record is returned with the bytes that its last write stored.
/// * **Idempotent.** Writing the stored content again changes neither the bytes nor the sequence.
/// * **Ordered.** Each change has a sequence number in its workspace, without repetition and in commit order; it is the
///   version of the record. No epoch of the database repeats a number of an earlier one.
/// * **Dated.** In a workspace, the times of changes do not go back, whatever the clock does. The times that the store gives the
///   `updatedAt` of one record rise strictly.
/// * **Complete.** Pagination by cursors returns every record that exists all the time exactly once under concurrent writes,
///   unless the value of its sort key changes. A follower of the change feed misses no change, or gets
///   [`StoreError::CursorExpired`].
///
/// To add an engine: implement this trait, add a migration folder with the same numbers and names, and an arm in
/// [`open`](crate::open). Nothing outside this crate changes.
#[async_trait]
pub trait CallStore: Send + Sync + 'static {
    /// The record with this ID, or `None`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Io`] and [`StoreError::Internal`].
    async fn get_call(&self, workspace: &WorkspaceId, id: &CallId) -> Result<Option<StoredCall>, StoreError>;

    /// Creates a record with an ID that the caller has generated.
    ///
    /// With an idempotency key, the same request replays the first response for at least 24 hours, also if copies arrive at the
    /// same time, and if the clock jumps ahead by up to a day; the key is committed together with the record.
    ///
    /// # Errors
    ///
    /// [`StoreError::IdempotencyKeyReused`], [`StoreError::Deleted`], [`StoreError::IdTaken`], [`StoreError::ClockBehind`],
    /// [`StoreError::Full`], [`StoreError::Unavailable`], [`StoreError::Io`] and [`StoreError::Internal`].
    async fn create_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        write: CallWrite,
        key: Option<IdempotencyKey>,
        now: Timestamp,
    ) -> Result<WrittenCall, StoreError>;

    /// Creates or replaces the record with this ID. A final status is replaced by a live one, or by none, only if the precondition
    /// names the version of the record.
    ///
    /// An input without `createdAt` keeps the stored one; one without `updatedAt` gets `now`, unless nothing else
    /// changes.
    ///
    /// # Errors
    ///
    /// [`StoreError::PreconditionFailed`], [`StoreError::FinalStatus`], [`StoreError::Invalid`], [`StoreError::Full`],
    /// [`StoreError::Unavailable`], [`StoreError::Io`], [`StoreError::Damaged`] and [`StoreError::Internal`].
    async fn replace_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        write: CallWrite,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<WrittenCall, StoreError>;

    /// Applies a patch to the record with this ID; `None` if it does not exist and the patch may not create it.
    ///
    /// # Errors
    ///
    /// Those of [`replace_call`](Self::replace_call).
    async fn update_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        write: PatchWrite,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<Option<WrittenCall>, StoreError>;

    /// Deletes the record with this ID and adds a tombstone to the change feed; `false` if it does not exist.
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

    /// Writes many records in their order. What is done with a record that exists depends on the mode; a record that was deleted
    /// stays deleted unless the options say otherwise. It is one transaction, or several if the records, as they are stored and as
    /// they are sent, are too large for one.
    ///
    /// # Errors
    ///
    /// For a batch that is written as a whole, [`StoreError::Aborted`] if records are invalid, and [`StoreError::Refused`] if it
    /// changes stored records that are too large for one transaction; then no record is written. Those of
    /// [`replace_call`](Self::replace_call): the failed transaction and those after it write nothing. Otherwise, an invalid record
    /// has its own errors among the outcomes, and the others are written.
    async fn import_calls(
        &self,
        workspace: &WorkspaceId,
        calls: Vec<(CallId, CallWrite)>,
        options: ImportOptions,
        now: Timestamp,
    ) -> Result<ImportBatch, StoreError>;

    /// What is known of the last 1,000 originals of a record, in the order of their numbers; `None` if the record does not exist.
    ///
    /// A write keeps the document that it was sent as if the record has less than it, or something else: if the document says so
    /// ([`SentDocument::is_changed`]), or if the write itself loses something. A record has the same document once; its originals
    /// are deleted with it.
    ///
    /// [`SentDocument::is_changed`]: crate::SentDocument::is_changed
    ///
    /// # Errors
    ///
    /// Those of [`get_call`](Self::get_call).
    async fn list_originals(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
    ) -> Result<Option<Vec<OriginalInfo>>, StoreError>;

    /// The original of a record with this number, byte for byte; `None` if there is no such record or number.
    ///
    /// # Errors
    ///
    /// Those of [`get_call`](Self::get_call).
    async fn get_original(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        number: i64,
    ) -> Result<Option<Original>, StoreError>;

    /// One page of the records of a filter.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for a cursor that was not issued for this list, [`StoreError::CursorExpired`] for one of another
    /// epoch, and those of [`get_call`](Self::get_call).
    async fn list_calls(&self, workspace: &WorkspaceId, query: &ListQuery) -> Result<CallPage, StoreError>;

    /// The records that a search matches, each with the texts that match it. Without `sees_phone_numbers`, these are no evidence, and
    /// a record that only they match is left out.
    ///
    /// # Errors
    ///
    /// Those of [`list_calls`](Self::list_calls).
    async fn search_calls(
        &self,
        workspace: &WorkspaceId,
        query: &SearchQuery,
        sees_phone_numbers: bool,
    ) -> Result<CallSearchPage, StoreError>;

    /// The metrics of the records of a filter.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for an unknown time zone or too many groups, and those of [`get_call`](Self::get_call).
    async fn get_call_metrics(&self, workspace: &WorkspaceId, query: &MetricsQuery) -> Result<CallMetrics, StoreError>;

    /// All records of a filter from one snapshot, in the order of the query and in constant memory: chunks of JSON texts, each
    /// followed by a line feed. They are whole records, without transcripts if the query needs none. An error is the last chunk.
    /// Dropping the receiver ends the export.
    ///
    /// # Errors
    ///
    /// [`StoreError::Busy`] if two exports of the workspace are running already, and those of [`get_call`](Self::get_call).
    async fn export_calls(
        &self,
        workspace: &WorkspaceId,
        query: &ExportQuery,
    ) -> Result<mpsc::Receiver<Result<Bytes, StoreError>>, StoreError>;

    /// The changes after a cursor, in commit order; without a cursor, from the first one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for a cursor that was not issued for this feed, [`StoreError::CursorExpired`] for one of another
    /// epoch, and those of [`get_call`](Self::get_call).
    async fn list_call_changes(
        &self,
        workspace: &WorkspaceId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ChangeBatch, StoreError>;

    /// Waits until there may be a change after a cursor. The caller sets the timeout.
    ///
    /// # Errors
    ///
    /// Those of [`list_call_changes`](Self::list_call_changes).
    async fn wait_for_change(&self, workspace: &WorkspaceId, cursor: &str) -> Result<(), StoreError>;

    /// Checks that a read succeeds and that the writer accepts work. Nothing is written.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`], [`StoreError::Unavailable`], [`StoreError::Io`] and [`StoreError::Internal`].
    async fn check(&self) -> Result<(), StoreError>;

    /// The epoch of the database, without a read: a version or a cursor has a meaning only together with it.
    fn epoch(&self) -> Epoch;

    /// The health of the store, without a read or a write.
    fn health(&self) -> StoreHealth {
        StoreHealth::default()
    }

    /// Completes the accepted writes, rejects further ones, and closes the database.
    async fn close(&self);
}
