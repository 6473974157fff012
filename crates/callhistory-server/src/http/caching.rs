//! What caches may keep of a response. Records are personal data and depend on the caller, whom the URL does not name.

use axum::http::{HeaderMap, HeaderValue, Request, header};

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// A private cache may keep the response, and must revalidate it each time.
const REVALIDATE: HeaderValue = HeaderValue::from_static("private, no-cache");
/// The headers that select a representation of what a caller may see, and of what is public; with `origin` where pages of some
/// origins may read it.
const CALLER: [HeaderValue; 2] = [
    HeaderValue::from_static("x-workspace-id, x-api-key, authorization, accept-encoding"),
    HeaderValue::from_static("x-workspace-id, x-api-key, authorization, accept-encoding, origin"),
];
const ANYONE: [HeaderValue; 2] =
    [HeaderValue::from_static("accept-encoding"), HeaderValue::from_static("accept-encoding, origin")];

/// Whether the cache of a client asks for a response that it can keep: it sends a validator, or says that it will not use the
/// response without validation.
pub(crate) fn asks_to_keep<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    if !request.method().is_safe() {
        return false;
    }
    let has = |name: &str| {
        let lines = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|directive| directive.trim().eq_ignore_ascii_case(name))
    };
    !has("no-store") && (headers.contains_key(header::IF_NONE_MATCH) || has("no-cache") || has("max-age=0"))
}

/// Sets the headers for caches, except on what is public. Only a version of a record can be revalidated.
pub(crate) fn set_headers(headers: &mut HeaderMap, asks_to_keep: bool, has_origins: bool) {
    let at = usize::from(has_origins);
    if headers.get(header::CACHE_CONTROL).is_some_and(|value| value.as_bytes().starts_with(b"public")) {
        headers.insert(header::VARY, ANYONE[at].clone());
        return;
    }
    let may_keep = asks_to_keep && headers.contains_key(header::ETAG);
    headers.insert(header::CACHE_CONTROL, if may_keep { REVALIDATE } else { NO_STORE });
    headers.insert(header::VARY, CALLER[at].clone());
}
