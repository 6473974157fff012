//! The errors of a store, in terms that a caller can act on.

use callhistory_model::{FieldError, FieldErrors, Timestamp};

/// A failure of the store. The text is for the operator's log, never for a caller of the API.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The precondition failed; nothing was written.
    #[error("the record does not match the precondition")]
    PreconditionFailed,
    /// The idempotency key was used before for another request; nothing was written.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// A record with this ID exists already; nothing was written.
    #[error("a record with this ID exists")]
    IdTaken,
    /// The generated ID is from before this time of the last change in the workspace, because the clock is behind; nothing was
    /// written. An ID from after this time is accepted, and sorts after all others.
    #[error("the clock is behind {0}, the time of the last change")]
    ClockBehind(Timestamp),
    /// The record has a final status, which the write would undo; nothing was written.
    #[error("the record has a final status")]
    FinalStatus,
    /// The record that this idempotency key created was deleted since; nothing was written.
    #[error("the record of this idempotency key has been deleted")]
    Deleted,
    /// The record is invalid; nothing was written.
    #[error("the record breaks rules: {0}")]
    Invalid(FieldErrors),
    /// Records of an import that writes all or none are invalid, each with its place; nothing was written.
    #[error("{} records of the import break rules", .0.len())]
    Aborted(Vec<(usize, FieldErrors)>),
    /// A parameter cannot be satisfied: a cursor of another list, an unknown time zone, too many groups.
    #[error("{0}")]
    Refused(FieldError),
    /// The cursor is from another epoch of the database, or after the end of the feed: the database was restored, or lost commits
    /// in a fail-over. The caller must start again without it.
    #[error("the cursor is from another epoch of the database")]
    CursorExpired,
    /// The disk is full; nothing was written, and reads continue.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The disk does not accept writes, for example because it has become read-only; nothing was written, and reads continue.
    #[error("the disk does not accept writes: {0}")]
    ReadOnly(String),
    /// The caller has the maximum number of these in flight; the text names them and may be shown to the caller.
    #[error("{0}")]
    Busy(&'static str),
    /// The store is temporarily unavailable. A write with this error was not acknowledged: it may be retried.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The disk failed. A write with this error was not acknowledged; whether it took effect is unknown.
    #[error("the disk failed: {0}")]
    Io(String),
    /// Stored data are damaged: they do not match their checksum. Nothing was written, and a retry fails as well.
    #[error("stored data are damaged: {0}")]
    Damaged(String),
    /// The database cannot be opened, or its URL is invalid.
    #[error("{0}")]
    Open(String),
    /// An error of this program or of the database file.
    #[error("the store failed: {0}")]
    Internal(String),
}
