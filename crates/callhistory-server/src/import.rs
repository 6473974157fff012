//! Imports.

pub mod format;
pub mod pipeline;
pub(crate) mod record_splitter;
