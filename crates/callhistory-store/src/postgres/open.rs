//! Opening a PostgreSQL database: what it must be, and the migrations.

use tokio_postgres::{Client, Row, error::SqlState};

use super::{
    connect::{Server, Work},
    failure::Failure,
};
use crate::{Diagnostic, StoreError};

/// Older servers lack what the statements use.
const OLDEST_SERVER: i32 = 130_000;
/// The key of the lock under which one server migrates while the others wait: "CALLHIST".
const MIGRATION_LOCK: i64 = 0x4341_4c4c_4849_5354;

mod migrations {
    refinery::embed_migrations!("migrations/postgres");
}

/// Checks the server, migrates the database if need be, and reads what seals its cursors.
pub(super) async fn prepare(server: &Server) -> Result<Vec<u8>, StoreError> {
    let name = &server.name;
    let cannot = |reason: &dyn std::fmt::Display| StoreError::Open(format!("cannot use the database {name}: {reason}"));
    let failed = |error: tokio_postgres::Error| cannot(&message(&error));
    let mut client = server.client(Work::Migrate).await.map_err(|failure| match failure {
        Failure::Database(error) => failed(error),
        other => cannot(&StoreError::from(other)),
    })?;
    let settings = "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
         coalesce(current_setting('fsync', true), 'on')";
    let settings = client.query_one(settings, &[]).await.map_err(failed)?;
    let (version, encoding, fsync): (i32, &str, &str) = (settings.get(0), settings.get(1), settings.get(2));
    if version < OLDEST_SERVER {
        return Err(cannot(&"the server is older than PostgreSQL 13"));
    }
    if encoding != "UTF8" {
        return Err(cannot(&format!("its encoding is {encoding}; create one with ENCODING 'UTF8'")));
    }
    if fsync == "off" {
        tracing::warn!("the database server runs with fsync = off: a loss of power loses answered writes");
    }
    if !is_current(&mut client).await.map_err(|reason| cannot(&reason))? {
        // Held until the session ends, however that comes about.
        client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await.map_err(failed)?;
        migrations::migrations::runner()
            .run_async(&mut client)
            .await
            .map_err(|error| cannot(&format!("it cannot be migrated: {}", migration_message(&error))))?;
    }
    let secret = client.query_one("SELECT value FROM secret WHERE name = 'cursor'", &[]).await.map_err(failed)?;
    secret.try_get(0).map_err(failed)
}

/// Looks at the server, and at the state of the database's tables.
pub(super) async fn diagnose(server: &Server) -> Result<Vec<Diagnostic>, StoreError> {
    let name = &server.name;
    let failed = |error: tokio_postgres::Error| StoreError::Open(format!("{name}: {}", message(&error)));
    let mut client = server.client(Work::Read).await.map_err(|failure| match failure {
        Failure::Database(error) => failed(error),
        other => StoreError::from(other),
    })?;
    let settings = "SELECT current_setting('server_version'), coalesce(current_setting('fsync', true), 'on'),
         coalesce(current_setting('full_page_writes', true), 'on'), pg_is_in_recovery(),
         pg_database_size(current_database()) / 1048576";
    let row = client.query_one(settings, &[]).await.map_err(failed)?;
    let (version, fsync, whole_pages, standby, size): (&str, &str, &str, bool, i64) =
        (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
    let mut diagnostics = vec![Diagnostic::ok("engine", format!("PostgreSQL {version}, {size} MiB"))];
    if (fsync, whole_pages) != ("on", "on") {
        let detail =
            format!("fsync = {fsync}, full_page_writes = {whole_pages}: a loss of power loses answered writes");
        diagnostics.push(Diagnostic::error("durability", detail));
    }
    if standby {
        diagnostics.push(Diagnostic::error("database", "is a standby, which takes no writes"));
    }
    diagnostics.push(match is_current(&mut client).await {
        Ok(true) => Diagnostic::ok("schema", "is as this version needs it"),
        Ok(false) => Diagnostic::warning("schema", "is older; the next start of a server, or migrate, raises it"),
        Err(reason) => Diagnostic::error("schema", reason),
    });
    Ok(diagnostics)
}

/// Whether there is nothing to migrate. A server whose role may not change tables starts on a database that is current.
async fn is_current(client: &mut Client) -> Result<bool, String> {
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
        return Err(format!("it was made by a newer version (migration {newer}); use that version or a later one"));
    }
    // One that was made otherwise than here is for the migrations to refuse.
    Ok(applied == known)
}

/// What an operator needs, without the values of rows: there are none yet, so the server's own words may be told.
fn message(error: &tokio_postgres::Error) -> String {
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
