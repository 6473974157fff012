//! The disk of the database: its free space, the size of the WAL, and the ballast for a full disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    error::StoreError,
    partial_file::{folder, private_options, sibling},
    results::StoreHealth,
};

/// Size of the ballast, in bytes: a deletion writes some pages to the WAL before it frees any.
const BALLAST_BYTES: u64 = 8 * 1024 * 1024;
/// Free space below which a failed write means that the disk is full.
const FULL_BYTES: u64 = 1024 * 1024;
/// Interval of the check whether a full disk has space again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum interval of checkpoints of a large WAL, and of ending snapshots that hold it.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(100);
/// How long erased text stays in the WAL, about.
const ERASURE_INTERVAL: Duration = Duration::from_secs(20);
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
const END_INTERVAL: Duration = Duration::from_secs(30);
/// Size of the WAL at which reads that hold it are aborted, in bytes.
pub(crate) const MAX_WAL_BYTES: u64 = 1024 * 1024 * 1024;

/// The state of the disk, shared by all threads.
#[derive(Debug)]
pub(crate) struct Disk {
    database: PathBuf,
    wal: PathBuf,
    is_full: AtomicBool,
    /// Whether writes fail for another reason than a full disk, such as a file system that has become read-only.
    pub(crate) is_read_only: AtomicBool,
    pub(crate) has_stopped: AtomicBool,
    /// The number of damaged pages that the last scrub found.
    pub(crate) damaged_pages: AtomicU64,
    max_wal_bytes: u64,
    /// How often all of the WAL was written to the file.
    truncations: AtomicU64,
    /// Incremented when the WAL is too large: older snapshots must end.
    pressure: watch::Sender<u64>,
}

impl Disk {
    pub(crate) fn new(database: &Path, max_wal_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            database: database.to_owned(),
            wal: sibling(database, "-wal"),
            is_full: AtomicBool::new(false),
            is_read_only: AtomicBool::new(false),
            has_stopped: AtomicBool::new(false),
            damaged_pages: AtomicU64::new(0),
            max_wal_bytes,
            truncations: AtomicU64::new(0),
            pressure: watch::Sender::new(0),
        })
    }

    pub(crate) fn wal_pressure(&self) -> watch::Receiver<u64> {
        self.pressure.subscribe()
    }

    pub(crate) fn database(&self) -> &Path {
        &self.database
    }

    pub(crate) fn truncations(&self) -> u64 {
        self.truncations.load(Ordering::Acquire)
    }

    pub(crate) fn note_truncation(&self) {
        self.truncations.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn wal_bytes(&self) -> u64 {
        size(&self.wal).unwrap_or(0)
    }

    pub(crate) fn is_wal_too_large(&self, bytes: u64) -> bool {
        bytes > self.max_wal_bytes
    }

    /// Ends the reads that hold the WAL.
    pub(crate) fn end_snapshots(&self) {
        tracing::warn!("ending the reads that hold the WAL");
        self.pressure.send_modify(|times| *times += 1);
    }

    /// Whether nothing is known that prevents writes.
    pub(crate) fn accepts_writes(&self) -> bool {
        [&self.is_full, &self.is_read_only, &self.has_stopped].iter().all(|state| !state.load(Ordering::Relaxed))
    }

    pub(crate) fn health(&self) -> StoreHealth {
        StoreHealth {
            database_bytes: size(&self.database),
            wal_bytes: Some(self.wal_bytes()),
            disk_free_bytes: free_bytes(&self.database),
            is_full: self.is_full.load(Ordering::Relaxed),
            is_read_only: self.is_read_only.load(Ordering::Relaxed),
            has_stopped: self.has_stopped.load(Ordering::Relaxed),
            damaged_pages: Some(self.damaged_pages.load(Ordering::Relaxed)),
        }
    }
}

/// When a large WAL was last handled.
#[derive(Default)]
pub(crate) struct WalMaintenance {
    /// The first look at the WAL since it was empty.
    written: Option<Instant>,
    checkpointed: Option<Instant>,
    ended: Option<Instant>,
}

impl WalMaintenance {
    /// Whether the WAL has had content for some time. A deleted or replaced record stays in it until a checkpoint truncates it.
    pub(crate) fn is_wal_old(&mut self, bytes: u64) -> bool {
        if bytes == 0 {
            self.written = None;
            return false;
        }
        let written = self.written.get_or_insert_with(Instant::now);
        let is_old = written.elapsed() >= ERASURE_INTERVAL;
        if is_old {
            // Where a reader prevents the checkpoint.
            *written += RETRY_INTERVAL;
        }
        is_old
    }

    /// Whether reads that hold a WAL may be ended again: one that another program holds must not end every read.
    pub(crate) fn may_end_snapshots(&mut self) -> bool {
        is_due(&mut self.ended, END_INTERVAL)
    }

    /// Whether a checkpoint may be tried again. A WAL that another program holds must not slow every write.
    pub(crate) fn is_checkpoint_due(&mut self) -> bool {
        is_due(&mut self.checkpointed, CHECKPOINT_INTERVAL)
    }
}

/// Whether an interval has passed since `last`; if so, sets it to now.
fn is_due(last: &mut Option<Instant>, interval: Duration) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= interval);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}

fn size(path: &Path) -> Option<u64> {
    Some(path.metadata().ok()?.len())
}

#[cfg(unix)]
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
pub(crate) fn free_bytes(_: &Path) -> Option<u64> {
    None
}

/// Whether the disk of a database has hardly any space.
pub(crate) fn is_nearly_full(database: &Path) -> bool {
    free_bytes(folder(database)).is_some_and(|free| free < FULL_BYTES)
}

/// Whether the file system of a database is read-only.
#[cfg(unix)]
pub(crate) fn is_read_only(database: &Path) -> bool {
    let disk = rustix::fs::statvfs(folder(database));
    disk.is_ok_and(|disk| disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

#[cfg(not(unix))]
pub(crate) fn is_read_only(_: &Path) -> bool {
    false
}

/// A file that reserves disk space, and is released on a full disk so that deletions still work.
pub(crate) struct Ballast {
    path: PathBuf,
    disk: Arc<Disk>,
    probed: Instant,
}

impl Ballast {
    /// Reserves the space. A disk without it is full: what is left is for deletions.
    pub(crate) fn new(disk: Arc<Disk>) -> Self {
        let path = sibling(&disk.database, ".ballast");
        let mut ballast = Self { path, disk, probed: Instant::now() };
        if let Err(error) = ballast.reserve() {
            tracing::warn!(%error, "the ballast could not be reserved; deletions may fail on a full disk");
        }
        ballast
    }

    /// Releases the ballast: the disk is full.
    pub(crate) fn release(&mut self) {
        self.probed = Instant::now();
        if !self.disk.is_full.swap(true, Ordering::Relaxed) {
            tracing::error!("the disk is full; only deletions are accepted until there is space");
        }
        release_ballast(&self.path);
    }

    /// Notes that a write failed: the disk is full, or does not accept writes at all.
    pub(crate) fn note_failure(&mut self) {
        if is_nearly_full(&self.disk.database) {
            return self.release();
        }
        self.probed = Instant::now();
        if !self.disk.is_read_only.swap(true, Ordering::Relaxed) {
            tracing::error!("the disk does not accept writes; reads go on");
        }
    }

    /// Reserves the space again if someone has deleted the file.
    pub(crate) fn restore(&mut self) {
        if !self.path.exists() {
            // The start has warned already where this always fails.
            drop(self.reserve());
        }
    }

    /// Reserves the space, or notes that the disk is full.
    fn reserve(&mut self) -> io::Result<()> {
        match self.fill() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.release();
                Ok(())
            }
            filled => filled,
        }
    }

    /// Why writes are refused, if they are. Checks at intervals whether they succeed again, after a checkpoint, which frees space.
    pub(crate) fn refusal(&mut self, checkpoint: impl FnOnce()) -> Option<StoreError> {
        let (is_full, is_read_only) = (&self.disk.is_full, &self.disk.is_read_only);
        if !is_full.load(Ordering::Relaxed) && !is_read_only.load(Ordering::Relaxed) {
            return None;
        }
        if self.probed.elapsed() >= PROBE_INTERVAL {
            self.probed = Instant::now();
            checkpoint();
            // A file that is there already is also written.
            if self.fill().and_then(|()| write_a_page(&self.path)).is_ok() {
                tracing::info!("the disk accepts writes again");
                is_full.store(false, Ordering::Relaxed);
                is_read_only.store(false, Ordering::Relaxed);
                return None;
            }
        }
        Some(if is_full.load(Ordering::Relaxed) {
            StoreError::Full("only deletions are accepted until there is space".to_owned())
        } else {
            StoreError::ReadOnly("the disk does not accept writes".to_owned())
        })
    }

    /// Reserves the space; a partial reservation is released.
    fn fill(&self) -> io::Result<()> {
        if is_reserved(&self.path) {
            return Ok(());
        }
        let filled = private_options().truncate(true).open(&self.path).and_then(allocate);
        if filled.is_err() {
            release_ballast(&self.path);
        }
        filled
    }
}

/// Whether the file has its size, and the disk has blocks for it: a copy can be a hole.
fn is_reserved(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| {
        #[cfg(unix)]
        let allocated = std::os::unix::fs::MetadataExt::blocks(&file) * 512;
        #[cfg(not(unix))]
        let allocated = file.len();
        file.len() == BALLAST_BYTES && allocated >= BALLAST_BYTES
    })
}

/// Writes a page durably to a file.
fn write_a_page(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(&[0; 4096])?;
    file.sync_data()
}

/// Removes the ballast.
pub(crate) fn release_ballast(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(%error, "the ballast cannot be removed");
        }
        _ => {}
    }
}

/// Allocates the space; writes zeros if the file system cannot allocate.
fn allocate(mut file: File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BALLAST_BYTES) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = vec![0; 64 * 1024];
    for _ in 0..BALLAST_BYTES / 65_536 {
        file.write_all(&zeros)?;
    }
    file.sync_all()
}
