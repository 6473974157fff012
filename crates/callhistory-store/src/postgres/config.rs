//! Connections to a PostgreSQL server, and the settings of their sessions.

use std::{str::FromStr as _, time::Duration};

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use tokio_postgres::{
    Client, Config, Connection, Socket,
    config::{Host, SslMode, TargetSessionAttrs},
    error::SqlState,
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    error::{PgError, timed_out},
    tls,
};
use crate::{error::StoreError, url::DatabaseUrl};

/// Timeout of a connection, and of waiting for one of a pool: less than the timeout of any client.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) type Session = Connection<Socket, <Tls as MakeTlsConnect<Socket>>::Stream>;

/// The TLS connector of the library, also for Unix sockets: it is called before TLS is negotiated, with an empty host name.
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

/// The purpose of a session, which determines its timeouts.
#[derive(Clone, Copy)]
pub(super) enum SessionKind {
    Read,
    Write,
    Export,
    Migrate,
}

impl SessionKind {
    /// The settings of the session: timeouts of a statement, of a lock, and of an idle transaction, in milliseconds.
    fn settings(self) -> Vec<String> {
        let (statement, lock, idle) = match self {
            Self::Read => (30_000, 5_000, 10_000),
            Self::Write => (15_000, 5_000, 10_000),
            // A reader can be slow; the export has its own timeout.
            Self::Export => (600_000, 5_000, 3_600_000),
            // An index on a large table takes long, and other servers wait for it.
            Self::Migrate => (0, 0, 0),
        };
        vec![
            format!("statement_timeout = {statement}"),
            format!("lock_timeout = {lock}"),
            format!("idle_in_transaction_session_timeout = {idle}"),
            // A database can be configured to acknowledge commits that are not durable.
            "synchronous_commit = on".to_owned(),
            "default_transaction_isolation = 'read committed'".to_owned(),
        ]
    }
}

/// Planner settings, if the engine has them. Every statement has an index that starts with the workspace; a table scan would
/// read the rows of all workspaces. Statements are too short for JIT compilation.
const PLANNER_SETTINGS: [&str; 2] = ["enable_seqscan = off", "jit = off"];

/// A database server, or several with one primary.
pub(super) struct DatabaseServer {
    config: Config,
    tls: Tls,
    /// The URL without its password, for messages.
    pub(super) name: String,
}

impl DatabaseServer {
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let name = DatabaseUrl::Postgres(url.to_owned()).to_string();
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
            // The text of the library names the option; its source says what is wrong.
            invalid(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string))
        })?;
        // A Unix socket cannot be intercepted.
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
        // With several hosts, the primary: a standby does not show the latest writes.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let tls = Tls(MakeRustlsConnect::new(tls::config(mode, roots.as_deref()).map_err(&invalid)?));
        Ok(Self { config, tls, name })
    }

    /// A session that the caller drives and configures.
    pub(super) async fn connect(&self) -> Result<(Client, Session), PgError> {
        // The timeout of the library ends when the server responds.
        let connected = timeout(2 * CONNECT_TIMEOUT, self.config.connect(self.tls.clone())).await;
        Ok(connected.map_err(timed_out)??)
    }

    /// A session that a task drives until its client is dropped.
    pub(super) async fn client(&self, kind: SessionKind) -> Result<Client, PgError> {
        let (client, session) = self.connect().await?;
        // The next use of the client returns the error of the session.
        tokio::spawn(async { drop(session.await) });
        timeout(CONNECT_TIMEOUT, configure(&client, kind)).await.map_err(timed_out)??;
        Ok(client)
    }

    /// A pool of at most `size` sessions, opened on demand.
    pub(super) fn pool(&self, kind: SessionKind, size: usize) -> Result<Pool, StoreError> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(self.config.clone(), self.tls.clone(), recycling);
        let configured = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
            Box::pin(async move { configure(client, kind).await.map_err(HookError::Backend) })
        });
        let pool = Pool::builder(manager).max_size(size).runtime(Runtime::Tokio1).post_create(configured);
        let pool = pool.wait_timeout(Some(CONNECT_TIMEOUT)).create_timeout(Some(2 * CONNECT_TIMEOUT)).build();
        pool.map_err(|error| StoreError::Open(error.to_string()))
    }
}

/// Applies the settings of a session.
pub(super) async fn configure(client: &Client, kind: SessionKind) -> Result<(), tokio_postgres::Error> {
    let settings: Vec<_> = kind.settings().into_iter().map(|setting| format!("SET {setting}")).collect();
    client.batch_execute(&settings.join(";")).await?;
    for setting in PLANNER_SETTINGS {
        match client.batch_execute(&format!("SET {setting}")).await {
            // Other engines with this protocol have other planners.
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => {}
            other => other?,
        }
    }
    Ok(())
}
