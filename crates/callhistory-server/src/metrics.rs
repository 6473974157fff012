//! Numbers about many calls.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use callhistory_model::{CallMetrics, MetricsQuery, WorkspaceId};

use crate::{
    app::App,
    auth::{Caller, Reads},
    error::{ApiError, ScanProblems},
    extract::Parameters,
    parameters::MetricsParameters,
};

/// Count call records
///
/// Answers the numbers of the records that meet every condition of the list: exact counts and sums, never an estimate.
/// With `groupBy` there is a group for each combination that occurs, at most 10,000, with percentiles of the length and
/// with the query string that lists exactly its records; the groups add up to the whole. Hours, days, weeks and months
/// are those of the time zone, with 23 and 25 hours where its clocks change.
#[utoipa::path(
    get,
    path = "/v2/api/call-history/metrics",
    operation_id = "get_call_metrics",
    tag = "Numbers",
    params(
        ("x-workspace-id" = inline(WorkspaceId), Header, description = "The workspace, exactly once: 1 to 128 characters of `[A-Za-z0-9_-]`."),
        MetricsParameters,
    ),
    responses((status = 200, description = "The numbers.", body = CallMetrics), ScanProblems),
)]
pub(crate) async fn get_call_metrics(
    State(app): State<Arc<App>>,
    Caller { workspace, access, .. }: Caller<Reads>,
    Parameters(query): Parameters<MetricsQuery>,
) -> Result<Response, ApiError> {
    access.check_filter(&query.filter)?;
    let metrics = app.store.get_call_metrics(&workspace, &query).await?;
    let body = serde_json::to_vec(&metrics).map_err(|error| ApiError::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}
