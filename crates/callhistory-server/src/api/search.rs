//! Search: hits with the texts that match.

use std::sync::Arc;

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use callhistory_model::{SearchQuery, WorkspaceId, schema::CallSearchPage};
use serde::Serialize;

use super::list::{page_headers, push_call};
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

/// Search calls
///
/// Returns the calls in which every word of `q` occurs, each with its evidence: up to five texts that match, where they are, who
/// says them and when, and a snippet of at most 200 characters. See *Search*. It takes the filters of the list.
///
/// By relevance, the newest 200 matching calls (or fewer, if they have more than 4 MiB) are compared, and the best of them
/// returned; there is no further page. In the order of time, the headers `X-Next-Cursor` and `Link` lead through all matching calls,
/// as in the list, and `next` is the cursor too. The positions of `matches` count Unicode code points.
///
/// A key without the scope `phone-numbers:read` cannot search for digits (403), and finds no call by its phone numbers alone: a page
/// can then have fewer hits than `limit`, and `total` counts these calls too.
#[utoipa::path(
    get,
    path = "/v2/api/call-history/search",
    operation_id = "search_calls",
    tag = "Calls",
    params(Caller<Reads>, Parameters<SearchQuery>),
    security((), ("apiKey" = ["calls:read"]), ("bearer" = ["calls:read"])),
    extensions(("x-group-parameters" = json!(true))),
    responses(
        (status = 200, description = "The hits of the page.", body = CallSearchPage, headers(("Link"), ("X-Next-Cursor"))),
        CursorProblems,
    ),
)]
pub(crate) async fn search_calls(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Reads>,
    Parameters(query): Parameters<SearchQuery>,
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
    query: &SearchQuery,
) -> Result<(HeaderMap, Bytes), ApiError> {
    let page = app.store.search_calls(workspace, query, grant.sees_phone_numbers()).await?;
    let headers = page_headers(app, "/search", page.next.clone(), |cursor| query.clone().cursor(cursor).to_query())?;
    let mut body = br#"{"hits":["#.to_vec();
    for (at, hit) in page.hits.into_iter().enumerate() {
        body.extend_from_slice(if at > 0 { br#",{"call":"# } else { br#"{"call":"# });
        push_call(&mut body, grant, hit.call, &query.fields)?;
        push(&mut body, r#","evidence":"#, &hit.evidence)?;
        body.push(b'}');
    }
    body.push(b']');
    if let Some(cursor) = page.next {
        push(&mut body, r#","next":"#, &cursor)?;
    }
    if let Some(total) = page.total {
        push(&mut body, r#","total":"#, &total)?;
    }
    body.push(b'}');
    Ok((headers, body.into()))
}

/// Appends a member of the body.
fn push(body: &mut Vec<u8>, name: &str, value: &impl Serialize) -> Result<(), ApiError> {
    body.extend_from_slice(name.as_bytes());
    serde_json::to_writer(body, value).map_err(|error| ApiError::internal(&error))
}
