//! Opens a PostgreSQL database: requirements and migrations.

use std::sync::Arc;

use tokio_postgres::{Client, Row, error::SqlState};

use super::{
    config::{DatabaseServer, SessionKind},
    epoch::CurrentEpoch,
    error::PgError,
    write::reindex,
};
use crate::{domain::phone_number::NumberingPlan, error::StoreError};

/// Older servers lack features that the statements use.
const MIN_SERVER_VERSION: i32 = 130_000;
/// The key of the lock under which one server migrates while the others wait: "CALLHIST".
const MIGRATION_LOCK: i64 = 0x4341_4c4c_4849_5354;

mod migrations {
    refinery::embed_migrations!("migrations/postgres");
}

/// Checks the server, migrates the database if needed, and reads its epoch.
pub(super) async fn prepare(server: &Arc<DatabaseServer>) -> Result<Arc<CurrentEpoch>, StoreError> {
    let name = &server.name;
    let cannot = |reason: &dyn std::fmt::Display| StoreError::Open(format!("cannot use the database {name}: {reason}"));
    let failed = |error: tokio_postgres::Error| cannot(&message(&error));
    let unusable = |error: PgError| match error {
        PgError::Database(error) => failed(error),
        other => cannot(&StoreError::from(other)),
    };
    let mut client = server.client(SessionKind::Migrate).await.map_err(unusable)?;
    let settings = "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
         coalesce(current_setting('fsync', true), 'on')";
    let settings = client.query_one(settings, &[]).await.map_err(failed)?;
    let (version, encoding, fsync): (i32, &str, &str) = (settings.get(0), settings.get(1), settings.get(2));
    if version < MIN_SERVER_VERSION {
        return Err(cannot(&"the server is older than PostgreSQL 13"));
    }
    if encoding != "UTF8" {
        return Err(cannot(&format!("its encoding is {encoding}; create one with ENCODING 'UTF8'")));
    }
    if fsync == "off" {
        tracing::warn!("the database server runs with fsync = off: a power failure can lose acknowledged writes");
    }
    if !is_current(&mut client).await.map_err(|reason| cannot(&reason))? {
        // Held until the session ends.
        client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await.map_err(failed)?;
        migrations::migrations::runner()
            .run_async(&mut client)
            .await
            .map_err(|error| cannot(&format!("it cannot be migrated: {}", migration_message(&error))))?;
    }
    CurrentEpoch::open(server, &client).await.map_err(unusable)
}

/// Brings the indexes of the records to the format of this program and of a numbering plan.
pub(super) async fn reindex(
    server: &Arc<DatabaseServer>,
    plan: Option<NumberingPlan>,
) -> Result<NumberingPlan, StoreError> {
    let indexed = async {
        let client = server.client(SessionKind::Migrate).await?;
        reindex::ensure(&client, plan).await
    };
    indexed.await.map_err(|error| {
        let reason = match error {
            PgError::Database(error) => message(&error),
            other => StoreError::from(other).to_string(),
        };
        StoreError::Open(format!("cannot write the indexes of the database {}: {reason}", server.name))
    })
}

/// Whether all migrations are applied. A role that cannot change tables can start on a current database.
pub(super) async fn is_current(client: &mut Client) -> Result<bool, String> {
    let text = |error: tokio_postgres::Error| message(&error);
    let history = "SELECT version, checksum FROM refinery_schema_history ORDER BY version";
    let applied = match client.query(history, &[]).await {
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => return Ok(false),
        rows => rows.map_err(text)?,
    };
    let read = |row: &Row| Ok((i64::from(row.try_get::<_, i32>(0)?), row.try_get(1)?));
    let applied: Vec<(i64, String)> = applied.iter().map(read).collect::<Result<_, _>>().map_err(text)?;
    let runner = migrations::migrations::runner();
    let known = runner.get_migrations().iter();
    let known: Vec<_> = known.map(|known| (i64::from(known.version()), known.checksum().to_string())).collect();
    if let Some((newer, _)) = applied.iter().find(|(version, _)| known.iter().all(|(known, _)| known != version)) {
        return Err(format!("it is from a newer version (migration {newer}); use that version or a later one"));
    }
    // The migration runner refuses a database with other checksums.
    Ok(applied == known)
}

/// The message of the server, which cannot contain values of rows yet.
pub(super) fn message(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(error), _) => format!("{} ({})", error.message(), error.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

fn migration_message(error: &refinery::Error) -> String {
    let database = std::error::Error::source(error).and_then(|source| source.downcast_ref::<tokio_postgres::Error>());
    database.map_or_else(|| error.to_string(), message)
}
