//! The change feed: what happened to the records of a workspace, in order.

use serde::{Deserialize, Serialize};

use crate::{
    extensible_enum::extensible_enum,
    id::CallId,
    page::{cursor, whole},
    problem::FieldErrors,
    query::{QueryString, read_parameters, set},
    record::CallRecord,
    time::Timestamp,
};

extensible_enum! {
    /// What happened to a record.
    ChangeType, max 64 {
        /// It was created.
        Created = "created",
        /// It was replaced or changed in part.
        Updated = "updated",
        /// It was deleted.
        Deleted = "deleted",
    }
}

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CallChange {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: ChangeType,
    /// The record's id.
    #[serde(rename = "_id")]
    pub id: CallId,
    /// The number of the change in its workspace, from 1 on, without gaps: the entity tag of the record that it made.
    pub version: u64,
    /// When the change was made, by the clock of the server that made it: RFC 3339, UTC.
    pub at: Timestamp,
    /// The record that the change made. It is missing where the record was deleted or has changed again: then a later
    /// change follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallRecord>,
}

/// Changes in the order of their commits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CallChangePage {
    /// The changes after the cursor that was sent.
    #[cfg_attr(feature = "schema", schemars(length(max = ChangesQuery::MAX_LIMIT)))]
    pub changes: Vec<CallChange>,
    /// Where to go on, also where there was no change. It never expires.
    pub cursor: String,
    /// Whether more changes are there already.
    pub has_more: bool,
}

/// Which changes to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangesQuery {
    /// The cursor of the answer before; without it from the first change on, `latest` for those that are still to come.
    pub cursor: Option<String>,
    /// Most changes of one answer, 1 to 1000; 100 by default.
    pub limit: Option<u16>,
    /// How many seconds to wait for a change where there is none, 0 to 60; 0 by default.
    pub wait: Option<u16>,
}

impl ChangesQuery {
    /// Changes of an answer where no `limit` is given.
    pub const DEFAULT_LIMIT: u16 = 100;
    /// Most changes of an answer.
    pub const MAX_LIMIT: u16 = 1000;
    /// The longest wait, in seconds.
    pub const MAX_WAIT_SECONDS: u16 = 60;
    /// The cursor that stands for the end of the feed.
    pub const LATEST: &'static str = "latest";
    /// The names of the parameters.
    pub const PARAMETERS: &'static [&'static str] = &["cursor", "limit", "wait"];

    /// Reads a query string.
    ///
    /// # Errors
    ///
    /// Every error at once.
    pub fn from_query(query: &str) -> Result<Self, FieldErrors> {
        let mut changes = Self::default();
        read_parameters(query, &[Self::PARAMETERS], |name, value| {
            Some(match name {
                "cursor" => set(&mut changes.cursor, cursor(value)),
                "limit" => set(&mut changes.limit, whole(value, 1, Self::MAX_LIMIT.into()).map(|limit| limit as u16)),
                "wait" => {
                    set(&mut changes.wait, whole(value, 0, Self::MAX_WAIT_SECONDS.into()).map(|wait| wait as u16))
                }
                _ => return None,
            })
        })?;
        Ok(changes)
    }

    /// The query string.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = QueryString::new();
        query.push_some("cursor", self.cursor.as_ref());
        query.push_some("limit", self.limit);
        query.push_some("wait", self.wait);
        query.finish()
    }
}
