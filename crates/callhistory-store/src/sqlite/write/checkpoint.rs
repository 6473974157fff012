//! Checkpoints of the WAL.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use rusqlite::{Connection, Row, hooks::Wal};

use crate::{
    error::StoreError,
    sqlite::{
        admin::disk::{Disk, WalMaintenance},
        open::BUSY_TIMEOUT,
        read::snapshot_pool::SnapshotPool,
    },
};

/// Number of pages of the WAL from which the writer checkpoints it.
const CHECKPOINT_PAGES: i32 = 4000;

/// Counts the pages of the WAL at each commit. The automatic checkpoint of SQLite runs inside a commit and hides its failure.
pub(crate) fn count_pages(db: &mut Connection, pages: &Arc<AtomicI32>) -> Result<(), StoreError> {
    let count = Arc::clone(pages);
    db.wal_hook(Some(move |_: &mut Wal, pages| {
        count.store(pages, Ordering::Relaxed);
        Ok(())
    }))?;
    Ok(())
}

/// Keeps the WAL short. Runs between groups, after the replies.
pub(crate) fn maintain_wal(
    db: &Connection,
    disk: &Disk,
    snapshots: &SnapshotPool,
    pages: &AtomicI32,
    maintenance: &mut WalMaintenance,
) -> Result<(), StoreError> {
    let bytes = disk.wal_bytes();
    let is_too_large = disk.is_wal_too_large(bytes);
    if (maintenance.is_wal_old(bytes) || is_too_large) && maintenance.is_checkpoint_due() {
        snapshots.release_snapshots();
        if checkpoint_truncate(db)? {
            disk.note_truncation();
        } else if is_too_large && maintenance.may_end_snapshots() {
            disk.end_snapshots();
        }
    } else if pages.load(Ordering::Relaxed) >= CHECKPOINT_PAGES {
        pages.store(0, Ordering::Relaxed);
        checkpoint_passive(db)?;
        snapshots.release_snapshots();
    }
    Ok(())
}

/// Checkpoints the WAL without waiting for readers; returns whether it completed.
pub(crate) fn checkpoint_passive(db: &Connection) -> Result<bool, StoreError> {
    checkpoint(db, "PRAGMA wal_checkpoint(PASSIVE)")
}

/// Checkpoints and truncates the WAL; returns whether it completed. Readers can prevent it.
pub(crate) fn checkpoint_truncate(db: &Connection) -> Result<bool, StoreError> {
    // Writes wait meanwhile. A checkpoint that is not possible now is tried again after the next commit.
    db.busy_timeout(Duration::ZERO)?;
    let is_done = checkpoint(db, "PRAGMA wal_checkpoint(TRUNCATE)");
    db.busy_timeout(BUSY_TIMEOUT)?;
    is_done
}

/// Runs a checkpoint; returns whether it completed. A disk error here can lose acknowledged writes, like one in a commit. A
/// reader that prevents it, or holds back what was written after its snapshot, is no error.
fn checkpoint(db: &Connection, text: &str) -> Result<bool, StoreError> {
    let columns = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    match db.query_row(text, [], columns).map_err(StoreError::from) {
        Ok((is_busy, written, checkpointed)) => Ok(is_busy == 0 && written == checkpointed),
        Err(StoreError::Unavailable(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
