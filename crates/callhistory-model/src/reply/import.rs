//! The report of an import.

use serde::{Deserialize, Serialize};

use crate::{FieldErrorCode, WarningCode};

/// Result of an import. A rejected record does not prevent the others from being written, unless the import is atomic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImportReport {
    /// Number of records that were created.
    pub created: u64,
    /// Number of existing records that were replaced.
    pub replaced: u64,
    /// Number of existing records into which something was merged.
    pub merged: u64,
    /// Number of existing records that were identical.
    pub unchanged: u64,
    /// Number of records that were not written, because they would undo a final status. They are kept as originals.
    pub stale: u64,
    /// Number of records that were not written, because a record with their ID was deleted.
    pub deleted: u64,
    /// Number of the records above whose stored record was written since the import began: an earlier line has the same ID, or
    /// somebody else wrote it. Identical lines of a record that was stored before are only unchanged.
    pub repeated: u64,
    /// Number of values in the place of a record that are not objects, such as `null`. They are left out.
    pub skipped: u64,
    /// Number of records that were rejected.
    pub rejected: u64,
    /// Number of records with warnings.
    pub warned: u64,
    /// Whether nothing was written because a record of an atomic import was rejected.
    pub aborted: bool,
    /// The first 1000 errors, in the order of the lines.
    #[cfg_attr(feature = "schema", schemars(length(max = ImportReport::MAX_ERRORS)))]
    pub errors: Vec<ImportError>,
    /// The first 1000 warnings, in the order of the lines.
    #[cfg_attr(feature = "schema", schemars(length(max = ImportReport::MAX_WARNINGS)))]
    pub warnings: Vec<ImportWarning>,
}

/// One error in one record of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImportError {
    /// Line of the record, or its position in the list, starting at 1.
    pub line: u64,
    /// Location in the record, as a JSON pointer (RFC 6901).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Machine-readable error code.
    pub code: FieldErrorCode,
    /// Human-readable explanation: what is wrong and what is expected.
    pub detail: String,
}

/// One warning about one record of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImportWarning {
    /// Line of the record, or its position in the list, starting at 1.
    pub line: u64,
    /// Location in the record, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// Machine-readable warning code.
    pub code: WarningCode,
    /// Human-readable explanation: what was found and what the service did.
    pub detail: String,
}

impl ImportReport {
    /// Maximum number of listed errors; all rejected records are counted.
    pub const MAX_ERRORS: usize = 1000;
    /// Maximum number of listed warnings; all records with warnings are counted.
    pub const MAX_WARNINGS: usize = 1000;

    /// Number of records that are stored now as the import has them, or in a later state.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.created + self.replaced + self.merged + self.unchanged + self.stale
    }

    /// Number of records and other values that were read.
    #[must_use]
    pub fn processed(&self) -> u64 {
        self.taken() + self.deleted + self.skipped + self.rejected
    }

    /// Whether nothing was taken of what was sent.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.taken() == 0 && self.rejected + self.skipped > 0
    }
}
