//! Operations on single call records.

use std::sync::Arc;

use axum::{
    extract::{OriginalUri, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use callhistory_model::{
    CallId, CallInput, CallPatch, CallRecord, FieldError, FieldErrorCode, FieldErrors, FieldWarning, Handling,
    UpdateQuery, WarningCode, WorkspaceId, schema::CallCreate,
};
use callhistory_store::{CallWrite, PatchWrite, Scope, StoreError, StoredCall, WriteOutcome, WrittenCall};

use crate::{
    auth::{
        caller::{Caller, Deletes, Reads, Writes},
        grant::Grant,
    },
    error::ApiError,
    headers::{WARNINGS, warnings_header},
    http::extract::{
        CallInputBody, CallPath, IdempotencyKeyHeader, NoQuery, Parameters, PatchBody, PreferredHandling,
        ReadCondition, TagScope, WriteCondition,
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
    if let Some(known) = condition.known(&etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, known)]).into_response());
    }
    record(&app, (&workspace, &grant), StatusCode::OK, etag, call).await
}

/// Create a call
///
/// The service generates the `_id`: 24 hexadecimal digits that sort by time of creation. If a request is repeated with
/// the same `Idempotency-Key` and body within 24 hours, it returns the first response and creates nothing; the same key
/// with another body is rejected. The request body and the stored record have at most `max_record_bytes` each, a setting
/// of the server: 16,777,216 by default.
#[utoipa::path(
    post,
    path = "/v2/api/call-history",
    operation_id = "create_call",
    tag = "Calls",
    params(Caller<Writes>, IdempotencyKeyHeader, PreferredHandling, CallInputBody),
    security((), ("apiKey" = ["calls:write"]), ("bearer" = ["calls:write"])),
    request_body(content = CallCreate, description = "The record, without `_id`, `createdAt` and `updatedAt`."),
    responses(
        (status = 201, description = "The record was created, by this request or an earlier one with the same key.",
            body = CallRecord,
            headers(("ETag"), ("Location"), ("Preference-Applied"), ("x-callhistory-warnings"))),
        CreateProblems,
    ),
)]
pub(crate) async fn create_call(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Writes>,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    preference: PreferredHandling,
    OriginalUri(request_uri): OriginalUri,
    _: NoQuery,
    CallInputBody { mut write, permit }: CallInputBody,
) -> Result<Response, ApiError> {
    check_creation(&mut write, &workspace)?;
    grant.check_input(&write.input).map_err(ApiError::invalid_record)?;
    let warnings = warnings_of(&write);
    let (app, workspace) = (&app, &workspace);
    let create = |id: CallId| {
        let (write, key) = (write.clone(), key.clone());
        async move { app.store.create_call(workspace, &id, write, key, app.now()).await }
    };
    let WrittenCall { id, call, .. } = match create(app.ids.call_id()?).await {
        Err(StoreError::ClockBehind(last_change)) => {
            app.ids.not_before(&last_change);
            create(app.ids.call_id()?).await?
        }
        written => written?,
    };
    drop((write, permit));
    // Without a public URL, relative to the URL of the request, which a proxy may serve under a path prefix.
    let location = match &app.public_url {
        Some(url) => format!("{}/{id}", url.calls()),
        None if request_uri.path().ends_with('/') => id.to_string(),
        None => format!("call-history/{id}"),
    };
    let location = HeaderValue::try_from(location);
    let location = location.map_err(|error| ApiError::internal(&error))?;
    let mut response = written(app, (workspace, &grant), StatusCode::CREATED, call, (preference, &warnings)).await?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// Replace a call
///
/// Creates the record if it does not exist. The body is the whole record: members that it leaves out are removed, except
/// `createdAt`, which is kept unless it is given. If the body equals the stored record, nothing changes, including
/// `updatedAt` and the version. A record with a final status, such as `completed`, rejects one with the status of an ongoing
/// call, or without a status, with 409, as a late event would cause it, unless `If-Match` names its version. `If-Match` with
/// the last known version, or `If-None-Match: *` to create only, is checked in the same transaction. The body has at most
/// `max_record_bytes`, a setting of the server: 16,777,216 by default.
///
/// What contradicts itself is kept, and named in `x-callhistory-warnings`. With `Prefer: handling=lenient` unknown members are
/// kept at top level, times and durations in milliseconds are converted, and a member that cannot be read is left out; the
/// document as it was sent is then kept as an original. A strict write accepts the unknown members that the stored record
/// has: what was read can be written back.
#[utoipa::path(
    put,
    path = "/v2/api/call-history/{callHistoryId}",
    operation_id = "replace_call",
    tag = "Calls",
    params(Caller<Writes>, CallPath, WriteCondition, PreferredHandling, CallInputBody),
    security((), ("apiKey" = ["calls:write"]), ("bearer" = ["calls:write"])),
    request_body(content = CallInput, description = "The whole record."),
    responses(
        (status = 200, description = "The record was replaced, or is unchanged.", body = CallRecord,
            headers(("ETag"), ("Preference-Applied"), ("x-callhistory-warnings"))),
        (status = 201, description = "The record was created.", body = CallRecord,
            headers(("ETag"), ("Preference-Applied"), ("x-callhistory-warnings"))),
        WriteProblems,
    ),
)]
pub(crate) async fn replace_call(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Writes>,
    CallPath(id): CallPath,
    condition: WriteCondition,
    preference: PreferredHandling,
    _: NoQuery,
    CallInputBody { mut write, permit }: CallInputBody,
) -> Result<Response, ApiError> {
    check_identity(&mut write, &workspace, &id)?;
    grant.check_input(&write.input).map_err(ApiError::invalid_record)?;
    let warnings = warnings_of(&write);
    let precondition = condition.precondition(&app, &workspace);
    let WrittenCall { call, outcome, .. } =
        app.store.replace_call(&workspace, &id, write, precondition, app.now()).await?;
    // The response takes its own share: waiting for it with another one could block others that do the same.
    drop(permit);
    written(&app, (&workspace, &grant), status_of(outcome), call, (preference, &warnings)).await
}

/// Update a call
///
/// A JSON Merge Patch (RFC 7396): the members to set, and `null` for each member to remove; objects such as `metadata` are
/// merged recursively. Values that the patch does not name keep their exact digits. A record with a final status, such as
/// `completed`, rejects a change back to the status of an ongoing call with 409, as a late event would cause it, unless
/// `If-Match` names its version. If the patch changes nothing, `updatedAt` and the version stay the same. With `upsert=true`
/// a record that does not exist is created: events of a call may arrive in any order. The body has at most
/// `max_record_bytes`, a setting of the server: 16,777,216 by default.
#[utoipa::path(
    patch,
    path = "/v2/api/call-history/{callHistoryId}",
    operation_id = "update_call",
    tag = "Calls",
    params(Caller<Writes>, CallPath, WriteCondition, PreferredHandling, Parameters<UpdateQuery>, PatchBody),
    security((), ("apiKey" = ["calls:write", "calls:read"]), ("bearer" = ["calls:write", "calls:read"])),
    request_body(
        content((CallPatch = "application/merge-patch+json"), (CallPatch = "application/json")),
        description = "The merge patch.",
    ),
    responses(
        (status = 200, description = "The updated record.", body = CallRecord,
            headers(("ETag"), ("Preference-Applied"), ("x-callhistory-warnings"))),
        (status = 201, description = "The record was created, with `upsert=true`.", body = CallRecord,
            headers(("ETag"), ("Preference-Applied"), ("x-callhistory-warnings"))),
        PatchProblems,
    ),
)]
pub(crate) async fn update_call(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Writes>,
    CallPath(id): CallPath,
    condition: WriteCondition,
    preference: PreferredHandling,
    Parameters(UpdateQuery { is_upsert, .. }): Parameters<UpdateQuery>,
    PatchBody { patch, handling, sent, permit }: PatchBody,
) -> Result<Response, ApiError> {
    // The response is the whole record, also what the patch does not name.
    grant.require(Scope::CallsRead)?;
    let text = |name| patch.member(name).and_then(|json| serde_json::from_str::<String>(json).ok());
    let (from, to) = (text("fromPhoneNumber"), text("toPhoneNumber"));
    grant.check_phone_numbers(from.as_deref(), to.as_deref()).map_err(ApiError::invalid_record)?;
    let precondition = condition.precondition(&app, &workspace);
    let write = PatchWrite { patch, handling, is_upsert, sent: Some(sent) };
    let updated = app.store.update_call(&workspace, &id, write, precondition, app.now()).await?;
    drop(permit);
    let WrittenCall { call, outcome, warnings, .. } = updated.ok_or_else(ApiError::call_not_found)?;
    written(&app, (&workspace, &grant), status_of(outcome), call, (preference, &warnings)).await
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

/// The status of the response to a write under an ID.
fn status_of(outcome: WriteOutcome) -> StatusCode {
    match outcome {
        WriteOutcome::Created => StatusCode::CREATED,
        WriteOutcome::Replaced | WriteOutcome::Unchanged => StatusCode::OK,
    }
}

/// The response to a write: the record, the preference that was applied, and the warnings.
async fn written(
    app: &AppState,
    (workspace, grant): (&WorkspaceId, &Grant),
    status: StatusCode,
    call: StoredCall,
    (preference, warnings): (PreferredHandling, &[FieldWarning]),
) -> Result<Response, ApiError> {
    let etag = TagScope::of(app, workspace, grant).etag(call.sequence);
    let mut response = record(app, (workspace, grant), status, etag, call).await?;
    preference.add_to(response.headers_mut());
    if let Some(warnings) = warnings_header(warnings) {
        response.headers_mut().insert(WARNINGS, warnings);
    }
    Ok(response)
}

fn warnings_of(write: &CallWrite) -> Vec<FieldWarning> {
    write.sent.as_ref().map_or_else(Vec::new, |sent| sent.warnings.clone())
}

/// Rejects a body with another ID or workspace than the path and the header. In lenient handling, these count.
fn check_identity(write: &mut CallWrite, workspace: &WorkspaceId, id: &CallId) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    if let Some(other) = write.input.id.take_if(|other| other != id) {
        let detail = format!("is {:?}, but the path says {:?}", other.as_str(), id.as_str());
        errors.push((FieldErrorCode::Mismatch, WarningCode::LeftOut, "/_id", detail));
    }
    errors.extend(workspace_mismatch(&mut write.input, workspace));
    refuse_or_warn(write, errors)
}

/// Rejects members that only the service sets on a new record. In lenient handling, they are left out.
fn check_creation(write: &mut CallWrite, workspace: &WorkspaceId) -> Result<(), ApiError> {
    let input = &mut write.input;
    let unknown = if write.handling == Handling::Strict { input.check_extra(None).err() } else { None };
    let given = [
        ("/_id", input.id.take().is_some()),
        ("/createdAt", input.created_at.take().is_some()),
        ("/updatedAt", input.updated_at.take().is_some()),
    ];
    let given = given.into_iter().filter(|(_, is_given)| *is_given);
    let mut errors: Vec<_> = given
        .map(|(pointer, _)| {
            let detail = "is set by the service; to bring your own, PUT the record under its id".to_owned();
            (FieldErrorCode::NotWritable, WarningCode::LeftOut, pointer, detail)
        })
        .collect();
    errors.extend(workspace_mismatch(input, workspace));
    match (unknown, refuse_or_warn(write, errors)) {
        (Some(unknown), Ok(())) => Err(ApiError::invalid_record(unknown)),
        (_, checked) => checked,
    }
}

/// What is wrong with a member: an error in strict handling, a warning in lenient handling.
type IdentityError = (FieldErrorCode, WarningCode, &'static str, String);

fn workspace_mismatch(input: &mut CallInput, workspace: &WorkspaceId) -> Option<IdentityError> {
    let other = input.workspace_id.take_if(|other| other != workspace)?;
    let detail = format!("is {:?}, but x-workspace-id says {:?}", other.as_str(), workspace.as_str());
    Some((FieldErrorCode::Mismatch, WarningCode::WorkspaceChanged, "/workspaceId", detail))
}

fn refuse_or_warn(write: &mut CallWrite, errors: Vec<IdentityError>) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    if write.handling == Handling::Strict {
        let error = |(code, _, pointer, detail): IdentityError| FieldError::new(code, detail).prefix_pointer(pointer);
        return Err(ApiError::invalid_record(FieldErrors(errors.into_iter().map(error).collect())));
    }
    if let Some(sent) = &mut write.sent {
        // What is not stored stays in the original.
        sent.is_changed = true;
        let warning = |(_, code, pointer, detail): IdentityError| {
            FieldWarning::new(code, format!("{detail}; it is left out")).prefix_pointer(pointer)
        };
        sent.warnings.extend(errors.into_iter().map(warning));
    }
    Ok(())
}
