//! Imports: formats, splitting into records, and the pipeline.

pub mod format;
pub mod pipeline;
pub(crate) mod record_splitter;
