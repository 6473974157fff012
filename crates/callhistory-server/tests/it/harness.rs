//! A server for each test, on a free port and in an empty folder.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::middleware::from_fn_with_state;
use callhistory_client::Client;
use callhistory_server::{
    AppState, Limits, Tls,
    auth::rate_limit::{MonotonicClock, Rates},
    router, serve,
};
use callhistory_store::{ApiKeyStore, CallStore};
pub(crate) use callhistory_test_support::PATIENCE;
use chrono::{DateTime, Utc};
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    contract::{self, ContractObserver},
    log_redaction,
};

pub(crate) const WORKSPACE: &str = "abcdef1234567890";
/// The ID of the documented example.
pub(crate) const ID: &str = "1234567890abcdef";
pub(crate) const CALLS: &str = "/v2/api/call-history";

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<dyn CallStore>,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
    /// The requests, and the responses that violate the contract.
    pub(crate) observer: Arc<ContractObserver>,
    /// The API keys, if the server requires them.
    pub(crate) keys: Option<Arc<dyn ApiKeyStore>>,
    _directory: TempDir,
}

/// Whatever a test asserts, every response that it got fits the contract.
impl Drop for Server {
    fn drop(&mut self) {
        let mut violations = std::mem::take(&mut *self.observer.violations.lock().unwrap());
        violations.extend(log_redaction::take_leaks());
        assert!(violations.is_empty() || std::thread::panicking(), "{}", violations.join("\n"));
    }
}

/// A response with its whole body.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// The clock stands still at 2026-01-01T00:00:00Z.
pub(crate) fn fixed_clock() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

/// A clock of rate limiters that stands still: no permits are refilled, however slow the machine is.
pub(crate) fn stopped_clock() -> Duration {
    Duration::from_secs(1)
}

/// Distinct increasing numbers.
pub(crate) fn counter() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) << 20
}

impl Server {
    /// Waits until a request arrives whose target contains this text.
    pub(crate) async fn wait_for_request(&self, text: &str) {
        let has_come =
            || self.observer.exchanges.lock().unwrap().iter().any(|sent| sent.uri.to_string().contains(text));
        let asked = async {
            while !has_come() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap();
    }

    pub(crate) async fn start() -> Self {
        Self::with_limits(Limits::default()).await
    }

    /// A server that requires API keys.
    pub(crate) async fn with_keys() -> Self {
        Self::of(Limits::default(), Some((Rates::default(), stopped_clock)), None).await
    }

    pub(crate) async fn with_tls(tls: Tls) -> Self {
        Self::of(Limits::default(), None, Some(tls)).await
    }

    /// A server that requires API keys and has rate limits, with a clock of the test.
    pub(crate) async fn with_rates(requests: u32, records: u32, clock: MonotonicClock) -> Self {
        let rates = Rates { requests: NonZeroU32::new(requests), records: NonZeroU32::new(records) };
        Self::of(Limits::default(), Some((rates, clock)), None).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        Self::of(limits, None, None).await
    }

    /// With rates, the server requires API keys.
    pub(crate) async fn of(limits: Limits, rates: Option<(Rates, MonotonicClock)>, tls: Option<Tls>) -> Self {
        Self::with_state(limits, rates, tls, |app| app).await
    }

    /// The same, with further settings.
    pub(crate) async fn with_state(
        limits: Limits,
        rates: Option<(Rates, MonotonicClock)>,
        tls: Option<Tls>,
        settings: impl FnOnce(AppState) -> AppState,
    ) -> Self {
        log_redaction::start_scanner();
        let directory = TempDir::new().unwrap();
        let url = format!("sqlite:{}", directory.path().join("callhistory.db").display());
        let store = callhistory_store::open(&url.parse().unwrap()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        // Tests of raw requests send `host: x`.
        let mut app = AppState::new(Arc::clone(&store), fixed_clock, counter)
            .with_allowed_hosts("x".parse().unwrap())
            .until(stop.clone())
            .with_connections(limits.connections);
        let keys = if rates.is_some() {
            Some(callhistory_store::open_api_keys(&url.parse().unwrap()).await.unwrap())
        } else {
            None
        };
        if let Some((keys, (rates, clock))) = keys.as_ref().zip(rates) {
            app = app.with_keys(Arc::clone(keys)).with_rates(rates, clock);
        }
        let observer = Arc::default();
        let observed =
            router(Arc::new(settings(app))).layer(from_fn_with_state(Arc::clone(&observer), contract::observe));
        let task = tokio::spawn(serve(listener, observed, limits, tls, stop.clone()));
        Self { address, store, stop, task, observer, keys, _directory: directory }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn client(&self) -> Client {
        Client::builder(&self.url("")).workspace(WORKSPACE).max_retries(0).build().unwrap()
    }

    /// Sends a request for the default workspace.
    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut all = vec![("x-workspace-id", WORKSPACE)];
        all.extend(headers);
        self.send_bare(method, path, &all, body.as_bytes().to_vec()).await
    }

    /// Sends a request with these headers only.
    pub(crate) async fn send_bare(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Response {
        let mut request = reqwest::Client::new().request(method, self.url(path)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Response { status, headers, body: response.text().await.unwrap() }
    }

    /// Reads the start of an event stream, up to this number of events.
    pub(crate) async fn first_events(&self, path: &str, headers: &[(&str, &str)], count: usize) -> Response {
        let mut request = reqwest::Client::new().get(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = String::new();
        while body.matches("\ndata: ").count() < count || !body.ends_with("\n\n") {
            let chunk = tokio::time::timeout(PATIENCE, response.chunk()).await.unwrap();
            body.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
        }
        // The stream opens with a cursor, which is not an event.
        let events = body.split_inclusive("\n\n").skip(usize::from(!body.starts_with("event"))).collect();
        let opening = body.split("\n\n").next().unwrap().lines().filter(|line| line.starts_with("id: "));
        let opening: String = opening.map(|line| format!("{line}\n")).collect();
        let events: String = events;
        Response { status, headers, body: format!("{opening}{events}") }
    }

    pub(crate) async fn put(&self, id: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.send(Method::PUT, &format!("/v2/api/call-history/{id}"), &all, body).await
    }

    pub(crate) async fn post(&self, headers: &[(&str, &str)], body: &str) -> Response {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.send(Method::POST, "/v2/api/call-history", &all, body).await
    }

    pub(crate) async fn get(&self, id: &str, headers: &[(&str, &str)]) -> Response {
        self.send(Method::GET, &format!("/v2/api/call-history/{id}"), headers, "").await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes as they are and reads until the server closes the connection.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_to_end(&mut stream).await
    }
}

/// Reads until the connection is closed or reset.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes).await);
    String::from_utf8_lossy(&bytes).into_owned()
}
