//! What became of an import.

use serde::{Deserialize, Serialize};

use crate::problem::FieldErrorCode;

/// What an import did. A record that was rejected does not keep the others from being written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImportReport {
    /// Records that did not exist before.
    pub created: u64,
    /// Records that were another before.
    pub replaced: u64,
    /// Records that were the same already.
    pub unchanged: u64,
    /// Records that were refused.
    pub rejected: u64,
    /// Why, for the first 1000 errors, in the order of the lines.
    #[cfg_attr(feature = "schema", schemars(length(max = ImportReport::MAX_ERRORS)))]
    pub errors: Vec<ImportError>,
}

/// One thing that is wrong with one record of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImportError {
    /// The line of the record, or its place in the array; from 1 on.
    pub line: u64,
    /// Where in the record it is, as a JSON pointer (RFC 6901).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What is wrong, for programs.
    pub code: FieldErrorCode,
    /// What is wrong and what would be right, in one sentence for people.
    pub detail: String,
}

impl ImportReport {
    /// Most errors that are listed; all rejected records are counted.
    pub const MAX_ERRORS: usize = 1000;
}
