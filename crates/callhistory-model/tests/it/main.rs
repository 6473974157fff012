//! The wire format of records and queries.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod conversions;
mod data_model;
mod drift;
mod handling;
mod merge;
mod queries;
mod schema;
mod validation;
mod wire;
