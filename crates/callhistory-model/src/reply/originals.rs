//! Originals: documents of a record as they were sent.

use serde::{Deserialize, Serialize};

use crate::{FieldWarning, Timestamp};

/// What is known of an original: a document that the record does not repeat value for value, kept byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OriginalInfo {
    /// Number of the original in its record, in the order of arrival: the first change has the number 1.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = u32::MAX)))]
    pub number: u32,
    /// Time when the document was received (RFC 3339, UTC).
    pub received_at: Timestamp,
    /// Where the document came from: `api`, `import`, or the name of a vendor.
    pub source: String,
    /// Media type of the document, as it was sent.
    pub media_type: String,
    /// Size of the document in bytes.
    pub bytes: u64,
    /// What the record keeps in another form than the document, or leaves out.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = FieldWarning::MAX)))]
    pub warnings: Vec<FieldWarning>,
}

impl OriginalInfo {
    /// Maximum number of originals in a response: the last ones, if a record has more.
    pub const MAX_LISTED: usize = 1000;
}
