//! Every route on one screen, and what surrounds each request.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, Version, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use callhistory_model::ProblemCode;
use futures_util::FutureExt as _;
use tracing::Instrument as _;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    calls, changes,
    error::{ApiError, REQUEST_ID},
    export, health, import,
    meters::Meters,
    metrics, openapi,
    rates::Left,
    telemetry,
};

/// The routes of the contract, each with its description.
pub(crate) fn contract_routes(base: utoipa::openapi::OpenApi) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(base)
        .routes(routes!(calls::list_calls, calls::create_call))
        .routes(routes!(calls::get_call, calls::put_call, calls::patch_call, calls::delete_call))
        .routes(routes!(import::import_calls))
        .routes(routes!(export::export_calls))
        .routes(routes!(metrics::call_metrics))
        .routes(routes!(changes::call_changes))
}

/// The whole service.
pub fn router(app: Arc<App>) -> Router {
    let (contract, _) = contract_routes(openapi::base()).split_for_parts();
    around(contract.merge(health::routes()).merge(openapi::routes()), &app)
}

/// What stands around the routes of each address.
fn around(routes: Router<Arc<App>>, app: &Arc<App>) -> Router {
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
        .layer(from_fn_with_state(app.clone(), surround))
        .with_state(Arc::clone(app))
}

/// What operators ask, on an address of its own.
pub fn operations_router(app: &Arc<App>) -> Router {
    around(health::operations_routes(), app)
}

/// Runs writes in a task of their own: hyper drops the handler of a client that hangs up, and with it half a request.
async fn surround(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer(app, request, next).await;
    }
    let answer = tokio::spawn(answer(app, request, next)).await;
    answer.unwrap_or_else(|error| ApiError::internal(&error).into_response())
}

/// Gives each request its id, refuses what is not sound HTTP, renders errors, and writes the log line.
async fn answer(app: Arc<App>, mut request: Request, next: Next) -> Response {
    let started = std::time::Instant::now();
    let request_id = accepted_request_id(request.headers()).unwrap_or_else(|| app.new_request_id());
    let method = request.method().clone();
    let _under_way = app.meters.as_ref().map(Meters::begin);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let left = app.buckets.as_ref().map(|buckets| (buckets, Left::default()));
    if let Some((_, left)) = &left {
        request.extensions_mut().insert(left.clone());
    }
    // The route template instead of the path: an id is not the log's business.
    let route = route.as_ref().map_or("-", MatchedPath::as_str);
    let span = app.traces.then(|| telemetry::span(request.headers(), method_name(&method), route, &request_id));
    let run = async |request| {
        let response = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        response.unwrap_or_else(|_| ApiError::internal(&"a handler panicked").into_response())
    };
    let mut response = match (check_framing(&request), &span) {
        (Ok(()), Some(span)) => run(request).instrument(span.clone()).await,
        (Ok(()), None) => run(request).await,
        (Err(error), _) => error.into_response(),
    };
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = error.render(response, &request_id);
    }
    finish_headers(response.headers_mut(), &request_id);
    if let Some((buckets, left)) = left {
        buckets.describe(response.headers_mut(), &left);
    }
    let status = response.status().as_u16();
    if let Some(span) = span {
        telemetry::finish(&span, status);
    }
    let time = started.elapsed();
    if let Some(meters) = &app.meters {
        meters.answered(route, method_name(&method), status, time);
    }
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    tracing::info!(request_id = request_id.as_str(), method = method_name(&method), route, status, micros, "request");
    response
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
