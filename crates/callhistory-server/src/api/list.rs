//! Lists of call records.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use callhistory_model::{CallRecord, ListQuery, WorkspaceId, schema::CallList};

use crate::{
    auth::{
        caller::{Caller, Reads},
        grant::Grant,
    },
    error::ApiError,
    http::{extract::Parameters, public_url::PublicUrl},
    openapi::responses::CursorProblems,
    state::AppState,
};

const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// List calls
///
/// Returns the call records that match all filters, newest first: by `startTime`, or by `createdAt` for records without it,
/// then by `_id`. The header `Link` with `rel="next"` is the URL of the next page, and is absent on the last one: an absolute
/// URL if the server has a `public_url`, and otherwise the query alone (`<?cursor=…>`), to append to the URL of the request
/// without its query.
/// Pagination is stable under concurrent writes: no record is skipped or repeated while its value of the sort key stays the
/// same. A page has at most 1000 records and ends early beyond 4 MiB; an empty workspace returns `[]`. Unknown, repeated
/// and conflicting parameters are rejected by name.
#[utoipa::path(
    get,
    path = "/v2/api/call-history",
    operation_id = "list_calls",
    tag = "Calls",
    params(Caller<Reads>, Parameters<ListQuery>),
    security((), ("apiKey" = ["calls:read"]), ("bearer" = ["calls:read"])),
    extensions(("x-group-parameters" = json!(true))),
    responses(
        (status = 200, description = "The records of the page.", body = CallList, headers(("Link"), ("X-Total-Count"))),
        CursorProblems,
    ),
)]
pub(crate) async fn list_calls(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Reads>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, ApiError> {
    grant.check_filter(&query.filter)?;
    grant.charge_records(query.page_size())?;
    let read = || read_page(&app, &workspace, &grant, &query);
    Ok(app.body_budget.send((&workspace, query.page_size()), None, read).await?.into_response())
}

/// The headers and the body of a page.
async fn read_page(
    app: &AppState,
    workspace: &WorkspaceId,
    grant: &Grant,
    query: &ListQuery,
) -> Result<(HeaderMap, Bytes), ApiError> {
    let page = app.store.list_calls(workspace, query).await?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(total) = page.total {
        headers.insert(TOTAL_COUNT, total.into());
    }
    if let Some(cursor) = page.next {
        let mut next = query.clone().cursor(cursor);
        next.page = None;
        // Without a public URL, the query alone: it is relative to the request, so that it holds behind a proxy under any path, and a
        // client that does not resolve references appends it.
        let base = app.public_url.as_ref().map_or("", PublicUrl::calls);
        let link = HeaderValue::try_from(format!("<{base}?{}>; rel=\"next\"", next.to_query()));
        headers.insert(header::LINK, link.map_err(|error| ApiError::internal(&error))?);
    }
    if query.fields.is_empty() && grant.sees_phone_numbers() {
        return Ok((headers, page.calls.json()));
    }
    let mut body = vec![b'['];
    for (at, call) in page.calls.iter().enumerate() {
        let call = grant.redact(Bytes::copy_from_slice(call))?;
        if at > 0 {
            body.push(b',');
        }
        if query.fields.is_empty() {
            body.extend_from_slice(&call);
        } else {
            let fields = CallRecord::project(&call, &query.fields).map_err(|error| ApiError::internal(&error))?;
            body.extend_from_slice(fields.as_bytes());
        }
    }
    body.push(b']');
    Ok((headers, body.into()))
}
