//! Sessions of a PostgreSQL server: where it is, how it is reached, and the settings that the promises rest on.

use std::{
    str::FromStr as _,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use callhistory_model::WorkspaceId;
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use tokio_postgres::{
    Client, Config, Connection, Socket, Statement,
    config::{Host, SslMode, TargetSessionAttrs},
    error::SqlState,
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    failure::{Failure, late},
    tls,
};
use crate::StoreError;

/// How long a connection may take to be made, and how long a read or a write waits for one of a pool: less than any
/// client waits for its answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that the point reads of all requests share.
const LINES: usize = 4;
/// How long a point read may take.
const LINE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type Session = Connection<Socket, <Tls as MakeTlsConnect<Socket>>::Stream>;

/// The library's connector, for sockets of the machine too: it is asked before anyone knows whether there will be TLS, and
/// their name is empty.
#[derive(Clone)]
pub(super) struct Tls(MakeRustlsConnect);

impl MakeTlsConnect<Socket> for Tls {
    type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
    type TlsConnect = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
    type Error = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Self::TlsConnect, Self::Error> {
        let name = if host.is_empty() { "localhost" } else { host };
        MakeTlsConnect::<Socket>::make_tls_connect(&mut self.0, name)
    }
}

/// What a session is for: each kind of work has its own bounds.
#[derive(Clone, Copy)]
pub(super) enum Work {
    Read,
    Write,
    Export,
    Migrate,
}

impl Work {
    /// The settings of the session: the bounds on a statement, on waiting for a lock, and on a transaction whose client
    /// says nothing, in milliseconds.
    fn settings(self) -> Vec<String> {
        let (statement, lock, idle) = match self {
            Self::Read => (30_000, 5_000, 10_000),
            Self::Write => (15_000, 5_000, 10_000),
            // A reader may be slow; the export itself is bounded.
            Self::Export => (600_000, 5_000, 3_600_000),
            // An index on a large table takes what it takes, and other servers wait for it.
            Self::Migrate => (0, 0, 0),
        };
        vec![
            format!("statement_timeout = {statement}"),
            format!("lock_timeout = {lock}"),
            format!("idle_in_transaction_session_timeout = {idle}"),
            // A database may be set to acknowledge what is not on disk.
            "synchronous_commit = on".to_owned(),
            "default_transaction_isolation = 'read committed'".to_owned(),
        ]
    }
}

/// Settings that steer the planner, where the engine has it. Every statement has an index that leads with the workspace; a
/// scan of a table would read the rows of all workspaces. Statements are too short for compiled expressions to pay.
const PLANNER_SETTINGS: [&str; 2] = ["enable_seqscan = off", "jit = off"];

/// A server, or several of which one takes writes.
pub(super) struct Server {
    config: Config,
    tls: Tls,
    /// How it is called in messages: without a password.
    pub(super) name: String,
}

impl Server {
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let name = redacted(url);
        let invalid = |reason: String| StoreError::Open(format!("the database URL {name}: {reason}"));
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut kept, mut mode, mut roots) = (Vec::new(), None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8().map_err(|_| invalid(format!("{key} is not UTF-8")))?;
            match key {
                "sslmode" => mode = Some(value.parse().map_err(&invalid)?),
                "sslrootcert" => roots = Some(value.into_owned()),
                _ => kept.push(pair),
            }
        }
        let mode = mode.unwrap_or_default();
        let mut config = Config::from_str(&format!("{base}?{}", kept.join("&"))).map_err(|error| {
            // The library's own text says which option; its source, what is wrong with it.
            invalid(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string))
        })?;
        // Nobody can listen in on a socket of the machine.
        let local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        config.ssl_mode(match mode {
            _ if local => SslMode::Disable,
            tls::Mode::Disable => SslMode::Disable,
            tls::Mode::Prefer => SslMode::Prefer,
            _ => SslMode::Require,
        });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("callhistory");
        }
        config.keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(Duration::from_secs(30));
        // Of several hosts, the one that takes writes: a standby could not show what was just written.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let tls = Tls(MakeRustlsConnect::new(tls::config(mode, roots.as_deref()).map_err(&invalid)?));
        Ok(Self { config, tls, name })
    }

    /// A session of its own, for whoever drives and configures it.
    pub(super) async fn connect(&self) -> Result<(Client, Session), Failure> {
        // The library's own bound ends where the server begins to speak.
        let connected = timeout(2 * CONNECT_TIMEOUT, self.config.connect(self.tls.clone())).await;
        Ok(connected.map_err(|_| late())??)
    }

    /// A session that drives itself until its client is dropped.
    pub(super) async fn client(&self, work: Work) -> Result<Client, Failure> {
        let (client, session) = self.connect().await?;
        // How it ended is told to whoever asks next.
        tokio::spawn(async { drop(session.await) });
        timeout(CONNECT_TIMEOUT, configure(&client, work)).await.map_err(|_| late())??;
        Ok(client)
    }

    /// At most so many sessions, made as they are needed.
    pub(super) fn pool(&self, work: Work, size: usize) -> Result<Pool, StoreError> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(self.config.clone(), self.tls.clone(), recycling);
        let configured = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
            Box::pin(async move { configure(client, work).await.map_err(HookError::Backend) })
        });
        let pool = Pool::builder(manager).max_size(size).runtime(Runtime::Tokio1).post_create(configured);
        let pool = pool.wait_timeout(Some(CONNECT_TIMEOUT)).create_timeout(Some(2 * CONNECT_TIMEOUT)).build();
        pool.map_err(|error| StoreError::Open(error.to_string()))
    }
}

pub(super) async fn configure(client: &Client, work: Work) -> Result<(), tokio_postgres::Error> {
    let settings: Vec<_> = work.settings().into_iter().map(|setting| format!("SET {setting}")).collect();
    client.batch_execute(&settings.join(";")).await?;
    for setting in PLANNER_SETTINGS {
        match client.batch_execute(&format!("SET {setting}")).await {
            // Engines that only speak the protocol have planners of their own.
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => {}
            other => other?,
        }
    }
    Ok(())
}

/// The URL without its password, for messages and the log.
pub(crate) fn redacted(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let host = place.rsplit_once('@').map_or(place, |(_, host)| host);
    let user = place.rsplit_once('@').map(|(user, _)| user.split(':').next().unwrap_or_default());
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let named = query.split('&').find(|pair| pair.starts_with("host=")).map(|host| format!("?{host}"));
    format!("{scheme}://{user}{host}{}", named.unwrap_or_default())
}

/// A session for point reads, which many requests use at once: their statements travel together.
pub(super) struct Line {
    client: Client,
    call: Statement,
    last_sequence: Statement,
}

/// The sessions for point reads.
pub(super) struct Lines {
    server: Arc<Server>,
    open: Vec<RwLock<Option<Arc<Line>>>>,
    opening: tokio::sync::Mutex<()>,
    next: AtomicUsize,
}

impl Lines {
    pub(super) fn new(server: Arc<Server>) -> Self {
        let open = (0..LINES).map(|_| RwLock::default()).collect();
        Self { server, open, opening: tokio::sync::Mutex::default(), next: AtomicUsize::new(0) }
    }

    async fn line(&self) -> Result<Arc<Line>, StoreError> {
        let place = &self.open[self.next.fetch_add(1, Ordering::Relaxed) % LINES];
        let usable = || {
            let line = place.read().unwrap_or_else(PoisonError::into_inner).clone();
            line.filter(|line| !line.client.is_closed())
        };
        if let Some(line) = usable() {
            return Ok(line);
        }
        // One at a time, so that a server that is back is not met by everyone at once.
        let _opening = timeout(CONNECT_TIMEOUT, self.opening.lock()).await;
        if let Some(line) = usable() {
            return Ok(line);
        }
        let open = async {
            let client = self.server.client(Work::Read).await?;
            let call = client.prepare("SELECT sequence, body FROM call WHERE workspace_id = $1 AND id = $2").await?;
            let last = client.prepare("SELECT last_sequence FROM workspace WHERE workspace_id = $1").await?;
            Ok::<_, Failure>(Arc::new(Line { client, call, last_sequence: last }))
        };
        let line = timeout(2 * CONNECT_TIMEOUT, open).await.map_err(|_| late())??;
        *place.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&line));
        Ok(line)
    }

    /// Has others not wait on a session that does not answer.
    fn forget(&self, line: &Arc<Line>) {
        for place in &self.open {
            let mut open = place.write().unwrap_or_else(PoisonError::into_inner);
            if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, line)) {
                *open = None;
            }
        }
    }

    /// Runs one point read, and once more where its session had ended.
    async fn read(
        &self,
        statement: impl Fn(&Line) -> &Statement,
        values: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Option<tokio_postgres::Row>, StoreError> {
        let mut again = true;
        loop {
            let line = self.line().await?;
            match timeout(LINE_TIMEOUT, line.client.query_opt(statement(&line), values)).await {
                Ok(Err(error)) if again && (error.is_closed() || line.client.is_closed()) => again = false,
                Ok(row) => return Ok(row?),
                Err(_) => {
                    self.forget(&line);
                    return Err(late().into());
                }
            }
        }
    }

    pub(super) async fn call(
        &self,
        workspace: &WorkspaceId,
        id: &str,
    ) -> Result<Option<tokio_postgres::Row>, StoreError> {
        self.read(|line| &line.call, &[&workspace.as_str(), &id]).await
    }

    /// The number of the last change of a workspace; 0 before the first.
    pub(super) async fn last_sequence(&self, workspace: &WorkspaceId) -> Result<i64, StoreError> {
        let row = self.read(|line| &line.last_sequence, &[&workspace.as_str()]).await?;
        Ok(row.map_or(Ok(0), |row| row.try_get(0))?)
    }
}
