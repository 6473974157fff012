//! Diagnostics of a PostgreSQL database, without changing it.

use crate::{
    diagnostic::Diagnostic,
    error::StoreError,
    postgres::{
        config::{DatabaseServer, SessionKind},
        error::PgError,
        open::{is_current, message},
    },
};

/// Checks the server and the schema.
pub(crate) async fn diagnose(url: &str) -> Vec<Diagnostic> {
    let checked = match DatabaseServer::parse(url) {
        Ok(server) => check(&server).await,
        Err(error) => Err(error),
    };
    checked.unwrap_or_else(|error| vec![Diagnostic::error("database", error.to_string())])
}

async fn check(server: &DatabaseServer) -> Result<Vec<Diagnostic>, StoreError> {
    let name = &server.name;
    let failed = |error: tokio_postgres::Error| StoreError::Open(format!("{name}: {}", message(&error)));
    let mut client = server.client(SessionKind::Read).await.map_err(|error| match error {
        PgError::Database(error) => failed(error),
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
            format!("fsync = {fsync}, full_page_writes = {whole_pages}: a power failure can lose acknowledged writes");
        diagnostics.push(Diagnostic::error("durability", detail));
    }
    if standby {
        diagnostics.push(Diagnostic::error("database", "is a standby, which does not accept writes"));
    }
    diagnostics.push(match is_current(&mut client).await {
        Ok(true) => Diagnostic::ok("schema", "is current"),
        Ok(false) => Diagnostic::warning("schema", "is older; the next start of a server, or migrate, upgrades it"),
        Err(reason) => Diagnostic::error("schema", reason),
    });
    Ok(diagnostics)
}
