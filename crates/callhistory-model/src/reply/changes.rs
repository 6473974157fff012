//! Pages of the change feed.

#[cfg(feature = "schema")]
use crate::ChangesQuery;
use crate::{CallId, CallRecord, Timestamp, reply_struct::reply_struct, value::extensible_enum::extensible_enum};

extensible_enum! {
    /// Type of a change.
    ChangeType {
        /// The record was created.
        Created = "created",
        /// The record was replaced or updated.
        Updated = "updated",
        /// The record was deleted.
        Deleted = "deleted",
    }
}

reply_struct! {
    /// A change of one call record.
    #[derive(Clone, Debug, PartialEq)]
    CallChange {
        /// Type of the change.
        "type" always kind: ChangeType,
        /// ID of the record.
        "_id" always id: CallId,
        /// Sequence number of the change in its workspace, with which the ETag of the resulting record begins. It starts at 1
        /// without gaps; a restore or a fail-over that lost commits leaves one.
        "version" always version: u64,
        /// Entity tag of the record after the change, for `If-Match` of a write. Absent if the record was deleted.
        "etag" optional etag: Option<String>,
        /// Time of the change (RFC 3339, UTC), not before that of an earlier change.
        "at" always at: Timestamp,
        /// The record after the change. Absent if the record was deleted, or has changed again since; a later change then
        /// follows.
        "call" optional call: Option<CallRecord>,
    }
}

impl CallChange {
    /// A change without a record.
    #[must_use]
    pub fn new(kind: ChangeType, id: CallId, version: u64, at: Timestamp) -> Self {
        Self { kind, id, version, etag: None, at, call: None, extra: Vec::new() }
    }
}

reply_struct! {
    /// A page of changes in commit order.
    #[derive(Clone, Debug, PartialEq)]
    CallChangePage {
        /// The changes after the cursor of the request.
        #[cfg_attr(feature = "schema", schemars(length(max = ChangesQuery::MAX_LIMIT)))]
        "changes" always changes: Vec<CallChange>,
        /// Cursor of the next request, also if there was no change. It never expires.
        "cursor" always cursor: String,
        /// Whether more changes are available now.
        "hasMore" always has_more: bool,
    }
}

impl CallChangePage {
    /// The last page up to now, with this cursor.
    #[must_use]
    pub fn new(changes: Vec<CallChange>, cursor: impl Into<String>) -> Self {
        Self { changes, cursor: cursor.into(), has_more: false, extra: Vec::new() }
    }
}
