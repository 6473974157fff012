//! The planner: which strategies find a page, in which order.

use crate::planning::Thresholds;

/// Records per record of a page up to which a filter is fetched and sorted at once.
const FETCHED_PER_RECORD: usize = 2;
/// Maximum number of records that are fetched and sorted.
pub(crate) const MAX_SORTED: usize = 5_000;

/// The properties of a list that the plan depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Any clause, or a range other than that of the sort.
    pub(crate) has_filter: bool,
    pub(crate) has_terms: bool,
    /// Columns answer all clauses: an ordered scan needs no lookup in the full-text index.
    pub(crate) has_columns_only: bool,
    pub(crate) is_in_time_order: bool,
}

/// A way to find a page. Each either fills the page or gives up within its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Scan the index of the sort.
    SortIndex,
    /// Sort the records of a range with at most `max_records`.
    NarrowRange { max_records: usize },
    /// Sort the records of terms or of a range, if there are at most `max_records`.
    FilterThenSort { max_records: usize },
    /// Scan the full-text index, which is in time order, for at most `row_budget` rows.
    OrderedTerms { row_budget: usize },
    /// Scan the index of the sort for at most `row_budget` rows.
    BoundedScan { row_budget: usize },
    /// Find the positions of the records in columns and indexes first. Never gives up.
    Positions,
}

impl Strategy {
    /// The strategies for a page of `wanted` records: cheap ones first, the last one never gives up.
    pub(crate) fn plan(shape: Shape, wanted: usize, thresholds: Thresholds) -> Vec<Self> {
        if !shape.has_filter {
            return vec![Self::SortIndex];
        }
        let very_few = FETCHED_PER_RECORD * wanted;
        let few = (thresholds.sorted_per_record * wanted).min(MAX_SORTED);
        let row_budget = thresholds.min_row_budget.max(thresholds.row_budget_per_record * wanted);
        let mut plan = if shape.has_terms && shape.is_in_time_order {
            vec![Self::NarrowRange { max_records: very_few }, Self::OrderedTerms { row_budget }]
        } else {
            vec![Self::FilterThenSort { max_records: very_few }]
        };
        if !(shape.has_terms && shape.is_in_time_order) && shape.has_columns_only {
            plan.push(Self::BoundedScan { row_budget });
        }
        plan.extend([Self::FilterThenSort { max_records: few }, Self::Positions]);
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(shape: Shape) -> Vec<String> {
        let plan = Strategy::plan(shape, 11, Thresholds::default());
        plan.iter().map(|strategy| format!("{strategy:?}")).collect()
    }

    #[test]
    fn the_plan_depends_on_the_shape_alone() {
        let all = Shape { has_filter: true, has_terms: true, has_columns_only: true, is_in_time_order: true };
        assert_eq!(names(Shape { has_filter: false, ..all }), ["SortIndex"]);
        let by_terms = [
            "NarrowRange { max_records: 22 }",
            "OrderedTerms { row_budget: 1000 }",
            "FilterThenSort { max_records: 1100 }",
            "Positions",
        ];
        assert_eq!(names(all), by_terms);
        let by_columns = [
            "FilterThenSort { max_records: 22 }",
            "BoundedScan { row_budget: 1000 }",
            "FilterThenSort { max_records: 1100 }",
            "Positions",
        ];
        assert_eq!(names(Shape { is_in_time_order: false, ..all }), by_columns);
        let without_scan = Shape { is_in_time_order: false, has_columns_only: false, ..all };
        assert_eq!(names(without_scan), [by_columns[0], by_columns[2], by_columns[3]]);
    }
}
