//! Scripted faults for tests of clients. A server has this layer and the route only if it is started with faults.

pub(crate) mod fault;
mod faulty_body;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use callhistory_model::ProblemCode;
use serde_json::{Value, json};

use self::{
    fault::{Fault, FaultKind, InvalidFault, example, suggestion},
    faulty_body::{AfterHalf, FaultyBody},
};
use crate::{
    auth::rate_limit::{TOO_MANY, refused},
    error::ApiError,
};

/// An operation of the contract.
struct Operation {
    id: String,
    method: String,
    /// Its route, as a template.
    route: String,
}

/// The faults of a server, which requests meet in the order in which they were added.
pub struct Faults {
    operations: Vec<Operation>,
    script: Mutex<Vec<ScriptedFault>>,
}

struct ScriptedFault {
    fault: Fault,
    matched: u64,
    served: Arc<AtomicU64>,
}

/// Counts the requests that met a fault.
#[derive(Clone, Debug)]
pub struct FaultCount(Arc<AtomicU64>);

impl FaultCount {
    /// The number of requests so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Faults {
    /// No faults yet, for the operations of this contract.
    pub(crate) fn new(contract: &str) -> Self {
        let contract: Value = serde_json::from_str(contract).unwrap_or_default();
        let paths = contract["paths"].as_object().into_iter().flatten();
        let operations = paths.flat_map(|(route, methods)| {
            methods.as_object().into_iter().flatten().filter_map(|(method, operation)| {
                let (id, method) = (operation["operationId"].as_str()?.to_owned(), method.to_uppercase());
                Some(Operation { id, method, route: route.clone() })
            })
        });
        Self { operations: operations.collect(), script: Mutex::default() }
    }

    /// Adds a fault after those that there are. A request that meets one of them does not count for the later ones.
    ///
    /// # Errors
    ///
    /// Names what is wrong: an unknown operation or status, or an option that does not belong to the fault.
    pub fn add(&self, fault: Fault) -> Result<FaultCount, InvalidFault> {
        self.check(&fault)?;
        let served = Arc::default();
        self.script().push(ScriptedFault { fault, matched: 0, served: Arc::clone(&served) });
        Ok(FaultCount(served))
    }

    /// Adds the faults of a text, one a line: all of them or none.
    fn add_lines(&self, text: &str) -> Result<(), InvalidFault> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let parse = |line: &str| line.parse().and_then(|fault| self.check(&fault).map(|()| fault));
        let faults: Vec<Fault> = lines.map(parse).collect::<Result<_, _>>()?;
        self.script().extend(faults.into_iter().map(|fault| ScriptedFault {
            fault,
            matched: 0,
            served: Arc::default(),
        }));
        Ok(())
    }

    /// Removes all faults.
    pub fn clear(&self) {
        self.script().clear();
    }

    fn script(&self) -> MutexGuard<'_, Vec<ScriptedFault>> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, fault: &Fault) -> Result<(), InvalidFault> {
        fault.check()?;
        let names = || self.operations.iter().map(|operation| operation.id.as_str());
        match &fault.target {
            Some(name) if !name.starts_with('/') && names().all(|known| known != name) => {
                let (guess, known) = (suggestion(name, names()), names().collect::<Vec<_>>().join(", "));
                let reason =
                    format!("{name:?} is not an operation; {guess}the operations are {known}; a path begins with /");
                Err(InvalidFault(reason))
            }
            _ => Ok(()),
        }
    }

    /// The fault that a request meets.
    fn meet(&self, request: &Request) -> Option<Fault> {
        let route = request.extensions().get::<MatchedPath>()?.as_str();
        let is_head = request.method() == Method::HEAD;
        let method = if is_head { "GET" } else { request.method().as_str() };
        let is_called = |operation: &&Operation| operation.method == method && operation.route == route;
        let operation = self.operations.iter().find(is_called)?;
        let mut script = self.script();
        for ScriptedFault { fault, matched, served } in script.iter_mut() {
            let is_meant =
                fault.target.as_ref().is_none_or(|target| *target == operation.id || target == request.uri().path());
            // A response to HEAD has no body that could fail.
            let has_effect = !is_head || matches!(fault.kind, FaultKind::Problem(_) | FaultKind::SlowResponse);
            let count = served.load(Ordering::Relaxed);
            if !is_meant || !has_effect || fault.is_over(count) {
                continue;
            }
            *matched += 1;
            if fault.is_due(*matched - 1, count) {
                served.fetch_add(1, Ordering::Relaxed);
                return Some(fault.clone());
            }
        }
        None
    }

    /// What is scripted, as JSON.
    fn report(&self) -> Response {
        let script = self.script();
        let entries = script.iter().map(|ScriptedFault { fault, served, .. }| {
            json!({ "fault": fault.to_string(), "served": served.load(Ordering::Relaxed) })
        });
        let body = json!(entries.collect::<Vec<_>>()).to_string();
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// Adds the faults to the routes of the contract.
pub(crate) fn with_faults<S: Clone + Send + Sync + 'static>(routes: Router<S>, faults: &Arc<Faults>) -> Router<S> {
    routes.layer(from_fn_with_state(Arc::clone(faults), respond))
}

async fn respond(State(faults): State<Arc<Faults>>, request: Request, next: Next) -> Response {
    let Some(fault) = faults.meet(&request) else { return next.run(request).await };
    let delay = fault.delay.unwrap_or_default();
    match fault.kind {
        FaultKind::Problem(status) => problem(status, fault.retry_after).into_response(),
        FaultKind::DropRequest => Response::new(Body::new(FaultyBody::failing())),
        FaultKind::DropResponse => {
            drop(next.run(request).await);
            Response::new(Body::new(FaultyBody::failing()))
        }
        FaultKind::SlowResponse => {
            let response = next.run(request).await;
            tokio::time::sleep(delay).await;
            response
        }
        FaultKind::SlowBody => with_body(next.run(request).await, AfterHalf::Pause(delay)),
        FaultKind::CutBody => with_body(next.run(request).await, AfterHalf::Abort),
        FaultKind::BrokenJson => with_body(next.run(request).await, AfterHalf::End),
    }
}

/// The problem of the contract with this status.
fn problem(status: u16, retry_after: Option<u32>) -> ApiError {
    let error = match retry_after {
        Some(seconds) if status == 429 => {
            // Its text names the seconds, and counts those that have begun.
            refused(TOO_MANY, Duration::from_secs(seconds.saturating_sub(1).into()))
        }
        _ => example(status).unwrap_or_else(|| ApiError::internal(&"a fault has no problem")),
    };
    match retry_after {
        Some(seconds) => error.retry_after(seconds),
        None => error,
    }
}

fn with_body(mut response: Response, then: AfterHalf) -> Response {
    if response.body().is_end_stream() {
        return response;
    }
    if matches!(then, AfterHalf::End) {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response.map(|body| Body::new(FaultyBody::new(body, then)))
}

/// The route by which a test scripts faults while the server runs. It is not part of the contract.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(faults: &Arc<Faults>) -> Router<S> {
    let route = get(list).post(add).delete(clear);
    Router::new().route("/faults", route.with_state(Arc::clone(faults)))
}

async fn list(State(faults): State<Arc<Faults>>) -> Response {
    faults.report()
}

async fn add(State(faults): State<Arc<Faults>>, body: Bytes) -> Response {
    match faults.add_lines(&String::from_utf8_lossy(&body)) {
        Ok(()) => faults.report(),
        Err(error) => ApiError::new(ProblemCode::InvalidRequest, error.to_string()).into_response(),
    }
}

async fn clear(State(faults): State<Arc<Faults>>) -> StatusCode {
    faults.clear();
    StatusCode::NO_CONTENT
}
