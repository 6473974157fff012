//! The operations on single records.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use callhistory_model::{CallDraft, CallId, CallRecord, Fault, FaultCode, Faults, WorkspaceId, openapi::NewCall};
use callhistory_store::{Effect, StoredCall, Written};

use crate::{
    app::App,
    error::{ApiError, CreateProblems, ReadProblems, WriteProblems},
    extract::{CallPath, Caller, CreationKey, DraftBody, NoQuery, ReadCondition, WriteCondition, etag},
};

/// Get one call record
///
/// Answers the record as it was last written, every value with its digits. Members stand in one fixed order, that of the
/// example; inside free-form members and `cost` the order is the caller's own. Its `ETag` names this version;
/// with `If-None-Match`, a record that has not changed since is answered 304 without a body. `HEAD` answers the headers
/// alone. A record of another workspace answers as one that does not exist.
#[utoipa::path(
    get,
    path = "/v2/api/call-history/{callHistoryId}",
    operation_id = "get_call",
    tag = "Calls",
    params(
        ("x-workspace-id" = inline(WorkspaceId), Header, description = "The workspace, exactly once: 1 to 128 characters of `[A-Za-z0-9_-]`."),
        ("callHistoryId" = inline(CallId), Path, description = "The id of the record: 1 to 128 characters of `[A-Za-z0-9_-]`."),
        ("if-none-match" = Option<String>, Header, pattern = r#"^(\*|(W/)?"[!#-+.-~-]*"( *, *(W/)?"[!#-+.-~-]*")*)$"#, min_length = 1, description = "Entity tags of versions that the caller has, or `*`."),
    ),
    responses(
        (status = 200, description = "The record.", body = CallRecord, headers(("etag" = String, description = "The version of the record."))),
        (status = 304, description = "The caller has this version already.", headers(("etag" = String, description = "The version of the record."))),
        ReadProblems,
    ),
)]
pub(crate) async fn get_call(
    State(app): State<Arc<App>>,
    Caller { workspace }: Caller,
    CallPath(id): CallPath,
    condition: ReadCondition,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let call = app.store.get_call(&workspace, &id).await?.ok_or_else(ApiError::call_not_found)?;
    if condition.is_current(call.sequence) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag(call.sequence))]).into_response());
    }
    Ok(record(StatusCode::OK, call))
}

/// Create a call record
///
/// The service makes the `_id`, 24 hexadecimal digits that sort by time of creation. With an `Idempotency-Key` the same
/// body under the same key is answered with the first answer for 24 hours, and creates nothing more; another body under
/// that key is refused. The body has at most 1,048,576 bytes.
#[utoipa::path(
    post,
    path = "/v2/api/call-history",
    operation_id = "create_call",
    tag = "Calls",
    params(
        ("x-workspace-id" = inline(WorkspaceId), Header, description = "The workspace, exactly once: 1 to 128 characters of `[A-Za-z0-9_-]`."),
        ("idempotency-key" = Option<String>, Header, pattern = "^[!-~]+$", min_length = 1, max_length = 255,
            description = "A key of the caller's own, 1 to 255 visible ASCII characters, unique to this creation."),
    ),
    request_body(content = NewCall, description = "The record, without `_id`, `createdAt` and `updatedAt`."),
    responses(
        (status = 201, description = "The record was created, now or by an earlier request under the same key.", body = CallRecord,
            headers(("etag" = String, description = "The version of the record."), ("location" = String, description = "The path of the record."))),
        CreateProblems,
    ),
)]
pub(crate) async fn create_call(
    State(app): State<Arc<App>>,
    Caller { workspace }: Caller,
    CreationKey(key): CreationKey,
    _: NoQuery,
    DraftBody(draft): DraftBody,
) -> Result<Response, ApiError> {
    check_creation(&draft, &workspace)?;
    let Written { id, call, .. } =
        app.store.create_call(&workspace, &app.new_call_id()?, draft, key, app.now()).await?;
    let location = HeaderValue::try_from(format!("/v2/api/call-history/{id}"));
    let location = location.map_err(|error| ApiError::internal(&error))?;
    Ok(([(header::LOCATION, location)], record(StatusCode::CREATED, call)).into_response())
}

/// Create or replace a call record
///
/// The body is the whole record: what it does not bring is taken away, but `createdAt` stays unless it is given. Writing
/// the stored record again changes nothing, `updatedAt` and the version included. `If-Match` with the version that the
/// caller has seen, or `If-None-Match: *` to create only, is checked in the same transaction. The body has at most
/// 1,048,576 bytes.
#[utoipa::path(
    put,
    path = "/v2/api/call-history/{callHistoryId}",
    operation_id = "put_call",
    tag = "Calls",
    params(
        ("x-workspace-id" = inline(WorkspaceId), Header, description = "The workspace, exactly once: 1 to 128 characters of `[A-Za-z0-9_-]`."),
        ("callHistoryId" = inline(CallId), Path, description = "The id of the record: 1 to 128 characters of `[A-Za-z0-9_-]`, not a word of the routes (`batch`, `changes`, `export`, `metrics`)."),
        ("if-match" = Option<String>, Header, pattern = r#"^(\*|(W/)?"[!#-+.-~-]*"( *, *(W/)?"[!#-+.-~-]*")*)$"#, min_length = 1, description = "Write only if the record is one of these versions, or with `*` if it exists."),
        ("if-none-match" = Option<String>, Header, pattern = r#"^(\*|(W/)?"[!#-+.-~-]*"( *, *(W/)?"[!#-+.-~-]*")*)$"#, min_length = 1, description = "Write only if the record is none of these versions, or with `*` if it does not exist."),
    ),
    request_body(content = CallDraft, description = "The whole record."),
    responses(
        (status = 200, description = "The record was replaced, or was the same already.", body = CallRecord, headers(("etag" = String, description = "The version of the record."))),
        (status = 201, description = "The record was created.", body = CallRecord, headers(("etag" = String, description = "The version of the record."))),
        WriteProblems,
    ),
)]
pub(crate) async fn put_call(
    State(app): State<Arc<App>>,
    Caller { workspace }: Caller,
    CallPath(id): CallPath,
    WriteCondition(precondition): WriteCondition,
    _: NoQuery,
    DraftBody(draft): DraftBody,
) -> Result<Response, ApiError> {
    check_identity(&draft, &workspace, &id)?;
    let Written { call, effect, .. } = app.store.put_call(&workspace, &id, draft, precondition, app.now()).await?;
    let status = match effect {
        Effect::Created => StatusCode::CREATED,
        Effect::Replaced | Effect::Unchanged => StatusCode::OK,
    };
    Ok(record(status, call))
}

/// The stored bytes as they are: nothing is parsed or written anew.
fn record(status: StatusCode, StoredCall { body, sequence }: StoredCall) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let headers = [(header::CONTENT_TYPE, JSON), (header::ETAG, etag(sequence))];
    (status, headers, body).into_response()
}

/// Refuses a body that says another id or workspace than the path and the header.
fn check_identity(draft: &CallDraft, workspace: &WorkspaceId, id: &CallId) -> Result<(), ApiError> {
    let mut faults = Vec::new();
    if let Some(other) = draft.id.as_ref().filter(|other| *other != id) {
        let detail = format!("is {:?}, but the path says {:?}", other.as_str(), id.as_str());
        faults.push(Fault::new(FaultCode::Mismatch, detail).below("/_id"));
    }
    faults.extend(workspace_mismatch(draft, workspace));
    if faults.is_empty() { Ok(()) } else { Err(ApiError::invalid_record(Faults(faults))) }
}

/// Refuses what only the service sets on a new record.
fn check_creation(draft: &CallDraft, workspace: &WorkspaceId) -> Result<(), ApiError> {
    let given = [
        ("/_id", draft.id.is_some()),
        ("/createdAt", draft.created_at.is_some()),
        ("/updatedAt", draft.updated_at.is_some()),
    ];
    let mut faults: Vec<_> = given
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(pointer, _)| {
            let detail = "is set by the service; to bring your own, PUT the record under its id";
            Fault::new(FaultCode::NotWritable, detail).below(pointer)
        })
        .collect();
    faults.extend(workspace_mismatch(draft, workspace));
    if faults.is_empty() { Ok(()) } else { Err(ApiError::invalid_record(Faults(faults))) }
}

fn workspace_mismatch(draft: &CallDraft, workspace: &WorkspaceId) -> Option<Fault> {
    let other = draft.workspace_id.as_ref().filter(|other| *other != workspace)?;
    let detail = format!("is {:?}, but x-workspace-id says {:?}", other.as_str(), workspace.as_str());
    Some(Fault::new(FaultCode::Mismatch, detail).below("/workspaceId"))
}
