//! The formats of an import.

/// How an import separates its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportFormat {
    /// One record on each line.
    Lines,
    /// A JSON array of records.
    Array,
}
