//! The writer thread: it commits the writes of all workspaces in groups.

use std::{
    collections::{HashSet, VecDeque},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    thread,
    time::Instant,
};

use callhistory_model::WorkspaceId;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    checkpoint::{checkpoint_truncate, count_pages, maintain_wal},
    statements::WriteTransaction,
};
use crate::{
    concurrency::{
        change_notifier::ChangeNotifier,
        fair_semaphore::{FairSemaphore, Permit},
        group_commit::{self, GroupTransaction, QUEUE, QueuedWrite, queue_write},
    },
    error::StoreError,
    sqlite::{
        admin::disk::{Ballast, Disk, WalMaintenance},
        open,
        read::snapshot_pool::SnapshotPool,
    },
};

/// Maximum number of writes of many records in flight, of all workspaces and of one.
const IMPORT_QUEUE: (usize, usize) = (2, 1);

impl GroupTransaction for WriteTransaction {
    type Info = WriteKind;
    type Error = StoreError;
    type Commit = ();
}

/// What the thread must know of a write before it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteKind {
    Single,
    /// A deletion, which a full disk must not refuse.
    Deletion,
    /// A write of this number of records.
    Import(usize),
}

/// The handle of the writer thread, which ends when the handle is dropped or closed.
pub(crate) struct SqliteWriter {
    queue: mpsc::UnboundedSender<Message>,
    singles: Arc<FairSemaphore>,
    imports: Arc<FairSemaphore>,
}

enum Message {
    Write(QueuedWrite<WriteTransaction>),
    Close(oneshot::Sender<()>),
}

impl SqliteWriter {
    /// Starts the thread that owns the writing connection.
    pub(crate) fn start(
        db: Connection,
        path: &Path,
        (notifier, snapshots): (ChangeNotifier, Arc<SnapshotPool>),
        disk: Arc<Disk>,
    ) -> Result<Self, StoreError> {
        let file = DatabaseFile::new(path)?;
        let restored = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let tx = WriteTransaction::new(db, open::first_sequence(restored));
        // Bounded by the permits.
        let (queue, messages) = mpsc::unbounded_channel();
        let thread = thread::Builder::new().name("sqlite-writer".to_owned());
        thread
            .spawn(move || write_groups(tx, &file, (&notifier, &snapshots), &disk, messages))
            .map_err(|error| StoreError::Open(format!("the writer thread cannot be started: {error}")))?;
        let (singles, imports) =
            (FairSemaphore::new(QUEUE.0, QUEUE.1), FairSemaphore::new(IMPORT_QUEUE.0, IMPORT_QUEUE.1));
        Ok(Self { queue, singles, imports })
    }

    /// Runs a write and waits until it is durable. A submitted write is completed even if the caller stops waiting.
    pub(crate) async fn run<T, F>(&self, workspace: &WorkspaceId, kind: WriteKind, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut WriteTransaction) -> Result<T, StoreError> + Send + 'static,
    {
        let semaphore = if matches!(kind, WriteKind::Import(_)) { &self.imports } else { &self.singles };
        self.submit(kind, Some(semaphore.acquire(workspace).await?), work).await
    }

    /// Checks that the thread accepts and completes work.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        self.submit(WriteKind::Single, None, |_| Ok(())).await
    }

    async fn submit<T, F>(&self, kind: WriteKind, permit: Option<Permit>, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut WriteTransaction) -> Result<T, StoreError> + Send + 'static,
    {
        let mut work = Some(work);
        let run_once = move |tx: &mut WriteTransaction| {
            let work = work.take().ok_or_else(|| StoreError::Internal("a write was run twice".to_owned()))?;
            let done = work(tx)?;
            Ok(move |()| done)
        };
        let weight = if let WriteKind::Import(records) = kind { records } else { 1 };
        let (write, response) = queue_write(kind, weight, permit, run_once);
        let closed = |_| StoreError::Unavailable("the writer is closed".to_owned());
        self.queue.send(Message::Write(write)).map_err(closed)?;
        response.await
    }

    /// Completes the submitted writes, and stops the writer.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Close(done)).is_ok() {
            drop(closed.await);
        }
    }
}

fn write_groups(
    mut tx: WriteTransaction,
    file: &DatabaseFile,
    (notifier, snapshots): (&ChangeNotifier, &SnapshotPool),
    disk: &Arc<Disk>,
    mut messages: mpsc::UnboundedReceiver<Message>,
) {
    let (mut ballast, mut maintenance) = (Ballast::new(Arc::clone(disk)), WalMaintenance::default());
    let pages = Arc::new(AtomicI32::new(0));
    let mut broken = count_pages(&mut tx.db, &pages).err().map(|error| error.to_string());
    let (mut queue, mut closing) = (VecDeque::new(), None);
    loop {
        while let Some(message) = if queue.is_empty() { messages.blocking_recv() } else { messages.try_recv().ok() } {
            match message {
                Message::Write(write) => queue.push_back(write),
                Message::Close(done) => {
                    messages.close();
                    closing = Some(done);
                }
            }
        }
        // The channel is closed, and the writes that were submitted before are completed.
        if queue.is_empty() {
            break;
        }
        let mut group = group_commit::take_group(&mut queue);
        let mut maintained = Ok(());
        if ballast.is_full(|| maintained = checkpoint_truncate(&tx.db).map(drop)) {
            let (deletions, refused) = group.into_iter().partition(|write| *write.info() == WriteKind::Deletion);
            group = deletions;
            let full = Err(StoreError::Full("only deletions are accepted until there is space".to_owned()));
            Vec::into_iter(refused).for_each(|write| write.respond(&full));
        }
        let outcome = match &broken {
            Some(reason) => Err(StoreError::Unavailable(reason.clone())),
            None if group.is_empty() => Ok(()),
            None => commit_group(&mut tx, file, snapshots, &mut group).map(|changed| notifier.notify(&changed)),
        };
        group.into_iter().for_each(|write| write.respond(&outcome));
        if outcome.is_ok() && maintained.is_ok() {
            maintained = maintain_wal(&tx.db, disk, snapshots, &pages, &mut maintenance);
        }
        let failed = [outcome, maintained].into_iter().filter_map(Result::err);
        for failure in failed {
            if matches!(failure, StoreError::Full(_)) {
                ballast.release();
            }
            let StoreError::Io(reason) = failure else { continue };
            // After a failed sync the state of the disk is unknown, and a repeated sync can falsely succeed: nothing is
            // acknowledged until the database is opened again.
            tracing::error!(reason, "the database could not be written; writes stop until a restart");
            disk.has_stopped.store(true, Ordering::Relaxed);
            broken = Some(format!("writes have stopped after an I/O error ({reason}); restart the server"));
        }
    }
    // Readers can outlive this connection and prevent the checkpoint; then the last of them checkpoints the WAL.
    snapshots.release_snapshots();
    if let Err(error) = checkpoint_truncate(&tx.db) {
        tracing::warn!(error = error.to_string(), "the WAL was not checkpointed");
    }
    drop(tx);
    if let Some(done) = closing {
        // The caller of close can have stopped waiting.
        let _ = done.send(());
    }
}

/// Runs the writes in one transaction and commits it; returns the workspaces that changed.
fn commit_group(
    tx: &mut WriteTransaction,
    file: &DatabaseFile,
    snapshots: &SnapshotPool,
    group: &mut [QueuedWrite<WriteTransaction>],
) -> Result<HashSet<WorkspaceId>, StoreError> {
    tx.begin()?;
    let run = match &mut *group {
        // A single write needs no savepoint: its rollback is that of the group.
        [only] => only.run(tx),
        several => several.iter_mut().try_for_each(|write| tx.in_savepoint(|tx| write.run(tx))),
    };
    let finished = run.and_then(|()| tx.write_deferred());
    let started = Instant::now();
    let changed = std::mem::take(&mut tx.changed);
    snapshots.begin_invalidation(&changed);
    let outcome = finished.and_then(|()| file.check()).and_then(|()| Ok(tx.db.execute_batch("COMMIT")?));
    snapshots.refresh_snapshots();
    metrics::histogram!("callhistory_commit_seconds").record(started.elapsed());
    metrics::histogram!("callhistory_commit_writes").record(u32::try_from(group.len()).unwrap_or(u32::MAX));
    if outcome.is_err() && !tx.db.is_autocommit() && tx.db.execute_batch("ROLLBACK").is_err() {
        return Err(StoreError::Io("a transaction could not be rolled back".to_owned()));
    }
    outcome.map(|()| changed.into_iter().map(|(workspace, _)| workspace).collect())
}

/// The identity of the opened file. A deleted file accepts writes and syncs, which are lost at the next start.
struct DatabaseFile {
    path: PathBuf,
    identity: Option<u64>,
}

impl DatabaseFile {
    fn new(path: &Path) -> Result<Self, StoreError> {
        // Absolute: the process can change its directory.
        let path = path.canonicalize().map_err(|error| StoreError::Open(error.to_string()))?;
        Ok(Self { identity: identity(&path), path })
    }

    fn check(&self) -> Result<(), StoreError> {
        if identity(&self.path) == self.identity {
            return Ok(());
        }
        Err(StoreError::Io("the database file was deleted or replaced".to_owned()))
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().ok().map(|metadata| metadata.ino())
}

/// On other systems an open file cannot be deleted.
#[cfg(not(unix))]
fn identity(_: &Path) -> Option<u64> {
    None
}
