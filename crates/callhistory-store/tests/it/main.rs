//! Tests of the storage interface, on every engine.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

mod api_keys;
mod bounds;
mod clocks;
mod concurrent;
mod conformance;
mod databases;
mod late_facts;
mod metrics;
mod postgres;
mod reference_model;
mod script;
mod search;
mod sqlite;
mod transcripts;
