//! The service as its callers meet it: through the SDK, through raw HTTP for what the SDK cannot send, and as a program.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

mod binary;
mod calls;
mod canaries;
mod changes;
mod contract;
mod examples;
mod harness;
mod keys;
mod list;
mod operate;
#[path = "../../samples/operations.rs"]
mod operations;
mod postgres;
mod proofs;
mod refusals;
mod settings;
mod tenancy;
mod transfer;
mod vectors;
mod wire;
