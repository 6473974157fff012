//! The report of an import.

use crate::{FieldError, FieldErrorCode, FieldWarning, WarningCode, reply_struct::reply_struct};

reply_struct! {
    /// Result of an import. A rejected record does not prevent the others from being written, unless the import is atomic.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    ImportReport {
        /// Number of records that were created.
        "created" always created: u64,
        /// Number of existing records that were replaced.
        "replaced" always replaced: u64,
        /// Number of existing records into which something was merged.
        "merged" always merged: u64,
        /// Number of existing records that were identical.
        "unchanged" always unchanged: u64,
        /// Number of records that were not written, because they would undo a final status. They are kept as originals.
        "stale" always stale: u64,
        /// Number of records that were not written, because a record with their ID was deleted.
        "deleted" always deleted: u64,
        /// Number of the records above whose stored record was written since the import began: an earlier line has the same ID, or
        /// somebody else wrote it. Identical lines of a record that was stored before are only unchanged.
        "repeated" always repeated: u64,
        /// Number of values in the place of a record that are not objects, such as `null`. They are left out.
        "skipped" always skipped: u64,
        /// Number of records that were rejected.
        "rejected" always rejected: u64,
        /// Number of records with warnings.
        "warned" always warned: u64,
        /// Whether nothing was written because a record of an atomic import was rejected.
        "aborted" always aborted: bool,
        /// The first 1000 errors, in the order of the lines.
        #[cfg_attr(feature = "schema", schemars(length(max = ImportReport::MAX_ERRORS)))]
        "errors" always errors: Vec<ImportError>,
        /// The first 1000 warnings, in the order of the lines.
        #[cfg_attr(feature = "schema", schemars(length(max = ImportReport::MAX_WARNINGS)))]
        "warnings" always warnings: Vec<ImportWarning>,
    }
}

reply_struct! {
    /// One error in one record of an import.
    #[derive(Clone, Debug, PartialEq, Eq)]
    ImportError {
        /// Line of the record, or its position in the list, starting at 1.
        "line" always line: u64,
        /// Location in the record, as a JSON pointer (RFC 6901).
        "pointer" optional pointer: Option<String>,
        /// Machine-readable error code.
        "code" always code: FieldErrorCode,
        /// Human-readable explanation: what is wrong and what is expected.
        "detail" always detail: String,
    }
}

reply_struct! {
    /// One warning about one record of an import.
    #[derive(Clone, Debug, PartialEq, Eq)]
    ImportWarning {
        /// Line of the record, or its position in the list, starting at 1.
        "line" always line: u64,
        /// Location in the record, as a JSON pointer (RFC 6901).
        "pointer" always pointer: String,
        /// Machine-readable warning code.
        "code" always code: WarningCode,
        /// Human-readable explanation: what was found and what the service did.
        "detail" always detail: String,
    }
}

impl ImportError {
    /// An error of the record in this line.
    #[must_use]
    pub fn new(line: u64, error: FieldError) -> Self {
        let FieldError { pointer, code, detail, extra, .. } = error;
        Self { line, pointer, code, detail, extra }
    }
}

impl ImportWarning {
    /// A warning about the record in this line.
    #[must_use]
    pub fn new(line: u64, warning: FieldWarning) -> Self {
        let FieldWarning { pointer, code, detail, extra } = warning;
        Self { line, pointer, code, detail, extra }
    }
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
