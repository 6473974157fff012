//! Metrics: from the columns, or from the rows of the filter.

use callhistory_model::{CallMetrics, MetricsQuery, Sort, WorkspaceId};
use rusqlite::{Connection, params_from_iter};

use super::{fulltext::new_statement, list::Listing};
use crate::{
    domain::{
        aggregate::{MetricsAggregator, MetricsRow},
        options::StoreOptions,
    },
    error::StoreError,
    sqlite::columnar::{rebuild, scan},
};

pub(crate) fn get_call_metrics(
    db: &Connection,
    workspace: &WorkspaceId,
    query: &MetricsQuery,
    options: StoreOptions,
) -> Result<CallMetrics, StoreError> {
    let mut aggregator = MetricsAggregator::new(&query.group_by, query.filter.time_zone.unwrap_or_default());
    let listing = Listing::new(db, workspace, &query.filter, Sort::default(), options);
    if listing.prefers_columns()? {
        scan::aggregate(db, workspace, &listing.filter, &mut aggregator)?;
        return aggregator.finish(&query.filter);
    }
    let mut sql = new_statement();
    let (from, conditions) = listing.cheapest(&mut sql)?;
    let conditions = listing.position_clause(&mut sql, conditions, None);
    let text = format!("SELECT {} FROM {from} WHERE {conditions}", rebuild::COLUMNS);
    let mut statement = db.prepare_cached(&text)?;
    let mut rows = statement.query(params_from_iter(sql.values))?;
    while let Some(row) = rows.next()? {
        aggregator.add(&MetricsRow::read(row)?)?;
    }
    aggregator.finish(&query.filter)
}
