//! The client: its connections, and the options of its requests.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use callhistory_model::WorkspaceId;
use reqwest::{
    Method, Request, Url,
    header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH},
};

use crate::{error::Error, options::RequestOptions, version::Version};

pub(crate) const WORKSPACE_HEADER: HeaderName = HeaderName::from_static("x-workspace-id");
const KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// A client of one service and one workspace.
///
/// Clones share the connection pool: build one client per program, and use [`for_workspace`](Self::for_workspace) for another
/// workspace. Redirects are not followed, because they would send the API key to another host.
///
/// ```
/// use callhistory_client::Client;
///
/// let client = Client::builder("https://calls.example.com").workspace("abcdef1234567890").api_key("key").build()?;
/// # Ok::<(), callhistory_client::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Arc<RequestOptions>,
}

/// What the clones of a client share.
pub(crate) struct Shared {
    pub(crate) http: reqwest::Client,
    /// The URL of the collection of records, without a trailing slash.
    pub(crate) calls_url: Url,
    pub(crate) timeout: Duration,
    pub(crate) read_timeout: Duration,
    pub(crate) key: RwLock<Option<HeaderValue>>,
}

/// A request of an operation.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) request: Request,
    /// Timeout between two reads of the response.
    pub(crate) read_timeout: Duration,
}

impl Client {
    /// Uses another API key from the next request on, in all clones of this client: for keys that are rotated.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_request`] if the key is empty, or has characters other than visible ASCII.
    pub fn set_api_key(&self, key: &str) -> Result<(), Error> {
        let key = parse_key(key).map_err(|detail| Error::invalid(format!("the API key {detail}")))?;
        *self.shared.key.write().unwrap_or_else(PoisonError::into_inner) = Some(key);
        Ok(())
    }

    /// The ID of the workspace.
    pub(crate) fn workspace(&self) -> &str {
        self.options.headers.get(WORKSPACE_HEADER).and_then(|id| id.to_str().ok()).unwrap_or_default()
    }

    /// A request of an operation, with the headers and timeouts of this client.
    pub(crate) fn operation(&self, name: &'static str, method: Method, url: Url) -> Operation {
        let mut request = Request::new(method, url);
        *request.headers_mut() = self.options.headers.clone();
        let key = self.shared.key.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(key) = key {
            request.headers_mut().insert(KEY_HEADER, key);
        }
        *request.timeout_mut() = Some(self.options.timeout.unwrap_or(self.shared.timeout));
        Operation { name, request, read_timeout: self.options.timeout.unwrap_or(self.shared.read_timeout) }
    }
}

/// Options and preconditions. Each method returns a client that shares the connections of this one.
impl Client {
    /// The same client with other options, for one call or more.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client, call: callhistory_client::CallInput)
    /// #     -> Result<(), callhistory_client::Error> {
    /// use std::time::Duration;
    /// use callhistory_client::Handling;
    ///
    /// let urgent = client.with(|options| options.timeout(Duration::from_millis(200)).max_retries(0));
    /// let read = urgent.get_call("1234567890abcdef").await?;
    ///
    /// let lenient = client.with(|options| options.handling(Handling::Lenient).idempotency_key("job-42"));
    /// for warning in lenient.create_call(&call).await?.warnings {
    ///     println!("{}: {}", warning.pointer, warning.code);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with(&self, options: impl FnOnce(RequestOptions) -> RequestOptions) -> Self {
        Self { options: Arc::new(options((*self.options).clone())), shared: Arc::clone(&self.shared) }
    }

    /// The same client for another workspace, on the same connections.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_request`] if the ID is not a workspace ID.
    ///
    /// ```
    /// # fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// let other = client.for_workspace("fedcba0987654321")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn for_workspace(&self, id: impl AsRef<str>) -> Result<Self, Error> {
        let workspace = parse_workspace(id.as_ref())?;
        Ok(self.with(|mut options| {
            options.headers.insert(WORKSPACE_HEADER, workspace);
            options
        }))
    }

    /// The same client, with `replace_call`, `update_call`, `upsert_call` and `delete_call` limited to this version of the
    /// record; otherwise they fail with [`Error::is_precondition_failed`], also a retry whose earlier attempt has succeeded: see the
    /// [retries](crate#retries).
    #[must_use]
    pub fn if_version(&self, version: &Version) -> Self {
        self.with(|options| RequestOptions { condition: Some((IF_MATCH, version.header())), ..options })
    }

    /// The same client, with `replace_call` limited to a record that does not exist; otherwise it fails with
    /// [`Error::is_precondition_failed`], also a retry whose earlier attempt has succeeded: see the [retries](crate#retries).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// client.if_absent().replace_call("1234567890abcdef", &callhistory_client::CallInput::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn if_absent(&self) -> Self {
        let condition = Some((IF_NONE_MATCH, HeaderValue::from_static("*")));
        self.with(|options| RequestOptions { condition, ..options })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("calls_url", &self.shared.calls_url.as_str())
            .field("workspace", &self.workspace())
            .finish_non_exhaustive()
    }
}

pub(crate) fn parse_workspace(id: &str) -> Result<HeaderValue, Error> {
    let id: WorkspaceId = id.parse().map_err(|error| Error::invalid_source("the workspace is invalid", error))?;
    HeaderValue::from_str(id.as_str()).map_err(Error::setup)
}

pub(crate) fn parse_key(key: &str) -> Result<HeaderValue, &'static str> {
    if key.is_empty() {
        return Err("is empty; omit it instead");
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has characters other than visible ASCII");
    }
    let mut value = HeaderValue::from_str(key).map_err(|_| "is not a valid header value")?;
    value.set_sensitive(true);
    Ok(value)
}
