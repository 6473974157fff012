//! The files of an open database: which they are, and the locks that keep a second server away.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use crate::{
    error::StoreError,
    partial_file::{self, private_options, sibling},
};

/// The files that an open database consists of, by their suffixes. SQLite creates all of them with its first transaction.
const SUFFIXES: [&str; 4] = ["", "-wal", "-shm", ".lock"];

/// The identity of each open file. A file that was deleted or replaced still accepts writes and syncs, which are lost at the next
/// start.
pub(crate) struct WatchedFiles(Vec<(PathBuf, Identity)>);

/// Device and inode; `None` if there is no file.
type Identity = Option<(u64, u64)>;

impl WatchedFiles {
    /// The files of a database at an absolute path, as they are now.
    pub(crate) fn new(database: &Path) -> Self {
        let file = |suffix| {
            let path = sibling(database, suffix);
            (identity(&path), path)
        };
        Self(SUFFIXES.map(file).into_iter().map(|(identity, path)| (path, identity)).collect())
    }

    /// Checks that each name still means the open file.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let lost = self.0.iter().find(|(path, before)| identity(path) != *before);
        lost.map_or(Ok(()), |(path, _)| {
            Err(StoreError::Io(format!("{} was deleted or replaced while the server ran", path.display())))
        })
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Identity {
    partial_file::identity(path.metadata())
}

/// On other systems an open file cannot be deleted.
#[cfg(not(unix))]
fn identity(_: &Path) -> Identity {
    None
}

/// Held while a database is open for writing: a second process would be a second writer.
pub(crate) struct DatabaseLock {
    _name: File,
    /// A lock on the data, because the file can have several names: hard links, mounts. Other systems than Linux have one kind of
    /// lock on a file, which SQLite uses.
    _data: Option<File>,
}

impl DatabaseLock {
    /// Locks a database by its name, and its data. Creates an empty file, readable only by its owner, if there is none.
    pub(crate) fn acquire(path: &Path) -> Result<Self, StoreError> {
        // The lock belongs to the real file, whatever name opens it.
        let real = path.canonicalize();
        let name = lock(path, lock_file(real.as_deref().unwrap_or(path)))?;
        if cfg!(not(target_os = "linux")) {
            return Ok(Self { _name: name, _data: None });
        }
        // Open as long as the database: to close any descriptor of a file drops the locks that SQLite has on it.
        let data = lock(path, private_options().read(true).truncate(false).open(path))?;
        Ok(Self { _name: name, _data: Some(data) })
    }

    /// Locks a database that cannot be written, so that nobody else writes to it either.
    pub(crate) fn acquire_read_only(path: &Path) -> Result<Self, StoreError> {
        let data = lock(path, File::open(path))?;
        let name = sibling(path, ".lock");
        let name = if name.exists() { lock(path, File::open(name))? } else { lock(path, data.try_clone())? };
        Ok(Self { _name: name, _data: Some(data) })
    }
}

/// Whether a server uses the data under another name: a hard link, or a mount of the file. Its write-ahead log has that name, so a
/// reader of this one would miss what is in it.
pub(crate) fn is_used_under_another_name(path: &Path) -> bool {
    let is_locked = |data: File| matches!(data.try_lock_shared(), Err(TryLockError::WouldBlock));
    cfg!(target_os = "linux") && !is_in_use(path) && File::open(path).is_ok_and(is_locked)
}

/// Locks only the name of a database, which need not exist.
pub(crate) fn lock_name(path: &Path) -> Result<File, StoreError> {
    lock(path, lock_file(path))
}

/// Whether another process, or another store of this process, uses the database.
pub(crate) fn is_in_use(path: &Path) -> bool {
    let lock = path.canonicalize().and_then(|real| lock_file(&real));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

fn lock_file(path: &Path) -> io::Result<File> {
    let name = sibling(path, ".lock");
    match private_options().truncate(false).open(&name) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(name),
        opened => opened,
    }
}

fn lock(database: &Path, file: io::Result<File>) -> Result<File, StoreError> {
    let file = file.map_err(|error| cannot_open(database, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let message = format!("the database {} is in use by another process; stop it first", database.display());
            Err(StoreError::Open(message))
        }
        Err(TryLockError::Error(error)) => Err(cannot_open(database, &error)),
    }
}

pub(crate) fn cannot_open(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Open(format!("the database {} cannot be opened: {error}", path.display()))
}
