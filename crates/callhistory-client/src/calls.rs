//! Operations on single call records.

use callhistory_model::{CallId, CallInput, CallPatch, CallRecord, UpdateQuery};
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{HeaderName, HeaderValue, IF_NONE_MATCH},
};
use serde::de::DeserializeOwned;

use crate::{
    builder::ClientBuilder,
    client::{Client, Operation},
    error::Error,
    transport::{encode, is_success},
    version::{Version, Versioned},
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl Client {
    /// Retrieves a call record with its version.
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
    pub async fn get_call(&self, id: &str) -> Result<Versioned, Error> {
        self.get_call_as(id).await
    }

    /// Retrieves a call record as another type.
    ///
    /// # Errors
    ///
    /// Those of [`get_call`](Self::get_call), and a response that does not fit the type.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// #[derive(serde::Deserialize)]
    /// struct Summary {
    ///     summary: Option<String>,
    /// }
    ///
    /// let call = client.get_call_as::<Summary>("1234567890abcdef").await?;
    /// println!("{:?}", call.summary);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_call_as<T: DeserializeOwned>(&self, id: &str) -> Result<Versioned<T>, Error> {
        let operation = self.operation("get_call", Method::GET, self.call_url(id)?);
        let reply = self.send(&operation, ClientBuilder::MAX_RECORD_BYTES).await?;
        Ok(Versioned::new(reply.json()?, &reply.headers))
    }

    /// Retrieves a call record if it has another version than this one; `None` if it has not changed.
    ///
    /// # Errors
    ///
    /// Those of [`get_call`](Self::get_call).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// let mut call = client.get_call("1234567890abcdef").await?;
    /// if let Some(newer) = client.get_call_if_changed("1234567890abcdef", call.version()?).await? {
    ///     call = newer;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_call_if_changed(&self, id: &str, version: &Version) -> Result<Option<Versioned>, Error> {
        let mut operation = self.operation("get_call", Method::GET, self.call_url(id)?);
        operation.request.headers_mut().insert(IF_NONE_MATCH, version.header());
        let is_expected = |response: &Response| is_success(response) || response.status() == StatusCode::NOT_MODIFIED;
        let reply = self.send_for(&operation, is_expected, ClientBuilder::MAX_RECORD_BYTES).await?;
        if reply.head.status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        Ok(Some(Versioned::new(reply.json::<CallRecord>()?, &reply.headers)))
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
    /// println!("{:?}", written.status);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn replace_call(&self, id: &str, call: &CallInput) -> Result<Versioned, Error> {
        self.replace_json(id, encode(call)?).await
    }

    pub(crate) async fn replace_json(&self, id: &str, json: Vec<u8>) -> Result<Versioned, Error> {
        let operation = self.conditional("replace_call", Method::PUT, id)?;
        self.write(operation.with_body("application/json", json)).await
    }

    /// Creates a record with an ID that the service generates, and returns it. The input has no `_id`.
    ///
    /// The retries of one call create one record: they share an `Idempotency-Key`. Another call after an error creates
    /// another record, unless it has the same [key](crate::RequestOptions::idempotency_key); or choose the ID, and use
    /// [`replace_call`](Self::replace_call).
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
    /// println!("created {}", written.id);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_call(&self, call: &CallInput) -> Result<Versioned, Error> {
        let operation = self.operation("create_call", Method::POST, self.shared.calls_url.clone());
        let mut operation = operation.with_body("application/json", encode(call)?);
        let key = self.options.idempotency_key.clone().map_or_else(idempotency_key, Ok)?;
        operation.request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        self.write(operation).await
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
    pub async fn update_call(&self, id: &str, patch: &CallPatch) -> Result<Versioned, Error> {
        self.patch_json(id, patch.to_json(), UpdateQuery::default()).await
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
    ///     written => println!("{:?}", written?.status),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn upsert_call(&self, id: &str, patch: &CallPatch) -> Result<Versioned, Error> {
        self.patch_json(id, patch.to_json(), UpdateQuery::new().upsert(true)).await
    }

    pub(crate) async fn patch_json(&self, id: &str, json: String, query: UpdateQuery) -> Result<Versioned, Error> {
        let name = if query.is_upsert { "upsert_call" } else { "update_call" };
        let mut operation = self.conditional(name, Method::PATCH, id)?;
        if query.is_upsert {
            operation.request.url_mut().set_query(Some(&query.to_query()));
        }
        self.write(operation.with_body("application/merge-patch+json", json)).await
    }

    /// Sends a write of one record.
    async fn write(&self, operation: Operation) -> Result<Versioned, Error> {
        let operation = operation.with_handling(self.options.handling);
        let reply = self.send(&operation, ClientBuilder::MAX_RECORD_BYTES).await?;
        Ok(Versioned::new(reply.json()?, &reply.headers))
    }

    /// Deletes a record. If a retry does not find the record, and an earlier attempt may have deleted it because its response was
    /// lost, the result is success.
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
        match self.send(&self.conditional("delete_call", Method::DELETE, id)?, ClientBuilder::MAX_RECORD_BYTES).await {
            Err(error) if !(error.is_not_found() && error.may_repeat()) => Err(error),
            _ => Ok(()),
        }
    }

    /// A request on one record, under the precondition of this client.
    fn conditional(&self, name: &'static str, method: Method, id: &str) -> Result<Operation, Error> {
        let mut operation = self.operation(name, method, self.call_url(id)?);
        if let Some((name, value)) = self.options.condition.clone() {
            operation.request.headers_mut().insert(name, value);
        }
        Ok(operation)
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

fn idempotency_key() -> Result<HeaderValue, Error> {
    HeaderValue::from_str(&format!("{:032x}", random_bits()?)).map_err(Error::setup)
}

/// 128 random bits from the operating system: a generator that is seeded by the clock repeats itself on
/// machines that start together, and a repeated key or ID belongs to another call.
#[expect(clippy::disallowed_methods, reason = "the SDK generates keys and IDs")]
pub(crate) fn random_bits() -> Result<u128, Error> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(Error::setup)?;
    Ok(u128::from_ne_bytes(bits))
}
