//! Writes.

mod checkpoint;
pub(super) mod columns;
pub(super) mod group;
mod idempotency;
pub(super) mod statements;
