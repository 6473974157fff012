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
    http::extract::Parameters,
    openapi::responses::CursorProblems,
    state::AppState,
};

const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");
const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");

/// List calls
///
/// Returns the call records that match all filters, newest first: by `startTime`, or by `createdAt` for records without it,
/// then by `_id`. The header `X-Next-Cursor` is the `cursor` of the next page, and `Link` with `rel="next"` is its URL: absolute if the
/// server has a `public_url`, and otherwise the query alone (`<?cursor=…>`), to append to the URL of the request without its
/// query. Both are absent on the last page.
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
        (status = 200, description = "The records of the page.", body = CallList, headers(("Link"), ("X-Next-Cursor"), ("X-Total-Count"))),
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
    let mut headers = page_headers(app, "", page.next, |cursor| {
        let mut next = query.clone().cursor(cursor);
        next.page = None;
        next.to_query()
    })?;
    if let Some(total) = page.total {
        headers.insert(TOTAL_COUNT, total.into());
    }
    if query.fields.is_empty() && grant.sees_phone_numbers() {
        return Ok((headers, page.calls.json()));
    }
    let mut body = vec![b'['];
    for (at, call) in page.calls.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        push_call(&mut body, grant, Bytes::copy_from_slice(call), &query.fields)?;
    }
    body.push(b']');
    Ok((headers, body.into()))
}

/// The headers of a page of the calls, or of what is at a path below them. The function makes the query of the next page from its
/// cursor.
pub(super) fn page_headers(
    app: &AppState,
    path: &str,
    next: Option<String>,
    query: impl FnOnce(String) -> String,
) -> Result<HeaderMap, ApiError> {
    let internal = |error| ApiError::internal(&error);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let Some(cursor) = next else { return Ok(headers) };
    headers.insert(NEXT_CURSOR, HeaderValue::try_from(cursor.as_str()).map_err(internal)?);
    // Without a public URL, the query alone: it is relative to the request, so that it holds behind a proxy under any path, and a
    // client that does not resolve references appends it.
    let base = app.public_url.as_ref().map_or_else(String::new, |url| format!("{}{path}", url.calls()));
    let link = HeaderValue::try_from(format!("<{base}?{}>; rel=\"next\"", query(cursor)));
    headers.insert(header::LINK, link.map_err(internal)?);
    Ok(headers)
}

/// Adds what the caller sees of a record: the selected members, or all.
pub(super) fn push_call(body: &mut Vec<u8>, grant: &Grant, call: Bytes, fields: &[String]) -> Result<(), ApiError> {
    let call = grant.redact(call)?;
    if fields.is_empty() {
        body.extend_from_slice(&call);
    } else {
        let selected = CallRecord::project(&call, fields).map_err(|error| ApiError::internal(&error))?;
        body.extend_from_slice(selected.as_bytes());
    }
    Ok(())
}
