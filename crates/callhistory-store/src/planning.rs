//! When the planner of the embedded engine changes its strategy.

/// Thresholds of the planner. The defaults are measured on a million records; tests choose small ones, which reach every
/// strategy on little data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Records per record of a page that are fetched and sorted if an ordered scan has not filled the page.
    pub sorted_per_record: usize,
    /// Rows that an ordered scan reads before it gives up, at least.
    pub min_row_budget: usize,
    /// The same for each record of a page.
    pub row_budget_per_record: usize,
    /// Positions of one clause that are kept in memory.
    pub max_positions: i64,
    /// Rows that a scan reads among records with equal sort keys.
    pub row_budget_among_ties: usize,
    /// Records with equal sort keys that are collected for a top-k.
    pub max_ties: usize,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            sorted_per_record: 100,
            min_row_budget: 1_000,
            row_budget_per_record: 20,
            // 16 MiB of them.
            max_positions: 2 << 20,
            row_budget_among_ties: 50_000,
            max_ties: 5_000,
        }
    }
}

impl Thresholds {
    /// Thresholds that reach every strategy on some hundred records.
    pub const SMALL: Self = Self {
        sorted_per_record: 5,
        min_row_budget: 20,
        row_budget_per_record: 2,
        max_positions: 60,
        row_budget_among_ties: 40,
        max_ties: 30,
    };
}
