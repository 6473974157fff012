//! The server that is measured: a server in a process of its own, as in production.

use std::{fs, io, net::SocketAddr, path::Path, process::Command};

use callhistory_test_support::history::WORKSPACE;

use crate::{
    error::BoxError,
    load::{self, ServerProcess},
};

const SCOPES: &str = "calls:read,calls:write,calls:delete,calls:export,phone-numbers:read";

/// A server with keys, log and counters on.
pub(crate) struct Server {
    pub(crate) process: ServerProcess,
    operations: SocketAddr,
    key: String,
}

impl Server {
    /// Starts a server on a data directory, which it reads once so that the page cache is warm.
    pub(crate) async fn start(server: &Path, data: &Path) -> Result<Self, BoxError> {
        let database = data.join("callhistory.db");
        if database.exists() {
            io::copy(&mut fs::File::open(database)?, &mut io::sink())?;
        }
        let key = create_key(server, data)?;
        Self::with_key(&mut Command::new(server), data, key).await
    }

    /// Starts a server with a command that names its program, for callers with a key that exists.
    pub(crate) async fn with_key(command: &mut Command, data: &Path, key: String) -> Result<Self, BoxError> {
        let operations = load::free_address()?;
        command.args(["--require-keys", "--operations-listen", &operations.to_string(), "--data-dir"]).arg(data);
        Ok(Self { process: ServerProcess::start(command).await?, operations, key })
    }

    /// Stops the server; gives the key.
    pub(crate) fn stop(self) -> String {
        self.key
    }

    /// A request without a body for what is below the route of the calls.
    pub(crate) fn get(&self, target: &str, header: &str) -> Vec<u8> {
        let key = &self.key;
        format!(
            "GET /v2/api/call-history{target} HTTP/1.1\r\nhost: bench\r\nx-workspace-id: {WORKSPACE}\r\n\
             x-api-key: {key}\r\n{header}\r\n"
        )
        .into_bytes()
    }

    /// A request that replaces one record.
    pub(crate) fn put(&self, id: &str, body: &[u8]) -> Vec<u8> {
        let (key, length) = (&self.key, body.len());
        let mut request = format!(
            "PUT /v2/api/call-history/{id} HTTP/1.1\r\nhost: bench\r\nx-workspace-id: {WORKSPACE}\r\n\
             x-api-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(body);
        request
    }

    /// A figure of the server's own metrics.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64, BoxError> {
        let mut connection = load::Connection::open(self.operations).await?;
        connection.exchange(b"GET /metrics HTTP/1.1\r\nhost: bench\r\n\r\n", "200").await?;
        let text = String::from_utf8_lossy(connection.body()).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        Ok(line.unwrap_or("0").parse()?)
    }
}

/// Creates an empty database where there is none.
pub(crate) fn create_database(server: &Path, data: &Path) -> Result<(), BoxError> {
    let migrated = Command::new(server).args(["migrate", "--data-dir"]).arg(data).output()?;
    let errors = String::from_utf8_lossy(&migrated.stderr);
    if migrated.status.success() { Ok(()) } else { Err(format!("migrate: {}", errors.trim()).into()) }
}

/// Creates a key with every scope for the workspace of the history.
fn create_key(server: &Path, data: &Path) -> Result<String, BoxError> {
    create_database(server, data)?;
    let created = Command::new(server)
        .args(["keys", "create", "--workspace", WORKSPACE, "--name", "bench", "--scopes", SCOPES, "--data-dir"])
        .arg(data)
        .output()?;
    let printed = String::from_utf8_lossy(&created.stdout);
    let key = printed.split_whitespace().find(|word| word.starts_with("ch_live_"));
    key.map(str::to_owned).ok_or_else(|| {
        format!("keys create: {}: {}", created.status, String::from_utf8_lossy(&created.stderr).trim()).into()
    })
}
