//! What was deleted and revoked after a backup, from the database that the backup replaces: it must not come back.

use std::path::Path;

use callhistory_model::{Timestamp, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::api_keys;
use crate::{
    domain::{
        mutation::{ChangeKind, Precondition},
        options::StoreOptions,
    },
    error::StoreError,
    sqlite::{
        open,
        write::{
            reindex::numbering_plan,
            statements::{WriteTransaction, delete_call},
        },
    },
};

/// Deletes and revokes in a copy what was deleted and revoked in the old database after the copy was made; returns how many
/// records and keys those are.
pub(crate) fn replay(old: &Path, copy: &Path, now: &Timestamp) -> Result<(u64, u64), StoreError> {
    let source = open::open_reader(old)?;
    open::check_owner(&source, old)?;
    let db = open::open_copy(copy)?;
    let options = StoreOptions { numbering_plan: Some(numbering_plan(&db)?), ..StoreOptions::default() };
    let restored = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let mut tx = WriteTransaction::new(db, open::first_sequence(restored), options);
    tx.begin()?;
    let deleted = delete_again(&source, &mut tx, now)?;
    tx.write_deferred()?;
    let revoked = revoke_again(&source, &tx.db)?;
    tx.db.execute_batch("COMMIT")?;
    open::close_copy(tx.db)?;
    Ok((deleted, revoked))
}

fn delete_again(source: &Connection, tx: &mut WriteTransaction, now: &Timestamp) -> Result<u64, StoreError> {
    let workspaces: Vec<String> = {
        let mut all = tx.db.prepare("SELECT workspace_id FROM workspace")?;
        all.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
    };
    let last = "SELECT sequence FROM change WHERE workspace_id = ?1 ORDER BY sequence DESC LIMIT 1";
    let deletions = "SELECT DISTINCT id FROM change WHERE workspace_id = ?1 AND kind = ?2 AND sequence > ?3";
    let (any, mut deleted) = (Precondition::default(), 0);
    for name in workspaces {
        // Later than the last change of the backup; the counter of the workspace was raised already.
        let last_change: Option<i64> = tx.db.query_row(last, [&name], |row| row.get(0)).optional()?;
        let parameters = params![name, ChangeKind::Deleted as i64, last_change.unwrap_or(0)];
        let mut ids = source.prepare_cached(deletions)?;
        let ids: Vec<String> = ids.query_map(parameters, |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let corrupt = |_| StoreError::Internal("a row has an invalid ID".to_owned());
        let workspace: WorkspaceId = name.parse().map_err(corrupt)?;
        for id in ids {
            deleted += u64::from(delete_call(tx, &workspace, &id.parse().map_err(corrupt)?, &any, now)?);
        }
    }
    Ok(deleted)
}

fn revoke_again(source: &Connection, copy: &Connection) -> Result<u64, StoreError> {
    let revocations = api_keys::list_keys(source)?.into_iter().filter_map(|key| Some((key.id, key.revoked_at?)));
    let mut revoked = 0;
    for (id, at) in revocations {
        let later = "UPDATE api_key SET revoked_at = ?2 WHERE id = ?1 AND (revoked_at IS NULL OR revoked_at > ?2)";
        revoked += copy.execute(later, params![id, at.unix_nanos()])? as u64;
    }
    Ok(revoked)
}
