//! The configuration: each setting is a flag, a `CALLHISTORY_*` variable and a line of a file.

pub mod cli;
pub mod settings;
pub mod sources;
