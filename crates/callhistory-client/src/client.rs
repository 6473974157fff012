//! The client and its builder.

use std::{fmt, sync::Arc, time::Duration};

use callhistory_model::{ChangesQuery, Handling, WorkspaceId};
use reqwest::{
    Url,
    header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH},
    redirect,
};

use crate::error::Error;

const WORKSPACE_HEADER: HeaderName = HeaderName::from_static("x-workspace-id");
const KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");
const CALLS_PATH: &str = "/v2/api/call-history";
const HAS_TLS: bool = cfg!(any(feature = "rustls", feature = "rustls-no-provider", feature = "native-tls"));

/// A client of one service and one workspace.
///
/// Clones share the connection pool: build one client per program. Redirects are not followed, because they would
/// send the API key to another host.
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
    /// The precondition of `replace_call`, `update_call`, `upsert_call` and `delete_call`.
    pub(crate) condition: Option<(HeaderName, HeaderValue)>,
    /// The handling that writes and imports prefer.
    pub(crate) handling: Option<Handling>,
}

/// The version of a record in its workspace: its `ETag`, which is opaque.
///
/// ```no_run
/// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
/// use callhistory_client::{CallInput, CallPatch, CallStatus};
///
/// let (call, version) = client.get_call_version("1234567890abcdef").await?;
/// if call.status == Some(CallStatus::Completed) {
///     let reopened = CallInput { status: Some(CallStatus::Ongoing), ..CallInput::default() };
///     // Fails if the record has changed since it was read.
///     client.if_version(&version).update_call("1234567890abcdef", &reopened.into()).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub(crate) HeaderValue);

/// What the clones of a client share.
pub(crate) struct Shared {
    pub(crate) http: reqwest::Client,
    /// The URL of the collection of records, without a trailing slash.
    pub(crate) calls_url: Url,
    pub(crate) max_retries: usize,
    /// The long-poll timeout in seconds: less than the timeout of the response.
    pub(crate) max_wait_seconds: u16,
    workspace: WorkspaceId,
}

impl Client {
    /// Returns a builder for the service at `base_url`: `http` or `https`, a host, and the path prefix of a proxy.
    /// [`ClientBuilder::build`] reports an invalid URL.
    ///
    /// Proxies are read from the environment (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`), except for a loopback host.
    ///
    /// ```
    /// use std::time::Duration;
    /// use callhistory_client::Client;
    ///
    /// let client = Client::builder("http://127.0.0.1:8080")
    ///     .workspace("abcdef1234567890")
    ///     .timeout(Duration::from_secs(5))
    ///     .max_retries(0)
    ///     .build()?;
    /// # Ok::<(), callhistory_client::Error>(())
    /// ```
    pub fn builder(base_url: &str) -> ClientBuilder {
        ClientBuilder {
            base_url: parse_base_url(base_url),
            workspace: None,
            api_key: None,
            connect_timeout: ClientBuilder::CONNECT_TIMEOUT,
            read_timeout: ClientBuilder::READ_TIMEOUT,
            timeout: ClientBuilder::TIMEOUT,
            max_retries: ClientBuilder::MAX_RETRIES,
            compression: false,
        }
    }
}

/// Preconditions and preferences. Each method returns a client that shares the connections of this one.
impl Client {
    /// The same client, whose writes and imports prefer this handling of documents that break a rule. By default, writes of
    /// one record are strict, and imports are lenient.
    ///
    /// Lenient handling keeps the call: what the service converts or leaves out is in the
    /// [warnings](crate::WrittenCall::warnings), and the document as it was sent is in the
    /// [originals](Self::list_originals).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client, call: callhistory_client::CallInput)
    /// #     -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::Handling;
    ///
    /// let written = client.with_handling(Handling::Lenient).replace_call("1234567890abcdef", &call).await?;
    /// for warning in &written.warnings {
    ///     println!("{}: {}", warning.pointer, warning.code);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_handling(&self, handling: Handling) -> Self {
        Self { handling: Some(handling), ..self.clone() }
    }

    /// The same client, with `replace_call`, `update_call`, `upsert_call` and `delete_call` limited to this version of the
    /// record; otherwise they fail with [`Error::is_conflict`].
    #[must_use]
    pub fn if_version(&self, version: &Version) -> Self {
        Self { condition: Some((IF_MATCH, version.0.clone())), ..self.clone() }
    }

    /// The same client, with `replace_call` limited to a record that does not exist; otherwise it fails with
    /// [`Error::is_conflict`].
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// client.if_absent().replace_call("1234567890abcdef", &callhistory_client::CallInput::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn if_absent(&self) -> Self {
        Self { condition: Some((IF_NONE_MATCH, HeaderValue::from_static("*"))), ..self.clone() }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("calls_url", &self.shared.calls_url.as_str())
            .field("workspace", &self.shared.workspace.as_str())
            .finish_non_exhaustive()
    }
}

/// Builds a [`Client`]; returned by [`Client::builder`].
// Debug may be derived: the key is a header value that is marked as sensitive, and a URL with a password is never kept.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    base_url: Result<Url, &'static str>,
    workspace: Option<String>,
    api_key: Option<Result<HeaderValue, &'static str>>,
    connect_timeout: Duration,
    read_timeout: Duration,
    timeout: Duration,
    max_retries: usize,
    compression: bool,
}

impl ClientBuilder {
    /// The default of [`connect_timeout`](Self::connect_timeout): 3 s.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
    /// The default of [`read_timeout`](Self::read_timeout): 10 s.
    pub const READ_TIMEOUT: Duration = Duration::from_secs(10);
    /// The default of [`timeout`](Self::timeout): 30 s.
    pub const TIMEOUT: Duration = Duration::from_secs(30);
    /// The default of [`max_retries`](Self::max_retries): 3.
    pub const MAX_RETRIES: usize = 3;
    /// Idle timeout of pooled connections: 30 s. The service closes its side after 75 s, and a request on a
    /// connection that is being closed fails.
    pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
    /// Maximum size of a response with one record or one original: 64 MiB, the most that a service can be set to.
    pub const MAX_RECORD_BYTES: usize = 64 * 1024 * 1024;
    /// Maximum size of a response with a page of records: 72 MiB. A page ends after the record with which it has 4 MiB.
    pub const MAX_PAGE_BYTES: usize = 72 * 1024 * 1024;
    /// The maximum of `max_retries`.
    const RETRY_LIMIT: usize = 10;

    /// The workspace of the records. Required.
    pub fn workspace(mut self, id: impl Into<String>) -> Self {
        self.workspace = Some(id.into());
        self
    }

    /// The API key, sent as `x-api-key`; none by default. Errors and `Debug` texts never contain it.
    pub fn api_key(mut self, key: impl AsRef<str>) -> Self {
        self.api_key = Some(parse_key(key.as_ref()));
        self
    }

    /// Timeout of the connection, TLS included; 3 s by default.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Timeout between two reads of a response; 10 s by default.
    pub fn read_timeout(mut self, limit: Duration) -> Self {
        self.read_timeout = limit;
        self
    }

    /// Timeout of one attempt, from the connection to the last byte of the response; 30 s by default. A retry is
    /// another attempt.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Maximum number of retries, from 0 to 10; 3 by default. See the
    /// [retries](crate#retries).
    pub fn max_retries(mut self, count: usize) -> Self {
        self.max_retries = count;
        self
    }

    /// Whether to ask for compressed responses; no by default. It pays where the network is slower than about 100 Mbit/s: the
    /// service compresses at the speed of one processor.
    pub fn compression(mut self, is_wanted: bool) -> Self {
        self.compression = is_wanted;
        self
    }

    /// Builds the client. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_request`] if the base URL, the workspace, the API key or the number of retries is
    /// invalid, or the URL is `https` and no TLS feature is enabled. Any other error is a failure to set up TLS.
    ///
    /// # Panics
    ///
    /// With only the feature `rustls-no-provider`, if the program has not installed a rustls provider.
    ///
    /// ```
    /// let error = callhistory_client::Client::builder("127.0.0.1:8080").workspace("w").build().unwrap_err();
    /// assert!(error.is_invalid_request());
    /// ```
    pub fn build(self) -> Result<Client, Error> {
        let base_url = self.base_url.map_err(|detail| Error::invalid(format!("the base URL {detail}")))?;
        let workspace = self.workspace.ok_or_else(|| Error::invalid("the workspace is missing"))?;
        let workspace: WorkspaceId =
            workspace.parse().map_err(|error| Error::invalid_source("the workspace is invalid", error))?;
        if self.max_retries > Self::RETRY_LIMIT {
            return Err(Error::invalid(format!("max_retries is {}; at most 10 are possible", self.max_retries)));
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, application/problem+json"));
        headers.insert(WORKSPACE_HEADER, HeaderValue::from_str(workspace.as_str()).map_err(Error::setup)?);
        if let Some(key) = self.api_key {
            headers.insert(KEY_HEADER, key.map_err(|detail| Error::invalid(format!("the API key {detail}")))?);
        }
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("callhistory-client/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .gzip(self.compression)
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.read_timeout)
            .timeout(self.timeout)
            .pool_idle_timeout(Self::POOL_IDLE_TIMEOUT);
        if is_loopback(&base_url) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(Error::setup)?;
        let mut calls_url = base_url;
        calls_url.set_path(&format!("{}{CALLS_PATH}", calls_url.path().trim_end_matches('/')));
        let half_timeout = self.timeout.min(self.read_timeout).as_secs() / 2;
        let max_wait_seconds = u16::try_from(half_timeout).unwrap_or(u16::MAX).clamp(1, ChangesQuery::MAX_WAIT_SECONDS);
        let shared = Shared { http, calls_url, max_retries: self.max_retries, max_wait_seconds, workspace };
        Ok(Client { shared: Arc::new(shared), condition: None, handling: None })
    }
}

/// Parses the base URL. The error does not quote the URL, because it can contain a password.
fn parse_base_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is not a URL like \"http://127.0.0.1:8080\"")?;
    match url.scheme() {
        "http" => {}
        "https" if HAS_TLS => {}
        "https" => return Err("is https, but callhistory-client was built without a TLS feature"),
        _ => return Err("does not start with \"http://\" or \"https://\""),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("contains a user name or a password; use `api_key` for the key");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment");
    }
    Ok(url)
}

fn parse_key(key: &str) -> Result<HeaderValue, &'static str> {
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

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}
