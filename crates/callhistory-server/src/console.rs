//! The console: a page and its files, which the server serves to anyone. What it shows comes from the API, with a key.

pub(crate) mod recording_hosts;

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use callhistory_console::Asset;
use callhistory_model::ProblemCode;
use serde_json::json;

use crate::{
    error::ApiError,
    http::extract::ReadCondition,
    state::{AppState, ConsoleOptions},
};

/// The files are the same for every caller. A browser asks each time whether the page is still the same.
const REVALIDATE: HeaderValue = HeaderValue::from_static("public, no-cache");
/// The URL has the digest of the files.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The routes of the console. They are not part of the contract: the page and the server are one program.
pub(crate) fn routes(options: &ConsoleOptions, requires_keys: bool) -> Router<Arc<AppState>> {
    let policy = policy(options);
    let page = {
        let policy = policy.clone();
        async move |condition: ReadCondition| respond(callhistory_console::index(), &policy, &condition)
    };
    let file = async move |uri: Uri, condition: ReadCondition| {
        let path = uri.path().strip_prefix("/console/").unwrap_or_default();
        respond(callhistory_console::find(path), &policy, &condition)
    };
    let config = config(options, requires_keys);
    Router::new()
        // A link may carry parameters that the page does not know: they are ignored, as the page ignores those of its state.
        .route("/console", get(page))
        .route("/console/", get(async || Redirect::permanent("../console")))
        .route("/console/config.json", get(async move || config_json(&config)))
        .route("/console/{*file}", get(file))
}

/// What the page may load: its own files, the API, and recordings of the named hosts.
fn policy(options: &ConsoleOptions) -> HeaderValue {
    const REST: &str = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                        require-trusted-types-for 'script'; trusted-types lit-html";
    // A host without a scheme permits that of the page and TLS.
    let hosts: String = options.recording_hosts.names().iter().map(|host| format!(" {host}")).collect();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         font-src 'self'; media-src 'self'{hosts}; {REST}"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// What the server says to the page.
fn config(options: &ConsoleOptions, requires_keys: bool) -> String {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "requireKeys": requires_keys,
        "recordingHosts": options.recording_hosts.names(),
        "workspace": options.workspace,
    })
    .to_string()
}

fn config_json(config: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, REVALIDATE),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, config.to_owned()).into_response()
}

fn respond(asset: Option<Asset>, policy: &HeaderValue, condition: &ReadCondition) -> Response {
    let Some(asset) = asset else {
        return ApiError::new(ProblemCode::RouteNotFound, "The console has no such file; it is at /console.")
            .into_response();
    };
    let tag = HeaderValue::from_static(asset.etag);
    let known = condition.known(&tag);
    let is_current = known.is_some();
    let headers = [
        (header::ETAG, known.unwrap_or(tag)),
        (header::CACHE_CONTROL, if asset.is_immutable { IMMUTABLE } else { REVALIDATE }),
        (header::CONTENT_SECURITY_POLICY, policy.clone()),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    if is_current {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, asset.media_type)], asset.bytes).into_response()
}
