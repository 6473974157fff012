//! The writer thread: it commits the writes of all workspaces in groups.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use callhistory_model::WorkspaceId;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    checkpoint::{checkpoint_passive, checkpoint_truncate, count_pages, maintain_wal},
    reindex,
    statements::WriteTransaction,
};
use crate::{
    concurrency::{
        change_notifier::ChangeNotifier,
        fair_semaphore::{FairSemaphore, Permit},
        group_commit::{self, GroupTransaction, QUEUE, QueuedWrite, queue_write},
    },
    domain::options::StoreOptions,
    error::StoreError,
    sqlite::{
        admin::{
            disk::{Ballast, Disk, WalMaintenance, is_read_only},
            files::{DatabaseLock, WatchedFiles},
        },
        open,
        read::snapshot_pool::SnapshotPool,
    },
};

/// Maximum number of writes of many records in flight, of all workspaces and of one.
const IMPORT_QUEUE: (usize, usize) = (2, 1);
/// How often an idle writer looks at the files.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

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
    queue: mpsc::Sender<Message>,
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
        opened: Result<(DatabaseLock, Connection), DatabaseLock>,
        (notifier, snapshots): (ChangeNotifier, Arc<SnapshotPool>),
        disk: Arc<Disk>,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        // Bounded by the permits.
        let (queue, messages) = mpsc::channel();
        let thread = thread::Builder::new().name("sqlite-writer".to_owned());
        thread
            .spawn(move || {
                let opened = opened.or_else(|lock| wait_for_disk(lock, options, (&disk, &snapshots), &messages));
                let closing = opened.map_or_else(Some, |(lock, db)| {
                    let closing = write_groups((db, options), (&notifier, &snapshots), &disk, &messages);
                    drop(lock);
                    closing
                });
                // The caller of close can have stopped waiting.
                closing.map(|done| done.send(()))
            })
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

/// Refuses all writes until the disk accepts some, and then opens the database. If the store is closed before, returns the sender
/// that tells the caller of [`SqliteWriter::close`].
fn wait_for_disk(
    lock: DatabaseLock,
    options: StoreOptions,
    (disk, snapshots): (&Disk, &SnapshotPool),
    messages: &mpsc::Receiver<Message>,
) -> Result<(DatabaseLock, Connection), oneshot::Sender<()>> {
    disk.is_read_only.store(true, Ordering::Relaxed);
    let mut lock = Some(lock);
    loop {
        match messages.recv_timeout(IDLE_INTERVAL) {
            Ok(Message::Write(write)) => write.respond(&Err(StoreError::ReadOnly("the disk is read-only".to_owned()))),
            Ok(Message::Close(done)) => return Err(done),
            // The store is dropped: nobody waits.
            Err(RecvTimeoutError::Disconnected) => return Err(oneshot::channel().0),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let path = disk.database();
        if is_read_only(path) {
            continue;
        }
        drop(lock.take());
        let opened = open::open_writer(path, |db| reindex::ensure(db, options.numbering_plan));
        match opened.and_then(|opened| snapshots.reopen(path).map(|()| opened)) {
            Ok(opened) => {
                tracing::info!("the disk accepts writes again");
                disk.is_read_only.store(false, Ordering::Relaxed);
                return Ok(opened);
            }
            Err(error) => {
                tracing::error!(%error, "the database cannot be opened for writing");
                lock = DatabaseLock::acquire_read_only(path).ok();
            }
        }
    }
}

/// Commits groups until the store is closed; returns the sender that tells the caller of [`SqliteWriter::close`].
fn write_groups(
    (db, options): (Connection, StoreOptions),
    (notifier, snapshots): (&ChangeNotifier, &SnapshotPool),
    disk: &Arc<Disk>,
    messages: &mpsc::Receiver<Message>,
) -> Option<oneshot::Sender<()>> {
    let restored: rusqlite::Result<i64> = db.pragma_query_value(None, "user_version", |row| row.get(0));
    let mut writer = GroupWriter {
        tx: WriteTransaction::new(db, open::first_sequence(*restored.as_ref().unwrap_or(&0)), options),
        files: WatchedFiles::new(disk.database()),
        snapshots,
        disk,
        ballast: Ballast::new(Arc::clone(disk)),
        maintenance: WalMaintenance::default(),
        pages: Arc::default(),
        broken: None,
        has_unsaved_wal: false,
    };
    let prepared = restored.map_err(StoreError::from).and_then(|_| count_pages(&mut writer.tx.db, &writer.pages));
    writer.broken = prepared.err().map(|error| error.to_string());
    let (mut queue, mut closing) = (VecDeque::new(), None);
    loop {
        let mut next = if queue.is_empty() && closing.is_none() {
            messages.recv_timeout(IDLE_INTERVAL)
        } else {
            messages.try_recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        if matches!(next, Err(RecvTimeoutError::Timeout)) {
            writer.run_idle(notifier);
            continue;
        }
        while let Ok(message) = next {
            match message {
                Message::Write(write) => queue.push_back(write),
                Message::Close(done) => closing = Some(done),
            }
            next = messages.try_recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        // The channel is closed, and the writes that were submitted before are completed.
        if queue.is_empty() {
            break;
        }
        writer.run_group(group_commit::take_group(&mut queue), notifier);
    }
    // Readers can outlive this connection and prevent the checkpoint; then the last of them checkpoints the WAL.
    snapshots.release_snapshots();
    if let Err(error) = checkpoint_truncate(&writer.tx.db) {
        tracing::warn!(error = error.to_string(), "the WAL was not checkpointed");
    }
    closing
}

/// The writer thread between two groups.
struct GroupWriter<'a> {
    tx: WriteTransaction,
    files: WatchedFiles,
    snapshots: &'a SnapshotPool,
    disk: &'a Disk,
    ballast: Ballast,
    maintenance: WalMaintenance,
    /// The pages in the WAL.
    pages: Arc<AtomicI32>,
    /// Why nothing is written any more.
    broken: Option<String>,
    /// Whether acknowledged writes may be only in a WAL that was deleted.
    has_unsaved_wal: bool,
}

impl GroupWriter<'_> {
    /// Looks at the files while there is nothing to write.
    fn run_idle(&mut self, notifier: &ChangeNotifier) {
        if self.disk.accepts_writes() {
            self.ballast.restore();
        }
        if self.has_unsaved_wal {
            self.save_wal();
        }
        self.run_group(Vec::new(), notifier);
    }

    /// Commits a group, replies to its callers, and maintains the files. An idle writer runs it with an empty group.
    fn run_group(&mut self, mut group: Vec<QueuedWrite<WriteTransaction>>, notifier: &ChangeNotifier) {
        let mut maintained = Ok(());
        let refusal = self.ballast.refusal(|| maintained = checkpoint_truncate(&self.tx.db).map(drop));
        if let Some(refusal) = refusal {
            let is_accepted = |write: &QueuedWrite<WriteTransaction>| {
                matches!(refusal, StoreError::Full(_)) && *write.info() == WriteKind::Deletion
            };
            let (accepted, refused): (Vec<_>, Vec<_>) = group.into_iter().partition(is_accepted);
            group = accepted;
            let refusal = Err(refusal);
            refused.into_iter().for_each(|write| write.respond(&refusal));
        }
        let outcome = match &self.broken {
            Some(reason) => Err(StoreError::Unavailable(reason.clone())),
            None if group.is_empty() => self.files.check(),
            None => self.commit(&mut group).map(|changed| notifier.notify(&changed)),
        };
        group.into_iter().for_each(|write| write.respond(&outcome));
        if outcome.is_ok() && maintained.is_ok() {
            let (pages, maintenance) = (&self.pages, &mut self.maintenance);
            maintained = maintain_wal(&self.tx.db, self.disk, self.snapshots, pages, maintenance);
        }
        for failure in [outcome, maintained].into_iter().filter_map(Result::err) {
            match failure {
                StoreError::Full(_) => self.ballast.release(),
                StoreError::ReadOnly(_) => self.ballast.note_failure(),
                StoreError::Io(reason) => self.stop(&reason),
                _ => {}
            }
        }
    }

    /// After a failed sync the state of the disk is unknown, and a repeated sync can falsely succeed; a file that was deleted
    /// loses what is written to it. Nothing is acknowledged until the database is opened again.
    fn stop(&mut self, reason: &str) {
        tracing::error!(reason, "the database could not be written; writes stop until a restart");
        self.disk.has_stopped.store(true, Ordering::Relaxed);
        self.broken = Some(format!("writes have stopped after an I/O error ({reason}); restart the server"));
        self.has_unsaved_wal = self.files.check().is_err();
        if self.has_unsaved_wal {
            self.save_wal();
        }
    }

    /// Checkpoints a WAL that has no name any more: it can have acknowledged writes. Reads that hold it end.
    fn save_wal(&mut self) {
        self.disk.end_snapshots();
        self.snapshots.release_snapshots();
        match checkpoint_passive(&self.tx.db) {
            Ok(true) => {
                tracing::warn!("the WAL was written to the database file");
                self.has_unsaved_wal = false;
            }
            Ok(false) => tracing::error!("a read holds the WAL; what it has is not in the database file yet"),
            Err(error) => tracing::error!(%error, "the WAL was not written to the database file"),
        }
    }

    /// Runs the writes in one transaction and commits it; returns the workspaces that changed.
    fn commit(&mut self, group: &mut [QueuedWrite<WriteTransaction>]) -> Result<HashSet<WorkspaceId>, StoreError> {
        let tx = &mut self.tx;
        tx.begin()?;
        let run = match &mut *group {
            // A single write needs no savepoint: its rollback is that of the group.
            [only] => only.run(tx),
            several => several.iter_mut().try_for_each(|write| tx.in_savepoint(|tx| write.run(tx))),
        };
        let finished = run.and_then(|()| tx.write_deferred());
        let started = Instant::now();
        let changed = std::mem::take(&mut tx.changed);
        self.snapshots.begin_invalidation(&changed);
        let outcome = finished.and_then(|()| self.files.check()).and_then(|()| Ok(tx.db.execute_batch("COMMIT")?));
        self.snapshots.refresh_snapshots();
        metrics::histogram!("callhistory_commit_seconds").record(started.elapsed());
        metrics::histogram!("callhistory_commit_writes").record(u32::try_from(group.len()).unwrap_or(u32::MAX));
        if outcome.is_err() && !tx.db.is_autocommit() && tx.db.execute_batch("ROLLBACK").is_err() {
            return Err(StoreError::Io("a transaction could not be rolled back".to_owned()));
        }
        outcome.map(|()| changed.into_iter().map(|(workspace, _)| workspace).collect())
    }
}
