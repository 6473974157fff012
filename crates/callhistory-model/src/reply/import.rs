//! The report of an import.

use serde::{Deserialize, Serialize};

use crate::FieldErrorCode;

/// Result of an import. A rejected record does not prevent the others from being written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImportReport {
    /// Number of records that were created.
    pub created: u64,
    /// Number of existing records that were replaced.
    pub replaced: u64,
    /// Number of existing records that were identical.
    pub unchanged: u64,
    /// Number of records that were rejected.
    pub rejected: u64,
    /// The first 1000 errors, in the order of the lines.
    #[cfg_attr(feature = "schema", schemars(length(max = ImportReport::MAX_ERRORS)))]
    pub errors: Vec<ImportError>,
}

/// One error in one record of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImportError {
    /// Line of the record, or its position in the array, starting at 1.
    pub line: u64,
    /// Location in the record, as a JSON pointer (RFC 6901).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Machine-readable error code.
    pub code: FieldErrorCode,
    /// Human-readable explanation: what is wrong and what is expected.
    pub detail: String,
}

impl ImportReport {
    /// Maximum number of listed errors; all rejected records are counted.
    pub const MAX_ERRORS: usize = 1000;
}
