//! The builder of the client.

use std::{
    fmt,
    sync::{Arc, RwLock},
    time::Duration,
};

use reqwest::{
    Url,
    header::{ACCEPT, HeaderMap, HeaderValue, USER_AGENT},
};

use crate::{
    client::{Client, Shared, WORKSPACE_HEADER, parse_key, parse_workspace},
    error::Error,
    options::{RequestOptions, parse_header},
    tls::Certificates,
};

const CALLS_PATH: &str = "/v2/api/call-history";
const HAS_TLS: bool = cfg!(any(feature = "rustls-no-provider", feature = "native-tls", target_arch = "wasm32"));

impl Client {
    /// Returns a builder for the service at `base_url`: `http` or `https`, a host, and the path prefix of a proxy.
    /// [`ClientBuilder::build`] reports an invalid URL.
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
        ClientBuilder::new(base_url)
    }
}

/// Builds a [`Client`]; returned by [`Client::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    base_url: Result<Url, String>,
    workspace: Option<Result<String, String>>,
    api_key: Option<Result<HeaderValue, String>>,
    connect_timeout: Duration,
    read_timeout: Duration,
    timeout: Duration,
    max_retries: usize,
    compression: bool,
    user_agent: String,
    /// The headers of each request, or the fault of the first that is invalid.
    headers: Result<HeaderMap, String>,
    http_client: Option<reqwest::Client>,
    proxy: Option<String>,
    certificates: Certificates,
}

/// The service and its caller.
impl ClientBuilder {
    pub(crate) fn new(base_url: &str) -> Self {
        Self {
            base_url: parse_base_url(base_url).map_err(str::to_owned),
            workspace: None,
            api_key: None,
            connect_timeout: Self::CONNECT_TIMEOUT,
            read_timeout: Self::READ_TIMEOUT,
            timeout: Self::TIMEOUT,
            max_retries: Self::MAX_RETRIES,
            compression: false,
            user_agent: concat!("callhistory-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            headers: Ok(HeaderMap::new()),
            http_client: None,
            proxy: None,
            certificates: Certificates::default(),
        }
    }

    /// A builder with what the environment says: `CALLHISTORY_URL` (required), `CALLHISTORY_WORKSPACE`, and
    /// `CALLHISTORY_API_KEY` (none by default). [`build`](Self::build) reports what is missing or invalid.
    ///
    /// ```no_run
    /// use callhistory_client::ClientBuilder;
    ///
    /// let client = ClientBuilder::from_env().build()?;
    /// # Ok::<(), callhistory_client::Error>(())
    /// ```
    #[expect(clippy::disallowed_methods, reason = "reading the environment is what the caller asks for")]
    pub fn from_env() -> Self {
        let read = |name| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
            Some(value.into_string().map_err(|_| format!("in {name} is not UTF-8")))
        };
        let mut builder = Self::new("");
        let url = read("CALLHISTORY_URL").unwrap_or_else(|| Ok(String::new()));
        builder.base_url =
            url.and_then(|url| parse_base_url(&url).map_err(|fault| format!("in CALLHISTORY_URL {fault}")));
        builder.workspace = read("CALLHISTORY_WORKSPACE");
        let key = read("CALLHISTORY_API_KEY");
        builder.api_key = key.map(|key| parse_key(&key?).map_err(|fault| format!("in CALLHISTORY_API_KEY {fault}")));
        builder
    }

    /// The workspace of the records. Required.
    pub fn workspace(mut self, id: impl Into<String>) -> Self {
        self.workspace = Some(Ok(id.into()));
        self
    }

    /// The API key, sent as `x-api-key`; none by default. Errors and `Debug` texts never contain it.
    pub fn api_key(mut self, key: impl AsRef<str>) -> Self {
        self.api_key = Some(parse_key(key.as_ref()).map_err(str::to_owned));
        self
    }
}

/// Timeouts and retries.
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
}

/// How requests are sent.
impl ClientBuilder {
    /// Whether to ask for compressed responses; no by default. It pays where the network is slower than about 100 Mbit/s: the
    /// service compresses at the speed of one processor.
    pub fn compression(mut self, is_wanted: bool) -> Self {
        self.compression = is_wanted;
        self
    }

    /// A header of each request; not one that the client sets itself, as in [`RequestOptions::header`]. `Debug` texts do not show
    /// its value.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Ok(headers) = &mut self.headers {
            match parse_header(name, value) {
                Ok((name, value)) => drop(headers.insert(name, value)),
                Err(fault) => self.headers = Err(fault),
            }
        }
        self
    }

    /// The name and version of the program, such as `billing/1.2`, after the name and version of the SDK in `User-Agent`.
    pub fn user_agent_suffix(mut self, suffix: &str) -> Self {
        self.user_agent.push(' ');
        self.user_agent.push_str(suffix);
        self
    }

    /// The proxy of all requests: `http://` or `https://`, optionally with a user name and a password. By default, proxies are
    /// read from the environment (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`), except for a loopback host.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(url.into());
        self
    }

    /// Root certificates that are trusted besides those of the platform, as PEM.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificates.roots.push(pem.into());
        self
    }

    /// The certificate of the client with its chain, and its private key (PKCS#8), as PEM.
    pub fn client_certificate(mut self, chain_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        self.certificates.client = Some((chain_pem.into(), key_pem.into()));
        self
    }

    /// The HTTP client that sends the requests, instead of a new one. The connection timeout, compression, proxy and certificates
    /// are then its own. It must not follow redirects, which would send the API key to another host, and needs no default headers.
    ///
    /// To build one, reqwest needs the rustls provider of the process, unless it has one by its features; without it, it panics.
    ///
    /// ```
    /// use callhistory_client::{Client, reqwest};
    ///
    /// let _ = rustls::crypto::ring::default_provider().install_default();
    /// let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    /// let client = Client::builder("http://127.0.0.1:8080").workspace("w").http_client(http).build()?;
    /// # Ok::<(), callhistory_client::Error>(())
    /// ```
    pub fn http_client(mut self, client: reqwest::Client) -> Self {
        self.http_client = Some(client);
        self
    }

    /// Builds the client. Nothing is sent yet, and root certificates are read when the first certificate is checked.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_request`] if the base URL, the workspace, the API key, a header, a certificate, the proxy or the number
    /// of retries is invalid, or the URL is `https` and no TLS feature is enabled. Any other error is a failure to set up TLS: with
    /// only the feature `rustls-no-provider`, the program has not installed a provider.
    ///
    /// ```
    /// let error = callhistory_client::Client::builder("127.0.0.1:8080").workspace("w").build().unwrap_err();
    /// assert!(error.is_invalid_request());
    /// ```
    pub fn build(self) -> Result<Client, Error> {
        let base_url = self.base_url.as_ref().map_err(|detail| Error::invalid(format!("the base URL {detail}")))?;
        let workspace = self.workspace.as_ref().ok_or_else(|| Error::invalid("the workspace is missing"))?;
        let workspace = workspace.as_ref().map_err(|detail| Error::invalid(format!("the workspace {detail}")))?;
        let workspace = parse_workspace(workspace)?;
        let mut headers = self.headers.clone().map_err(Error::invalid)?;
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, application/problem+json"));
        headers.insert(WORKSPACE_HEADER, workspace);
        let user_agent = HeaderValue::from_str(&self.user_agent);
        headers.insert(USER_AGENT, user_agent.map_err(|_| Error::invalid("the suffix of the user agent is invalid"))?);
        let options = RequestOptions::new(headers).max_retries(self.max_retries);
        if let Some(fault) = options.fault {
            return Err(Error::invalid(fault));
        }
        let key = self.api_key.clone().transpose();
        let key = key.map_err(|detail| Error::invalid(format!("the API key {detail}")))?;
        let http = match &self.http_client {
            Some(client) => client.clone(),
            None => self.build_http(base_url)?,
        };
        let mut calls_url = base_url.clone();
        calls_url.set_path(&format!("{}{CALLS_PATH}", calls_url.path().trim_end_matches('/')));
        let Self { timeout, read_timeout, .. } = self;
        let shared = Shared { http, calls_url, timeout, read_timeout, key: RwLock::new(key) };
        Ok(Client { shared: Arc::new(shared), options: Arc::new(options) })
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn build_http(&self, base_url: &Url) -> Result<reqwest::Client, Error> {
        let mut http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .gzip(self.compression)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(Self::POOL_IDLE_TIMEOUT);
        if let Some(proxy) = &self.proxy {
            // The error would quote the URL, which can contain a password.
            let proxy = reqwest::Proxy::all(proxy).map_err(|_| Error::invalid("the proxy is not a valid URL"))?;
            http = http.proxy(proxy);
        } else if is_loopback(base_url) {
            http = http.no_proxy();
        }
        crate::tls::configure(http, &self.certificates)?.build().map_err(Error::setup)
    }

    /// The browser connects as it does for every page.
    #[cfg(target_arch = "wasm32")]
    fn build_http(&self, _: &Url) -> Result<reqwest::Client, Error> {
        reqwest::Client::builder().build().map_err(Error::setup)
    }
}

// Without the key, values of headers, the password of a proxy, and keys of certificates.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("base_url", &self.base_url.as_ref().map(Url::as_str))
            .field("workspace", &self.workspace.as_ref().map(Result::as_ref))
            .finish_non_exhaustive()
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

#[cfg(not(target_arch = "wasm32"))]
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}
