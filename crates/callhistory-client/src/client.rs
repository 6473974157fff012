//! The client and how it is set up.

use std::{fmt, sync::Arc, time::Duration};

use callhistory_model::{ChangesQuery, WorkspaceId};
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

/// One service and one workspace.
///
/// Clones share the connections, so one client serves a whole program. Redirects are not followed, because they would
/// carry the API key elsewhere.
///
/// ```
/// use callhistory_client::Client;
///
/// let client = Client::builder("https://calls.example.com").workspace("abcdef1234567890").api_key("key").build()?;
/// # Ok::<(), callhistory_client::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
    /// The condition of this client's changes of single records.
    pub(crate) condition: Option<(HeaderName, HeaderValue)>,
}

/// Which state of a record was read: the entity tag of the service.
///
/// ```no_run
/// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
/// use callhistory_client::{CallInput, CallPatch, CallStatus};
///
/// let (call, version) = client.get_call_version("1234567890abcdef").await?;
/// if call.status == Some(CallStatus::Completed) {
///     let reopened = CallInput { status: Some(CallStatus::Ongoing), ..CallInput::default() };
///     // Only if nobody has changed the record since it was read.
///     client.if_version(&version).update_call("1234567890abcdef", &reopened.into()).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub(crate) HeaderValue);

pub(crate) struct Inner {
    pub(crate) http: reqwest::Client,
    /// The collection of records, without a slash at its end.
    pub(crate) calls_url: Url,
    pub(crate) max_retries: usize,
    /// How many seconds the service may wait for a change: less than an answer is waited for.
    pub(crate) longest_wait: u16,
    workspace: WorkspaceId,
}

impl Client {
    /// Starts a client of the service at `base_url`: `http` or `https`, a host, and a path if the service stands behind
    /// one. What is wrong with it is reported by [`ClientBuilder::build`].
    ///
    /// Proxies are taken from the environment (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`), except for a loopback host.
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
        }
    }
}

/// Conditions. Each one gives a client that shares the connections of this one.
impl Client {
    /// The same client, whose `replace_call`, `update_call` and `delete_call` take effect only on this version of the record;
    /// otherwise they fail with [`Error::is_conflict`].
    #[must_use]
    pub fn if_version(&self, version: &Version) -> Self {
        Self { condition: Some((IF_MATCH, version.0.clone())), ..self.clone() }
    }

    /// The same client, whose `replace_call` takes effect only where there is no such record; otherwise it fails with
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
            .field("calls_url", &self.inner.calls_url.as_str())
            .field("workspace", &self.inner.workspace.as_str())
            .finish_non_exhaustive()
    }
}

/// Sets up a [`Client`]; started by [`Client::builder`].
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
    /// How long an unused connection is kept: 30 s. The service closes its side after 75 s, and a request on a
    /// connection that is being closed fails.
    pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
    /// The largest answer that is read as one record: 8 MiB.
    pub const MAX_RECORD_BYTES: usize = 8 * 1024 * 1024;
    /// The largest answer that is read as a page of records: 64 MiB.
    pub const MAX_PAGE_BYTES: usize = 64 * 1024 * 1024;
    /// The most retries that can be asked for.
    const MOST_RETRIES: usize = 10;

    /// The workspace whose records are read and written. Required.
    pub fn workspace(mut self, id: impl Into<String>) -> Self {
        self.workspace = Some(id.into());
        self
    }

    /// The API key, sent as `x-api-key`; none by default. It appears in no error and in no `Debug` text.
    pub fn api_key(mut self, key: impl AsRef<str>) -> Self {
        self.api_key = Some(parse_key(key.as_ref()));
        self
    }

    /// How long connecting may take, TLS included; 3 s by default.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long the service may send nothing while an answer is awaited or read; 10 s by default.
    pub fn read_timeout(mut self, limit: Duration) -> Self {
        self.read_timeout = limit;
        self
    }

    /// How long one attempt may take, from connecting to the last byte of the answer; 30 s by default. A retry is
    /// another attempt.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// How often a failed attempt is followed by another, from 0 to 10; 3 by default. See the
    /// [retries](crate#retries).
    pub fn max_retries(mut self, count: usize) -> Self {
        self.max_retries = count;
        self
    }

    /// Makes the client. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_request`] where the base URL, the workspace, the API key or the number of retries is not
    /// usable, or `https` is asked for and no TLS feature is enabled. Any other error says that TLS cannot be set up.
    ///
    /// # Panics
    ///
    /// With the feature `rustls-no-provider` alone, where the program has installed no rustls provider yet.
    ///
    /// ```
    /// let error = callhistory_client::Client::builder("127.0.0.1:8080").workspace("w").build().unwrap_err();
    /// assert!(error.is_invalid_request());
    /// ```
    pub fn build(self) -> Result<Client, Error> {
        let base_url = self.base_url.map_err(|detail| Error::refused(format!("the base URL {detail}")))?;
        let workspace = self.workspace.ok_or_else(|| Error::refused("the workspace is missing".to_owned()))?;
        let workspace: WorkspaceId =
            workspace.parse().map_err(|error| Error::invalid("the workspace is not usable", error))?;
        if self.max_retries > Self::MOST_RETRIES {
            return Err(Error::refused(format!("max_retries is {}; at most 10 are possible", self.max_retries)));
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, application/problem+json"));
        headers.insert(WORKSPACE_HEADER, header_value(&workspace)?);
        if let Some(key) = self.api_key {
            headers.insert(KEY_HEADER, key.map_err(|detail| Error::refused(format!("the API key {detail}")))?);
        }
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("callhistory-client/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
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
        let patience = self.timeout.min(self.read_timeout).as_secs() / 2;
        let longest_wait = u16::try_from(patience).unwrap_or(u16::MAX).clamp(1, ChangesQuery::MAX_WAIT_SECONDS);
        let inner = Inner { http, calls_url, max_retries: self.max_retries, longest_wait, workspace };
        Ok(Client { inner: Arc::new(inner), condition: None })
    }
}

/// The base URL, or what is wrong with it. The text of the URL is not repeated, because it may hold a password.
fn parse_base_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is not a URL like \"http://127.0.0.1:8080\"")?;
    match url.scheme() {
        "http" => {}
        "https" if HAS_TLS => {}
        "https" => return Err("asks for https, but callhistory-client was built without a TLS feature"),
        _ => return Err("does not start with \"http://\" or \"https://\""),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user name or a password; a key is given to `api_key`");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment");
    }
    Ok(url)
}

fn parse_key(key: &str) -> Result<HeaderValue, &'static str> {
    if key.is_empty() {
        return Err("is empty; leave it out instead");
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has characters other than visible ASCII");
    }
    let mut value = HeaderValue::from_str(key).map_err(|_| "cannot stand in a header")?;
    value.set_sensitive(true);
    Ok(value)
}

fn header_value(workspace: &WorkspaceId) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(workspace.as_str()).map_err(|_| Error::refused("the workspace is not usable".to_owned()))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}
