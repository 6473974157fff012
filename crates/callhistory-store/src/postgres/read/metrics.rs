//! Metrics: aggregated by PostgreSQL, or row by row for groups and for tests of bodies.

use callhistory_model::{CallMetrics, GroupKey, MetricsQuery, Sort, WorkspaceId};
use futures_util::{TryStreamExt as _, pin_mut};
use tokio_postgres::Client;

use super::{
    get::record_bytes,
    list::{PgListing, parameters, passes},
};
use crate::{
    domain::{
        aggregate::{Aggregate, MetricsAggregator, MetricsRow},
        phone_number::NumberingPlan,
    },
    error::StoreError,
    postgres::error::PgError,
};

pub(crate) async fn get_call_metrics(
    db: &Client,
    workspace: &WorkspaceId,
    query: &MetricsQuery,
    plan: NumberingPlan,
) -> Result<CallMetrics, PgError> {
    let mut aggregator = MetricsAggregator::new(&query.group_by, query.filter.time_zone.unwrap_or_default());
    let listing = PgListing::new(workspace, &query.filter, Sort::default(), plan);
    if query.group_by.is_empty() && listing.bodies.is_empty() {
        count(db, &listing, &mut aggregator).await?;
    } else {
        add_rows(db, &listing, query, &mut aggregator).await?;
    }
    Ok(aggregator.finish(&query.filter)?)
}

/// The totals, without reading rows.
async fn count(db: &Client, listing: &PgListing<'_>, aggregator: &mut MetricsAggregator) -> Result<(), PgError> {
    let columns = "c.status, count(*), count(c.duration), coalesce(sum(c.duration), 0)::text,
         coalesce(sum(c.cost), 0)::text";
    let (text, sql) = listing.rows(columns);
    for row in db.query_typed(&format!("{text} GROUP BY 1"), &parameters(&sql)).await? {
        let sum = |at: usize| -> Result<i128, PgError> {
            let corrupt = |_| StoreError::Internal("a sum is not a number".to_owned());
            Ok(row.try_get::<_, &str>(at)?.parse().map_err(corrupt)?)
        };
        let (status, calls): (Option<&str>, i64) = (row.try_get(0)?, row.try_get(1)?);
        let of_status = |name| if status == Some(name) { calls.unsigned_abs() } else { 0 };
        aggregator.add_aggregate(&Aggregate {
            calls: calls.unsigned_abs(),
            completed: of_status("completed"),
            failed: of_status("failed"),
            timed: row.try_get::<_, i64>(2)?.unsigned_abs(),
            duration: sum(3)?,
            cost: sum(4)?,
            ..Aggregate::default()
        });
    }
    Ok(())
}

/// Groups need percentiles and buckets of time zones, which the database computes slower than it sends the rows.
async fn add_rows(
    db: &Client,
    listing: &PgListing<'_>,
    query: &MetricsQuery,
    aggregator: &mut MetricsAggregator,
) -> Result<(), PgError> {
    // The only column that the index by time does not cover.
    let flow = query.group_by.contains(&GroupKey::CallFlowId);
    let flow = if flow { "c.call_flow_id" } else { "NULL::text" };
    let (text, sql) = listing
        .rows(&format!("c.sort_time, c.duration, c.cost, c.status, c.agent_id, {flow}, c.direction, c.call_type"));
    let rows = db.query_typed_raw(&text, parameters(&sql)).await?;
    pin_mut!(rows);
    while let Some(row) = rows.try_next().await? {
        if !listing.bodies.is_empty() && !passes(&listing.bodies, record_bytes(&row, 8)?) {
            continue;
        }
        aggregator.add(&MetricsRow {
            sort_time: row.try_get(0)?,
            duration: row.try_get(1)?,
            cost: row.try_get(2)?,
            status: row.try_get(3)?,
            agent_id: row.try_get(4)?,
            call_flow_id: row.try_get(5)?,
            direction: row.try_get(6)?,
            call_type: row.try_get(7)?,
        })?;
    }
    Ok(())
}
