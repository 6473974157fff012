//! Metrics: from the columns, or from the rows of the filter.

use callhistory_model::{CallMetrics, GroupKey, MetricsQuery, Sort, WorkspaceId};
use rusqlite::{Connection, params_from_iter};

use super::{fulltext::new_statement, list::Listing};
use crate::{
    domain::{
        aggregate::MetricsRow,
        metrics_aggregator::{MetricsAggregator, metadata_of},
        options::StoreOptions,
        record_digest::RecordDigest,
    },
    error::StoreError,
    sqlite::columnar::{
        rebuild::{COLUMN_COUNT, COLUMNS},
        scan,
    },
};

pub(crate) fn get_call_metrics(
    db: &Connection,
    workspace: &WorkspaceId,
    query: &MetricsQuery,
    options: StoreOptions,
) -> Result<CallMetrics, StoreError> {
    let mut aggregator = MetricsAggregator::new(query);
    let listing = Listing::new(db, workspace, &query.filter, Sort::default(), options);
    let has_columns = !query.group_by.iter().any(|key| matches!(key, GroupKey::BatchId | GroupKey::Metadata(_)));
    if has_columns && listing.prefers_columns()? {
        scan::aggregate(db, workspace, &listing.filter, &mut aggregator)?;
        return aggregator.finish(&query.filter);
    }
    let needs_metadata = aggregator.needs_metadata();
    let body = if needs_metadata { ", c.id, c.digest, c.transcript_digest, c.body" } else { "" };
    let mut sql = new_statement();
    let (from, conditions) = listing.cheapest(&mut sql)?;
    let conditions = listing.position_clause(&mut sql, conditions, None);
    let text = format!("SELECT {COLUMNS}{body} FROM {from} WHERE {conditions}");
    let mut statement = db.prepare_cached(&text)?;
    let mut rows = statement.query(params_from_iter(sql.values))?;
    while let Some(row) = rows.next()? {
        if !needs_metadata {
            aggregator.add(&MetricsRow::read(row)?, "")?;
            continue;
        }
        let id = row.get_ref(COLUMN_COUNT)?.as_str().map_err(rusqlite::Error::from)?;
        let digest = RecordDigest { record: row.get(COLUMN_COUNT + 1)?, transcript: row.get(COLUMN_COUNT + 2)? };
        let body = row.get_ref(COLUMN_COUNT + 3)?.as_blob().map_err(rusqlite::Error::from)?;
        digest.verify_body(workspace.as_str(), id, body)?;
        aggregator.add(&MetricsRow::read(row)?, metadata_of(body)?)?;
    }
    aggregator.finish(&query.filter)
}
