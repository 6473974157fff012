//! Originals: what was sent, byte for byte.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use callhistory_model::schema::OriginalList;
use callhistory_store::Scope;

use crate::{
    auth::caller::{Caller, Reads},
    error::ApiError,
    http::extract::{CallPath, NoQuery, OriginalPath},
    openapi::responses::ReadProblems,
    state::AppState,
};

/// List the originals of a call
///
/// A document is kept as an original, byte for byte, where the record does not have what was sent: a member was converted
/// or left out, a late event did not change a final status, or a merge kept another value. The same document is kept once.
/// Originals count for the size of their record, and are deleted with it. The last 1,000 are listed, in the order of
/// arrival. They show phone numbers as they were sent, which requires the scope `phone-numbers:read`.
#[utoipa::path(
    get,
    path = "/v2/api/call-history/{callHistoryId}/originals",
    operation_id = "list_originals",
    tag = "Calls",
    params(Caller<Reads>, CallPath),
    security(
        (),
        ("apiKey" = ["calls:read", "phone-numbers:read"]),
        ("bearer" = ["calls:read", "phone-numbers:read"]),
    ),
    responses(
        (status = 200, description = "The originals, without their documents.", body = OriginalList),
        ReadProblems,
    ),
)]
pub(crate) async fn list_originals(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Reads>,
    CallPath(id): CallPath,
    _: NoQuery,
) -> Result<Response, ApiError> {
    grant.require(Scope::PhoneNumbersRead)?;
    grant.charge_records(1)?;
    let originals = app.store.list_originals(&workspace, &id).await?.ok_or_else(ApiError::call_not_found)?;
    let body = serde_json::to_vec(&originals).map_err(|error| ApiError::internal(&error))?;
    let body = app.body_budget.keep(&workspace, body).await?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

/// Retrieve an original of a call
///
/// Returns the document as it was sent, byte for byte, with the media type that it was sent with. It shows phone numbers,
/// which requires the scope `phone-numbers:read`.
#[utoipa::path(
    get,
    path = "/v2/api/call-history/{callHistoryId}/originals/{originalNumber}",
    operation_id = "get_original",
    tag = "Calls",
    params(Caller<Reads>, CallPath, OriginalPath),
    security(
        (),
        ("apiKey" = ["calls:read", "phone-numbers:read"]),
        ("bearer" = ["calls:read", "phone-numbers:read"]),
    ),
    responses(
        (status = 200, description = "The document, in any media type.", headers(("Content-Disposition")),
            content(("*/*"))),
        ReadProblems,
    ),
)]
pub(crate) async fn get_original(
    State(app): State<Arc<AppState>>,
    Caller { workspace, grant, .. }: Caller<Reads>,
    CallPath(id): CallPath,
    OriginalPath(number): OriginalPath,
    _: NoQuery,
) -> Result<Response, ApiError> {
    grant.require(Scope::PhoneNumbersRead)?;
    grant.charge_records(1)?;
    let Some(original) = app.store.get_original(&workspace, &id, number.into()).await? else {
        let has_record = app.store.get_call(&workspace, &id).await?.is_some();
        return Err(if has_record { ApiError::original_not_found() } else { ApiError::call_not_found() });
    };
    // A browser must not show it as a page of this server.
    let headers = [
        (header::CONTENT_TYPE, media_type(&original.info.media_type)),
        (header::CONTENT_DISPOSITION, disposition(number)),
    ];
    Ok((headers, app.body_budget.keep(&workspace, original.body).await?).into_response())
}

/// The media type that a document was sent with.
fn media_type(sent: &str) -> HeaderValue {
    HeaderValue::try_from(sent).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

fn disposition(number: u32) -> HeaderValue {
    let value = HeaderValue::try_from(format!("attachment; filename=\"original-{number}\""));
    value.unwrap_or(HeaderValue::from_static("attachment"))
}
