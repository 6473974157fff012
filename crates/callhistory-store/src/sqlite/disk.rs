//! The disk below the database: what is left of it, and what happens when it is full.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::StoreHealth;

/// What is kept aside, in bytes: a deletion writes a few pages to the log before it frees any.
const BALLAST_BYTES: u64 = 8 * 1024 * 1024;
/// How often it is tried whether a full disk has room again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How often a log that is too large is folded, and how often snapshots are ended for that.
const FOLD_INTERVAL: Duration = Duration::from_millis(100);
const END_INTERVAL: Duration = Duration::from_secs(30);
/// The size of the log at which reads that hold it back are broken off, in bytes.
pub(crate) const MAX_WAL_BYTES: u64 = 1024 * 1024 * 1024;

/// How the database's disk is doing, for all threads.
#[derive(Debug)]
pub(crate) struct Disk {
    database: PathBuf,
    wal: PathBuf,
    is_full: AtomicBool,
    pub(crate) has_stopped: AtomicBool,
    max_wal_bytes: u64,
    /// Raised when the log has grown too large: snapshots that began before are to end.
    pressure: watch::Sender<u64>,
}

impl Disk {
    pub(crate) fn new(database: &Path, max_wal_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            database: database.to_owned(),
            wal: beside(database, "-wal"),
            is_full: AtomicBool::new(false),
            has_stopped: AtomicBool::new(false),
            max_wal_bytes,
            pressure: watch::Sender::new(0),
        })
    }

    pub(crate) fn snapshots(&self) -> watch::Receiver<u64> {
        self.pressure.subscribe()
    }

    /// Looks at the log after a commit; gives whether it is too large and should be folded now. What another program
    /// holds back must not slow every write.
    pub(crate) fn is_wal_too_large(&self, looked: &mut Look) -> bool {
        size(&self.wal).is_some_and(|bytes| bytes > self.max_wal_bytes) && is_due(&mut looked.folded, FOLD_INTERVAL)
    }

    /// Ends the snapshots that hold the log back, unless that has been done lately: what another program holds back must
    /// not end every read of this one.
    pub(crate) fn end_snapshots(&self, looked: &mut Look) {
        if is_due(&mut looked.ended, END_INTERVAL) {
            tracing::warn!("the log has grown too large; reads that hold it back are ended");
            self.pressure.send_modify(|times| *times += 1);
        }
    }

    pub(crate) fn health(&self) -> StoreHealth {
        StoreHealth {
            database_bytes: size(&self.database),
            wal_bytes: Some(size(&self.wal).unwrap_or(0)),
            disk_free_bytes: free_bytes(&self.database),
            is_full: self.is_full.load(Ordering::Relaxed),
            has_stopped: self.has_stopped.load(Ordering::Relaxed),
        }
    }
}

/// When something was last done about a log that is too large.
#[derive(Default)]
pub(crate) struct Look {
    folded: Option<Instant>,
    ended: Option<Instant>,
}

/// Whether something has not been done for so long; if so it is done now.
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

/// A file whose name is that of the database and more.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Room that is kept aside on the disk, and given up when there is no other, so that deletions still work.
pub(crate) struct Ballast {
    path: PathBuf,
    disk: Arc<Disk>,
    probed: Instant,
}

impl Ballast {
    /// Keeps the room aside, if there is so much.
    pub(crate) fn new(disk: Arc<Disk>) -> Self {
        let path = beside(&disk.database, ".ballast");
        let ballast = Self { path, disk, probed: Instant::now() };
        if let Err(error) = ballast.fill() {
            tracing::warn!(%error, "no room could be kept aside; on a full disk deletions may fail");
        }
        ballast
    }

    /// Gives the room up: the disk is full.
    pub(crate) fn release(&mut self) {
        self.probed = Instant::now();
        if !self.disk.is_full.swap(true, Ordering::Relaxed) {
            tracing::error!("the disk is full: writes other than deletions are refused until there is room");
        }
        give_up(&self.path);
    }

    /// Whether writes have to wait for room, which is looked for now and then, and made by folding the log.
    pub(crate) fn is_full(&mut self, fold: impl FnOnce()) -> bool {
        if !self.disk.is_full.load(Ordering::Relaxed) {
            return false;
        }
        if self.probed.elapsed() >= PROBE_INTERVAL {
            self.probed = Instant::now();
            fold();
            if self.fill().is_ok() {
                tracing::info!("the disk has room again: writes go on");
                self.disk.is_full.store(false, Ordering::Relaxed);
                return false;
            }
        }
        true
    }

    /// Takes the room from the disk; a part of it is worth nothing and given back.
    fn fill(&self) -> io::Result<()> {
        if size(&self.path) == Some(BALLAST_BYTES) {
            return Ok(());
        }
        let filled = OpenOptions::new().create(true).truncate(true).write(true).open(&self.path).and_then(allocate);
        if filled.is_err() {
            give_up(&self.path);
        }
        filled
    }
}

/// Gives up what an earlier start has kept aside, for a start on a full disk.
pub(crate) fn give_up(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(%error, "the room that was kept aside cannot be given up");
        }
        _ => {}
    }
}

/// Has the disk set the room aside; zeros do it where it cannot be asked for.
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
