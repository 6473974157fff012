//! Metrics of many calls.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use callhistory_model::{CallMetrics, MetricsQuery};

use crate::{
    auth::caller::{Caller, Reads},
    error::ApiError,
    http::extract::Parameters,
    openapi::responses::ScanProblems,
    state::AppState,
};

/// Get call metrics
///
/// Returns exact counts, sums and percentiles of the records that match the filters of the list, never an estimate. With
/// `groupBy` there is one group for each combination of values that occurs, at most 10,000, each with a query string that
/// lists its records; the groups add up to the total. Hours, days, weeks and months are those of the time zone, including
/// days of 23 and 25 hours.
#[utoipa::path(
    get,
    path = "/v2/api/call-history/metrics",
    operation_id = "get_call_metrics",
    tag = "Metrics",
    params(Caller<Reads>, Parameters<MetricsQuery>),
    security((), ("apiKey" = ["calls:read"]), ("bearer" = ["calls:read"])),
    extensions(("x-group-parameters" = json!(true))),
    responses((status = 200, description = "The metrics.", body = CallMetrics), ScanProblems),
)]
pub(crate) async fn get_call_metrics(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Reads>,
    Parameters(query): Parameters<MetricsQuery>,
) -> Result<Response, ApiError> {
    grant.check_filter(&query.filter)?;
    let metrics = app.store.get_call_metrics(&workspace, &query).await?;
    let metrics = if grant.sees_phone_numbers() { metrics } else { metrics.without_callers() };
    let body = serde_json::to_vec(&metrics).map_err(|error| ApiError::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}
