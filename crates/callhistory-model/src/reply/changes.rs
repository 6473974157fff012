//! Pages of the change feed.

use serde::{Deserialize, Serialize};

#[cfg(feature = "schema")]
use crate::ChangesQuery;
use crate::{CallId, CallRecord, Timestamp, value::extensible_enum::extensible_enum};

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

/// A change of one call record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CallChange {
    /// Type of the change.
    #[serde(rename = "type")]
    pub kind: ChangeType,
    /// ID of the record.
    #[serde(rename = "_id")]
    pub id: CallId,
    /// Sequence number of the change in its workspace, with which the ETag of the resulting record begins. It starts at 1
    /// without gaps; a restore or a fail-over that lost commits leaves one.
    pub version: u64,
    /// Time of the change (RFC 3339, UTC), not before that of an earlier change.
    pub at: Timestamp,
    /// The record after the change. Absent if the record was deleted, or has changed again since; a later change then
    /// follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallRecord>,
}

/// A page of changes in commit order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CallChangePage {
    /// The changes after the cursor of the request.
    #[cfg_attr(feature = "schema", schemars(length(max = ChangesQuery::MAX_LIMIT)))]
    pub changes: Vec<CallChange>,
    /// Cursor of the next request, also if there was no change. It never expires.
    pub cursor: String,
    /// Whether more changes are available now.
    pub has_more: bool,
}
