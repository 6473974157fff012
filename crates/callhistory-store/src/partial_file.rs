//! Files that only their owner can read from the first byte on, whatever the umask: records are personal data.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Options to create a file that only its owner can read and write.
pub(crate) fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A file under a temporary name, until it is complete. It is removed unless it gets its name; one that a killed process left
/// behind is used again.
pub struct PartialFile {
    /// Locked, because two writers of one file would mix their bytes.
    file: File,
    path: PathBuf,
}

impl PartialFile {
    /// Creates the file, or empties the one that is left of an earlier attempt.
    ///
    /// # Errors
    ///
    /// The file cannot be created, or another process is writing it.
    pub fn create(path: PathBuf) -> io::Result<Self> {
        loop {
            let file = private_options().truncate(false).open(&path)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process is writing this file"));
                }
                // A file system without locks.
                Err(TryLockError::Error(_)) | Ok(()) => {}
            }
            // The other process can have renamed or removed it before the lock was free.
            if !is_same(&file, &path) {
                continue;
            }
            #[cfg(unix)]
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            file.set_len(0)?;
            return Ok(Self { file, path });
        }
    }

    /// The temporary name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, once all of it is on disk.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn persist(self, to: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, to)?;
        sync_folder(to)
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // After it was renamed, another process can own the name.
        if is_same(&self.file, &self.path) {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Writes a whole file.
#[cfg(feature = "sqlite")]
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut partial = PartialFile::create(sibling(path, ".partial"))?;
    partial.write_all(bytes)?;
    partial.persist(path)
}

/// A file next to another, with a suffix to its name.
#[must_use]
pub fn sibling(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The folder of a file.
pub(crate) fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Device and inode, which a file keeps under any name.
#[cfg(unix)]
pub(crate) fn identity(file: io::Result<fs::Metadata>) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    file.ok().map(|file| (file.dev(), file.ino()))
}

/// Whether the name is still that of the open file.
#[cfg(unix)]
fn is_same(file: &File, path: &Path) -> bool {
    identity(file.metadata()).is_some_and(|file| Some(file) == identity(path.metadata()))
}

/// On other systems an open file cannot be renamed.
#[cfg(not(unix))]
fn is_same(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Makes the names in the folder of a file durable.
fn sync_folder(file: &Path) -> io::Result<()> {
    File::open(folder(file))?.sync_all()
}
