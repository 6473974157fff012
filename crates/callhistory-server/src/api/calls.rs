//! Operations on single call records.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use callhistory_model::{
    CallId, CallInput, CallPatch, CallRecord, FieldError, FieldErrorCode, FieldErrors, WorkspaceId, schema::CallCreate,
};
use callhistory_store::{Scope, StoreError, StoredCall, WriteOutcome, WrittenCall};

use crate::{
    auth::{
        caller::{Caller, Deletes, Reads, Writes},
        grant::Grant,
    },
    error::ApiError,
    http::extract::{
        CallInputBody, CallPath, IdempotencyKeyHeader, NoQuery, PatchBody, ReadCondition, TagScope, WriteCondition,
    },
    openapi::responses::{CreateProblems, DeleteProblems, PatchProblems, ReadProblems, WriteProblems},
    state::AppState,
};

/// Retrieve a call
///
/// Returns the call record as it was last written, every number with its exact digits. Members are in one fixed order,
/// that of the example; free-form members and `cost` keep the order in which they were written. The `ETag` header
/// identifies this version: a request with `If-None-Match` returns 304 without a body if the record has not changed.
/// Caches must not keep the response, unless the request asks for one that a private cache can revalidate: with
/// `If-None-Match`, or with `Cache-Control: no-cache` or `max-age=0`. `HEAD` returns the headers only. A record of
/// another workspace has the same response as one that does not exist.
#[utoipa::path(
    get,
    path = "/v2/api/call-history/{callHistoryId}",
    operation_id = "get_call",
    tag = "Calls",
    params(Caller<Reads>, CallPath, ReadCondition),
    security((), ("apiKey" = ["calls:read"]), ("bearer" = ["calls:read"])),
    responses(
        (status = 200, description = "The record.", body = CallRecord, headers(("ETag"))),
        (status = 304, description = "The record has not changed.", headers(("ETag"))),
        ReadProblems,
    ),
)]
pub(crate) async fn get_call(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Reads>,
    CallPath(id): CallPath,
    condition: ReadCondition,
    _: NoQuery,
) -> Result<Response, ApiError> {
    grant.charge_records(1)?;
    let call = app.store.get_call(&workspace, &id).await?.ok_or_else(ApiError::call_not_found)?;
    let etag = TagScope::of(&app, &workspace, &grant).etag(call.sequence);
    if condition.has(&etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    record(&app, (&workspace, &grant), StatusCode::OK, etag, call).await
}

/// Create a call
///
/// The service generates the `_id`: 24 hexadecimal digits that sort by time of creation. If a request is repeated with
/// the same `Idempotency-Key` and body within 24 hours, it returns the first response and creates nothing; the same key
/// with another body is rejected. The request body and the stored record have at most 1,048,576 bytes each.
#[utoipa::path(
    post,
    path = "/v2/api/call-history",
    operation_id = "create_call",
    tag = "Calls",
    params(Caller<Writes>, IdempotencyKeyHeader),
    security((), ("apiKey" = ["calls:write"]), ("bearer" = ["calls:write"])),
    request_body(content = CallCreate, description = "The record, without `_id`, `createdAt` and `updatedAt`."),
    responses(
        (status = 201, description = "The record was created, by this request or an earlier one with the same key.",
            body = CallRecord, headers(("ETag"), ("Location"))),
        CreateProblems,
    ),
)]
pub(crate) async fn create_call(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Writes>,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    _: NoQuery,
    CallInputBody(input): CallInputBody,
) -> Result<Response, ApiError> {
    check_creation(&input, &workspace)?;
    grant.check_input(&input).map_err(ApiError::invalid_record)?;
    let (app, workspace) = (&app, &workspace);
    let create = |id: CallId| {
        let (input, key) = (input.clone(), key.clone());
        async move { app.store.create_call(workspace, &id, input, key, app.now()).await }
    };
    let WrittenCall { id, call, .. } = match create(app.ids.call_id()?).await {
        Err(StoreError::ClockBehind(last_change)) => {
            app.ids.not_before(&last_change);
            create(app.ids.call_id()?).await?
        }
        written => written?,
    };
    // Relative to the URL of the request, which a proxy may serve under a path prefix.
    let location = HeaderValue::try_from(format!("call-history/{id}"));
    let location = location.map_err(|error| ApiError::internal(&error))?;
    let etag = TagScope::of(app, workspace, &grant).etag(call.sequence);
    let record = record(app, (workspace, &grant), StatusCode::CREATED, etag, call).await?;
    Ok(([(header::LOCATION, location)], record).into_response())
}

/// Replace a call
///
/// Creates the record if it does not exist. The body is the whole record: members that it leaves out are removed, except
/// `createdAt`, which is kept unless it is given. If the body equals the stored record, nothing changes, including
/// `updatedAt` and the version. `If-Match` with the last known version, or `If-None-Match: *` to create only, is checked
/// in the same transaction. The body has at most 1,048,576 bytes.
#[utoipa::path(
    put,
    path = "/v2/api/call-history/{callHistoryId}",
    operation_id = "replace_call",
    tag = "Calls",
    params(Caller<Writes>, CallPath, WriteCondition),
    security((), ("apiKey" = ["calls:write"]), ("bearer" = ["calls:write"])),
    request_body(content = CallInput, description = "The whole record."),
    responses(
        (status = 200, description = "The record was replaced, or is unchanged.", body = CallRecord, headers(("ETag"))),
        (status = 201, description = "The record was created.", body = CallRecord, headers(("ETag"))),
        WriteProblems,
    ),
)]
pub(crate) async fn replace_call(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Writes>,
    CallPath(id): CallPath,
    condition: WriteCondition,
    _: NoQuery,
    CallInputBody(input): CallInputBody,
) -> Result<Response, ApiError> {
    check_identity(&input, &workspace, &id)?;
    grant.check_input(&input).map_err(ApiError::invalid_record)?;
    let precondition = condition.precondition(&app, &workspace);
    let WrittenCall { call, outcome, .. } =
        app.store.replace_call(&workspace, &id, input, precondition, app.now()).await?;
    let status = match outcome {
        WriteOutcome::Created => StatusCode::CREATED,
        WriteOutcome::Replaced | WriteOutcome::Unchanged => StatusCode::OK,
    };
    let etag = TagScope::of(&app, &workspace, &grant).etag(call.sequence);
    record(&app, (&workspace, &grant), status, etag, call).await
}

/// Update a call
///
/// A JSON Merge Patch (RFC 7396): the members to set, and `null` for each member to remove; objects such as `metadata` are
/// merged recursively. Values that the patch does not name keep their exact digits. A record with a final status
/// (`completed`, `failed`, `no-answer`, `busy`, `canceled`) rejects a change back to a status of an ongoing call with 409,
/// as a late event would cause it, unless `If-Match` names its version. If the patch changes nothing, `updatedAt` and the
/// version stay the same. The body has at most 1,048,576 bytes.
#[utoipa::path(
    patch,
    path = "/v2/api/call-history/{callHistoryId}",
    operation_id = "update_call",
    tag = "Calls",
    params(Caller<Writes>, CallPath, WriteCondition),
    security((), ("apiKey" = ["calls:write", "calls:read"]), ("bearer" = ["calls:write", "calls:read"])),
    request_body(content = CallPatch, content_type = "application/merge-patch+json", description = "The merge patch."),
    responses(
        (status = 200, description = "The updated record.", body = CallRecord, headers(("ETag"))),
        PatchProblems,
    ),
)]
pub(crate) async fn update_call(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Writes>,
    CallPath(id): CallPath,
    condition: WriteCondition,
    _: NoQuery,
    PatchBody(patch): PatchBody,
) -> Result<Response, ApiError> {
    // The response is the whole record, also what the patch does not name.
    grant.require(Scope::CallsRead)?;
    let text = |name| patch.member(name).and_then(|json| serde_json::from_str::<String>(json).ok());
    let (from, to) = (text("fromPhoneNumber"), text("toPhoneNumber"));
    grant.check_phone_numbers(from.as_deref(), to.as_deref()).map_err(ApiError::invalid_record)?;
    let precondition = condition.precondition(&app, &workspace);
    let written = app.store.update_call(&workspace, &id, patch, precondition, app.now()).await?;
    let call = written.ok_or_else(ApiError::call_not_found)?.call;
    let etag = TagScope::of(&app, &workspace, &grant).etag(call.sequence);
    record(&app, (&workspace, &grant), StatusCode::OK, etag, call).await
}

/// Delete a call
///
/// Removes the record and every text of it from the database; the change feed has an event for the deletion. A repeated
/// creation under its `Idempotency-Key` does not restore the record: it returns 409.
#[utoipa::path(
    delete,
    path = "/v2/api/call-history/{callHistoryId}",
    operation_id = "delete_call",
    tag = "Calls",
    params(Caller<Deletes>, CallPath, WriteCondition),
    security((), ("apiKey" = ["calls:delete"]), ("bearer" = ["calls:delete"])),
    responses((status = 204, description = "The record is deleted."), DeleteProblems),
)]
pub(crate) async fn delete_call(
    State(app): State<Arc<AppState>>,
    Caller { workspace, .. }: Caller<Deletes>,
    CallPath(id): CallPath,
    condition: WriteCondition,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let precondition = condition.precondition(&app, &workspace);
    if app.store.delete_call(&workspace, &id, precondition, app.now()).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(ApiError::call_not_found())
}

/// The stored bytes as they are; they are parsed only to redact phone numbers.
async fn record(
    app: &AppState,
    (workspace, grant): (&WorkspaceId, &Grant),
    status: StatusCode,
    etag: HeaderValue,
    call: StoredCall,
) -> Result<Response, ApiError> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let headers = [(header::CONTENT_TYPE, JSON), (header::ETAG, etag)];
    Ok((status, headers, app.body_budget.keep(workspace, grant.redact(call.body)?).await?).into_response())
}

/// Rejects a body with another ID or workspace than the path and the header.
fn check_identity(input: &CallInput, workspace: &WorkspaceId, id: &CallId) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    if let Some(other) = input.id.as_ref().filter(|other| *other != id) {
        let detail = format!("is {:?}, but the path says {:?}", other.as_str(), id.as_str());
        errors.push(FieldError::new(FieldErrorCode::Mismatch, detail).prefix_pointer("/_id"));
    }
    errors.extend(workspace_mismatch(input, workspace));
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid_record(FieldErrors(errors))) }
}

/// Rejects members that only the service sets on a new record.
fn check_creation(input: &CallInput, workspace: &WorkspaceId) -> Result<(), ApiError> {
    let given = [
        ("/_id", input.id.is_some()),
        ("/createdAt", input.created_at.is_some()),
        ("/updatedAt", input.updated_at.is_some()),
    ];
    let mut errors: Vec<_> = given
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(pointer, _)| {
            let detail = "is set by the service; to bring your own, PUT the record under its id";
            FieldError::new(FieldErrorCode::NotWritable, detail).prefix_pointer(pointer)
        })
        .collect();
    errors.extend(workspace_mismatch(input, workspace));
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid_record(FieldErrors(errors))) }
}

fn workspace_mismatch(input: &CallInput, workspace: &WorkspaceId) -> Option<FieldError> {
    let other = input.workspace_id.as_ref().filter(|other| *other != workspace)?;
    let detail = format!("is {:?}, but x-workspace-id says {:?}", other.as_str(), workspace.as_str());
    Some(FieldError::new(FieldErrorCode::Mismatch, detail).prefix_pointer("/workspaceId"))
}
