//! The one way by which every operation goes to the service and back.

use backon::Retryable as _;
use bytes::Bytes;
use callhistory_model::{CallDraft, Problem};
use reqwest::{
    Method, Response, Url,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::de::DeserializeOwned;

use crate::{
    client::Client,
    error::{Answer, BodyError, Error},
    retry,
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// A problem lists at most 100 faults; what is larger does not come from the service.
const MAX_PROBLEM_BYTES: usize = 1024 * 1024;

/// One request, ready to be sent as often as it takes.
#[derive(Debug)]
pub(crate) struct Request {
    method: Method,
    url: Url,
    body: Option<Bytes>,
    idempotency_key: Option<HeaderValue>,
}

impl Request {
    pub(crate) fn get(url: Url) -> Self {
        Self { method: Method::GET, url, body: None, idempotency_key: None }
    }

    pub(crate) fn put(url: Url, call: &CallDraft) -> Result<Self, Error> {
        Ok(Self { method: Method::PUT, url, body: Some(encode(call)?), idempotency_key: None })
    }

    /// A POST can be repeated because of its key alone, so there is none without.
    pub(crate) fn post(url: Url, call: &CallDraft, idempotency_key: HeaderValue) -> Result<Self, Error> {
        let body = Some(encode(call)?);
        Ok(Self { method: Method::POST, url, body, idempotency_key: Some(idempotency_key) })
    }
}

fn encode(call: &CallDraft) -> Result<Bytes, Error> {
    serde_json::to_vec(call).map(Bytes::from).map_err(|error| Error::invalid("the record cannot be written", error))
}

impl Client {
    /// Sends a request, with retries, and reads its answer of at most `max_bytes`.
    pub(crate) async fn send<T: DeserializeOwned>(&self, request: Request, max_bytes: usize) -> Result<T, Error> {
        let mut attempts = 0;
        let attempt = || {
            attempts += 1;
            self.attempt(&request, max_bytes)
        };
        let result =
            attempt.retry(retry::schedule(self.inner.max_retries)).when(Error::is_retryable).adjust(retry::wait).await;
        result.map_err(|error| error.after(attempts))
    }

    async fn attempt<T: DeserializeOwned>(&self, request: &Request, max_bytes: usize) -> Result<T, Error> {
        let mut outgoing = self.inner.http.request(request.method.clone(), request.url.clone());
        if let Some(body) = &request.body {
            outgoing = outgoing.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        if let Some(key) = &request.idempotency_key {
            outgoing = outgoing.header(IDEMPOTENCY_KEY, key.clone());
        }
        let response = outgoing.send().await.map_err(Error::transport)?;
        let answer = Answer::of(&response);
        if !response.status().is_success() {
            return Err(Error::answered(answer, read_problem(response).await));
        }
        let unreadable = |error| Error::unreadable(answer, request.method != Method::GET, error);
        let result = match read(response, max_bytes).await {
            Ok(body) => serde_json::from_slice(&body).map_err(BodyError::Malformed),
            Err(error) => Err(error),
        };
        result.map_err(unreadable)
    }
}

/// The body, as long as it is no larger than `max_bytes`.
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

/// The problem that the service explains itself with. A proxy's own page is none, and is not even read.
async fn read_problem(response: Response) -> Option<Problem> {
    let media_type = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let is_problem = media_type.split(';').next()?.trim().eq_ignore_ascii_case("application/problem+json");
    if !is_problem {
        return None;
    }
    serde_json::from_slice(&read(response, MAX_PROBLEM_BYTES).await.ok()?).ok()
}
