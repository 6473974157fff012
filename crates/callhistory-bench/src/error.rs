//! The error of a measurement.

/// Any error: it ends the row and is printed.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
