//! Backups: a copy is made while a server writes, and verified before it is used.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use callhistory_model::Timestamp;
use rusqlite::{Connection, OpenFlags, backup};
use sha2::{Digest as _, Sha256};

use super::{disk::sibling, files::lock_name, verify::damage};
use crate::{
    error::StoreError,
    results::Backup,
    sqlite::{open, page_checksum},
};

/// All pages in one step: a copy in several steps would start again after each write.
const ALL_PAGES: i32 = -1;
const NANOS_PER_MINUTE: i64 = 60_000_000_000;
/// How long a copy waits for a lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Copies a snapshot of the database, and verifies the copy.
pub(crate) fn backup(database: &Path, to: &Path) -> Result<Backup, StoreError> {
    if to.exists() {
        return Err(refused(to, "exists; a backup does not overwrite"));
    }
    if !database.exists() {
        return Err(refused(database, "does not exist; there is nothing to back up"));
    }
    let source = open::open_reader(database)?;
    open::check_owner(&source, database)?;
    let partial = sibling(to, ".partial");
    remove(&partial)?;
    let made = copy(&source, &partial).and_then(|()| {
        let contents = verify(&partial)?;
        let bytes = partial.metadata().map_err(|error| failed(&partial, &error))?.len();
        File::open(&partial).and_then(|file| file.sync_all()).map_err(|error| failed(&partial, &error))?;
        let sha256 = digest(&partial)?;
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let sums = sibling(to, ".sha256");
        write_durably(&sums, format!("{sha256}  {name}\n").as_bytes()).map_err(|error| failed(&sums, &error))?;
        fs::rename(&partial, to).and_then(|()| sync_folder(to)).map_err(|error| failed(to, &error))?;
        Ok(Backup { bytes, sha256, ..contents })
    });
    if made.is_err() {
        drop(remove(&partial));
    }
    made
}

/// Restores a copy as the database, after verifying it.
pub(crate) fn restore(from: &Path, database: &Path, now: &Timestamp) -> Result<Backup, StoreError> {
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
    let partial = sibling(database, ".partial");
    remove(&partial)?;
    let made = copy_file(from, &partial).map_err(|error| failed(from, &error)).and_then(|bytes| {
        let sha256 = digest(&partial)?;
        if expected.split_whitespace().next() != Some(sha256.as_str()) {
            return Err(refused(from, &format!("does not match the checksum in {}", sums.display())));
        }
        let contents = verify(&partial)?;
        reset_history(&partial, now)?;
        File::open(&partial).and_then(|file| file.sync_all()).map_err(|error| failed(&partial, &error))?;
        fs::rename(&partial, database)
            .and_then(|()| sync_folder(database))
            .map_err(|error| failed(database, &error))?;
        Ok(Backup { bytes, sha256, ..contents })
    });
    if made.is_err() {
        drop(remove(&partial));
    }
    made
}

fn copy(source: &Connection, to: &Path) -> Result<(), StoreError> {
    create_private(to).map_err(|error| failed(to, &error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = page_checksum::open(to, flags)?;
    copy.busy_timeout(BUSY_TIMEOUT)?;
    let copying = backup::Backup::new(source, &mut copy)?;
    match copying.step(ALL_PAGES)? {
        backup::StepResult::Done => {}
        other => return Err(StoreError::Unavailable(format!("the copy could not be made: {other:?}"))),
    }
    drop(copying);
    // One file, without a WAL.
    let mode: String = copy.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))?;
    if mode != "delete" {
        return Err(StoreError::Internal("the copy is still in WAL mode".to_owned()));
    }
    copy.close().map_err(|(_, error)| error.into())
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
    })
}

/// Prevents versions that the original issued after the backup from being issued again, and makes followers start again,
/// because they have seen changes that are lost.
fn reset_history(copy: &Path, now: &Timestamp) -> Result<(), StoreError> {
    let db = page_checksum::open(copy, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let before: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    // The same copy can be restored twice, so a counter is not enough; and a clock can go back.
    let restored = (now.unix_nanos() / NANOS_PER_MINUTE).max(before + 1);
    db.execute_batch("BEGIN IMMEDIATE")?;
    db.execute("UPDATE workspace SET last_sequence = max(last_sequence, ?1)", [open::first_sequence(restored)])?;
    db.execute("UPDATE secret SET value = randomblob(32) WHERE name = 'cursor'", [])?;
    db.pragma_update(None, "user_version", restored)?;
    db.execute_batch("COMMIT")?;
    db.close().map_err(|(_, error)| error.into())
}

fn digest(path: &Path) -> Result<String, StoreError> {
    let hash = || -> io::Result<String> {
        let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1024 * 1024]);
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
            }
            hash.update(&buffer[..count]);
        }
    };
    hash().map_err(|error| failed(path, &error))
}

fn copy_file(from: &Path, to: &Path) -> io::Result<u64> {
    let mut copy = create_private(to)?;
    let bytes = io::copy(&mut File::open(from)?, &mut copy)?;
    copy.sync_all()?;
    Ok(bytes)
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create_private(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Creates a file that only its owner can read: records are personal data.
fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.map_or_else(|| PathBuf::from("."), Path::to_owned))?.sync_all()
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, &error)),
        _ => Ok(()),
    }
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
