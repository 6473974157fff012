//! The operations on single records.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use callhistory_model::{
    CallId, CallInput, CallPatch, CallRecord, FieldError, FieldErrorCode, FieldErrors, ListQuery, WorkspaceId,
    schema::{CallCreate, CallList},
};
use callhistory_store::{Scope, StoredCall, WriteOutcome, WrittenCall};

use crate::{
    app::App,
    auth::{Access, Caller, Deletes, Reads, Writes},
    error::{ApiError, CreateProblems, DeleteProblems, PatchProblems, ReadProblems, ScanProblems, WriteProblems},
    extract::{
        CallInputBody, CallPath, CreationKey, NoQuery, Parameters, PatchBody, ReadCondition, WriteCondition, etag,
    },
    parameters::ListParameters,
};

const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

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
        ("if-none-match" = Option<String>, Header, pattern = r#"^(\*|(W/)?"[!#-+.-~-]*"( *, *(W/)?"[!#-+.-~-]*")*)$"#, min_length = 1, max_length = 8192, description = "Entity tags of versions that the caller has, or `*`."),
    ),
    responses(
        (status = 200, description = "The record.", body = CallRecord, headers(("etag" = String, description = "The version of the record."))),
        (status = 304, description = "The caller has this version already.", headers(("etag" = String, description = "The version of the record."))),
        ReadProblems,
    ),
)]
pub(crate) async fn get_call(
    State(app): State<Arc<App>>,
    Caller { workspace, access, .. }: Caller<Reads>,
    CallPath(id): CallPath,
    condition: ReadCondition,
    _: NoQuery,
) -> Result<Response, ApiError> {
    access.spend_records(1)?;
    let call = app.store.get_call(&workspace, &id).await?.ok_or_else(ApiError::call_not_found)?;
    if condition.is_current(call.sequence) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag(call.sequence))]).into_response());
    }
    record(&access, StatusCode::OK, call)
}

/// Create a call record
///
/// The service makes the `_id`, 24 hexadecimal digits that sort by time of creation. With an `Idempotency-Key` the same
/// body under the same key is answered with the first answer for 24 hours, and creates nothing more; another body under
/// that key is refused. The body, and the record as it is stored, have at most 1,048,576 bytes.
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
    request_body(content = CallCreate, description = "The record, without `_id`, `createdAt` and `updatedAt`."),
    responses(
        (status = 201, description = "The record was created, now or by an earlier request under the same key.", body = CallRecord,
            headers(("etag" = String, description = "The version of the record."), ("location" = String, description = "The path of the record."))),
        CreateProblems,
    ),
)]
pub(crate) async fn create_call(
    State(app): State<Arc<App>>,
    Caller { workspace, access, .. }: Caller<Writes>,
    CreationKey(key): CreationKey,
    _: NoQuery,
    CallInputBody(input): CallInputBody,
) -> Result<Response, ApiError> {
    check_creation(&input, &workspace)?;
    access.check_input(&input).map_err(ApiError::invalid_record)?;
    let WrittenCall { id, call, .. } =
        app.store.create_call(&workspace, &app.new_call_id()?, input, key, app.now()).await?;
    let location = HeaderValue::try_from(format!("/v2/api/call-history/{id}"));
    let location = location.map_err(|error| ApiError::internal(&error))?;
    Ok(([(header::LOCATION, location)], record(&access, StatusCode::CREATED, call)?).into_response())
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
    operation_id = "replace_call",
    tag = "Calls",
    params(
        ("x-workspace-id" = inline(WorkspaceId), Header, description = "The workspace, exactly once: 1 to 128 characters of `[A-Za-z0-9_-]`."),
        ("callHistoryId" = inline(CallId), Path, description = "The id of the record: 1 to 128 characters of `[A-Za-z0-9_-]`, not a word of the routes (`batch`, `changes`, `export`, `metrics`)."),
        ("if-match" = Option<String>, Header, pattern = r#"^(\*|(W/)?"[!#-+.-~-]*"( *, *(W/)?"[!#-+.-~-]*")*)$"#, min_length = 1, max_length = 8192, description = "Write only if the record is one of these versions, or with `*` if it exists."),
        ("if-none-match" = Option<String>, Header, pattern = r#"^(\*|(W/)?"[!#-+.-~-]*"( *, *(W/)?"[!#-+.-~-]*")*)$"#, min_length = 1, max_length = 8192, description = "Write only if the record is none of these versions, or with `*` if it does not exist."),
    ),
    request_body(content = CallInput, description = "The whole record."),
    responses(
        (status = 200, description = "The record was replaced, or was the same already.", body = CallRecord, headers(("etag" = String, description = "The version of the record."))),
        (status = 201, description = "The record was created.", body = CallRecord, headers(("etag" = String, description = "The version of the record."))),
        WriteProblems,
    ),
)]
pub(crate) async fn replace_call(
    State(app): State<Arc<App>>,
    Caller { workspace, access, .. }: Caller<Writes>,
    CallPath(id): CallPath,
    WriteCondition(precondition): WriteCondition,
    _: NoQuery,
    CallInputBody(input): CallInputBody,
) -> Result<Response, ApiError> {
    check_identity(&input, &workspace, &id)?;
    access.check_input(&input).map_err(ApiError::invalid_record)?;
    let WrittenCall { call, outcome, .. } =
        app.store.replace_call(&workspace, &id, input, precondition, app.now()).await?;
    let status = match outcome {
        WriteOutcome::Created => StatusCode::CREATED,
        WriteOutcome::Replaced | WriteOutcome::Unchanged => StatusCode::OK,
    };
    record(&access, status, call)
}

/// Change a call record in part
///
/// A JSON Merge Patch (RFC 7396): members to set, and `null` for members to take away; objects such as `metadata` are
/// merged member by member. Every untouched digit stays. A record with a final status (`completed`, `failed`,
/// `no-answer`, `busy`, `canceled`) does not go back to one of a call that is under way, as a late message would have it
/// (409), unless `If-Match` with its version says that the caller has seen it. A patch that changes nothing leaves
/// `updatedAt` and the version as they are. The body has at most 1,048,576 bytes.
#[utoipa::path(
    patch,
    path = "/v2/api/call-history/{callHistoryId}",
    operation_id = "update_call",
    tag = "Calls",
    params(
        ("x-workspace-id" = inline(WorkspaceId), Header, description = "The workspace, exactly once: 1 to 128 characters of `[A-Za-z0-9_-]`."),
        ("callHistoryId" = inline(CallId), Path, description = "The id of the record: 1 to 128 characters of `[A-Za-z0-9_-]`."),
        ("if-match" = Option<String>, Header, pattern = r#"^(\*|(W/)?"[!#-+.-~-]*"( *, *(W/)?"[!#-+.-~-]*")*)$"#, min_length = 1, max_length = 8192, description = "Change only if the record is one of these versions, or with `*` if it exists."),
        ("if-none-match" = Option<String>, Header, pattern = r#"^(\*|(W/)?"[!#-+.-~-]*"( *, *(W/)?"[!#-+.-~-]*")*)$"#, min_length = 1, max_length = 8192, description = "Change only if the record is none of these versions."),
    ),
    request_body(content = CallPatch, content_type = "application/merge-patch+json", description = "What to change."),
    responses(
        (status = 200, description = "The record as it is now.", body = CallRecord, headers(("etag" = String, description = "The version of the record."))),
        PatchProblems,
    ),
)]
pub(crate) async fn update_call(
    State(app): State<Arc<App>>,
    Caller { workspace, access, .. }: Caller<Writes>,
    CallPath(id): CallPath,
    WriteCondition(precondition): WriteCondition,
    _: NoQuery,
    PatchBody(patch): PatchBody,
) -> Result<Response, ApiError> {
    // The answer is the whole record, also what the patch did not bring.
    access.require(Scope::CallsRead)?;
    let text = |name| patch.member(name).and_then(|json| serde_json::from_str::<String>(json).ok());
    let (from, to) = (text("fromPhoneNumber"), text("toPhoneNumber"));
    access.check_numbers(from.as_deref(), to.as_deref()).map_err(ApiError::invalid_record)?;
    let written = app.store.update_call(&workspace, &id, patch, precondition, app.now()).await?;
    record(&access, StatusCode::OK, written.ok_or_else(ApiError::call_not_found)?.call)
}

/// Delete a call record
///
/// The record and every text of it are gone from the database; the change feed says that it was deleted. A late copy of
/// the creation under its `Idempotency-Key` does not bring it back: it is answered 409.
#[utoipa::path(
    delete,
    path = "/v2/api/call-history/{callHistoryId}",
    operation_id = "delete_call",
    tag = "Calls",
    params(
        ("x-workspace-id" = inline(WorkspaceId), Header, description = "The workspace, exactly once: 1 to 128 characters of `[A-Za-z0-9_-]`."),
        ("callHistoryId" = inline(CallId), Path, description = "The id of the record: 1 to 128 characters of `[A-Za-z0-9_-]`."),
        ("if-match" = Option<String>, Header, pattern = r#"^(\*|(W/)?"[!#-+.-~-]*"( *, *(W/)?"[!#-+.-~-]*")*)$"#, min_length = 1, max_length = 8192, description = "Delete only if the record is one of these versions, or with `*` if it exists."),
        ("if-none-match" = Option<String>, Header, pattern = r#"^(\*|(W/)?"[!#-+.-~-]*"( *, *(W/)?"[!#-+.-~-]*")*)$"#, min_length = 1, max_length = 8192, description = "Delete only if the record is none of these versions."),
    ),
    responses((status = 204, description = "The record is deleted."), DeleteProblems),
)]
pub(crate) async fn delete_call(
    State(app): State<Arc<App>>,
    Caller { workspace, .. }: Caller<Deletes>,
    CallPath(id): CallPath,
    WriteCondition(precondition): WriteCondition,
    _: NoQuery,
) -> Result<Response, ApiError> {
    if app.store.delete_call(&workspace, &id, precondition, app.now()).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(ApiError::call_not_found())
}

/// List call records
///
/// Answers the records that meet every condition, newest call first: by `startTime`, or `createdAt` where it has none,
/// then by `_id`. The header `Link` with `rel="next"` leads to the next page, also while others write: no record is left
/// out or repeated as long as its value of the sort stays. There is none on the last page. A page has at most 1000
/// records and ends early beyond 4 MiB; an empty workspace answers `[]`. Parameters that are unknown, repeated or
/// contradictory are refused by name.
#[utoipa::path(
    get,
    path = "/v2/api/call-history",
    operation_id = "list_calls",
    tag = "Calls",
    params(
        ("x-workspace-id" = inline(WorkspaceId), Header, description = "The workspace, exactly once: 1 to 128 characters of `[A-Za-z0-9_-]`."),
        ListParameters,
    ),
    responses(
        (status = 200, description = "The records of the page.", body = CallList),
        ScanProblems,
    ),
)]
pub(crate) async fn list_calls(
    State(app): State<Arc<App>>,
    Caller { workspace, access, .. }: Caller<Reads>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, ApiError> {
    access.check_filter(&query.filter)?;
    access.spend_records(query.page_size())?;
    let page = app.store.list_calls(&workspace, &query).await?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(total) = page.total {
        headers.insert(TOTAL_COUNT, total.into());
    }
    if let Some(cursor) = page.next {
        let next = ListQuery { cursor: Some(cursor), page: None, ..query.clone() };
        // Relative to the request, so that it holds behind a proxy under any path.
        let link = HeaderValue::try_from(format!("<?{}>; rel=\"next\"", next.to_query()));
        headers.insert(header::LINK, link.map_err(|error| ApiError::internal(&error))?);
    }
    if query.fields.is_empty() && access.shows_all() {
        return Ok((headers, access.keep(page.calls.json())?).into_response());
    }
    let mut body = vec![b'['];
    for (at, call) in page.calls.iter().enumerate() {
        let call = access.show(Bytes::copy_from_slice(call))?;
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
    Ok((headers, access.keep(body)?).into_response())
}

/// The stored bytes as they are: nothing is parsed or written anew, except for those who may not see numbers.
fn record(access: &Access, status: StatusCode, call: StoredCall) -> Result<Response, ApiError> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let headers = [(header::CONTENT_TYPE, JSON), (header::ETAG, etag(call.sequence))];
    Ok((status, headers, access.keep(access.show(call.body)?)?).into_response())
}

/// Refuses a body that says another id or workspace than the path and the header.
fn check_identity(input: &CallInput, workspace: &WorkspaceId, id: &CallId) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    if let Some(other) = input.id.as_ref().filter(|other| *other != id) {
        let detail = format!("is {:?}, but the path says {:?}", other.as_str(), id.as_str());
        errors.push(FieldError::new(FieldErrorCode::Mismatch, detail).prefix_pointer("/_id"));
    }
    errors.extend(workspace_mismatch(input, workspace));
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid_record(FieldErrors(errors))) }
}

/// Refuses what only the service sets on a new record.
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
