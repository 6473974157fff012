//! What happens to every request: framing checks, request ID, tracing, metrics, the log line.

use std::{
    convert::Infallible,
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
use futures_util::FutureExt as _;
use tower::Service;
use tracing::{Instrument as _, Span};

use crate::{
    auth::rate_limit::RateLimitState,
    error::{ApiError, REQUEST_ID},
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
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let context = RequestContext::begin(&self.app, &mut request);
        let inner = check_framing(&request).map(|()| self.inner.call(request));
        let answer = context.answer(inner);
        if is_read {
            return Box::pin(async move { Ok(answer.await) });
        }
        // hyper drops the handler of a client that hangs up, and with it half a write: writes have a task of their own.
        let task = tokio::spawn(answer);
        Box::pin(async move { Ok(task.await.unwrap_or_else(|error| ApiError::internal(&error).into_response())) })
    }
}

/// What is known of a request before its response.
struct RequestContext {
    app: Arc<AppState>,
    started: Instant,
    request_id: String,
    method: &'static str,
    route: Option<MatchedPath>,
    rate_limit: Option<RateLimitState>,
    span: Option<Span>,
    _in_flight: Option<InFlightGuard>,
}

impl RequestContext {
    fn begin(app: &Arc<AppState>, request: &mut Request) -> Self {
        let started = Instant::now();
        let request_id = accepted_request_id(request.headers()).unwrap_or_else(|| app.ids.request_id());
        let method = method_name(request.method());
        let route = request.extensions().get::<MatchedPath>().cloned();
        let rate_limit = app.rate_limiter.as_ref().map(|_| RateLimitState::default());
        if let Some(rate_limit) = &rate_limit {
            request.extensions_mut().insert(rate_limit.clone());
        }
        let name = Self::name_of(route.as_ref());
        let span = app.traces.then(|| telemetry::span(request.headers(), method, name, &request_id));
        let _in_flight = app.metrics.as_ref().map(PrometheusRegistry::begin_request);
        Self { app: Arc::clone(app), started, request_id, method, route, rate_limit, span, _in_flight }
    }

    /// The route template instead of the path: an id is not the log's business.
    fn name_of(route: Option<&MatchedPath>) -> &str {
        route.map_or("-", MatchedPath::as_str)
    }

    /// Adds the request ID and headers to the response, renders errors, and writes the log line.
    async fn answer(self, inner: Result<impl Future<Output = Result<Response, Infallible>>, ApiError>) -> Response {
        let Self { app, started, request_id, method, route, rate_limit, span, _in_flight } = self;
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
        finish_headers(response.headers_mut(), &request_id);
        if let Some((limiter, rate_limit)) = app.rate_limiter.as_ref().zip(rate_limit) {
            limiter.describe(response.headers_mut(), &rate_limit);
        }
        let status = response.status().as_u16();
        if let Some(span) = span {
            telemetry::finish(&span, status);
        }
        let (route, time) = (Self::name_of(route.as_ref()), started.elapsed());
        if let Some(metrics) = &app.metrics {
            metrics.record_response(route, method, status, time);
        }
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(request_id = request_id.as_str(), method, route, status, micros, message = "request");
        response
    }
}

/// The caller's request ID if it is valid: 1 to 128 characters of `[A-Za-z0-9._-]`, exactly once. Anything else is
/// replaced, as the response shows.
fn accepted_request_id(headers: &HeaderMap) -> Option<String> {
    let mut lines = headers.get_all(REQUEST_ID).iter();
    let text = lines.next()?.to_str().ok()?;
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (lines.next().is_none() && (1..=128).contains(&text.len()) && text.chars().all(sound)).then(|| text.to_owned())
}

/// Refuses requests that a proxy in front could read in another way.
fn check_framing(request: &Request) -> Result<(), ApiError> {
    let headers = request.headers();
    let refuse = |detail: &str| Err(ApiError::new(ProblemCode::InvalidRequest, detail));
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), request.uri().authority()) {
        // In HTTP/2 the target says it.
        (None, Some(_)) if request.version() == Version::HTTP_2 => {}
        (None, _) => return refuse("The request has no Host header."),
        (Some(_), _) if hosts.next().is_some() => return refuse("The request has more than one Host header."),
        (Some(host), Some(target)) if !host.as_bytes().eq_ignore_ascii_case(target.as_str().as_bytes()) => {
            return refuse("The Host header and the target of the request say different hosts.");
        }
        (Some(_), _) => {}
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        // The HTTP library looks for "chunked" at the end and would hand on the rest undecoded.
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return refuse("The only Transfer-Encoding is chunked, exactly once.");
        }
    }
    Ok(())
}

/// An unknown method is the caller's own text and stays out of the log.
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
    // Records are personal data: no shared cache keeps them, and a private one asks again each time.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
}
