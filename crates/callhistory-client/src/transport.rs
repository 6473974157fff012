//! Sends requests with retries, and reads responses.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use callhistory_model::{CallInput, Problem};
use reqwest::{
    Body, Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::de::DeserializeOwned;

use crate::{
    client::Client,
    error::{BodyError, Error, ResponseHead},
};

/// A problem lists at most 100 errors; a larger body does not come from the service.
const MAX_PROBLEM_BYTES: usize = 1024 * 1024;

const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A longer `Retry-After` is returned as an error instead of waited for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The same request, with a body.
pub(crate) fn with_body(mut request: Request, media_type: &'static str, body: impl Into<Body>) -> Request {
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    *request.body_mut() = Some(body.into());
    request
}

pub(crate) fn encode(call: &CallInput) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(call).map_err(|error| Error::invalid_source("the record cannot be serialized", error))
}

/// A successful response, read completely.
pub(crate) struct ResponseBody {
    head: ResponseHead,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    is_write: bool,
}

impl ResponseBody {
    /// Deserializes the body.
    pub(crate) fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let unreadable = |error| Error::unreadable(self.head, self.is_write, BodyError::Malformed(error)).after(1);
        serde_json::from_slice(&self.body).map_err(unreadable)
    }
}

impl Client {
    /// Sends a request with retries, and reads its response of at most `max_bytes`.
    pub(crate) async fn send(&self, request: &Request, max_bytes: usize) -> Result<ResponseBody, Error> {
        self.with_retries(|| self.attempt(request, is_success, max_bytes)).await
    }

    /// The same for an import: also reads the report of one of which nothing was taken.
    pub(crate) async fn send_for_report(&self, request: &Request, max_bytes: usize) -> Result<ResponseBody, Error> {
        self.with_retries(|| self.attempt(request, is_report, max_bytes)).await
    }

    /// Sends a request with retries, and returns the response with its body unread.
    pub(crate) async fn open(&self, request: &Request) -> Result<Response, Error> {
        self.with_retries(|| self.send_once(request, is_success)).await
    }

    async fn with_retries<T, F: Future<Output = Result<T, Error>>>(&self, attempt: impl Fn() -> F) -> Result<T, Error> {
        let mut attempts = 0;
        let counted = || {
            attempts += 1;
            attempt()
        };
        let result = counted.retry(backoff(self.shared.max_retries)).when(Error::is_retryable).adjust(delay).await;
        result.map_err(|error| error.after(attempts))
    }

    /// One attempt: the response with its body unread, if it is a success.
    async fn send_once(&self, request: &Request, is_success: fn(&Response) -> bool) -> Result<Response, Error> {
        let request = request.try_clone().ok_or_else(|| Error::invalid("a stream cannot be sent more than once"))?;
        let response = self.shared.http.execute(request).await.map_err(Error::transport)?;
        if is_success(&response) {
            return Ok(response);
        }
        let head = ResponseHead::of(&response);
        Err(Error::status_error(head, read_problem(response).await))
    }

    async fn attempt(
        &self,
        request: &Request,
        is_success: fn(&Response) -> bool,
        max_bytes: usize,
    ) -> Result<ResponseBody, Error> {
        let mut response = self.send_once(request, is_success).await?;
        let (head, headers) = (ResponseHead::of(&response), std::mem::take(response.headers_mut()));
        let is_write = request.method() != Method::GET;
        match read(response, max_bytes).await {
            Ok(body) => Ok(ResponseBody { head, headers, body, is_write }),
            Err(error) => Err(Error::unreadable(head, is_write, error)),
        }
    }
}

fn is_success(response: &Response) -> bool {
    response.status().is_success()
}

/// Whether a response is the report of an import. An error that is no report is a problem.
fn is_report(response: &Response) -> bool {
    is_success(response)
        || response.status() == StatusCode::UNPROCESSABLE_ENTITY && has_media_type(response, "application/json")
}

fn has_media_type(response: &Response, name: &str) -> bool {
    let media_type = response.headers().get(CONTENT_TYPE).and_then(|media_type| media_type.to_str().ok());
    media_type.and_then(|text| text.split(';').next()).is_some_and(|text| text.trim().eq_ignore_ascii_case(name))
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
    if !has_media_type(&response, "application/problem+json") {
        return None;
    }
    serde_json::from_slice(&read(response, MAX_PROBLEM_BYTES).await.ok()?).ok()
}
