//! The store's promises, held against every engine.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

mod concurrent;
mod conformance;
mod databases;
mod faults;
mod keys;
mod plans;
mod postgres;
mod reference_model;
mod script;
mod servers;
mod sqlite;
