//! Imports: formats, splitting into records, and the pipeline.

mod csv_columns;
mod csv_splitter;
pub(crate) mod failure;
pub mod format;
mod format_hint;
mod object_scanner;
mod parse;
pub mod pipeline;
mod raw_record;
mod record_splitter;
pub(crate) mod record_stream;
mod report;
mod text_decoder;
