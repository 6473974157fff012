//! API keys.

use async_trait::async_trait;
use callhistory_model::Timestamp;
use deadpool_postgres::Pool;
use tokio_postgres::Row;

use crate::{
    api_keys::{ApiKey, ApiKeyStore, KeyRow},
    error::StoreError,
    postgres::error::PgError,
};

/// Maximum number of sessions for keys.
pub(crate) const SESSIONS: usize = 2;
const COLUMNS: &str = "id, digest, name, workspace_id, scopes, created_at, expires_at, revoked_at, used_at";
const REVOKE: &str = "UPDATE api_key SET revoked_at = least(coalesce(revoked_at, $2), $2) WHERE id = $1";

#[derive(Clone)]
pub(crate) struct PostgresApiKeys(pub(crate) Pool);

fn read_key(row: &Row) -> Result<KeyRow, tokio_postgres::Error> {
    Ok(KeyRow {
        id: row.try_get(0)?,
        digest: row.try_get(1)?,
        name: row.try_get(2)?,
        workspace: row.try_get(3)?,
        scopes: row.try_get(4)?,
        created_at: row.try_get(5)?,
        expires_at: row.try_get(6)?,
        revoked_at: row.try_get(7)?,
        used_at: row.try_get(8)?,
    })
}

impl PostgresApiKeys {
    async fn insert(&self, row: &KeyRow, replaces: Option<(String, Timestamp)>) -> Result<(), PgError> {
        let mut db = self.0.get().await?;
        let transaction = db.transaction().await?;
        let statement = format!("INSERT INTO api_key ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
        transaction
            .execute(
                &statement,
                &[
                    &row.id,
                    &row.digest,
                    &row.name,
                    &row.workspace,
                    &row.scopes,
                    &row.created_at,
                    &row.expires_at,
                    &row.revoked_at,
                    &row.used_at,
                ],
            )
            .await?;
        if let Some((id, at)) = replaces {
            transaction.execute(REVOKE, &[&id, &at.unix_nanos()]).await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn find(&self, id: &str) -> Result<Option<KeyRow>, PgError> {
        let db = self.0.get().await?;
        let statement = db.prepare_cached(&format!("SELECT {COLUMNS} FROM api_key WHERE id = $1")).await?;
        let row = db.query_opt(&statement, &[&id]).await?;
        Ok(row.as_ref().map(read_key).transpose()?)
    }

    async fn list(&self) -> Result<Vec<KeyRow>, PgError> {
        let db = self.0.get().await?;
        let rows = db.query(&format!("SELECT {COLUMNS} FROM api_key ORDER BY created_at, id"), &[]).await?;
        Ok(rows.iter().map(read_key).collect::<Result<_, _>>()?)
    }

    async fn change(&self, statement: &str, id: &str, at: &Timestamp) -> Result<bool, PgError> {
        let db = self.0.get().await?;
        Ok(db.execute(statement, &[&id, &at.unix_nanos()]).await? > 0)
    }
}

#[async_trait]
impl ApiKeyStore for PostgresApiKeys {
    async fn create_key(&self, key: ApiKey, replaces: Option<(String, Timestamp)>) -> Result<(), StoreError> {
        Ok(self.insert(&key.into(), replaces).await?)
    }

    async fn find_key(&self, id: &str) -> Result<Option<ApiKey>, StoreError> {
        // The first statement finds out that a session has ended.
        let row = match self.find(id).await {
            Err(error) if error.is_disconnected() => self.find(id).await,
            row => row,
        };
        row?.map(ApiKey::try_from).transpose()
    }

    async fn list_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.list().await?.into_iter().map(ApiKey::try_from).collect()
    }

    async fn revoke_key(&self, id: &str, at: Timestamp) -> Result<bool, StoreError> {
        Ok(self.change(REVOKE, id, &at).await?)
    }

    async fn mark_key_used(&self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        let mark = "UPDATE api_key SET used_at = greatest(coalesce(used_at, $2), $2) WHERE id = $1";
        self.change(mark, id, &at).await?;
        Ok(())
    }
}
