//! Writes.

pub(super) mod group;
mod plan;
mod statements;
