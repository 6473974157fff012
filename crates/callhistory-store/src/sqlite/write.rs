//! Writes.

mod checkpoint;
pub(super) mod columns;
pub(super) mod group;
mod idempotency;
mod originals;
pub(super) mod prepare;
pub(super) mod reindex;
pub(super) mod statements;
