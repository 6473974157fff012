//! Writes.

pub(super) mod group;
mod plan;
pub(super) mod statements;
