//! Every route on one screen, and what surrounds each request.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    Router,
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderValue, Method, Version, header},
    response::{IntoResponse, Response},
};
use callhistory_model::ProblemCode;
use futures_util::FutureExt as _;
use tower::{Service, layer::layer_fn};
use tracing::{Instrument as _, Span};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    calls, changes,
    error::{ApiError, REQUEST_ID},
    export, health, import,
    meters::{Meters, UnderWay},
    metrics, openapi,
    rates::Left,
    telemetry,
};

/// The routes of the contract, each with its description.
pub(crate) fn contract_routes(base: utoipa::openapi::OpenApi) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(base)
        .routes(routes!(calls::list_calls, calls::create_call))
        .routes(routes!(calls::get_call, calls::replace_call, calls::update_call, calls::delete_call))
        .routes(routes!(import::import_calls))
        .routes(routes!(export::export_calls))
        .routes(routes!(metrics::get_call_metrics))
        .routes(routes!(changes::list_call_changes))
}

/// The whole service.
pub fn router(app: Arc<App>) -> Router {
    let (contract, _) = contract_routes(openapi::base()).split_for_parts();
    around(contract.merge(health::routes()).merge(openapi::routes()), &app)
}

/// What stands around the routes of each address.
fn around(routes: Router<Arc<App>>, app: &Arc<App>) -> Router {
    let for_layer = Arc::clone(app);
    routes
        .fallback(|| async {
            ApiError::new(ProblemCode::RouteNotFound, "There is no such route; /docs lists them all.")
        })
        .method_not_allowed_fallback(|| async {
            ApiError::new(
                ProblemCode::MethodNotAllowed,
                "This route has no such method; the header Allow lists its methods.",
            )
        })
        // One layer, because each costs a request as much as the rest of its way.
        .layer(layer_fn(move |inner| Surround { app: Arc::clone(&for_layer), inner }))
        .with_state(Arc::clone(app))
}

/// What operators ask, on an address of its own.
pub fn operations_router(app: &Arc<App>) -> Router {
    around(health::operations_routes(), app)
}

/// What stands around each route. The library's own kind of layer takes a request apart and makes four boxes for it.
#[derive(Clone)]
struct Surround<S> {
    app: Arc<App>,
    inner: S,
}

impl<S> Service<Request> for Surround<S>
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
        let around = Around::begin(&self.app, &mut request);
        let inner = check_framing(&request).map(|()| self.inner.call(request));
        let answer = around.answer(inner);
        if is_read {
            return Box::pin(async move { Ok(answer.await) });
        }
        // hyper drops the handler of a client that hangs up, and with it half a write: writes have a task of their own.
        let task = tokio::spawn(answer);
        Box::pin(async move { Ok(task.await.unwrap_or_else(|error| ApiError::internal(&error).into_response())) })
    }
}

/// What is known of a request before it is answered.
struct Around {
    app: Arc<App>,
    started: Instant,
    request_id: String,
    method: &'static str,
    route: Option<MatchedPath>,
    left: Option<Left>,
    span: Option<Span>,
    _under_way: Option<UnderWay>,
}

impl Around {
    fn begin(app: &Arc<App>, request: &mut Request) -> Self {
        let started = Instant::now();
        let request_id = accepted_request_id(request.headers()).unwrap_or_else(|| app.new_request_id());
        let method = method_name(request.method());
        let route = request.extensions().get::<MatchedPath>().cloned();
        let left = app.buckets.as_ref().map(|_| Left::default());
        if let Some(left) = &left {
            request.extensions_mut().insert(left.clone());
        }
        let name = Self::name_of(route.as_ref());
        let span = app.traces.then(|| telemetry::span(request.headers(), method, name, &request_id));
        let _under_way = app.meters.as_ref().map(Meters::begin);
        Self { app: Arc::clone(app), started, request_id, method, route, left, span, _under_way }
    }

    /// The route template instead of the path: an id is not the log's business.
    fn name_of(route: Option<&MatchedPath>) -> &str {
        route.map_or("-", MatchedPath::as_str)
    }

    /// Gives the answer its id and headers, renders errors, and writes the log line.
    async fn answer(self, inner: Result<impl Future<Output = Result<Response, Infallible>>, ApiError>) -> Response {
        let Self { app, started, request_id, method, route, left, span, _under_way } = self;
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
        if let Some((buckets, left)) = app.buckets.as_ref().zip(left) {
            buckets.describe(response.headers_mut(), &left);
        }
        let status = response.status().as_u16();
        if let Some(span) = span {
            telemetry::finish(&span, status);
        }
        let (route, time) = (Self::name_of(route.as_ref()), started.elapsed());
        if let Some(meters) = &app.meters {
            meters.answered(route, method, status, time);
        }
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(request_id = request_id.as_str(), method, route, status, micros, message = "request");
        response
    }
}

/// The caller's id for the request if it is one: 1 to 128 characters of `[A-Za-z0-9._-]`, exactly once. Anything else
/// is replaced, which the answer shows.
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
