//! For tests of programs that use this crate: records and errors without a server. Feature `test-util`.
//!
//! For a server with the real routes and scripted faults, see the crate `callhistory-test-server`.
//!
//! ```
//! use callhistory_client::{CallInput, CallStatus, Error, ProblemCode, test_util};
//!
//! // The code under test.
//! fn describe(result: &Result<callhistory_client::CallRecord, Error>) -> &'static str {
//!     match result {
//!         Ok(call) if call.status == Some(CallStatus::Completed) => "over",
//!         Ok(_) => "going on",
//!         Err(error) if error.is_conflict() => "changed by somebody else",
//!         Err(error) if error.is_retryable() => "not now",
//!         Err(_) => "a defect",
//!     }
//! }
//!
//! let completed = CallInput { status: Some(CallStatus::Completed), ..CallInput::default() };
//! assert_eq!(describe(&Ok(test_util::record("a1", completed))), "over");
//! assert_eq!(describe(&Err(test_util::problem_error(409, ProblemCode::FinalStatus))), "changed by somebody else");
//! assert_eq!(describe(&Err(test_util::timeout_error())), "not now");
//! ```

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use callhistory_model::{CallInput, CallRecord, Problem, ProblemCode, Timestamp};
use futures_util::FutureExt as _;
use http_body::{Body, Frame};
use reqwest::{
    Response,
    dns::{Name, Resolve, Resolving},
    header::RETRY_AFTER,
};

use crate::{
    error::{BodyError, Error, Malformed, ResponseHead},
    tls::{Certificates, configure},
};

/// The workspace of a record that has none.
pub const WORKSPACE: &str = "workspace";
/// The times of a record that has none.
pub const CREATED_AT: &str = "2026-01-01T00:00:00Z";
/// The request ID of every error that has a response.
pub const REQUEST_ID: &str = "test-request";

/// The record that the service returns for this input: with this ID, in [`WORKSPACE`], created and updated at
/// [`CREATED_AT`], and with empty `metadata`, `functionCalls` and `analyzedData`, unless the input has its own. Members can be
/// changed afterwards.
///
/// ```
/// use callhistory_client::{CallInput, test_util};
///
/// let mut call = test_util::record("a1", CallInput { agent_id: Some("agent-7".to_owned()), ..CallInput::default() });
/// call.summary = Some("The caller asked about an order.".to_owned());
/// assert_eq!((call.id.as_str(), call.workspace_id.as_str()), ("a1", "workspace"));
/// ```
///
/// # Panics
///
/// If the ID is invalid, or the input cannot be a record.
#[must_use]
#[expect(clippy::expect_used, reason = "only tests call this, and a test fails by a panic")]
pub fn record(id: &str, input: CallInput) -> CallRecord {
    let created: Timestamp = CREATED_AT.parse().expect("a valid constant");
    let mut input = input;
    input.id = Some(id.parse().expect("a valid ID of a record"));
    input.workspace_id.get_or_insert(WORKSPACE.parse().expect("a valid constant"));
    input.metadata.get_or_insert_default();
    input.function_calls.get_or_insert_default();
    input.analyzed_data.get_or_insert_default();
    input.updated_at.get_or_insert_with(|| input.created_at.clone().unwrap_or_else(|| created.clone()));
    input.created_at.get_or_insert(created);
    let json = serde_json::to_vec(&input).expect("an input is JSON");
    serde_json::from_slice(&json).expect("an input with all required members is a record")
}

/// The error of a response with this status and a problem document with this code, after one attempt.
///
/// ```
/// use callhistory_client::{ProblemCode, test_util};
///
/// let error = test_util::problem_error(410, ProblemCode::CursorExpired);
/// assert!(error.is_cursor_expired() && !error.is_retryable());
/// ```
///
/// # Panics
///
/// If the status is not from 100 to 999.
#[must_use]
pub fn problem_error(status: u16, code: ProblemCode) -> Error {
    Error::status_error(head(status, None), Some(problem(status, code))).after(1)
}

fn problem(status: u16, code: ProblemCode) -> Problem {
    let mut problem = Problem::new(status, code, "A problem of a test", "The error was made by a test.");
    problem.request_id = REQUEST_ID.to_owned();
    problem
}

/// The error of a response with this status and without a problem document, as of a proxy, after one attempt.
///
/// ```
/// let error = callhistory_client::test_util::status_error(502);
/// assert!(error.is_retryable() && error.problem().is_none());
/// ```
///
/// # Panics
///
/// If the status is not from 100 to 999.
#[must_use]
pub fn status_error(status: u16) -> Error {
    Error::status_error(head(status, None), None).after(1)
}

/// The error of a response with status 429 and this `Retry-After`, in whole seconds.
///
/// ```
/// use std::time::Duration;
///
/// let error = callhistory_client::test_util::rate_limit_error(Duration::from_secs(90));
/// assert!(error.is_rate_limited());
/// assert_eq!(error.retry_after(), Some(Duration::from_secs(90)));
/// ```
#[must_use]
pub fn rate_limit_error(retry_after: Duration) -> Error {
    let problem = problem(429, ProblemCode::RateLimited);
    Error::status_error(head(429, Some(retry_after)), Some(problem)).after(1)
}

/// The error of a request that got no response in time.
///
/// ```
/// let error = callhistory_client::test_util::timeout_error();
/// assert!(error.is_timeout() && error.is_retryable() && error.status().is_none());
/// ```
#[must_use]
pub fn timeout_error() -> Error {
    Error::timed_out().after(1)
}

/// The error of a request whose connection was lost: the service may have processed it.
///
/// ```
/// let error = callhistory_client::test_util::lost_connection_error();
/// assert!(error.is_retryable() && !error.is_timeout() && !error.is_connect());
/// ```
#[must_use]
pub fn lost_connection_error() -> Error {
    Error::transport(failed_read(io::ErrorKind::ConnectionReset)).after(1)
}

/// The error of a request that was not sent, because there was no connection. It is made by a real client, which needs a provider
/// of TLS: with only the feature `rustls-no-provider`, install one first.
///
/// ```
/// let error = callhistory_client::test_util::connect_error();
/// assert!(error.is_connect() && error.is_retryable());
/// ```
///
/// # Panics
///
/// If there is no provider of TLS.
#[must_use]
pub fn connect_error() -> Error {
    Error::transport(failed_connect()).after(1)
}

/// The error of a successful read whose body is not valid JSON.
///
/// ```
/// let error = callhistory_client::test_util::malformed_body_error();
/// assert!(!error.is_retryable() && error.status() == Some(200));
/// ```
#[must_use]
#[expect(clippy::expect_used, reason = "the text is not JSON")]
pub fn malformed_body_error() -> Error {
    let error = Malformed::check::<CallRecord>(b"{").expect_err("half of an object");
    Error::unreadable(head(200, None), false, BodyError::Malformed(error)).after(1)
}

/// The error of a successful read whose connection was closed in the middle of the body.
///
/// ```
/// let error = callhistory_client::test_util::broken_body_error();
/// assert!(error.is_retryable() && error.status() == Some(200));
/// ```
#[must_use]
pub fn broken_body_error() -> Error {
    let error = BodyError::broken(failed_read(io::ErrorKind::UnexpectedEof));
    Error::unreadable(head(200, None), false, error).after(1)
}

/// The error of a write that the service accepted, and whose response cannot be read.
///
/// ```
/// let error = callhistory_client::test_util::accepted_write_error();
/// assert!(error.was_accepted() && !error.is_retryable());
/// ```
#[must_use]
pub fn accepted_write_error() -> Error {
    let error = BodyError::broken(failed_read(io::ErrorKind::UnexpectedEof));
    Error::unreadable(head(200, None), true, error).after(1)
}

#[expect(clippy::expect_used, reason = "only tests call this, and a test fails by a panic")]
fn head(status: u16, retry_after: Option<Duration>) -> ResponseHead {
    let mut response = http::Response::builder().status(status).header("x-request-id", REQUEST_ID);
    if let Some(retry_after) = retry_after {
        response = response.header(RETRY_AFTER, retry_after.as_secs());
    }
    ResponseHead::of(&Response::from(response.body(Bytes::new()).expect("a status from 100 to 999")))
}

/// A body that fails.
struct FailingBody(io::ErrorKind);

impl Body for FailingBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(Some(Err(self.0.into())))
    }
}

/// An error of `reqwest`, which has no constructor: that of a body.
#[expect(clippy::expect_used, reason = "the body fails at its first read, without waiting")]
fn failed_read(kind: io::ErrorKind) -> reqwest::Error {
    let body = reqwest::Body::wrap(FailingBody(kind));
    Response::from(http::Response::new(body)).bytes().now_or_never().expect("no wait").expect_err("a failing body")
}

/// A resolver that finds no host.
struct NoHosts;

impl Resolve for NoHosts {
    fn resolve(&self, _: Name) -> Resolving {
        Box::pin(std::future::ready(Err(io::Error::other("no such host").into())))
    }
}

#[expect(clippy::expect_used, reason = "the resolver fails at once, without waiting")]
fn failed_connect() -> reqwest::Error {
    let client = reqwest::Client::builder().no_proxy().dns_resolver(NoHosts);
    let client = configure(client, &Certificates::default()).expect("a provider").build().expect("a client");
    client.get("http://test.invalid").send().now_or_never().expect("no wait").expect_err("no host")
}
