//! Why an import was aborted.

use callhistory_model::{ImportQuery, ProblemCode};
use callhistory_store::StoreError;

use crate::{
    error::ApiError,
    gunzip::{GZIP_RATIO, GunzipError},
};

/// Why an import was aborted.
#[derive(Debug, thiserror::Error)]
pub enum ImportFailure {
    /// The store failed; what was written before stays.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream is empty, but should be a document.
    #[error("the body is empty; JSON is expected")]
    Empty,
    /// The stream is something else; the text says what, and what to do.
    #[error("{0}")]
    OtherFormat(&'static str),
    /// The stream is not gzip, but should be.
    #[error("the body is not gzip: {0}")]
    Gzip(std::io::Error),
    /// The compression ratio of the stream is too high.
    #[error("the body decompresses to more than {GZIP_RATIO} times its size")]
    Bomb,
    /// An atomic import has too many records or bytes.
    #[error(
        "an atomic import has at most {} records and {} bytes; nothing was written",
        ImportQuery::MAX_ATOMIC_RECORDS,
        ImportQuery::MAX_ATOMIC_BYTES
    )]
    TooLargeForAtomic,
}

impl From<GunzipError> for ImportFailure {
    fn from(error: GunzipError) -> Self {
        match error {
            GunzipError::Malformed(error) => Self::Gzip(error),
            GunzipError::Bomb => Self::Bomb,
        }
    }
}

impl From<ImportFailure> for ApiError {
    fn from(failure: ImportFailure) -> Self {
        match failure {
            ImportFailure::Store(StoreError::Full(reason)) => {
                tracing::error!(reason, "the disk is full");
                Self::new(
                    ProblemCode::StorageFull,
                    "The disk is full; records written so far stay. Send the import again when there is space.",
                )
            }
            ImportFailure::Store(error) => error.into(),
            ImportFailure::Empty => Self::new(ProblemCode::MalformedJson, "The body is empty; JSON is expected."),
            ImportFailure::OtherFormat(hint) => Self::new(ProblemCode::InvalidRequest, hint),
            ImportFailure::Gzip(error) => GunzipError::Malformed(error).into(),
            ImportFailure::Bomb => GunzipError::Bomb.into(),
            ImportFailure::TooLargeForAtomic => {
                let (records, bytes) = (ImportQuery::MAX_ATOMIC_RECORDS, ImportQuery::MAX_ATOMIC_BYTES);
                let detail = format!(
                    "An import with atomic=true has at most {records} records and {bytes} bytes; nothing was written. \
                     Send it in parts, or without atomic=true."
                );
                Self::new(ProblemCode::BodyTooLarge, detail)
            }
        }
    }
}
