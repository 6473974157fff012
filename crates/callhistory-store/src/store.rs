//! The storage interface and its promises.

use async_trait::async_trait;
use bytes::Bytes;
use callhistory_model::{
    CallFilter, CallId, CallInput, CallMetrics, CallPatch, FieldErrors, ListQuery, MetricsQuery, Timestamp, WorkspaceId,
};
use tokio::sync::mpsc;

use crate::{
    domain::mutation::{IdempotencyKey, Precondition},
    error::StoreError,
    results::{CallPage, ChangeBatch, StoreHealth, StoredCall, WriteOutcome, WrittenCall},
};

/// The store of call records, as handlers see it.
///
/// Every method takes the workspace first, runs in one transaction, and never sees another workspace's rows. The
/// promises, which the conformance suite holds every engine to:
///
/// * **Durable.** A write whose future resolved to `Ok` is on disk and survives a loss of power.
/// * **Read your writes.** A read that starts after a write was acknowledged sees it, on every server of the database.
/// * **Whole.** A write takes effect entirely or not at all. Dropping its future does not undo or halve it.
/// * **Exact.** A record is returned with the bytes that its last write stored.
/// * **Idempotent.** Writing what is stored changes nothing: not the bytes, not the sequence.
/// * **Ordered.** Each change has a sequence number in its workspace, without repetition and in commit order; it is the
///   version of the record.
/// * **Complete.** A reader that goes through a list by its cursors meets every record that was there all the time exactly
///   once, whatever is written meanwhile, as long as its value of the sort stays; one that follows the feed misses no
///   change.
///
/// To add an engine: implement this trait, add a migration folder with the same numbers and names, and an arm in
/// [`open`](crate::open). Nothing outside this crate changes.
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
    /// With a key, the same request under the same key replays the first response for 24 hours, however many copies
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

    /// The metrics of the records of a filter.
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
    /// [`StoreError::Busy`] where two exports of the workspace are running already, and those of [`get_call`](Self::get_call).
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

    /// Checks that a read succeeds and that the writer accepts work, by trying both; nothing is written.
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
