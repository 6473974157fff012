//! The formats of an import.

/// How the records of an import follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportFormat {
    /// One record on each line.
    Lines,
    /// A JSON array of records.
    Array,
}
