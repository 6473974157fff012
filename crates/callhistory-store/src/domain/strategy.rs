//! The planner: which strategies find a page, in which order.

/// When the planner changes its strategy. The defaults are measured on a million records; tests choose small ones, which reach
/// every strategy on little data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Records per record of a page that are fetched and sorted if an ordered scan has not filled the page.
    pub sorted_per_record: usize,
    /// Maximum number of records that are fetched and sorted.
    pub max_sorted: usize,
    /// Rows that an ordered scan reads before it gives up, at least.
    pub min_row_budget: usize,
    /// The same for each record of a page.
    pub row_budget_per_record: usize,
    /// Rows that the second, longer scan of PostgreSQL reads before it gives up.
    pub long_row_budget: usize,
    /// Positions of one clause that are kept in memory.
    pub max_positions: usize,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            sorted_per_record: 100,
            max_sorted: 5_000,
            min_row_budget: 1_000,
            row_budget_per_record: 20,
            long_row_budget: 50_000,
            // 16 MiB of them.
            max_positions: 2 << 20,
        }
    }
}

impl Thresholds {
    /// Thresholds that reach every strategy on some hundred records.
    pub const SMALL: Self = Self {
        sorted_per_record: 5,
        max_sorted: 40,
        min_row_budget: 20,
        row_budget_per_record: 2,
        long_row_budget: 40,
        max_positions: 60,
    };
}

/// Records per record of a page up to which a filter is fetched and sorted before anything else is tried.
#[cfg(feature = "sqlite")]
const FETCHED_PER_RECORD: usize = 2;

/// Rows that an ordered scan reads before it gives up, at most: a deep page would have a budget of millions.
#[cfg(feature = "sqlite")]
const MAX_ROW_BUDGET: usize = 200_000;

/// The properties of a list that the plan depends on.
#[cfg(feature = "sqlite")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListShape {
    /// Any clause, or a range other than that of the sort.
    pub(crate) has_filter: bool,
    pub(crate) has_terms: bool,
    /// Columns of the record answer all clauses: an ordered scan needs no lookup in the full-text index.
    pub(crate) has_columns_only: bool,
    pub(crate) is_in_time_order: bool,
}

/// A way to find a page. Each either fills the page or gives up within its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Scan the index of the sort. Never gives up.
    SortIndex,
    /// Scan the index of the sort for at most `row_budget` rows.
    BoundedScan { row_budget: usize },
    /// Sort the records of the filter, if there are at most `max_records`.
    FilterThenSort { max_records: usize },
    /// Sort the records of a range other than that of the sort, if there are at most `max_records`.
    #[cfg(feature = "sqlite")]
    NarrowRange { max_records: usize },
    /// Scan the full-text index, which is in time order, for at most `row_budget` rows.
    #[cfg(feature = "sqlite")]
    OrderedTerms { row_budget: usize },
    /// Intersect the positions that indexes give for terms and ranges, if one of them has at most `max_positions`.
    #[cfg(feature = "sqlite")]
    PositionSet { max_positions: usize },
}

impl Strategy {
    /// The strategies of the embedded engine for a page of `wanted` records: cheap ones first, the last one never gives up.
    #[cfg(feature = "sqlite")]
    pub(crate) fn sqlite_plan(shape: ListShape, wanted: usize, thresholds: Thresholds) -> Vec<Self> {
        if !shape.has_filter {
            return vec![Self::SortIndex];
        }
        let very_few = FETCHED_PER_RECORD * wanted;
        let few = (thresholds.sorted_per_record * wanted).min(thresholds.max_sorted);
        let row_budget = thresholds.row_budget_per_record * wanted;
        let row_budget = row_budget.min(MAX_ROW_BUDGET + wanted).max(thresholds.min_row_budget);
        let by_terms = shape.has_terms && shape.is_in_time_order;
        let mut plan = if by_terms {
            // A deep page scans the terms rather than sort many records of a range.
            let max_records = very_few.min(4 * thresholds.max_sorted);
            vec![Self::NarrowRange { max_records }, Self::OrderedTerms { row_budget }]
        } else {
            vec![Self::FilterThenSort { max_records: very_few }]
        };
        if !by_terms && shape.has_columns_only {
            plan.push(Self::BoundedScan { row_budget });
        }
        plan.push(Self::FilterThenSort { max_records: few });
        plan.push(Self::PositionSet { max_positions: thresholds.max_positions });
        plan.push(if by_terms { Self::OrderedTerms { row_budget: usize::MAX } } else { Self::SortIndex });
        plan
    }

    /// The same for the next part of an export: a part reads at most `max_sorted` rows of earlier ones again.
    #[cfg(feature = "sqlite")]
    pub(crate) fn sqlite_export_plan(shape: ListShape, wanted: usize, thresholds: Thresholds) -> Vec<Self> {
        let max_records = thresholds.max_sorted;
        if shape.has_filter && !shape.is_in_time_order {
            return vec![Self::FilterThenSort { max_records }, Self::SortIndex];
        }
        if shape.has_terms {
            return vec![Self::NarrowRange { max_records }, Self::OrderedTerms { row_budget: usize::MAX }];
        }
        Self::sqlite_plan(shape, wanted, thresholds)
    }

    /// The strategies of PostgreSQL. Its own planner chooses the indexes of a filter; cheap attempts come first, so its
    /// statistics need not be accurate.
    #[cfg(feature = "postgres")]
    pub(crate) fn postgres_plan(has_filter: bool, wanted: usize, thresholds: Thresholds) -> Vec<Self> {
        if !has_filter {
            return vec![Self::SortIndex];
        }
        vec![
            Self::BoundedScan { row_budget: thresholds.min_row_budget.max(2 * wanted) },
            // A round trip costs as much as sorting some thousand records.
            Self::FilterThenSort { max_records: (4 * thresholds.max_sorted).max(wanted) },
            Self::BoundedScan { row_budget: thresholds.long_row_budget },
            Self::FilterThenSort { max_records: usize::MAX },
        ]
    }

    /// The name of the strategy in logs and tests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SortIndex => "sort_index",
            Self::BoundedScan { .. } => "bounded_scan",
            Self::FilterThenSort { .. } => "filter_then_sort",
            #[cfg(feature = "sqlite")]
            Self::NarrowRange { .. } => "narrow_range",
            #[cfg(feature = "sqlite")]
            Self::OrderedTerms { .. } => "ordered_terms",
            #[cfg(feature = "sqlite")]
            Self::PositionSet { .. } => "position_set",
        }
    }
}

#[cfg(all(test, feature = "sqlite", feature = "postgres"))]
mod tests {
    use super::*;

    fn names(plan: &[Strategy]) -> String {
        plan.iter().map(|strategy| strategy.name()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_plan_depends_on_the_shape_and_the_thresholds_alone() {
        let shape = ListShape { has_filter: true, has_terms: true, has_columns_only: true, is_in_time_order: true };
        let plan = |shape| names(&Strategy::sqlite_plan(shape, 11, Thresholds::default()));
        assert_eq!(plan(ListShape { has_filter: false, ..shape }), "sort_index");
        let by_terms = "narrow_range ordered_terms filter_then_sort position_set ordered_terms";
        assert_eq!(plan(shape), by_terms);
        let by_cost = ListShape { is_in_time_order: false, ..shape };
        assert_eq!(plan(by_cost), "filter_then_sort bounded_scan filter_then_sort position_set sort_index");
        let by_words = ListShape { has_columns_only: false, ..by_cost };
        assert_eq!(plan(by_words), "filter_then_sort filter_then_sort position_set sort_index");
        let export = Strategy::sqlite_export_plan(shape, 11, Thresholds::default());
        assert_eq!(names(&export), "narrow_range ordered_terms");

        let plan = Strategy::sqlite_plan(shape, 11, Thresholds::default());
        assert_eq!(
            plan[1..3],
            [Strategy::OrderedTerms { row_budget: 1_000 }, Strategy::FilterThenSort { max_records: 1_100 }]
        );

        assert_eq!(names(&Strategy::postgres_plan(false, 11, Thresholds::default())), "sort_index");
        let filtered = Strategy::postgres_plan(true, 11, Thresholds::SMALL);
        assert_eq!(names(&filtered), "bounded_scan filter_then_sort bounded_scan filter_then_sort");
        assert_eq!(filtered[1], Strategy::FilterThenSort { max_records: 160 });
    }
}
