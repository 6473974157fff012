//! Originals: documents of a record as they were sent.

use crate::{FieldWarning, Timestamp, reply_struct::reply_struct};

reply_struct! {
    /// What is known of an original: a document that the record does not repeat value for value, kept byte for byte.
    #[derive(Clone, Debug, PartialEq, Eq)]
    OriginalInfo {
        /// Number of the original in its record, in the order of arrival: the first change has the number 1.
        #[cfg_attr(feature = "schema", schemars(range(min = 1, max = i32::MAX)))]
        "number" always number: u32,
        /// Time when the document was received (RFC 3339, UTC).
        "receivedAt" always received_at: Timestamp,
        /// Where the document came from: `api`, `import`, or the name of a vendor.
        "source" always source: String,
        /// Media type of the document, as it was sent.
        "mediaType" always media_type: String,
        /// Size of the document in bytes.
        "bytes" always bytes: u64,
        /// What the record keeps in another form than the document, or leaves out.
        #[cfg_attr(feature = "schema", schemars(default, length(max = FieldWarning::MAX)))]
        "warnings" defaulted warnings: Vec<FieldWarning>,
    }
}

impl OriginalInfo {
    /// An original of the API without warnings.
    #[must_use]
    pub fn new(number: u32, received_at: Timestamp, media_type: impl Into<String>, bytes: u64) -> Self {
        let (source, media_type) = ("api".to_owned(), media_type.into());
        Self { number, received_at, source, media_type, bytes, warnings: Vec::new(), extra: Vec::new() }
    }

    /// Maximum number of originals in a response: the last ones, if a record has more.
    pub const MAX_LISTED: usize = 1000;
}
