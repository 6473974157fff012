//! Opening databases, and what operators do with them.

#![cfg_attr(
    not(feature = "sqlite"),
    expect(unused_variables, reason = "only the embedded engine takes some arguments")
)]

use std::{path::Path, sync::Arc};

use callhistory_model::Timestamp;

#[cfg(feature = "postgres")]
use crate::postgres;
#[cfg(feature = "sqlite")]
use crate::sqlite;
use crate::{
    api_keys::ApiKeyStore,
    diagnostic::Diagnostic,
    domain::options::StoreOptions,
    error::StoreError,
    results::{Backup, RestoreOptions},
    store::CallStore,
    url::DatabaseUrl,
};

/// Opens a store; creates or migrates the database if needed.
///
/// # Errors
///
/// [`StoreError::Open`] with what is wrong with the database and what to do.
pub async fn open(url: &DatabaseUrl) -> Result<Arc<dyn CallStore>, StoreError> {
    open_with(url, StoreOptions::default()).await
}

/// Opens a store with other bounds, and with other thresholds of its planner for tests on little data.
///
/// # Errors
///
/// Those of [`open`].
pub async fn open_with(url: &DatabaseUrl, options: StoreOptions) -> Result<Arc<dyn CallStore>, StoreError> {
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => Ok(Arc::new(sqlite::SqliteStore::open(path, options)?)),
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(url) => Ok(Arc::new(postgres::PostgresStore::open(url, options).await?)),
        #[cfg(not(all(feature = "sqlite", feature = "postgres")))]
        _ => Err(no_engine(url)),
    }
}

/// Checks that a database exists, for the commands that must not create one: an embedded one, as a database server says so itself.
///
/// # Errors
///
/// [`StoreError::Open`] with what to do.
pub fn require_database(url: &DatabaseUrl) -> Result<(), StoreError> {
    match url {
        DatabaseUrl::Sqlite(path) if !path.exists() => Err(StoreError::Open(format!(
            "there is no database {}; check --data-dir, or create the database with `callhistory-server migrate`",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Opens the API keys of a database. A server may use the database at the same time.
///
/// # Errors
///
/// Those of [`open`].
pub async fn open_api_keys(url: &DatabaseUrl) -> Result<Arc<dyn ApiKeyStore>, StoreError> {
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => Ok(Arc::new(sqlite::open_api_keys(path)?)),
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(url) => Ok(Arc::new(postgres::open_api_keys(url).await?)),
        #[cfg(not(all(feature = "sqlite", feature = "postgres")))]
        _ => Err(no_engine(url)),
    }
}

/// Copies an embedded database to a file, also while a server writes to it; verifies the whole copy, and writes its checksum to
/// `FILE.sha256`.
///
/// # Errors
///
/// [`StoreError::Open`] if there is no database or the file exists, and for PostgreSQL, which has its own tools;
/// [`StoreError::Full`] and [`StoreError::Io`].
pub fn backup(url: &DatabaseUrl, to: &Path) -> Result<Backup, StoreError> {
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => sqlite::backup(path, to),
        _ => Err(only_embedded(url, "pg_dump")),
    }
}

/// Rebuilds the columns that metrics are computed from; returns the number of records. The server does this itself when a new
/// version needs another format.
///
/// # Errors
///
/// [`StoreError::Open`] if there is no database or a server uses it, and for PostgreSQL, which computes metrics from its indexes;
/// [`StoreError::Full`] and [`StoreError::Io`].
pub fn rebuild_metrics(url: &DatabaseUrl) -> Result<u64, StoreError> {
    require_database(url)?;
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => sqlite::rebuild_metrics(path),
        _ => Err(only_embedded(url, "REINDEX")),
    }
}

/// Restores a backup as an embedded database that does not exist yet, after verifying the whole file. Versions and cursors that
/// the original issued after the backup are not issued again: followers of the change feed start again. Records that were
/// deleted and keys that were revoked after the backup come back, apart from what the options say.
///
/// # Errors
///
/// [`StoreError::Open`] if the database exists, if the checksum does not match or the file is damaged, and for PostgreSQL;
/// [`StoreError::Full`] and [`StoreError::Io`].
pub fn restore(
    from: &Path,
    url: &DatabaseUrl,
    options: RestoreOptions<'_>,
    now: &Timestamp,
) -> Result<Backup, StoreError> {
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => sqlite::restore(from, path, options, now),
        _ => Err(only_embedded(url, "pg_restore")),
    }
}

/// Checks a database without changing it; with `full`, reads all of it.
pub async fn diagnose(url: &DatabaseUrl, full: bool) -> Vec<Diagnostic> {
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => sqlite::diagnose(path, full),
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(url) => postgres::diagnose(url, full).await,
        #[cfg(not(all(feature = "sqlite", feature = "postgres")))]
        _ => vec![Diagnostic::error("database", no_engine(url).to_string())],
    }
}

fn only_embedded(url: &DatabaseUrl, tool: &str) -> StoreError {
    StoreError::Open(format!("{url} is not an embedded database; use {tool} for it"))
}

#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
fn no_engine(url: &DatabaseUrl) -> StoreError {
    StoreError::Open(format!("this build has no engine for {url}"))
}
