//! How a store is opened.

use callhistory_model::CallRecord;

use super::strategy::Thresholds;

/// How a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// When the planner changes its strategy.
    pub thresholds: Thresholds,
    /// The maximum size of a record in its canonical JSON, together with its compressed originals, in bytes.
    pub max_record_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { thresholds: Thresholds::default(), max_record_bytes: CallRecord::DEFAULT_MAX_BYTES }
    }
}
