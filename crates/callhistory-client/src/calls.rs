//! Operations on single call records.

use callhistory_model::{CallId, CallInput, CallPatch, CallRecord, Handling, UpdateQuery, WarningCode};
use reqwest::{
    Method, Request, Url,
    header::{ETAG, HeaderMap, HeaderName, HeaderValue},
};
use serde::Deserialize;

use crate::{
    client::{Client, ClientBuilder, Version},
    error::Error,
    transport::{encode, with_body},
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const WARNINGS: HeaderName = HeaderName::from_static("x-callhistory-warnings");

/// A record as a write has stored it.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenCall {
    /// The record.
    pub call: CallRecord,
    /// Its version, for the [precondition](Client::if_version) of the next write.
    pub version: Option<Version>,
    /// What the service stored in another form than it was sent, or left out, and what contradicts itself. The service
    /// names as many as fit into a header of 4 KiB.
    pub warnings: Vec<WriteWarning>,
}

/// A warning about a write that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct WriteWarning {
    /// Location in the document that was sent, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// Machine-readable warning code.
    pub code: WarningCode,
}

impl Client {
    /// Retrieves a call record.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] if the record does not exist in this workspace; otherwise as in the [crate](crate#errors).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// let call = client.get_call("1234567890abcdef").await?;
    /// println!("{:?}", call.status);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_call(&self, id: &str) -> Result<CallRecord, Error> {
        self.send(&Request::new(Method::GET, self.call_url(id)?), ClientBuilder::MAX_RECORD_BYTES).await?.json()
    }

    /// Retrieves a call record with its version, for optimistic concurrency: see
    /// [`if_version`](Self::if_version).
    ///
    /// # Errors
    ///
    /// Those of [`get_call`](Self::get_call), and a response without an `ETag`.
    pub async fn get_call_version(&self, id: &str) -> Result<(CallRecord, Version), Error> {
        let reply = self.send(&Request::new(Method::GET, self.call_url(id)?), ClientBuilder::MAX_RECORD_BYTES).await?;
        let version = version(&reply.headers).ok_or_else(|| Error::invalid("the response has no ETag"))?;
        Ok((reply.json()?, version))
    }

    /// Creates or replaces the record with this ID, and returns the stored record.
    ///
    /// The operation is idempotent: it can be repeated after any error. A record that was read can be written back, with
    /// its unknown members.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_request`] if the record is invalid ([`Error::problem`] lists the errors), [`Error::is_conflict`]
    /// if the stored record has a final status that the new one would undo; otherwise as in the [crate](crate#errors).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::{CallInput, CallStatus};
    ///
    /// let input = CallInput { status: Some(CallStatus::Busy), ..CallInput::default() };
    /// let written = client.replace_call("1234567890abcdef", &input).await?;
    /// println!("{:?}", written.call.status);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn replace_call(&self, id: &str, call: &CallInput) -> Result<WrittenCall, Error> {
        self.write(with_body(self.conditional(Method::PUT, id)?, "application/json", encode(call)?)).await
    }

    /// Creates a record with an ID that the service generates, and returns it. The input has no `_id`.
    ///
    /// The retries of one call create one record: they share an `Idempotency-Key`. Another call after an error creates
    /// another record; to avoid that, choose the ID and use [`replace_call`](Self::replace_call).
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_request`] if the record is invalid ([`Error::problem`] lists the errors); otherwise as in the
    /// [crate](crate#errors).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::{CallInput, Direction};
    ///
    /// let input = CallInput { direction: Some(Direction::Inbound), ..CallInput::default() };
    /// let written = client.create_call(&input).await?;
    /// println!("created {}", written.call.id);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_call(&self, call: &CallInput) -> Result<WrittenCall, Error> {
        let request = Request::new(Method::POST, self.shared.calls_url.clone());
        let mut request = with_body(request, "application/json", encode(call)?);
        request.headers_mut().insert(IDEMPOTENCY_KEY, idempotency_key()?);
        self.write(request).await
    }

    /// Changes a record in part, and returns it as it is stored.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] if the record does not exist in this workspace, [`Error::is_conflict`] if the record has a
    /// final status that the patch would undo; otherwise as in the [crate](crate#errors).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::{CallInput, CallPatch, CallStatus};
    ///
    /// let ended = CallInput { status: Some(CallStatus::Completed), ..CallInput::default() };
    /// client.update_call("1234567890abcdef", &CallPatch::from(ended).without("roomName")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update_call(&self, id: &str, patch: &CallPatch) -> Result<WrittenCall, Error> {
        self.patch(id, patch, UpdateQuery::default()).await
    }

    /// Changes a record in part, or creates it from the patch if it does not exist: events of a call may arrive in any
    /// order. Returns the record as it is stored.
    ///
    /// # Errors
    ///
    /// [`Error::is_conflict`] if the record has a final status that the patch would undo; otherwise as in the
    /// [crate](crate#errors).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::{CallInput, CallPatch, CallStatus};
    ///
    /// let ringing = CallInput { status: Some(CallStatus::Ringing), ..CallInput::default() };
    /// match client.upsert_call("1234567890abcdef", &CallPatch::from(ringing)).await {
    ///     Err(error) if error.is_conflict() => println!("the call has ended already"),
    ///     written => println!("{:?}", written?.call.status),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn upsert_call(&self, id: &str, patch: &CallPatch) -> Result<WrittenCall, Error> {
        self.patch(id, patch, UpdateQuery::new().upsert(true)).await
    }

    async fn patch(&self, id: &str, patch: &CallPatch, query: UpdateQuery) -> Result<WrittenCall, Error> {
        let mut request = self.conditional(Method::PATCH, id)?;
        if query.is_upsert {
            request.url_mut().set_query(Some(&query.to_query()));
        }
        self.write(with_body(request, "application/merge-patch+json", patch.to_json())).await
    }

    /// Sends a write of one record.
    async fn write(&self, request: Request) -> Result<WrittenCall, Error> {
        let reply = self.send(&self.prefer(request), ClientBuilder::MAX_RECORD_BYTES).await?;
        let version = version(&reply.headers);
        // A proxy may remove or shorten headers; the record says what is stored.
        let warnings = reply.headers.get(WARNINGS).and_then(|json| serde_json::from_slice(json.as_bytes()).ok());
        Ok(WrittenCall { version, warnings: warnings.unwrap_or_default(), call: reply.json()? })
    }

    /// The same request, with the preferred handling.
    pub(crate) fn prefer(&self, mut request: Request) -> Request {
        let preference = self.handling.map(|handling| match handling {
            Handling::Strict => HeaderValue::from_static("handling=strict"),
            Handling::Lenient => HeaderValue::from_static("handling=lenient"),
        });
        request.headers_mut().extend(preference.map(|preference| (PREFER, preference)));
        request
    }

    /// Deletes a record. If a retry does not find the record, an earlier attempt has deleted it: the result is success.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] if the record does not exist in this workspace; otherwise as in the [crate](crate#errors).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// client.delete_call("1234567890abcdef").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_call(&self, id: &str) -> Result<(), Error> {
        match self.send(&self.conditional(Method::DELETE, id)?, ClientBuilder::MAX_RECORD_BYTES).await {
            Err(error) if !(error.is_not_found() && error.attempts() > 1) => Err(error),
            _ => Ok(()),
        }
    }

    /// A request on one record, under the precondition of this client.
    fn conditional(&self, method: Method, id: &str) -> Result<Request, Error> {
        let mut request = Request::new(method, self.call_url(id)?);
        request.headers_mut().extend(self.condition.clone());
        Ok(request)
    }

    pub(crate) fn call_url(&self, id: &str) -> Result<Url, Error> {
        let id: CallId = id.parse().map_err(|error| Error::invalid_source("the call ID is invalid", error))?;
        let mut url = self.shared.calls_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(id.as_str());
        }
        Ok(url)
    }

    /// The URL of a path below the collection of records, with a query string.
    pub(crate) fn url(&self, path: &str, query: &str) -> Url {
        let mut url = self.shared.calls_url.clone();
        url.set_path(&format!("{}{path}", url.path()));
        url.set_query((!query.is_empty()).then_some(query));
        url
    }
}

/// The version that a response names.
fn version(headers: &HeaderMap) -> Option<Version> {
    headers.get(ETAG).cloned().map(Version)
}

/// 128 random bits in hexadecimal, from the operating system: a generator that is seeded by the clock repeats itself on
/// machines that start together, and a repeated key returns the record of another call.
#[expect(clippy::disallowed_methods, reason = "the SDK generates the key")]
fn idempotency_key() -> Result<HeaderValue, Error> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(Error::setup)?;
    HeaderValue::from_str(&format!("{:032x}", u128::from_ne_bytes(bits))).map_err(Error::setup)
}
