//! The query of the change feed.

use super::query_string::{QueryString, integer, read_parameters, set};
use crate::FieldErrors;

/// The parameters of the change feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangesQuery {
    /// The `cursor` of the previous response. `None` starts at the first change, `latest` at the end of the feed.
    pub cursor: Option<String>,
    /// Maximum number of changes per response, 1 to 1000; 100 by default.
    pub limit: Option<u16>,
    /// Long-poll timeout in seconds, 0 to 60; 0 by default.
    pub wait: Option<u16>,
}

setters! {
    ChangesQuery {
        text cursor => cursor,
        some limit => limit: u16,
        some wait => wait: u16,
    }
}

impl ChangesQuery {
    /// The default of `limit`.
    pub const DEFAULT_LIMIT: u16 = 100;
    /// The maximum of `limit`.
    pub const MAX_LIMIT: u16 = 1000;
    /// The maximum of `wait`, in seconds.
    pub const MAX_WAIT_SECONDS: u16 = 60;
    /// The cursor of the end of the feed.
    pub const LATEST: &'static str = "latest";
    /// The names of the parameters.
    pub const PARAMETERS: &'static [&'static str] = &["cursor", "limit", "wait"];

    /// Parses a query string.
    ///
    /// # Errors
    ///
    /// All errors at once.
    pub fn from_query(query: &str) -> Result<Self, FieldErrors> {
        let mut changes = Self::default();
        read_parameters(query, &[Self::PARAMETERS], |name, value| {
            Some(match name {
                "cursor" => set(&mut changes.cursor, Ok(value.to_owned())),
                "limit" => set(&mut changes.limit, integer(value, 1, Self::MAX_LIMIT)),
                "wait" => set(&mut changes.wait, integer(value, 0, Self::MAX_WAIT_SECONDS)),
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
