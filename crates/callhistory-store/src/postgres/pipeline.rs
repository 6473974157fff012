//! Connections for point reads: many requests share a few connections, on which their statements are pipelined.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::timeout;
use tokio_postgres::{Client, Row, Statement, types::ToSql};

use super::{
    config::{CONNECT_TIMEOUT, DatabaseServer, SessionKind},
    epoch::CurrentEpoch,
    error::{PgError, timed_out},
};
use crate::error::StoreError;

/// Number of connections that the point reads of all requests share.
const CONNECTIONS: usize = 4;
/// Timeout of a point read.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection with its prepared statements.
struct PipelinedConnection {
    client: Client,
    statements: Vec<Statement>,
}

/// The connections for point reads, opened on demand.
pub(super) struct ConnectionPipeline {
    server: Arc<DatabaseServer>,
    /// The text of each statement, by its number.
    statements: &'static [&'static str],
    epoch: Arc<CurrentEpoch>,
    connections: Vec<RwLock<Option<Arc<PipelinedConnection>>>>,
    opening: tokio::sync::Mutex<()>,
    next: AtomicUsize,
}

impl ConnectionPipeline {
    pub(super) fn new(
        server: Arc<DatabaseServer>,
        statements: &'static [&'static str],
        epoch: Arc<CurrentEpoch>,
    ) -> Self {
        let connections = (0..CONNECTIONS).map(|_| RwLock::default()).collect();
        let (opening, next) = (tokio::sync::Mutex::default(), AtomicUsize::new(0));
        Self { server, statements, epoch, connections, opening, next }
    }

    async fn connection(&self) -> Result<Arc<PipelinedConnection>, StoreError> {
        let slot = &self.connections[self.next.fetch_add(1, Ordering::Relaxed) % CONNECTIONS];
        let usable = || {
            let connection = slot.read().unwrap_or_else(PoisonError::into_inner).clone();
            connection.filter(|connection| !connection.client.is_closed())
        };
        if let Some(connection) = usable() {
            return Ok(connection);
        }
        // One at a time: not all requests may connect at once when the server is back.
        let _opening = timeout(CONNECT_TIMEOUT, self.opening.lock()).await;
        if let Some(connection) = usable() {
            return Ok(connection);
        }
        let open = async {
            let client = self.server.client(SessionKind::Read).await?;
            // A lost connection can be a fail-over.
            self.epoch.check(&client).await?;
            let mut statements = Vec::with_capacity(self.statements.len());
            for text in self.statements {
                statements.push(client.prepare(text).await?);
            }
            Ok::<_, PgError>(Arc::new(PipelinedConnection { client, statements }))
        };
        let connection = timeout(2 * CONNECT_TIMEOUT, open).await.map_err(timed_out)??;
        *slot.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Drops a connection that does not respond, so that other requests do not wait for it.
    fn forget(&self, lost: &Arc<PipelinedConnection>) {
        for slot in &self.connections {
            let mut open = slot.write().unwrap_or_else(PoisonError::into_inner);
            if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, lost)) {
                *open = None;
            }
        }
    }

    /// Runs a statement by its number, and once more if the connection had ended.
    pub(super) async fn query(
        &self,
        statement: usize,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, StoreError> {
        let mut may_retry = true;
        loop {
            let connection = self.connection().await?;
            let client = &connection.client;
            match timeout(READ_TIMEOUT, client.query_opt(&connection.statements[statement], values)).await {
                Ok(Err(error)) if may_retry && (error.is_closed() || client.is_closed()) => may_retry = false,
                Ok(row) => return Ok(row?),
                Err(elapsed) => {
                    self.forget(&connection);
                    return Err(timed_out(elapsed).into());
                }
            }
        }
    }
}
