//! The numbers of many calls: counted by PostgreSQL where it can, row by row where a time zone or a body decides.

use callhistory_model::{CallMetrics, GroupKey, MetricsQuery, Sort, WorkspaceId};
use futures_util::{TryStreamExt as _, pin_mut};
use tokio_postgres::Client;

use super::{
    failure::Failure,
    read::{Listing, parameters, passes},
};
use crate::{
    StoreError,
    filter::Sql,
    metrics::{self, Counted, Totals},
};

pub(super) async fn call_metrics(
    db: &Client,
    workspace: &WorkspaceId,
    query: &MetricsQuery,
) -> Result<CallMetrics, Failure> {
    let mut totals = Totals::new(&query.group_by, query.time_zone.as_deref())?;
    let listing = Listing::new(workspace, &query.filter, Sort::default());
    let in_time = [GroupKey::Hour, GroupKey::Day, GroupKey::Week, GroupKey::Month];
    // Where no row has to be looked at, the database counts: those that are alike come as one.
    let counts = listing.bodies.is_empty() && !in_time.iter().any(|key| query.group_by.contains(key));
    let (text, sql) = statement(&listing, &query.group_by, counts);
    let rows = db.query_typed_raw(&text, parameters(&sql)).await?;
    pin_mut!(rows);
    while let Some(row) = rows.try_next().await? {
        let mut read = metrics::Row {
            sort_time: 0,
            duration: row.try_get(5)?,
            cost: None,
            status: row.try_get(0)?,
            agent_id: row.try_get(1)?,
            call_flow_id: row.try_get(2)?,
            direction: row.try_get(3)?,
            call_type: row.try_get(4)?,
        };
        if counts {
            let sum = |at: usize| -> Result<i128, Failure> {
                let unsound = |_| StoreError::Internal("a sum is no number".to_owned());
                Ok(row.try_get::<_, &str>(at)?.parse().map_err(unsound)?)
            };
            let count = |at: usize| Ok::<_, Failure>(row.try_get::<_, i64>(at)?.unsigned_abs());
            let counted = Counted { calls: count(6)?, timed: count(7)?, duration: sum(8)?, cost: sum(9)? };
            totals.add_counted(&read, &counted)?;
        } else if listing.bodies.is_empty() || passes(&listing.bodies, row.try_get(8)?) {
            (read.sort_time, read.cost) = (row.try_get(6)?, row.try_get(7)?);
            totals.add(&read)?;
        }
    }
    Ok(totals.finish(&query.filter)?)
}

/// What the numbers are made of: first what rows are grouped by, then sums or the row's own values.
fn statement(listing: &Listing<'_>, group_by: &[GroupKey], counts: bool) -> (String, Sql) {
    let by = |key: &GroupKey| group_by.contains(key);
    let column = |wanted: bool, name: &str| if wanted { format!("c.{name}") } else { "NULL::text".to_owned() };
    let texts = [
        column(true, "status"),
        column(by(&GroupKey::AgentId), "agent_id"),
        // The one column that the index by time has not.
        column(by(&GroupKey::CallFlowId), "call_flow_id"),
        column(by(&GroupKey::Direction), "direction"),
        column(by(&GroupKey::CallType), "call_type"),
    ]
    .join(", ");
    // Groups have percentiles, for which each length counts.
    let duration = if counts && group_by.is_empty() { "NULL::bigint" } else { "c.duration" };
    if counts {
        let columns = format!(
            "{texts}, {duration}, count(*), count(c.duration), coalesce(sum(c.duration), 0)::text,
             coalesce(sum(c.cost), 0)::text"
        );
        let (text, sql) = listing.rows(&columns);
        (format!("{text} GROUP BY 1, 2, 3, 4, 5, 6"), sql)
    } else {
        listing.rows(&format!("{texts}, {duration}, c.sort_time, c.cost"))
    }
}
