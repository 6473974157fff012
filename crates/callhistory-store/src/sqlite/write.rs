//! Writes.

mod checkpoint;
pub(super) mod group;
pub(super) mod statements;
