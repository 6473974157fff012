//! How a store is opened.

use callhistory_model::CallRecord;

use super::{phone_number::NumberingPlan, strategy::Thresholds};

/// How a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// When the planner changes its strategy.
    pub thresholds: Thresholds,
    /// The maximum size of a record in its canonical JSON, together with its compressed originals, in bytes.
    pub max_record_bytes: usize,
    /// How national phone numbers are read; by default, as when the database was last opened. With another plan, the indexes of its
    /// records are written again.
    pub numbering_plan: Option<NumberingPlan>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            thresholds: Thresholds::default(),
            max_record_bytes: CallRecord::DEFAULT_MAX_BYTES,
            numbering_plan: None,
        }
    }
}

impl StoreOptions {
    /// The numbering plan of an open store.
    #[cfg_attr(not(feature = "engine"), expect(dead_code, reason = "only an engine needs it"))]
    pub(crate) fn plan(&self) -> NumberingPlan {
        self.numbering_plan.unwrap_or_default()
    }
}
