//! The change feed: by pages, by waiting, and as a stream.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use callhistory_model::{CallChangePage, ChangeType, ChangesQuery, FieldError, FieldErrorCode, WorkspaceId};
use callhistory_store::{ChangeBatch, StoredChange};
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    auth::{
        caller::{Caller, Reads},
        grant::Grant,
    },
    error::ApiError,
    followers::{FollowerPermit, Position, SharedBatch},
    http::extract::{EventStream, Parameters, TagScope},
    openapi::responses::CursorProblems,
    state::AppState,
};

/// Interval of the comments that keep a stream alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// What is read first for a stream, in changes: a thousand readers that take nothing must not matter.
const FIRST_AHEAD: usize = 4;
/// How long a browser waits before it connects again.
const RECONNECT: Duration = Duration::from_secs(1);

/// List call changes
///
/// Returns the created, updated and deleted records in commit order without gaps: a reader that stores its `cursor` sees
/// every change at least once, under concurrent writes as well. A cursor expires only if the database was restored or
/// lost commits in a fail-over: the response is then 410 `cursor_expired`, and the reader starts again without a cursor,
/// because changes that it has seen can be undone. The event of the last change of a record contains the record; events
/// that a later one supersedes do not. `wait` makes the request a long poll. With `Accept: text/event-stream`, and not
/// also `application/json`, the changes are sent as server-sent events: `event` is the type, `data` the change as one line of JSON, and `id` the
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
        let permit = app.followers.admit(&workspace, grant.key_id())?;
        let first = app.store.list_call_changes(&workspace, cursor.as_deref(), FIRST_AHEAD).await?;
        return stream_events(app, grant, workspace, first, permit).await;
    }
    let limit = usize::from(query.limit.unwrap_or(ChangesQuery::DEFAULT_LIMIT));
    grant.charge_records(limit)?;
    let scope = TagScope::of(&app, &workspace, &grant);
    let deadline = Instant::now() + Duration::from_secs(query.wait.unwrap_or(0).into());
    let read = |cursor: Option<String>| {
        let (app, workspace, grant, scope) = (&app, &workspace, &grant, &scope);
        async move {
            let batch = app.store.list_call_changes(workspace, cursor.as_deref(), limit).await?;
            Ok::<_, ApiError>((page(grant, scope, &batch)?, batch))
        }
    };
    let (mut body, ChangeBatch { mut start, cursor, changes, .. }) = read(query.cursor.clone()).await?;
    let is_empty = changes.is_empty();
    drop(changes);
    if is_empty && query.wait.is_some_and(|seconds| seconds > 0) {
        let position = Position { workspace: workspace.clone(), cursor, limit };
        if let Some(read) = wait(&app, &grant, position, deadline).await? {
            (body, start) = (page(&grant, &scope, &read.batch)?, read.batch.start.clone());
        }
    }
    let again = || async { Ok(((), read(Some(start.clone())).await?.0)) };
    let ((), body) = app.body_budget.send((&workspace, limit), Some(((), body)), again).await?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

/// Waits for a change after the end of the feed; `None` at the deadline, or when the service stops or the key ends.
async fn wait(
    app: &AppState,
    grant: &Grant,
    position: Position,
    deadline: Instant,
) -> Result<Option<Arc<SharedBatch>>, ApiError> {
    let _permit = app.followers.admit(&position.workspace, grant.key_id())?;
    let change = async {
        tokio::select! {
            read = app.followers.next(&*app.store, &app.body_budget, &position) => read.map(Some),
            () = app.stop.cancelled() => Ok(None),
            () = grant.ended() => Ok(None),
        }
    };
    timeout_at(deadline, change).await.unwrap_or(Ok(None))
}

fn page(grant: &Grant, scope: &TagScope, batch: &ChangeBatch) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::from(b"{\"changes\":[");
    for (at, change) in batch.changes.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        write_change(&mut body, grant, scope, change)?;
    }
    body.extend(format!("],\"cursor\":\"{}\",\"hasMore\":{}}}", batch.cursor, batch.has_more).as_bytes());
    Ok(body)
}

/// Adds one change as JSON, with the stored bytes of the record as they are. Ids, times and types need no escapes.
fn write_change(json: &mut Vec<u8>, grant: &Grant, scope: &TagScope, change: &StoredChange) -> Result<(), ApiError> {
    let StoredChange { kind, id, sequence, at, body, .. } = change;
    let start = format!("{{\"type\":\"{kind}\",\"_id\":\"{id}\",\"version\":{sequence}");
    json.extend_from_slice(start.as_bytes());
    if *kind != ChangeType::Deleted {
        let tag = scope.etag(*sequence);
        let tag = tag.to_str().unwrap_or_default().trim_matches('"');
        json.extend_from_slice(format!(r#","etag":"\"{tag}\"""#).as_bytes());
    }
    json.extend_from_slice(format!(",\"at\":\"{at}\"").as_bytes());
    if let Some(body) = body {
        json.extend_from_slice(b",\"call\":");
        json.extend_from_slice(&grant.redact(body.clone())?);
    }
    json.push(b'}');
    Ok(())
}

/// One event for each change. The JSON of a record has no line breaks.
fn write_events(grant: &Grant, scope: &TagScope, batch: &ChangeBatch) -> Result<Vec<u8>, ApiError> {
    let mut events = Vec::new();
    for change in &batch.changes {
        let head = format!("event: {}\nid: {}\ndata: ", change.kind, change.cursor);
        events.extend_from_slice(head.as_bytes());
        write_change(&mut events, grant, scope, change)?;
        events.extend_from_slice(b"\n\n");
    }
    Ok(events)
}

/// The reader of an event stream.
struct Follower {
    app: Arc<AppState>,
    grant: Grant,
    /// After the last change that was sent or is in `batch`. The limit of large records is one, because the reader may not read
    /// them.
    position: Position,
    /// What was read and not sent yet.
    batch: Option<Arc<SharedBatch>>,
    _permit: FollowerPermit,
}

impl Follower {
    /// Waits until there is a batch, and until the rate limit lets it pass.
    async fn read(&mut self) -> Option<()> {
        let Self { app, grant, position, batch, .. } = self;
        let read = match batch {
            Some(read) => read,
            None => {
                let read = app.followers.next(&*app.store, &app.body_budget, position).await.ok()?;
                batch.insert(read)
            }
        };
        grant.throttle(|| read.batch.changes.len()).await;
        Some(())
    }

    /// Waits for the next events; `None` ends the stream, and the reader connects again.
    async fn next(&mut self) -> Option<Bytes> {
        let (app, grant) = (Arc::clone(&self.app), self.grant.clone());
        tokio::select! {
            read = self.read() => read?,
            () = app.stop.cancelled() => return None,
            // A reader whose key has expired connects again and gets the error then.
            () = grant.ended() => return None,
            () = sleep(HEARTBEAT) => return Some(Bytes::from_static(b":\n\n")),
        }
        let read = self.batch.take()?;
        self.position.advance(&read.batch);
        let scope = TagScope::of(&app, &self.position.workspace, &grant);
        read.events(grant.sees_phone_numbers(), |batch| write_events(&grant, &scope, batch))
    }
}

/// The changes from a batch on, one event for each, until the service ends.
async fn stream_events(
    app: Arc<AppState>,
    grant: Grant,
    workspace: WorkspaceId,
    first: ChangeBatch,
    permit: FollowerPermit,
) -> Result<Response, ApiError> {
    // An ID at the start, so that a reader that is disconnected before the first change resumes here.
    let opening = format!("retry: {}\nid: {}\n: follows the changes\n\n", RECONNECT.as_millis(), first.start);
    let position = Position { workspace, cursor: first.cursor.clone(), limit: 1 };
    let mut follower = Follower { app, grant, position, batch: None, _permit: permit };
    follower.position.advance(&first);
    if !first.changes.is_empty() {
        let Follower { app, position, .. } = &follower;
        follower.batch = Some(SharedBatch::new(&app.body_budget, &position.workspace, first).await?);
    }
    let rest = stream::unfold(follower, |mut follower| async move { Some((follower.next().await?, follower)) });
    let events = stream::iter([Bytes::from(opening)]).chain(rest).map(Ok::<_, Infallible>);
    let media_type = HeaderValue::from_static("text/event-stream");
    Ok(([(header::CONTENT_TYPE, media_type)], Body::from_stream(events)).into_response())
}
