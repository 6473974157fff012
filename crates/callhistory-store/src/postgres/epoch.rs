//! The epoch of the database. A fail-over to a standby that lagged, and a restore, lose commits: versions must not be issued again
//! then, and followers must start again.
//!
//! The row of the secret names the server on which the database was last used. A session that finds it on another one begins the
//! next epoch: it raises the sequences of all workspaces above those that may have been lost, and replaces the secret.

use std::sync::{Arc, PoisonError, RwLock};

use tokio_postgres::{Client, Row};

use super::{
    config::{DatabaseServer, SessionKind},
    error::PgError,
};
use crate::{domain::cursor::CursorSigner, error::StoreError};

/// Where the database is: the system identifier, the timeline of the next WAL record, and the table. A promotion and a
/// point-in-time recovery change the timeline, a copy to another cluster the system identifier, and a logical restore the table.
macro_rules! current_server {
    () => {
        "concat_ws('/', (pg_control_system()).system_identifier,
             left(pg_walfile_name(pg_current_wal_insert_lsn()), 8), tableoid)"
    };
}

/// The secret, the first sequence, and whether the database is where it was last used; `NULL` on a standby, which fails later.
const READ_EPOCH: &str = concat!(
    "SELECT value, first_sequence,
         CASE WHEN NOT pg_is_in_recovery() THEN server IS NOT DISTINCT FROM ",
    current_server!(),
    " END FROM secret WHERE name = 'cursor'"
);
/// The same on a server that does not tell where it is.
const READ_UNKNOWN: &str = "SELECT value, first_sequence, NULL::boolean FROM secret WHERE name = 'cursor'";

const LOCK_EPOCH: &str =
    concat!("SELECT value, server, ", current_server!(), " FROM secret WHERE name = 'cursor' FOR UPDATE");
const SET_SERVER: &str = concat!("UPDATE secret SET server = ", current_server!(), " WHERE name = 'cursor'");
/// As after a restore of an embedded database: 16 million sequences for each minute since 1970.
const BEGIN_EPOCH: &str = "UPDATE secret
     SET value = decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'),
         first_sequence = greatest(
             floor(extract(epoch FROM clock_timestamp()) / 60)::bigint << 24, first_sequence + (1::bigint << 24))
     WHERE name = 'cursor' RETURNING value, first_sequence";
const RAISE_SEQUENCES: &str = "UPDATE workspace SET last_sequence = greatest(last_sequence, $1)";

/// The current epoch as this server knows it.
pub(super) struct CurrentEpoch {
    server: Arc<DatabaseServer>,
    signer: RwLock<Arc<CursorSigner>>,
    /// The statement that reads the row of [`EpochRow`].
    pub(super) statement: &'static str,
}

/// The epoch as a session reads it.
pub(super) struct EpochRow {
    secret: Vec<u8>,
    /// The sequence before the first change of a new workspace.
    pub(super) first_sequence: i64,
    is_elsewhere: bool,
}

impl EpochRow {
    pub(super) fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let is_same: Option<bool> = row.try_get(2)?;
        Ok(Self { secret: row.try_get(0)?, first_sequence: row.try_get(1)?, is_elsewhere: is_same == Some(false) })
    }
}

impl CurrentEpoch {
    /// Reads the epoch, and begins the next one if the database is on another server.
    pub(super) async fn open(server: &Arc<DatabaseServer>, client: &Client) -> Result<Arc<Self>, PgError> {
        let (row, statement) = match client.query_one(READ_EPOCH, &[]).await.map_err(PgError::from) {
            Ok(row) => (row, READ_EPOCH),
            Err(PgError::Database(error)) if error.as_db_error().is_some() => {
                let code = error.code().map_or("", |code| code.code());
                tracing::warn!(
                    code,
                    "the database server does not tell its system identifier and timeline: after a fail-over that lost \
                     commits, begin the next epoch by hand, as docs/postgresql.md says"
                );
                (client.query_one(READ_UNKNOWN, &[]).await?, READ_UNKNOWN)
            }
            Err(error) => return Err(error),
        };
        let row = EpochRow::read(&row)?;
        let signer = RwLock::new(Arc::new(CursorSigner::new(row.secret.clone())));
        let epoch = Arc::new(Self { server: Arc::clone(server), signer, statement });
        if !epoch.accept(&row) {
            epoch.advance().await?;
        }
        Ok(epoch)
    }

    /// The signer of the cursors of the epoch.
    pub(super) fn signer(&self) -> Arc<CursorSigner> {
        Arc::clone(&self.signer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The signer with the secret that a session has read: another server can have begun an epoch.
    pub(super) fn observe(&self, secret: &[u8]) -> Arc<CursorSigner> {
        let known = self.signer();
        if known.has_secret(secret) {
            return known;
        }
        let signer = Arc::new(CursorSigner::new(secret.to_vec()));
        *self.signer.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&signer);
        signer
    }

    /// Whether a session may go on; otherwise the next epoch must begin first.
    pub(super) fn accept(&self, row: &EpochRow) -> bool {
        if !row.is_elsewhere {
            self.observe(&row.secret);
        }
        !row.is_elsewhere
    }

    /// Checks the epoch when a session is opened.
    pub(super) async fn check(self: &Arc<Self>, client: &Client) -> Result<(), PgError> {
        let row = EpochRow::read(&client.query_one(self.statement, &[]).await?)?;
        if self.accept(&row) { Ok(()) } else { self.advance().await }
    }

    /// Begins the next epoch, unless another server does. It completes even if its caller stops waiting.
    pub(super) async fn advance(self: &Arc<Self>) -> Result<(), PgError> {
        let epoch = Arc::clone(self);
        let advanced = tokio::spawn(async move { epoch.begin_next().await }).await;
        advanced.map_err(|error| StoreError::Internal(error.to_string()))?
    }

    async fn begin_next(&self) -> Result<(), PgError> {
        // Without timeouts: raising the sequences of many workspaces takes long.
        let mut client = self.server.client(SessionKind::Migrate).await?;
        let transaction = client.transaction().await?;
        let row = transaction.query_one(LOCK_EPOCH, &[]).await?;
        let (mut secret, server): (Vec<u8>, Option<&str>) = (row.try_get(0)?, row.try_get(1)?);
        if server != Some(row.try_get(2)?) {
            // A new database was on no server yet.
            if server.is_some() {
                let row = transaction.query_one(BEGIN_EPOCH, &[]).await?;
                let first_sequence: i64 = row.try_get(1)?;
                secret = row.try_get(0)?;
                transaction.execute(RAISE_SEQUENCES, &[&first_sequence]).await?;
                tracing::warn!(
                    first_sequence,
                    "the database is on another server or timeline, or was restored: commits can be lost, so the next epoch \
                     begins, and followers of the change feed start again"
                );
            }
            transaction.execute(SET_SERVER, &[]).await?;
        }
        transaction.commit().await?;
        self.observe(&secret);
        Ok(())
    }
}
