//! Sends requests with retries, and reads responses.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use bytes::Bytes;
use callhistory_model::{CallInput, CallPatch, Problem};
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde::de::DeserializeOwned;

use crate::{
    client::Client,
    error::{BodyError, Error, ResponseHead},
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// A problem lists at most 100 errors; a larger body does not come from the service.
const MAX_PROBLEM_BYTES: usize = 1024 * 1024;
/// The read timeout bounds a stream; the service ends an export after an hour.
const STREAM_TIMEOUT: Duration = Duration::from_secs(2 * 3600);

const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A longer `Retry-After` is returned as an error instead of waited for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// A request that can be sent repeatedly.
#[derive(Debug)]
pub(crate) struct Request {
    method: Method,
    url: Url,
    body: Option<(&'static str, Bytes)>,
    idempotency_key: Option<HeaderValue>,
}

impl Request {
    fn new(method: Method, url: Url) -> Self {
        Self { method, url, body: None, idempotency_key: None }
    }

    pub(crate) fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    pub(crate) fn delete(url: Url) -> Self {
        Self::new(Method::DELETE, url)
    }

    pub(crate) fn put(url: Url, call: &CallInput) -> Result<Self, Error> {
        Ok(Self { body: Some(("application/json", encode(call)?)), ..Self::new(Method::PUT, url) })
    }

    pub(crate) fn patch(url: Url, patch: &CallPatch) -> Self {
        let body = Some(("application/merge-patch+json", patch.to_json().into()));
        Self { body, ..Self::new(Method::PATCH, url) }
    }

    /// Only the idempotency key makes a creation repeatable, so it is required.
    pub(crate) fn post(url: Url, call: &CallInput, idempotency_key: HeaderValue) -> Result<Self, Error> {
        let body = Some(("application/json", encode(call)?));
        Ok(Self { body, idempotency_key: Some(idempotency_key), ..Self::new(Method::POST, url) })
    }

    /// Records with their own IDs, which can be written again.
    pub(crate) fn import(url: Url, lines: Vec<u8>) -> Self {
        Self { body: Some(("application/x-ndjson", lines.into())), ..Self::new(Method::POST, url) }
    }
}

pub(crate) fn encode(call: &CallInput) -> Result<Bytes, Error> {
    serde_json::to_vec(call).map(Bytes::from).map_err(|error| Error::invalid("the record cannot be serialized", error))
}

/// A successful response, read completely.
pub(crate) struct ResponseBody {
    status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Vec<u8>,
    is_write: bool,
}

impl ResponseBody {
    /// Deserializes the body.
    pub(crate) fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let head = ResponseHead::new(self.status, &self.headers);
            Error::unreadable(head, self.is_write, BodyError::Malformed(error)).after(1)
        })
    }
}

impl Client {
    /// Sends a request with retries, and reads its response of at most `max_bytes`.
    pub(crate) async fn send(&self, request: &Request, max_bytes: usize) -> Result<ResponseBody, Error> {
        self.with_retries(|| self.attempt(request, max_bytes)).await
    }

    /// Sends a request with retries, and returns the response with its body unread.
    pub(crate) async fn open(&self, request: &Request) -> Result<Response, Error> {
        self.with_retries(|| self.send_once(request, Some(STREAM_TIMEOUT))).await
    }

    async fn with_retries<T, F: Future<Output = Result<T, Error>>>(&self, attempt: impl Fn() -> F) -> Result<T, Error> {
        let mut attempts = 0;
        let counted = || {
            attempts += 1;
            attempt()
        };
        let backoff = backoff(self.inner.max_retries);
        let result = counted.retry(backoff).when(Error::is_retryable).adjust(delay).await;
        result.map_err(|error| error.after(attempts))
    }

    /// One attempt: the response with its body unread, if its status is a success.
    async fn send_once(&self, request: &Request, timeout: Option<Duration>) -> Result<Response, Error> {
        let mut outgoing = self.inner.http.request(request.method.clone(), request.url.clone());
        if let Some((media_type, body)) = &request.body {
            outgoing = outgoing.header(CONTENT_TYPE, *media_type).body(body.clone());
        }
        if let Some(key) = &request.idempotency_key {
            outgoing = outgoing.header(IDEMPOTENCY_KEY, key.clone());
        }
        let conditional = matches!(request.method, Method::PUT | Method::PATCH | Method::DELETE);
        if let Some((name, value)) = self.condition.as_ref().filter(|_| conditional) {
            outgoing = outgoing.header(name, value);
        }
        if let Some(timeout) = timeout {
            outgoing = outgoing.timeout(timeout);
        }
        let response = outgoing.send().await.map_err(Error::transport)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let head = ResponseHead::of(&response);
        Err(Error::status_error(head, read_problem(response).await))
    }

    async fn attempt(&self, request: &Request, max_bytes: usize) -> Result<ResponseBody, Error> {
        let mut response = self.send_once(request, None).await?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let is_write = request.method != Method::GET;
        match read(response, max_bytes).await {
            Ok(body) => Ok(ResponseBody { status, headers, body, is_write }),
            Err(error) => Err(Error::unreadable(ResponseHead::new(status, &headers), is_write, error)),
        }
    }
}

/// Exponential backoff with jitter, which spreads clients that failed together. The figures are in the crate's
/// documentation.
fn backoff(max_retries: usize) -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(MIN_BACKOFF)
        .with_factor(2.0)
        .with_max_delay(MAX_BACKOFF)
        .with_max_times(max_retries)
        .with_jitter()
}

/// The delay before the next attempt; `None` for no further attempt.
fn delay(error: &Error, scheduled: Option<Duration>) -> Option<Duration> {
    let scheduled = scheduled?;
    match error.retry_after() {
        None => Some(scheduled),
        Some(asked) if asked > MAX_RETRY_AFTER => None,
        // Added, because the service gave every rejected client the same time.
        Some(asked) => Some(asked + scheduled),
    }
}

/// Reads a body of at most `max_bytes`.
async fn read(mut response: Response, max_bytes: usize) -> Result<Vec<u8>, BodyError> {
    let announced = response.content_length().map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced > max_bytes {
        return Err(BodyError::TooLarge(max_bytes));
    }
    let mut body = Vec::with_capacity(announced);
    while let Some(chunk) = response.chunk().await.map_err(BodyError::broken)? {
        if chunk.len() > max_bytes - body.len() {
            return Err(BodyError::TooLarge(max_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The problem of an error response. An error page of a proxy is not read.
async fn read_problem(response: Response) -> Option<Problem> {
    let media_type = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let is_problem = media_type.split(';').next()?.trim().eq_ignore_ascii_case("application/problem+json");
    if !is_problem {
        return None;
    }
    serde_json::from_slice(&read(response, MAX_PROBLEM_BYTES).await.ok()?).ok()
}
