//! A server of its own for each test, on a free port and an empty directory.

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
    canaries,
    contract::{self, Witness},
};

pub(crate) const WORKSPACE: &str = "abcdef1234567890";
/// How long a test waits for what must happen. It is reached only where it never happens, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<dyn CallStore>,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
    /// What was sent and answered.
    pub(crate) witness: Arc<Witness>,
    /// The keys that callers need, if they do.
    pub(crate) keys: Option<Arc<dyn ApiKeyStore>>,
    _directory: TempDir,
}

/// Whatever a test looked for, each answer that it was given is what the contract says.
impl Drop for Server {
    fn drop(&mut self) {
        let mut violations = std::mem::take(&mut *self.witness.violations.lock().unwrap());
        violations.extend(canaries::leaks());
        assert!(violations.is_empty() || std::thread::panicking(), "{}", violations.join("\n"));
    }
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
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

/// Time stands still at 2026-01-01T00:00:00Z.
pub(crate) fn fixed_clock() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

/// The clock of rate limiters that stands still: nothing is earned back, however slow the machine is.
pub(crate) fn stopped_clock() -> Duration {
    Duration::from_secs(1)
}

/// Distinct numbers in a fixed order.
fn counter() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) << 20
}

impl Server {
    /// Waits until a request whose target has this text has come.
    pub(crate) async fn asked_for(&self, text: &str) {
        let has_come = || self.witness.exchanges.lock().unwrap().iter().any(|sent| sent.uri.to_string().contains(text));
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

    /// A server that asks its callers for keys.
    pub(crate) async fn with_keys() -> Self {
        Self::of(Limits::default(), Some((Rates::default(), stopped_clock)), None).await
    }

    pub(crate) async fn with_tls(tls: Tls) -> Self {
        Self::of(Limits::default(), None, Some(tls)).await
    }

    /// The same, with a bound on what each key may ask for, by a clock of the test's choice.
    pub(crate) async fn with_rates(requests: u32, records: u32, clock: MonotonicClock) -> Self {
        let rates = Rates { requests: NonZeroU32::new(requests), records: NonZeroU32::new(records) };
        Self::of(Limits::default(), Some((rates, clock)), None).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        Self::of(limits, None, None).await
    }

    /// Any server; with rates it asks for keys.
    pub(crate) async fn of(limits: Limits, rates: Option<(Rates, MonotonicClock)>, tls: Option<Tls>) -> Self {
        canaries::listen();
        let directory = TempDir::new().unwrap();
        let url = format!("sqlite:{}", directory.path().join("callhistory.db").display());
        let store = callhistory_store::open(&url.parse().unwrap()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let mut app = AppState::new(Arc::clone(&store), fixed_clock, counter).until(stop.clone());
        let keys = if rates.is_some() {
            Some(callhistory_store::open_api_keys(&url.parse().unwrap()).await.unwrap())
        } else {
            None
        };
        if let Some((keys, (rates, clock))) = keys.as_ref().zip(rates) {
            app = app.with_keys(Arc::clone(keys)).with_rates(rates, clock);
        }
        let witness = Arc::default();
        let watched = router(Arc::new(app)).layer(from_fn_with_state(Arc::clone(&witness), contract::watch));
        let task = tokio::spawn(serve(listener, watched, limits, tls, stop.clone()));
        Self { address, store, stop, task, witness, keys, _directory: directory }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn client(&self) -> Client {
        Client::builder(&self.url("")).workspace(WORKSPACE).max_retries(0).build().unwrap()
    }

    /// Sends a request under the usual workspace.
    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = vec![("x-workspace-id", WORKSPACE)];
        all.extend(headers);
        self.send_bare(method, path, &all, body.as_bytes().to_vec()).await
    }

    /// The same without any header of its own.
    pub(crate) async fn send_bare(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request = reqwest::Client::new().request(method, self.url(path)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, body: response.text().await.unwrap() }
    }

    /// The start of a stream, up to this number of events.
    pub(crate) async fn first_events(&self, path: &str, headers: &[(&str, &str)], count: usize) -> Answer {
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
        // What opens the stream is no event.
        let events = body.split_inclusive("\n\n").skip(usize::from(!body.starts_with("event"))).collect();
        let opening = body.split("\n\n").next().unwrap().lines().filter(|line| line.starts_with("id: "));
        let opening: String = opening.map(|line| format!("{line}\n")).collect();
        let events: String = events;
        Answer { status, headers, body: format!("{opening}{events}") }
    }

    pub(crate) async fn put(&self, id: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.send(Method::PUT, &format!("/v2/api/call-history/{id}"), &all, body).await
    }

    pub(crate) async fn post(&self, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.send(Method::POST, "/v2/api/call-history", &all, body).await
    }

    pub(crate) async fn get(&self, id: &str, headers: &[(&str, &str)]) -> Answer {
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

/// What is left to read; a connection that was reset ends there.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes).await);
    String::from_utf8_lossy(&bytes).into_owned()
}
