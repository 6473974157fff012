//! Backups: a copy is made while a server writes, and verified before it is used.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use callhistory_model::Timestamp;
use rusqlite::{Connection, OpenFlags, backup};
use sha2::{Digest as _, Sha256};

use super::{
    access, api_keys,
    files::{is_used_under_another_name, lock_name},
    replay::replay,
    verify::damage,
};
use crate::{
    error::StoreError,
    partial_file::{PartialFile, sibling, write_private},
    results::{Backup, RestoreOptions},
    sqlite::{open, page_checksum},
};

/// All pages in one step: a copy in several steps would start again after each write.
const ALL_PAGES: i32 = -1;
const NANOS_PER_MINUTE: i64 = 60_000_000_000;
/// How long a copy waits for a lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a name of the data is not read.
pub(crate) const OTHER_NAME: &str =
    "is used by a server under another name (a hard link or a mount), which has the write-ahead log; use that name";

/// Copies a snapshot of the database, and verifies the copy.
pub(crate) fn backup(database: &Path, to: &Path) -> Result<Backup, StoreError> {
    if to == Path::new("-") {
        return Err(refused(
            to,
            "names no file; a backup is verified in its file, and is not written to standard output",
        ));
    }
    if to.exists() {
        return Err(refused(to, "exists; a backup does not overwrite"));
    }
    if !database.exists() {
        return Err(refused(database, "does not exist; there is nothing to back up"));
    }
    if is_used_under_another_name(database) {
        return Err(refused(database, OTHER_NAME));
    }
    let source = open::open_reader(database)?;
    open::check_owner(&source, database)?;
    let name = partial_name(database, to);
    let partial = create_partial(&name)?;
    copy(&source, partial.path())?;
    let contents = verify(partial.path())?;
    let bytes = partial.path().metadata().map_err(|error| failed(&name, &error))?.len();
    let sha256 = digest(partial.path())?;
    let sums = sibling(to, ".sha256");
    let file_name = to.file_name().unwrap_or_default().to_string_lossy();
    write_private(&sums, format!("{sha256}  {file_name}\n").as_bytes()).map_err(|error| failed(&sums, &error))?;
    partial.persist(to).map_err(|error| failed(to, &error))?;
    Ok(Backup { bytes, sha256, ..contents })
}

/// The temporary name of a backup: one for all backups of a database into a folder. The next one replaces what a killed one has
/// left, although the names of backups contain their dates.
fn partial_name(database: &Path, to: &Path) -> PathBuf {
    let real = database.canonicalize().unwrap_or_else(|_| database.to_owned());
    let digest = Sha256::digest(real.as_os_str().as_encoded_bytes());
    to.with_file_name(format!(".callhistory-backup-{}.partial", hex(&digest[..8])))
}

/// Restores a copy as the database, after verifying it.
pub(crate) fn restore(
    from: &Path,
    database: &Path,
    options: RestoreOptions<'_>,
    now: &Timestamp,
) -> Result<Backup, StoreError> {
    try_restore(from, database, options, now).map_err(|error| access::explain(database, error))
}

fn try_restore(
    from: &Path,
    database: &Path,
    options: RestoreOptions<'_>,
    now: &Timestamp,
) -> Result<Backup, StoreError> {
    let sums = sibling(from, ".sha256");
    let expected = fs::read_to_string(&sums)
        .map_err(|error| refused(&sums, &format!("cannot be read ({error}); the backup is verified by it")))?;
    open::create_directory(database).map_err(|error| failed(database, &error))?;
    let _lock = lock_name(database)?;
    for suffix in ["", "-wal", "-shm"] {
        let taken = sibling(database, suffix);
        if taken.exists() {
            return Err(refused(&taken, "exists; move it away first: a restore does not overwrite"));
        }
    }
    let name = sibling(database, ".partial");
    let mut partial = create_partial(&name)?;
    let copied = File::open(from).and_then(|mut backup| io::copy(&mut backup, &mut partial));
    let bytes = copied.map_err(|error| failed(from, &error))?;
    let sha256 = digest(partial.path())?;
    if expected.split_whitespace().next() != Some(sha256.as_str()) {
        return Err(refused(from, &format!("does not match the checksum in {}", sums.display())));
    }
    let contents = verify(partial.path())?;
    reset_history(partial.path(), options.revokes_keys, now)?;
    let old = options.deletions_from.map(|old| replay(old, partial.path(), now)).transpose()?;
    let (deleted_again, revoked_again) = old.unwrap_or_default();
    let keys = api_keys::list_keys(&page_checksum::open(partial.path(), OpenFlags::SQLITE_OPEN_READ_ONLY)?)?;
    partial.persist(database).map_err(|error| failed(database, &error))?;
    Ok(Backup { bytes, sha256, keys, deleted_again, revoked_again, ..contents })
}

/// Creates an unfinished copy, without the journals that one of a killed process has left, which SQLite would apply to it.
fn create_partial(name: &Path) -> Result<PartialFile, StoreError> {
    let partial = PartialFile::create(name.to_owned()).map_err(|error| failed(name, &error))?;
    for journal in ["-journal", "-wal", "-shm"].map(|suffix| sibling(name, suffix)) {
        match fs::remove_file(&journal) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&journal, &error)),
            _ => {}
        }
    }
    Ok(partial)
}

/// Copies into an empty file.
fn copy(source: &Connection, to: &Path) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = page_checksum::open(to, flags)?;
    copy.busy_timeout(BUSY_TIMEOUT)?;
    let copying = backup::Backup::new(source, &mut copy)?;
    match copying.step(ALL_PAGES)? {
        backup::StepResult::Done => {}
        other => return Err(StoreError::Unavailable(format!("the copy could not be made: {other:?}"))),
    }
    drop(copying);
    open::close_copy(copy)
}

/// Reads the whole copy, and counts its contents.
fn verify(copy: &Path) -> Result<Backup, StoreError> {
    let db = page_checksum::open(copy, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    open::check_owner(&db, copy)?;
    if let Some(damage) = damage(&db)? {
        return Err(refused(copy, &format!("is damaged: {damage}")));
    }
    let count = |table: &str| {
        let count: i64 = db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        Ok::<_, StoreError>(count.unsigned_abs())
    };
    Ok(Backup {
        bytes: 0,
        sha256: String::new(),
        workspaces: count("workspace")?,
        calls: count("call")?,
        changes: count("change")?,
        last_change: last_change(&db)?,
        keys: api_keys::list_keys(&db)?,
        deleted_again: 0,
        revoked_again: 0,
    })
}

/// The time of the last change.
fn last_change(db: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let last = "SELECT max((SELECT changed_at FROM change c WHERE c.workspace_id = w.workspace_id
                            ORDER BY sequence DESC LIMIT 1)) FROM workspace w";
    let last: Option<i64> = db.query_row(last, [], |row| row.get(0))?;
    Ok(last.map(Timestamp::from_unix_nanos))
}

/// Prevents versions that the original issued after the backup from being issued again, and makes followers start again,
/// because they have seen changes that are lost.
fn reset_history(copy: &Path, revokes_keys: bool, now: &Timestamp) -> Result<(), StoreError> {
    let db = page_checksum::open(copy, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let before: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    // The same copy can be restored twice, so a counter is not enough; and a clock can go back.
    let restored = (now.unix_nanos() / NANOS_PER_MINUTE).max(before + 1);
    db.execute_batch("BEGIN IMMEDIATE")?;
    db.execute("UPDATE workspace SET last_sequence = max(last_sequence, ?1)", [open::first_sequence(restored)])?;
    db.execute("UPDATE secret SET value = randomblob(32) WHERE name = 'cursor'", [])?;
    if revokes_keys {
        api_keys::revoke_all(&db, now)?;
    }
    db.pragma_update(None, "user_version", restored)?;
    db.execute_batch("COMMIT")?;
    db.close().map_err(|(_, error)| error.into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(path: &Path) -> Result<String, StoreError> {
    let hash = || -> io::Result<String> {
        let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1024 * 1024]);
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(hex(&hash.finalize()));
            }
            hash.update(&buffer[..count]);
        }
    };
    hash().map_err(|error| failed(path, &error))
}

fn refused(path: &Path, reason: &str) -> StoreError {
    StoreError::Open(format!("{} {reason}", path.display()))
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull => StoreError::Full(path.display().to_string()),
        _ => StoreError::Io(format!("{}: {error}", path.display())),
    }
}
