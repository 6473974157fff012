//! Sends requests with retries, and reads responses.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use callhistory_model::{CallInput, Handling, Problem};
use reqwest::{
    Body, Method, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde::de::DeserializeOwned;

use crate::{
    client::{Client, Operation},
    error::{BodyError, Error, Malformed, ResponseHead},
    time::{Elapsed, sleep, within},
    trace,
};

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// A problem lists at most 100 errors; a larger body does not come from the service.
const MAX_PROBLEM_BYTES: usize = 1024 * 1024;

const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A longer `Retry-After` is returned as an error instead of waited for.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

pub(crate) fn encode(call: &CallInput) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(call).map_err(|error| Error::invalid_source("the record cannot be serialized", error))
}

impl Operation {
    /// The same operation, with a body.
    pub(crate) fn with_body(mut self, media_type: &'static str, body: impl Into<Body>) -> Self {
        self.request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        *self.request.body_mut() = Some(body.into());
        self
    }

    /// The same operation, with the preferred handling.
    pub(crate) fn with_handling(mut self, handling: Option<Handling>) -> Self {
        let preference = handling.map(|handling| match handling {
            Handling::Strict => HeaderValue::from_static("handling=strict"),
            Handling::Lenient => HeaderValue::from_static("handling=lenient"),
        });
        if let Some(preference) = preference {
            self.request.headers_mut().insert(PREFER, preference);
        }
        self
    }

    /// The same operation, whose response may take this much longer.
    pub(crate) fn with_wait(mut self, wait: Duration) -> Self {
        let timeout = self.request.timeout().copied();
        *self.request.timeout_mut() = timeout.map(|timeout| timeout.saturating_add(wait));
        self.read_timeout = self.read_timeout.saturating_add(wait);
        self
    }
}

/// A successful response, read completely.
pub(crate) struct ResponseBody {
    pub(crate) head: ResponseHead,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    is_write: bool,
}

impl ResponseBody {
    /// Deserializes the body.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let unreadable = |error| Error::unreadable(self.head.clone(), self.is_write, BodyError::Malformed(error));
        Malformed::check(&self.body).map_err(unreadable)
    }
}

impl AsMut<ResponseHead> for ResponseBody {
    fn as_mut(&mut self) -> &mut ResponseHead {
        &mut self.head
    }
}

impl AsMut<ResponseHead> for ResponseParts {
    fn as_mut(&mut self) -> &mut ResponseHead {
        &mut self.head
    }
}

/// The body of a response, of which the parts are read as they arrive.
pub(crate) struct ResponseParts {
    head: ResponseHead,
    response: Option<Response>,
    read_timeout: Duration,
}

impl ResponseParts {
    pub(crate) fn unreadable(&self, error: BodyError) -> Error {
        Error::unreadable(self.head.clone(), false, error)
    }

    /// The next part; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(response) = &mut self.response else { return Ok(None) };
        #[cfg(not(target_arch = "wasm32"))]
        let part = within(self.read_timeout, response.chunk()).await;
        // A browser gives the whole body.
        #[cfg(target_arch = "wasm32")]
        let part = within(self.read_timeout, {
            let _ = response;
            let response = self.response.take();
            async move {
                match response {
                    Some(response) => response.bytes().await.map(Some),
                    None => Ok(None),
                }
            }
        })
        .await;
        part.map_err(|Elapsed| BodyError::TimedOut)?.map_err(BodyError::broken)
    }

    /// Reads a body of at most `max_bytes`.
    async fn read(mut self, max_bytes: usize) -> Result<Vec<u8>, BodyError> {
        let announced = self.response.as_ref().and_then(Response::content_length).unwrap_or(0);
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        if announced > max_bytes {
            return Err(BodyError::TooLarge(max_bytes));
        }
        let mut body = Vec::with_capacity(announced);
        while let Some(part) = self.next().await? {
            if part.len() > max_bytes - body.len() {
                return Err(BodyError::TooLarge(max_bytes));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }
}

impl Client {
    /// Sends a request with retries, and reads its response of at most `max_bytes`.
    pub(crate) async fn send(&self, operation: &Operation, max_bytes: usize) -> Result<ResponseBody, Error> {
        self.send_for(operation, is_success, max_bytes).await
    }

    /// The same for a response that is expected although its status is not one of success.
    pub(crate) async fn send_for(
        &self,
        operation: &Operation,
        is_expected: fn(&Response) -> bool,
        max_bytes: usize,
    ) -> Result<ResponseBody, Error> {
        self.with_retries(operation.name, || self.attempt(operation, is_expected, max_bytes)).await
    }

    /// Sends a request with retries, and returns the response with its body unread.
    pub(crate) async fn open(&self, operation: &Operation) -> Result<ResponseParts, Error> {
        self.with_retries(operation.name, || self.send_once(operation, is_success)).await
    }

    async fn with_retries<T: AsMut<ResponseHead>, F: Future<Output = Result<T, Error>>>(
        &self,
        name: &'static str,
        attempt: impl Fn() -> F,
    ) -> Result<T, Error> {
        if let Some(fault) = &self.options.fault {
            return Err(Error::invalid(fault.as_str()));
        }
        let span = trace::Span::new(name);
        let retries = async {
            let mut delays = backoff().with_max_times(self.options.max_retries).build();
            let (mut attempts, mut is_lost) = (0, false);
            loop {
                attempts += 1;
                span.attempt(attempts);
                let error = match attempt().await {
                    Ok(mut response) => {
                        let head = response.as_mut();
                        head.attempts = attempts;
                        span.end(Some(head));
                        return Ok(response);
                    }
                    Err(error) => error.after(attempts).after_lost(is_lost),
                };
                is_lost |= error.is_lost();
                let scheduled = error.is_retryable().then(|| delays.next()).flatten();
                let Some(delay) = scheduled.and_then(|scheduled| delay(&error, scheduled)) else {
                    span.end(error.head());
                    return Err(error);
                };
                trace::retry(&error, delay);
                sleep(delay).await;
            }
        };
        span.run(retries).await
    }

    /// One attempt: the response with its body unread, if it is expected.
    async fn send_once(
        &self,
        operation: &Operation,
        is_expected: fn(&Response) -> bool,
    ) -> Result<ResponseParts, Error> {
        let Operation { request, read_timeout, .. } = operation;
        let request = request.try_clone().ok_or_else(|| Error::invalid("a stream cannot be sent more than once"))?;
        let response = within(*read_timeout, self.shared.http.execute(request)).await;
        let response = response.map_err(|Elapsed| Error::timed_out())?.map_err(Error::transport)?;
        let head = ResponseHead::of(&response);
        let (is_expected, is_problem) = (is_expected(&response), has_media_type(&response, "application/problem+json"));
        let parts = ResponseParts { head, response: Some(response), read_timeout: *read_timeout };
        if is_expected {
            return Ok(parts);
        }
        let head = parts.head.clone();
        Err(Error::status_error(head, if is_problem { read_problem(parts).await } else { None }))
    }

    async fn attempt(
        &self,
        operation: &Operation,
        is_expected: fn(&Response) -> bool,
        max_bytes: usize,
    ) -> Result<ResponseBody, Error> {
        let mut parts = self.send_once(operation, is_expected).await?;
        let head = parts.head.clone();
        let headers = parts.response.as_mut().map(|response| std::mem::take(response.headers_mut()));
        let is_write = operation.request.method() != Method::GET;
        match parts.read(max_bytes).await {
            Ok(body) => Ok(ResponseBody { head, headers: headers.unwrap_or_default(), body, is_write }),
            Err(error) => Err(Error::unreadable(head, is_write, error)),
        }
    }
}

pub(crate) fn is_success(response: &Response) -> bool {
    response.status().is_success()
}

/// Whether a response is the report of an import. An error that is no report is a problem.
pub(crate) fn is_report(response: &Response) -> bool {
    is_success(response)
        || response.status() == StatusCode::UNPROCESSABLE_ENTITY && has_media_type(response, "application/json")
}

fn has_media_type(response: &Response, name: &str) -> bool {
    let media_type = response.headers().get(CONTENT_TYPE).and_then(|media_type| media_type.to_str().ok());
    media_type.and_then(|text| text.split(';').next()).is_some_and(|text| text.trim().eq_ignore_ascii_case(name))
}

/// Exponential backoff with jitter, which spreads clients that failed together. The figures are in the crate's
/// documentation.
pub(crate) fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::new().with_min_delay(MIN_BACKOFF).with_factor(2.0).with_max_delay(MAX_BACKOFF).with_jitter()
}

/// The delay before the next attempt; `None` for no further attempt.
fn delay(error: &Error, scheduled: Duration) -> Option<Duration> {
    match error.retry_after() {
        None => Some(scheduled),
        Some(asked) if asked > MAX_RETRY_AFTER => None,
        // Added, because the service gave every rejected client the same time.
        Some(asked) => Some(asked + scheduled),
    }
}

/// The problem of an error response. An error page of a proxy is not read.
async fn read_problem(parts: ResponseParts) -> Option<Problem> {
    serde_json::from_slice(&parts.read(MAX_PROBLEM_BYTES).await.ok()?).ok()
}
