//! Cross-origin resource sharing: which web pages of other origins a browser lets use the service. Off by default.

use std::str::FromStr;

use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority},
    response::{IntoResponse as _, Response},
};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// The headers that a page may send.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "x-workspace-id, x-api-key, authorization, accept, content-type, content-encoding, if-match, if-none-match, \
     idempotency-key, prefer, last-event-id, cache-control, x-request-id, traceparent, tracestate",
);
/// The headers of responses that a page may read.
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "Link, X-Next-Cursor, ETag, X-Total-Count, Location, Retry-After, X-Request-Id, x-callhistory-warnings, Preference-Applied, \
     Content-Disposition, RateLimit, RateLimit-Policy, WWW-Authenticate, Allow, Accept-Encoding",
);
/// How long a browser may keep a preflight response, in seconds: the most that Chromium accepts.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The origins whose pages may use the service, as a browser sends them.
#[derive(Clone, Debug)]
pub struct CorsOrigins(Vec<HeaderValue>);

impl FromStr for CorsOrigins {
    type Err = String;

    /// Parses origins that are separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|origin| parse(origin.trim())).collect::<Result<_, _>>().map(Self)
    }
}

/// An origin as a browser serializes it: in lower case and without the default port.
fn parse(text: &str) -> Result<HeaderValue, String> {
    let refuse = |reason: &str| {
        let form = "write SCHEME://HOST or SCHEME://HOST:PORT, such as https://app.example.com";
        format!("{text:?} is not the origin of a web page: {reason}; {form}")
    };
    if text == "*" {
        return Err(refuse("name each origin, because any page could use the service otherwise"));
    }
    let lower = text.to_ascii_lowercase();
    let (scheme, host) = lower.split_once("://").ok_or_else(|| refuse("it has no scheme"))?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if !is_scheme {
        return Err(refuse("its scheme is not valid"));
    }
    if host.contains(['/', '?', '#', '@', '*']) {
        return Err(refuse("an origin has no path, no query, no user and no wildcard"));
    }
    let authority: Authority = host.parse().map_err(|_| refuse("its host is not valid"))?;
    let has_port = authority.as_str().len() > authority.host().len();
    if authority.host().is_empty() || has_port != authority.port_u16().is_some() {
        return Err(refuse("its host is not valid"));
    }
    let default_port = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let host = match authority.port_u16().filter(|port| Some(*port) != default_port) {
        Some(port) => format!("{}:{port}", authority.host()),
        None => authority.host().to_owned(),
    };
    HeaderValue::try_from(format!("{scheme}://{host}")).map_err(|_| refuse("its host is not valid"))
}

impl CorsOrigins {
    /// The origin of a request, if its pages may use the service.
    pub(crate) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        headers.get(header::ORIGIN).filter(|origin| self.0.contains(origin)).cloned()
    }
}

/// Whether a browser asks, before a request of a page, what the page may send.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The response to a preflight request of an allowed origin. It needs no key, which a browser does not send with it.
pub(crate) fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Lets the pages of an origin read a response. Browsers send no credentials of their own: a page must have the key.
pub(crate) fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
}
