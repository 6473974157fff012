//! Writes.

pub(super) mod group;
pub(super) mod plan;
pub(super) mod prepare;
mod rows;
pub(super) mod statements;
