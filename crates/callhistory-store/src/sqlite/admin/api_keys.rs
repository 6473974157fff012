//! API keys, on a connection of their own: a command that manages them can run while a server runs.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use callhistory_model::Timestamp;
use rusqlite::{Connection, MAIN_DB, OptionalExtension as _, Row, TransactionBehavior, params};

use crate::{
    api_keys::{ApiKey, ApiKeyStore, KeyRow},
    error::StoreError,
    sqlite::{admin::disk::is_read_only, open},
};

const REVOKE: &str = "UPDATE api_key SET revoked_at = min(coalesce(revoked_at, ?2), ?2) WHERE id = ?1";

#[derive(Clone)]
pub(crate) struct SqliteApiKeys {
    path: PathBuf,
    db: Arc<Mutex<Connection>>,
}

impl SqliteApiKeys {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { path: path.to_owned(), db: Arc::new(Mutex::new(open::open_second_writer(path)?)) })
    }

    /// Runs work on a blocking thread.
    async fn blocking<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let keys = self.clone();
        let run = move || {
            let mut db = keys.db.lock().unwrap_or_else(PoisonError::into_inner);
            // The disk was read-only when the connection was opened.
            if db.is_readonly(MAIN_DB)? && !is_read_only(&keys.path) {
                *db = open::open_second_writer(&keys.path)?;
            }
            Ok(work(&mut db)?)
        };
        tokio::task::spawn_blocking(run).await.map_err(|error| StoreError::Internal(error.to_string()))?
    }

    /// Runs a transaction. It takes the lock of all writers for its few rows.
    async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let run = move |db: &mut Connection| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        self.blocking(run).await
    }

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.blocking(|db| work(db)).await
    }
}

fn read_key(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    Ok(KeyRow {
        id: row.get(0)?,
        digest: row.get(1)?,
        name: row.get(2)?,
        workspace: row.get(3)?,
        scopes: row.get(4)?,
        created_at: row.get(5)?,
        expires_at: row.get(6)?,
        revoked_at: row.get(7)?,
        used_at: row.get(8)?,
    })
}

fn list_rows(db: &Connection) -> rusqlite::Result<Vec<KeyRow>> {
    let mut statement = db.prepare_cached("SELECT * FROM api_key ORDER BY created_at, id")?;
    statement.query_map([], read_key)?.collect()
}

/// All keys of a database.
pub(crate) fn list_keys(db: &Connection) -> Result<Vec<ApiKey>, StoreError> {
    list_rows(db)?.into_iter().map(ApiKey::try_from).collect()
}

/// Revokes all keys of a database.
pub(crate) fn revoke_all(db: &Connection, at: &Timestamp) -> rusqlite::Result<usize> {
    db.execute("UPDATE api_key SET revoked_at = min(coalesce(revoked_at, ?1), ?1)", [at.unix_nanos()])
}

#[async_trait]
impl ApiKeyStore for SqliteApiKeys {
    async fn create_key(&self, key: ApiKey, replaces: Option<(String, Timestamp)>) -> Result<(), StoreError> {
        let row = KeyRow::from(key);
        self.run(move |db| {
            let columns = params![
                row.id,
                row.digest,
                row.name,
                row.workspace,
                row.scopes,
                row.created_at,
                row.expires_at,
                row.revoked_at,
                row.used_at
            ];
            db.execute("INSERT INTO api_key VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)", columns)?;
            if let Some((id, at)) = replaces {
                db.execute(REVOKE, params![id, at.unix_nanos()])?;
            }
            Ok(())
        })
        .await
    }

    async fn find_key(&self, id: &str) -> Result<Option<ApiKey>, StoreError> {
        let id = id.to_owned();
        let find = move |db: &Connection| {
            db.prepare_cached("SELECT * FROM api_key WHERE id = ?1")?.query_row([id], read_key).optional()
        };
        self.read(find).await?.map(ApiKey::try_from).transpose()
    }

    async fn list_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.read(list_rows).await?.into_iter().map(ApiKey::try_from).collect()
    }

    async fn revoke_key(&self, id: &str, at: Timestamp) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.run(move |db| Ok(db.execute(REVOKE, params![id, at.unix_nanos()])? > 0)).await
    }

    async fn mark_key_used(&self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        let id = id.to_owned();
        let mark = "UPDATE api_key SET used_at = max(coalesce(used_at, ?2), ?2) WHERE id = ?1";
        self.run(move |db| db.execute(mark, params![id, at.unix_nanos()]).map(drop)).await
    }
}
