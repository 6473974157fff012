//! Why an export cannot be encoded.

use std::io;

use callhistory_model::ProblemCode;
#[cfg(not(feature = "parquet"))]
use callhistory_model::{FieldError, FieldErrorCode};

use crate::error::ApiError;

/// Why records cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error("a stored record is not the JSON that it should be")]
    Malformed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[cfg(not(feature = "parquet"))]
    #[error("this server was built without parquet; use ndjson, csv or xlsx")]
    NotBuilt,
}

impl From<EncodeError> for ApiError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Malformed => Self::internal(&error),
            #[cfg(not(feature = "parquet"))]
            EncodeError::NotBuilt => {
                let detail = format!("is parquet, but {error}");
                let error = FieldError::new(FieldErrorCode::Malformed, detail).in_parameter("format");
                Self::invalid_parameters(vec![error])
            }
            EncodeError::Io(_) => {
                tracing::error!(%error, "an export cannot be written to a temporary file");
                Self::new(ProblemCode::Unavailable, "The server has no room for the temporary files of this export.")
            }
        }
    }
}
