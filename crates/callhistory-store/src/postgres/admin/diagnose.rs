//! Diagnostics of a PostgreSQL database, without changing it.

use bytes::Bytes;
use futures_util::{TryStreamExt as _, pin_mut};

use crate::{
    diagnostic::Diagnostic,
    domain::original::OriginalRow,
    error::StoreError,
    postgres::{
        config::{DatabaseServer, SessionKind},
        error::PgError,
        open::{is_current, message},
        read::{
            get::{record_bytes, record_digest},
            originals::original_row,
        },
    },
    sql::ORIGINAL_COLUMNS,
};

/// Checks the server and the schema; with `full`, also the digest of every record.
pub(crate) async fn diagnose(url: &str, full: bool) -> Vec<Diagnostic> {
    let checked = match DatabaseServer::parse(url) {
        Ok(server) => check(&server, full).await,
        Err(error) => Err(error),
    };
    checked.unwrap_or_else(|error| vec![Diagnostic::error("database", error.to_string())])
}

async fn check(server: &DatabaseServer, full: bool) -> Result<Vec<Diagnostic>, StoreError> {
    let name = &server.name;
    let failed = |error: tokio_postgres::Error| StoreError::Open(format!("{name}: {}", message(&error)));
    let mut client = server.client(SessionKind::Read).await.map_err(|error| match error {
        PgError::Database(error) => failed(error),
        other => StoreError::from(other),
    })?;
    let settings = "SELECT current_setting('server_version'), coalesce(current_setting('fsync', true), 'on'),
         coalesce(current_setting('full_page_writes', true), 'on'), pg_is_in_recovery(),
         pg_database_size(current_database()) / 1048576, coalesce(current_setting('data_checksums', true), 'on')";
    let row = client.query_one(settings, &[]).await.map_err(failed)?;
    let (version, fsync, whole_pages, standby, size): (&str, &str, &str, bool, i64) =
        (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
    let checksums: &str = row.get(5);
    let mut diagnostics = vec![Diagnostic::ok("engine", format!("PostgreSQL {version}, {size} MiB"))];
    if (fsync, whole_pages) != ("on", "on") {
        let detail =
            format!("fsync = {fsync}, full_page_writes = {whole_pages}: a power failure can lose acknowledged writes");
        diagnostics.push(Diagnostic::error("durability", detail));
    }
    if checksums == "off" {
        let detail =
            "data_checksums = off: PostgreSQL does not detect damaged pages; pg_checksums --enable turns them on";
        diagnostics.push(Diagnostic::warning("checksums", detail));
    }
    // Other engines replicate in their own way.
    let lags = "SELECT current_setting('synchronous_standby_names') = '' AND EXISTS (SELECT FROM pg_stat_replication)";
    if client.query_one(lags, &[]).await.and_then(|row| row.try_get(0)).unwrap_or(false) {
        let detail =
            "there is a standby, and synchronous_standby_names is empty: a fail-over can lose acknowledged writes";
        diagnostics.push(Diagnostic::warning("replication", detail));
    }
    if standby {
        diagnostics.push(Diagnostic::error("database", "is a standby, which does not accept writes"));
    }
    diagnostics.push(match is_current(&mut client).await {
        Ok(true) => Diagnostic::ok("schema", "is current"),
        Ok(false) => Diagnostic::warning("schema", "is older; the next start of a server, or migrate, upgrades it"),
        Err(reason) => Diagnostic::error("schema", reason),
    });
    if full {
        diagnostics.push(match damaged_records(server).await {
            Ok((records, 0)) => Diagnostic::ok("records", format!("{records} records match their digests")),
            Ok((records, damaged)) => {
                Diagnostic::error("records", format!("{damaged} of {records} records do not match their digests"))
            }
            Err(error) => Diagnostic::error("records", StoreError::from(error).to_string()),
        });
        diagnostics.push(match damaged_originals(server).await {
            Ok((originals, 0)) => Diagnostic::ok("originals", format!("{originals} originals match their digests")),
            Ok((originals, damaged)) => {
                Diagnostic::error("originals", format!("{damaged} of {originals} originals do not match their digests"))
            }
            Err(error) => Diagnostic::error("originals", StoreError::from(error).to_string()),
        });
    }
    Ok(diagnostics)
}

/// Reads every record; returns how many there are, and how many are damaged.
async fn damaged_records(server: &DatabaseServer) -> Result<(u64, u64), PgError> {
    let db = server.client(SessionKind::Export).await?;
    let every =
        "SELECT workspace_id, id, digest, transcript_digest, body, transcript FROM call ORDER BY workspace_id, id";
    let rows = db.query_raw(every, std::iter::empty::<i64>()).await?;
    pin_mut!(rows);
    let (mut records, mut damaged) = (0, 0);
    while let Some(row) = rows.try_next().await? {
        let sound = record_digest(&row, 2)?.verify(row.try_get(0)?, row.try_get(1)?, record_bytes(&row, 4)?);
        records += 1;
        damaged += u64::from(sound.is_err());
    }
    Ok((records, damaged))
}

/// Reads every original; returns how many there are, and how many are damaged or have no record.
async fn damaged_originals(server: &DatabaseServer) -> Result<(u64, u64), PgError> {
    let db = server.client(SessionKind::Export).await?;
    let every = format!(
        "SELECT {ORIGINAL_COLUMNS}, o.body, o.workspace_id, o.id, c.id IS NOT NULL FROM original o
         LEFT JOIN call c ON c.workspace_id = o.workspace_id AND c.id = o.id"
    );
    let rows = db.query_raw(&every, std::iter::empty::<i64>()).await?;
    pin_mut!(rows);
    let (mut originals, mut damaged) = (0, 0);
    while let Some(row) = rows.try_next().await? {
        let (original, digest) = original_row(&row)?;
        let original = OriginalRow { body: Bytes::copy_from_slice(row.try_get(9)?), ..original };
        let is_sound = row.try_get(12)? && original.original((row.try_get(10)?, row.try_get(11)?), digest).is_ok();
        originals += 1;
        damaged += u64::from(!is_sound);
    }
    Ok((originals, damaged))
}
