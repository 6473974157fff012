//! The store's promises, held against every engine.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

mod concurrent;
mod conformance;
mod faults;
mod keys;
mod oracle;
mod plans;
mod postgres;
mod script;
mod servers;
mod sqlite;
