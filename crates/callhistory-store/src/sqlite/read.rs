//! Reads.

pub(super) mod changes;
pub(super) mod export;
pub(super) mod fulltext;
pub(super) mod get;
pub(super) mod list;
pub(super) mod metrics;
pub(super) mod originals;
mod positions;
mod record_cache;
pub(super) mod snapshot_pool;
