//! The server and its builder.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use callhistory_client::{CallInput, Client, ClientBuilder};
use callhistory_server::{
    AppState, Clock, Fault, FaultCount, Faults, InvalidFault, Limits, auth::token::Token, new_faults,
    router_with_faults, serve,
};
use callhistory_store::{ApiKey, ApiKeyStore, DatabaseUrl, Scope};
use chrono::{DateTime, Utc};
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Handle};
use tokio_util::sync::CancellationToken;

use crate::error::{Cause, TestServerError};

/// How long a server that is dropped waits for requests in flight.
const DRAIN: Duration = Duration::from_millis(100);

/// A server that ends when it is dropped.
pub struct TestServer {
    url: String,
    clock: Clock,
    keys: Option<Keys>,
    faults: Arc<Faults>,
    runtime: Handle,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// The keys of a server that requires them.
struct Keys {
    store: Arc<dyn ApiKeyStore>,
    /// An operator's key with all scopes.
    operator: String,
}

/// What a server has; returned by [`TestServer::builder`].
///
/// ```
/// use callhistory_client::{CallInput, CallStatus};
/// use callhistory_test_server::{Scope, TestServer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let busy = CallInput { status: Some(CallStatus::Busy), ..CallInput::default() };
/// let server = TestServer::builder().require_keys().record("workspace", "a1", busy).start()?;
/// let key = server.api_key("workspace", &[Scope::CallsRead])?;
/// let reader = server.client_builder("workspace").api_key(key).build()?;
/// assert_eq!(reader.get_call("a1").await?.status, Some(CallStatus::Busy));
/// assert!(reader.delete_call("a1").await.unwrap_err().is_forbidden());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until the server is started"]
pub struct TestServerBuilder {
    requires_keys: bool,
    clock: Clock,
    records: Vec<(String, String, CallInput)>,
}

impl TestServerBuilder {
    /// A server that requires API keys. [`TestServer::client`] has one with all scopes.
    pub fn require_keys(mut self) -> Self {
        self.requires_keys = true;
        self
    }

    /// A record of this workspace, with this ID, which is written before the server is returned.
    pub fn record(mut self, workspace: impl Into<String>, id: impl Into<String>, call: CallInput) -> Self {
        self.records.push((workspace.into(), id.into(), call));
        self
    }

    /// The clock of the server, which can stand still; the system's clock by default.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the server.
    ///
    /// # Errors
    ///
    /// Fails if the machine has no temporary folder or no free port, or a record is invalid.
    pub fn start(self) -> Result<TestServer, TestServerError> {
        self.launch().map_err(TestServerError::of("start"))
    }

    fn launch(self) -> Result<TestServer, Cause> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, faults, handle) = (CancellationToken::new(), new_faults(), runtime.handle().clone());
        let Self { requires_keys, clock, records } = self;
        let service = Service { stop: stop.clone(), faults: Arc::clone(&faults), clock, requires_keys };
        let (ready, started) = mpsc::channel();
        let thread = std::thread::Builder::new().name("callhistory-test-server".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(service.run(&ready)) {
                drop(ready.send(Err(error)));
            }
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        let mut server =
            TestServer { url: String::new(), clock, keys: None, faults, runtime: handle, stop, thread: Some(thread) };
        let (address, keys) = started.recv()??;
        server.url = format!("http://{address}");
        if let Some(store) = keys {
            let operator = server.create_key(&store, None, &Scope::ALL)?;
            server.keys = Some(Keys { store, operator });
        }
        for (workspace, id, call) in records {
            let client = server.client(&workspace)?;
            server.run(async move { client.replace_call(&id, &call).await.map(drop) })??;
        }
        Ok(server)
    }
}

/// What the thread of a server runs.
struct Service {
    stop: CancellationToken,
    faults: Arc<Faults>,
    clock: Clock,
    requires_keys: bool,
}

/// The address of a server that listens, and the store of its keys.
type Started = (SocketAddr, Option<Arc<dyn ApiKeyStore>>);

impl Service {
    /// Serves until the token is cancelled.
    async fn run(self, ready: &mpsc::Sender<Result<Started, Cause>>) -> Result<(), Cause> {
        let folder = TempDir::new()?;
        let url = DatabaseUrl::Sqlite(folder.path().join("callhistory.db"));
        let store = callhistory_store::open(&url).await?;
        let mut app = AppState::new(Arc::clone(&store), self.clock, next_number).until(self.stop.clone());
        let mut keys = None;
        if self.requires_keys {
            let opened = callhistory_store::open_api_keys(&url).await?;
            app = app.with_keys(Arc::clone(&opened));
            keys = Some(opened);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let router = router_with_faults(Arc::new(app), &self.faults);
        ready.send(Ok((listener.local_addr()?, keys)))?;
        serve(listener, router, Limits { drain: DRAIN, ..Limits::default() }, None, self.stop).await;
        store.close().await;
        Ok(())
    }
}

impl TestServer {
    /// A server without keys, with an empty database.
    ///
    /// # Errors
    ///
    /// Fails if the machine has no temporary folder or no free port.
    pub fn start() -> Result<Self, TestServerError> {
        Self::builder().start()
    }

    /// A builder, for a server with keys, records or another clock.
    pub fn builder() -> TestServerBuilder {
        TestServerBuilder { requires_keys: false, clock: system_clock, records: Vec::new() }
    }

    /// The base URL, such as `http://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client of a workspace, with the defaults of the SDK and, if the server requires keys, a key with all scopes.
    ///
    /// # Errors
    ///
    /// Fails if the name of the workspace is invalid.
    pub fn client(&self, workspace: &str) -> Result<Client, callhistory_client::Error> {
        self.client_builder(workspace).build()
    }

    /// The same client before it is built, for other timeouts, retries or keys.
    pub fn client_builder(&self, workspace: &str) -> ClientBuilder {
        let builder = Client::builder(&self.url).workspace(workspace);
        match &self.keys {
            Some(keys) => builder.api_key(&keys.operator),
            None => builder,
        }
    }

    /// Makes requests fail, and returns the number of those that did. Faults are met in the order in which they were added.
    ///
    /// # Errors
    ///
    /// Names the part of the fault that is wrong, such as an unknown operation.
    pub fn fault(&self, fault: Fault) -> Result<FaultCount, InvalidFault> {
        self.faults.add(fault)
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.faults.clear();
    }

    /// Creates an API key of a workspace.
    ///
    /// # Errors
    ///
    /// Fails if the server does not require keys, or the name of the workspace is invalid.
    pub fn api_key(&self, workspace: &str, scopes: &[Scope]) -> Result<String, TestServerError> {
        let key = match &self.keys {
            Some(keys) => self.create_key(&keys.store, Some(workspace), scopes),
            None => Err("it does not require keys; start it with require_keys".into()),
        };
        key.map_err(TestServerError::of("create a key"))
    }

    fn create_key(
        &self,
        store: &Arc<dyn ApiKeyStore>,
        workspace: Option<&str>,
        scopes: &[Scope],
    ) -> Result<String, Cause> {
        let mut bytes = [0; Token::RANDOM_BYTES];
        // Distinct keys are enough: they open nothing but this server.
        bytes[..8].copy_from_slice(&next_number().to_be_bytes());
        let token = Token::new(&bytes);
        let key = ApiKey {
            id: token.id().to_owned(),
            digest: token.digest(),
            name: "test".to_owned(),
            workspace: workspace.map(str::parse).transpose()?,
            scopes: scopes.to_vec(),
            created_at: (self.clock)().into(),
            expires_at: None,
            revoked_at: None,
            used_at: None,
        };
        let store = Arc::clone(store);
        self.run(async move { store.create_key(key, None).await })??;
        Ok(token.as_str().to_owned())
    }

    /// Runs a future in the thread of the server, and waits for it.
    fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Result<T, Cause> {
        let (sender, receiver) = mpsc::channel();
        self.runtime.spawn(async move { drop(sender.send(future.await)) });
        Ok(receiver.recv()?)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.cancel();
        // A panic of the thread has been printed.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl fmt::Debug for TestServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestServer").field("url", &self.url).finish_non_exhaustive()
    }
}

#[expect(clippy::disallowed_methods, reason = "the default of the builder; a test can choose another clock")]
fn system_clock() -> DateTime<Utc> {
    Utc::now()
}

/// Distinct increasing numbers, for IDs and keys.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) << 20
}
