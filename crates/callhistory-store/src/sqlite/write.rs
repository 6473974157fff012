//! Writes.

mod checkpoint;
pub(super) mod columns;
pub(super) mod group;
pub(super) mod statements;
