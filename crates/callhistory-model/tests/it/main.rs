//! The record as it stands on the wire.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod schema;
mod validation;
mod wire;
