//! Metrics: aggregated by PostgreSQL, or row by row for groups and for tests of bodies.

use callhistory_model::{CallMetrics, GroupKey, MetricsQuery, Sort, WorkspaceId};
use futures_util::{TryStreamExt as _, pin_mut};
use tokio_postgres::Client;

use super::{
    get::record_digest,
    list::{PgListing, parameters},
};
use crate::{
    domain::{
        aggregate::{Aggregate, KnownSum, MetricsRow, outcome_index, outcome_of},
        metrics_aggregator::{MetricsAggregator, metadata_of},
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
    let mut aggregator = MetricsAggregator::new(query);
    let listing = PgListing::new(workspace, &query.filter, Sort::default(), plan);
    if query.group_by.is_empty() && listing.bodies.is_empty() {
        count(db, &listing, &mut aggregator).await?;
    } else {
        add_rows(db, (workspace, &listing), query, &mut aggregator).await?;
    }
    Ok(aggregator.finish(&query.filter)?)
}

/// The totals, without reading rows. One statement, so that both of its parts see the same records.
async fn count(db: &Client, listing: &PgListing<'_>, aggregator: &mut MetricsAggregator) -> Result<(), PgError> {
    let columns =
        "c.status, c.is_answered, c.currency, count(*), count(c.duration), coalesce(sum(c.duration), 0)::text,
         count(c.talk_time), coalesce(sum(c.talk_time), 0)::text, sum(c.cost)::text, NULL::bigint";
    let (text, sql) = listing.rows(columns);
    let (callers, _) = listing.rows("DISTINCT c.caller");
    let text = format!(
        "{text} GROUP BY 1, 2, 3
         UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, caller FROM ({callers}) f"
    );
    let rows = db.query_typed_raw(&text, parameters(&sql)).await?;
    pin_mut!(rows);
    let mut callers = Vec::new();
    while let Some(row) = rows.try_next().await? {
        let number = |at: usize| row.try_get::<_, i64>(at).map(i64::unsigned_abs);
        let sum = |at: usize| -> Result<i128, PgError> {
            let corrupt = |_| StoreError::Internal("a sum is not a number".to_owned());
            Ok(row.try_get::<_, &str>(at)?.parse().map_err(corrupt)?)
        };
        let Some(is_answered) = row.try_get::<_, Option<bool>>(1)? else {
            callers.extend(row.try_get::<_, Option<i64>>(9)?);
            continue;
        };
        let mut sums = Aggregate {
            calls: number(3)?,
            duration: KnownSum { count: number(4)?, sum: sum(5)? },
            talk_time: KnownSum { count: number(6)?, sum: sum(7)? },
            ..Aggregate::default()
        };
        sums.answered = if is_answered { sums.calls } else { 0 };
        sums.outcomes[outcome_index(outcome_of(row.try_get(0)?))] = sums.calls;
        if row.try_get::<_, Option<&str>>(8)?.is_some() {
            sums.add_cost(aggregator.currency(row.try_get(2)?), sum(8)?);
        }
        aggregator.add_aggregate(&sums);
    }
    aggregator.add_callers(&callers);
    Ok(())
}

/// Groups need percentiles and buckets of time zones, which the database computes slower than it sends the rows.
async fn add_rows(
    db: &Client,
    (workspace, listing): (&WorkspaceId, &PgListing<'_>),
    query: &MetricsQuery,
    aggregator: &mut MetricsAggregator,
) -> Result<(), PgError> {
    // The columns that the index by time does not cover.
    let column = |key, name| if query.group_by.contains(&key) { name } else { "NULL::text" };
    let (flow, batch) = (column(GroupKey::CallFlowId, "c.call_flow_id"), column(GroupKey::BatchId, "c.batch_id"));
    let needs_metadata = aggregator.needs_metadata();
    let body = if needs_metadata { ", c.id, c.digest, c.transcript_digest, c.body" } else { "" };
    let (text, sql) = listing.rows(&format!(
        "c.sort_time, c.duration, c.cost, c.status, c.agent_id, {flow}, c.direction, c.call_type, c.talk_time, c.caller,
         c.is_answered, c.currency, {batch}{body}"
    ));
    let own_columns = if needs_metadata { 17 } else { 13 };
    let rows = db.query_typed_raw(&text, parameters(&sql)).await?;
    pin_mut!(rows);
    while let Some(row) = rows.try_next().await? {
        if !listing.passes(&row, own_columns)? {
            continue;
        }
        let metadata = if needs_metadata {
            let body: &[u8] = row.try_get(16)?;
            record_digest(&row, 14)?.verify_body(workspace.as_str(), row.try_get(13)?, body)?;
            metadata_of(body)?
        } else {
            ""
        };
        let status: Option<&str> = row.try_get(3)?;
        let values = MetricsRow {
            sort_time: row.try_get(0)?,
            duration: row.try_get(1)?,
            cost: row.try_get(2)?,
            outcome: outcome_of(status),
            status,
            agent_id: row.try_get(4)?,
            call_flow_id: row.try_get(5)?,
            direction: row.try_get(6)?,
            call_type: row.try_get(7)?,
            talk_time: row.try_get(8)?,
            caller: row.try_get(9)?,
            is_answered: row.try_get(10)?,
            currency: row.try_get(11)?,
            batch_id: row.try_get(12)?,
        };
        aggregator.add(&values, metadata)?;
    }
    Ok(())
}
