//! Writes.

pub(super) mod group;
pub(super) mod plan;
pub(super) mod prepare;
pub(super) mod statements;
