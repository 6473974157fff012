//! The middleware of every request: framing checks, request ID, tracing, metrics, the log line.

use std::{
    convert::Infallible,
    future::ready,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderValue, Method, Version, header},
    response::{IntoResponse, Response},
};
use callhistory_model::ProblemCode;
use futures_util::{FutureExt as _, future::Either};
use tower::Service;
use tracing::{Instrument as _, Span};

use crate::{
    auth::rate_limit::RateLimitState,
    error::{ApiError, REQUEST_ID},
    http::{
        allowed_hosts::AllowedHosts,
        caching, compression,
        cors::{self, CorsOrigins},
        problem_stream::RefusedHead,
    },
    state::AppState,
    telemetry::{
        self,
        prometheus::{InFlightGuard, PrometheusRegistry},
    },
};

/// The middleware around each route. `axum::middleware::from_fn` would allocate four boxes for each request.
#[derive(Clone)]
pub(crate) struct RequestLayer<S> {
    pub(crate) app: Arc<AppState>,
    /// Whether this is the address of the API, which web pages may ask for: host names are checked, and other origins answered.
    pub(crate) is_api: bool,
    pub(crate) inner: S,
}

impl<S> Service<Request> for RequestLayer<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let refused = request.extensions().get::<RefusedHead>().copied();
        let is_read = refused.is_some() || matches!(*request.method(), Method::GET | Method::HEAD);
        let origins = self.app.cors_origins.as_ref().filter(|_| self.is_api);
        let context = RequestContext::begin(&self.app, origins, &mut request);
        let checks_host = self.is_api && self.app.keys.is_none();
        let is_preflight = context.origin.is_some() && cors::is_preflight(request.method(), request.headers());
        let checked = match refused {
            Some(refused) => Err(refused.error()),
            None if checks_host => check_framing(&request).and_then(|()| check_host(&self.app.allowed_hosts, &request)),
            None => check_framing(&request),
        };
        let inner = checked.map(|()| match is_preflight {
            true => Either::Left(ready(Ok(cors::preflight()))),
            false => Either::Right(self.inner.call(request)),
        });
        let response = context.respond(inner);
        if is_read || is_preflight {
            return Box::pin(async move { Ok(response.await) });
        }
        // hyper drops the handler when a client hangs up. A write must not stop halfway, so it runs in a task of its own.
        let task = tokio::spawn(response);
        Box::pin(async move { Ok(task.await.unwrap_or_else(|error| ApiError::internal(&error).into_response())) })
    }
}

/// What is known of a request before its response.
struct RequestContext {
    app: Arc<AppState>,
    started: Instant,
    request_id: String,
    asks_to_keep: bool,
    accepts_gzip: bool,
    /// Whether pages of some origins may use the service.
    has_origins: bool,
    /// The origin of the request, if it is one of them.
    origin: Option<HeaderValue>,
    method: &'static str,
    route: Option<MatchedPath>,
    rate_limit: Option<RateLimitState>,
    span: Option<Span>,
    _in_flight: Option<InFlightGuard>,
}

impl RequestContext {
    fn begin(app: &Arc<AppState>, origins: Option<&CorsOrigins>, request: &mut Request) -> Self {
        let started = Instant::now();
        let request_id = accepted_request_id(request.headers()).unwrap_or_else(|| app.ids.request_id());
        let asks_to_keep = caching::asks_to_keep(request);
        let accepts_gzip = compression::accepts_gzip(request.headers());
        let origin = origins.and_then(|origins| origins.allowed(request.headers()));
        let method = method_name(request.method());
        let route = request.extensions().get::<MatchedPath>().cloned();
        let rate_limit = app.rate_limiter.as_ref().map(|_| RateLimitState::default());
        if let Some(rate_limit) = &rate_limit {
            request.extensions_mut().insert(rate_limit.clone());
        }
        let span = app
            .has_traces
            .then(|| telemetry::request_span(request.headers(), method, route_template(route.as_ref()), &request_id));
        let _in_flight = app.metrics.as_ref().map(PrometheusRegistry::begin_request);
        Self {
            app: Arc::clone(app),
            started,
            request_id,
            asks_to_keep,
            accepts_gzip,
            has_origins: origins.is_some(),
            origin,
            method,
            route,
            rate_limit,
            span,
            _in_flight,
        }
    }

    /// Adds the request ID and headers to the response, renders errors, and writes the log line.
    async fn respond(self, inner: Result<impl Future<Output = Result<Response, Infallible>>, ApiError>) -> Response {
        let Self { app, started, request_id, method, route, rate_limit, span, .. } = self;
        let run = async {
            match inner {
                Ok(inner) => match AssertUnwindSafe(inner).catch_unwind().await {
                    Ok(Ok(response)) => response,
                    Err(_) => ApiError::internal(&"a handler panicked").into_response(),
                },
                Err(error) => error.into_response(),
            }
        };
        let mut response = match &span {
            Some(span) => run.instrument(span.clone()).await,
            None => run.await,
        };
        if let Some(error) = response.extensions_mut().remove::<ApiError>() {
            response = error.render(response, &request_id);
        }
        if self.accepts_gzip {
            response = app.compressor.compress(response, method == "HEAD");
        }
        finish_headers(response.headers_mut(), &request_id);
        caching::set_headers(response.headers_mut(), self.asks_to_keep, self.has_origins);
        if let Some(origin) = self.origin {
            cors::allow(response.headers_mut(), origin);
        }
        if let Some((limiter, rate_limit)) = app.rate_limiter.as_ref().zip(rate_limit) {
            limiter.add_headers(response.headers_mut(), &rate_limit);
        }
        let status = response.status().as_u16();
        if let Some(span) = span {
            telemetry::record_status(&span, status);
        }
        let (route, time) = (route_template(route.as_ref()), started.elapsed());
        if let Some(metrics) = &app.metrics {
            metrics.record_response(route, method, status, time);
        }
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(request_id = request_id.as_str(), method, route, status, micros, message = "request");
        response
    }
}

/// The route template. Logs and metrics have it instead of the path, which has IDs.
fn route_template(route: Option<&MatchedPath>) -> &str {
    route.map_or("-", MatchedPath::as_str)
}

/// The caller's request ID if it is valid: 1 to 128 characters of `[A-Za-z0-9._-]`, exactly once. Anything else is
/// replaced, as the response shows.
fn accepted_request_id(headers: &HeaderMap) -> Option<String> {
    let mut lines = headers.get_all(REQUEST_ID).iter();
    let text = lines.next()?.to_str().ok()?;
    let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (lines.next().is_none() && (1..=128).contains(&text.len()) && text.chars().all(is_valid)).then(|| text.to_owned())
}

/// Refuses requests that a proxy in front could interpret differently.
fn check_framing(request: &Request) -> Result<(), ApiError> {
    let headers = request.headers();
    let reject = |detail: &str| Err(ApiError::new(ProblemCode::InvalidRequest, detail));
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), request.uri().authority()) {
        // In HTTP/2 the target names the host.
        (None, Some(_)) if request.version() == Version::HTTP_2 => {}
        // HTTP/1.0 has no such header (RFC 9112, 3.2): load balancers check the health of a server without one.
        (None, _) if request.version() <= Version::HTTP_10 => {}
        (None, _) => return reject("The request has no Host header."),
        (Some(_), _) if hosts.next().is_some() => return reject("The request has more than one Host header."),
        (Some(host), Some(target)) if !host.as_bytes().eq_ignore_ascii_case(target.as_str().as_bytes()) => {
            return reject("The Host header and the target of the request name different hosts.");
        }
        (Some(_), _) => {}
    }
    if headers.get_all(header::ORIGIN).iter().nth(1).is_some() {
        return reject("The request has more than one Origin header.");
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        // hyper only checks that the last coding is "chunked", and would leave other codings undecoded.
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return reject("The only Transfer-Encoding is chunked, exactly once.");
        }
    }
    Ok(())
}

/// Refuses a request for a host name that is not of this server. One of HTTP/1.0 may have none.
fn check_host(allowed: &AllowedHosts, request: &Request) -> Result<(), ApiError> {
    let target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    match target.or_else(|| request.headers().get(header::HOST).map(HeaderValue::as_bytes)) {
        Some(host) if !allowed.allows(host) => {
            let detail = "The request is for another host name. Without keys, this server answers to localhost, to IP \
                          addresses, and to the names of its setting allowed_hosts.";
            Err(ApiError::new(ProblemCode::InvalidRequest, detail))
        }
        _ => Ok(()),
    }
}

/// The method for logs and metrics. An unknown one is text of the caller, which must not get there.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn finish_headers(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
