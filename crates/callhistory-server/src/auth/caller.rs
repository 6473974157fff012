//! The extractor of the caller: API key, scope and workspace of a request.

use std::{marker::PhantomData, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, header, request::Parts},
};
use callhistory_model::{FieldError, FieldErrorCode, ProblemCode, WorkspaceId};
use callhistory_store::Scope;
use serde_json::json;
use utoipa::{
    IntoParams, PartialSchema as _,
    openapi::{
        Required,
        path::{Parameter, ParameterIn},
    },
};

use super::{grant::Grant, key_cache::OTHER_WORKSPACE, token::Token};
use crate::{
    error::ApiError,
    headers::{parameter, single},
    state::AppState,
};

const WORKSPACE_ID: HeaderName = HeaderName::from_static("x-workspace-id");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The scope that an operation requires.
pub(crate) trait RequiredScope: Send {
    const SCOPE: Scope;
}

macro_rules! required_scope {
    ($($name:ident: $scope:ident;)+) => {
        $(pub(crate) struct $name;

        impl RequiredScope for $name {
            const SCOPE: Scope = Scope::$scope;
        })+
    };
}

required_scope! {
    Reads: CallsRead;
    Writes: CallsWrite;
    Deletes: CallsDelete;
    Exports: CallsExport;
}

/// The workspace of a request, and a grant with the required scope. Without keys, every request has one.
pub(crate) struct Caller<N> {
    pub(crate) workspace: WorkspaceId,
    pub(crate) grant: Grant,
    required_scope: PhantomData<N>,
}

impl<N: RequiredScope> FromRequestParts<Arc<AppState>> for Caller<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<AppState>) -> Result<Self, ApiError> {
        let mut key = None;
        if let Some(keys) = &state.keys {
            check_query(parts)?;
            let known = keys.check(sent_key(parts)?, state.now_nanos()).await?;
            if let Some(limiter) = &state.rate_limiter {
                limiter.charge_request(&known.id, parts.extensions.get())?;
            }
            key = Some(known);
        }
        let grant = state.grant(key);
        let workspace = workspace(parts)?;
        if grant.workspace().is_some_and(|allowed| *allowed != workspace) {
            return Err(ApiError::new(ProblemCode::WorkspaceForbidden, OTHER_WORKSPACE));
        }
        grant.require(N::SCOPE)?;
        Ok(Self { workspace, grant, required_scope: PhantomData })
    }
}

impl<N> IntoParams for Caller<N> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let members = json!({
            "schema": WorkspaceId::schema(),
            "description": "ID of the workspace: 1 to 128 characters of `[A-Za-z0-9_.~:@+=-]`. Must occur exactly once.",
            "example": "abcdef1234567890",
        });
        let header = parameter(ParameterIn::Header, WORKSPACE_ID.as_str(), &members);
        vec![header.required(Required::True).build()]
    }
}

pub(crate) fn workspace(parts: &Parts) -> Result<WorkspaceId, ApiError> {
    let invalid = |error: FieldError| ApiError::invalid_header(error.in_parameter(WORKSPACE_ID.as_str()));
    let value = single(parts, &WORKSPACE_ID)?
        .ok_or_else(|| invalid(FieldError::new(FieldErrorCode::Missing, "is required: the id of the workspace")))?;
    let text = value.to_str().map_err(|_| {
        invalid(FieldError::new(FieldErrorCode::InvalidId, "has bytes that are not visible ASCII characters"))
    })?;
    text.parse().map_err(invalid)
}

/// Refuses a key in the query string: URLs end up in logs, histories and referrers.
fn check_query(parts: &Parts) -> Result<(), ApiError> {
    let names = ["apikey", "xapikey", "key", "token", "accesstoken", "authorization"];
    let Some(query) = parts.uri.query() else { return Ok(()) };
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let letters: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect();
        if names.contains(&letters.to_ascii_lowercase().as_str()) || value.starts_with(Token::PREFIX) {
            let detail = "a key is not taken from the query string, which ends up in logs; send it as x-api-key, and \
                          revoke it if it was a real one";
            let error = FieldError::new(FieldErrorCode::Unknown, detail).in_parameter(name);
            return Err(ApiError::invalid_parameters(vec![error]));
        }
    }
    Ok(())
}

/// The key of a request, from one of two headers.
fn sent_key(parts: &Parts) -> Result<&str, ApiError> {
    let plain = single(parts, &API_KEY)?;
    let bearer = single(parts, &header::AUTHORIZATION)?;
    let value = match (plain, bearer) {
        (Some(_), Some(_)) => {
            let error =
                FieldError::new(FieldErrorCode::Conflict, "conflicts with Authorization; send the key in one of them");
            return Err(ApiError::invalid_header(error.in_parameter(API_KEY.as_str())));
        }
        (None, None) => {
            let detail = "A key is needed, as x-api-key: KEY or as Authorization: Bearer KEY.";
            return Err(ApiError::new(ProblemCode::KeyMissing, detail));
        }
        (Some(value), None) => value.to_str().ok(),
        (None, Some(value)) => value.to_str().ok().and_then(|text| {
            let (scheme, key) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim_start_matches(' '))
        }),
    };
    // Anything else is a wrong key.
    Ok(value.unwrap_or_default())
}
