//! Reads.

pub(super) mod changes;
pub(super) mod export;
pub(super) mod get;
pub(super) mod list;
pub(super) mod metrics;
pub(super) mod originals;
