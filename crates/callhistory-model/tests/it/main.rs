//! The wire format of records.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod data_model;
mod handling;
mod merge;
mod schema;
mod validation;
mod wire;
