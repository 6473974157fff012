//! Writes.

pub(super) mod group;
pub(super) mod plan;
pub(super) mod prepare;
pub(super) mod reindex;
mod rows;
pub(super) mod statements;
