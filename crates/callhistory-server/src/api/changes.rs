//! The change feed: by pages, by waiting, and as a stream.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use bytes::Bytes;
use callhistory_model::{CallChangePage, ChangesQuery, FieldError, FieldErrorCode, WorkspaceId};
use callhistory_store::{ChangeBatch, Permit, StoreError, StoredChange};
use futures_util::{Stream as Events, stream};
use tokio::time::{Instant, timeout_at};

use crate::{
    auth::{
        caller::{Caller, Reads},
        grant::Grant,
    },
    error::ApiError,
    http::extract::{EventStream, Parameters},
    openapi::responses::CursorProblems,
    state::AppState,
};

/// Interval of the comments that keep a stream alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// What is read ahead for a stream, in bytes, and in changes: a thousand readers that take nothing must not matter.
const READ_AHEAD_BYTES: usize = 16 * 1024;
const MAX_READ_AHEAD: usize = 100;
const FIRST_AHEAD: usize = 4;
/// How long a browser waits before it connects again.
const RECONNECT: Duration = Duration::from_secs(1);

/// List call changes
///
/// Returns the created, updated and deleted records in commit order without gaps: a reader that stores its `cursor` sees
/// every change at least once, under concurrent writes as well. A cursor expires only if the database was restored or
/// lost commits in a fail-over: the response is then 410 `cursor_expired`, and the reader starts again without a cursor,
/// because changes that it has seen can be undone. The event of the last change of a record contains the record; events
/// that a later one supersedes do not. `wait` makes the request a long poll. With `Accept: text/event-stream` the
/// changes are sent as server-sent events: `event` is the type, `data` the change as one line of JSON, and `id` the
/// cursor, which `Last-Event-ID` returns to resume. A comment every 15 seconds keeps the connection alive.
#[utoipa::path(
    get,
    path = "/v2/api/call-history/changes",
    operation_id = "list_call_changes",
    tag = "Changes",
    params(Caller<Reads>, Parameters<ChangesQuery>, EventStream),
    security((), ("apiKey" = ["calls:read"]), ("bearer" = ["calls:read"])),
    responses(
        (status = 200, description = "The changes, or with `Accept: text/event-stream` events with one `CallChange` each.",
            content((CallChangePage = "application/json"), ("text/event-stream"))),
        CursorProblems,
    ),
)]
pub(crate) async fn list_call_changes(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Reads>,
    stream: EventStream,
    Parameters(query): Parameters<ChangesQuery>,
) -> Result<Response, ApiError> {
    if stream.wanted {
        if query.wait.is_some() || query.limit.is_some() {
            let detail = "has no meaning for a stream of events, which waits by itself and has no pages";
            let name = if query.wait.is_some() { "wait" } else { "limit" };
            return Err(ApiError::invalid_parameters(vec![
                FieldError::new(FieldErrorCode::Conflict, detail).in_parameter(name),
            ]));
        }
        let cursor = stream.last_event.or(query.cursor);
        // A cursor that is none is refused before the stream begins.
        let first = app.store.list_call_changes(&workspace, cursor.as_deref(), FIRST_AHEAD).await?;
        let events = Sse::new(events(app, grant, workspace, first).await?);
        return Ok(events.keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response());
    }
    let limit = usize::from(query.limit.unwrap_or(ChangesQuery::DEFAULT_LIMIT));
    grant.charge_records(limit)?;
    let deadline = Instant::now() + Duration::from_secs(query.wait.unwrap_or(0).into());
    let mut batch = app.store.list_call_changes(&workspace, query.cursor.as_deref(), limit).await?;
    while batch.changes.is_empty() && wait(&app, &grant, &workspace, &batch.cursor, deadline).await? {
        let cursor = batch.cursor;
        batch = app.store.list_call_changes(&workspace, Some(&cursor), limit).await?;
    }
    let body = app.body_budget.keep(&workspace, page(&grant, &batch)?).await?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

/// Waits for a change; `false` at the deadline or when the service stops.
async fn wait(
    app: &AppState,
    grant: &Grant,
    workspace: &WorkspaceId,
    cursor: &str,
    deadline: Instant,
) -> Result<bool, StoreError> {
    let change = async {
        tokio::select! {
            changed = app.store.wait_for_change(workspace, cursor) => changed.map(|()| true),
            () = app.stop.cancelled() => Ok(false),
            () = grant.ended() => Ok(false),
        }
    };
    timeout_at(deadline, change).await.unwrap_or(Ok(false))
}

fn page(grant: &Grant, batch: &ChangeBatch) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::from(b"{\"changes\":[");
    for (at, change) in batch.changes.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        body.extend(json(grant, change)?);
    }
    body.extend(format!("],\"cursor\":\"{}\",\"hasMore\":{}}}", batch.cursor, batch.has_more).as_bytes());
    Ok(body)
}

/// One change as JSON, with the stored bytes of the record as they are. Ids, times and types need no escapes.
fn json(grant: &Grant, change: &StoredChange) -> Result<Vec<u8>, ApiError> {
    let StoredChange { kind, id, sequence, at, body, .. } = change;
    let mut json =
        format!("{{\"type\":\"{kind}\",\"_id\":\"{id}\",\"version\":{sequence},\"at\":\"{at}\"").into_bytes();
    if let Some(body) = body {
        json.extend_from_slice(b",\"call\":");
        json.extend_from_slice(&grant.redact(body.clone())?);
    }
    json.push(b'}');
    Ok(json)
}

/// The reader of an event stream: the changes that are buffered for it, and the cursor of the next ones.
struct Follower {
    app: Arc<AppState>,
    grant: Grant,
    workspace: WorkspaceId,
    changes: VecDeque<StoredChange>,
    cursor: String,
    /// How many changes are read next: those of large records one by one, because the reader may not read them.
    limit: usize,
    permit: Option<Permit>,
}

impl Follower {
    /// Buffers a batch, if there is memory for it in time.
    async fn buffer(&mut self, batch: ChangeBatch) -> Result<(), ApiError> {
        let bytes: usize = batch.changes.iter().map(|change| change.body.as_ref().map_or(0, Bytes::len)).sum();
        let average = (bytes / batch.changes.len().max(1)).max(1);
        self.limit = (READ_AHEAD_BYTES / average).clamp(1, MAX_READ_AHEAD);
        self.grant.throttle(|| batch.changes.len()).await;
        self.permit = None;
        self.permit = self.app.body_budget.reserve(&self.workspace, bytes).await?;
        (self.changes, self.cursor) = (batch.changes.into(), batch.cursor);
        Ok(())
    }

    /// Waits for the next change; `None` ends the stream, and the reader connects again.
    async fn next(&mut self) -> Option<Event> {
        while self.changes.is_empty() {
            tokio::select! {
                changed = self.app.store.wait_for_change(&self.workspace, &self.cursor) => changed.ok()?,
                () = self.app.stop.cancelled() => return None,
                // A reader whose key has expired connects again and gets the error then.
                () = self.grant.ended() => return None,
            }
            let batch = self.app.store.list_call_changes(&self.workspace, Some(&self.cursor), self.limit).await.ok()?;
            self.buffer(batch).await.ok()?;
        }
        let change = self.changes.pop_front()?;
        let data = String::from_utf8(json(&self.grant, &change).ok()?).ok()?;
        Some(Event::default().event(change.kind.as_str()).id(&change.cursor).data(data))
    }
}

/// The changes from a batch on, one event for each, until the service ends.
async fn events(
    app: Arc<AppState>,
    grant: Grant,
    workspace: WorkspaceId,
    first: ChangeBatch,
) -> Result<impl Events<Item = Result<Event, Infallible>>, ApiError> {
    // An ID at the start, so that a reader that is disconnected before the first change resumes here.
    let opening = Event::default().retry(RECONNECT).id(&first.start).comment("follows the changes");
    let (changes, cursor) = (VecDeque::new(), first.start.clone());
    let mut follower = Follower { app, grant, workspace, changes, cursor, limit: 1, permit: None };
    follower.buffer(first).await?;
    let rest = stream::unfold(follower, |mut follower| async move { Some((Ok(follower.next().await?), follower)) });
    Ok(stream::StreamExt::chain(stream::iter([Ok(opening)]), rest))
}
