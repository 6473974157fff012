//! Group commit: writes that arrive during a commit share the next one.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    thread,
    time::Instant,
};

use callhistory_model::{CallId, WorkspaceId};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::{checkpoint_truncate, count_pages, maintain_wal};
use crate::{
    concurrency::{
        change_notifier::ChangeNotifier,
        fair_semaphore::{FairSemaphore, Permit},
    },
    domain::aggregate::MetricsRow,
    error::StoreError,
    sqlite::{
        admin::disk::{Ballast, Disk, WalMaintenance},
        columnar::segment::{self, CallValues},
        open,
        read::snapshot_pool::SnapshotPool,
    },
};

/// Maximum number of waiting writes, of all workspaces and of one; further callers wait for a permit.
const QUEUE: (usize, usize) = (4096, 1024);
/// The same for writes of many records, each of which is a group of its own.
const BATCH_QUEUE: (usize, usize) = (2, 1);
/// Maximum number of writes in one commit, so that no caller waits for an unbounded number of others.
const MAX_GROUP: usize = 512;

/// The handle of the writer thread, which ends when the handle is dropped or closed.
pub(crate) struct Writer {
    queue: mpsc::UnboundedSender<Message>,
    single: Arc<FairSemaphore>,
    many: Arc<FairSemaphore>,
}

/// A change of the terms at a position.
pub(crate) enum TermChange {
    /// The position has no terms yet; replacing would search for old ones, which takes as long as inserting.
    Insert(String),
    Replace(String),
    Delete,
}

/// The transaction of a group, and the work that a write leaves to its end.
pub(crate) struct Batch<'a> {
    pub(crate) db: &'a Connection,
    /// The sequence before the first change of a new workspace.
    pub(crate) first_sequence: i64,
    terms: RefCell<Vec<(i64, TermChange)>>,
    columns: RefCell<Vec<(String, CallValues, i64)>>,
    changed: RefCell<Vec<(WorkspaceId, CallId)>>,
}

impl Batch<'_> {
    /// Changes the terms at a position at the end of the group: the full-text index is fast only in the order of positions.
    pub(crate) fn change_terms(&self, position: i64, change: TermChange) {
        self.terms.borrow_mut().push((position, change));
    }

    /// Adds a call to the columns at the end of the group, or removes it.
    pub(crate) fn change_columns(
        &self,
        workspace: &WorkspaceId,
        row: &MetricsRow<'_>,
        by: i64,
    ) -> rusqlite::Result<()> {
        let values = segment::call_values(self.db, workspace, row)?;
        self.columns.borrow_mut().push((workspace.as_str().to_owned(), values, by));
        Ok(())
    }

    /// Marks a record as changed: caches drop it, and followers are notified after the commit.
    pub(crate) fn mark_changed(&self, workspace: &WorkspaceId, id: &CallId) {
        self.changed.borrow_mut().push((workspace.clone(), id.clone()));
    }
}

/// The work that the writes of a group leave to its end.
#[derive(Default)]
struct GroupEffects {
    terms: BTreeMap<i64, TermChange>,
    columns: segment::SegmentChanges,
    changed: Vec<(WorkspaceId, CallId)>,
    first_sequence: i64,
}

enum Message {
    Write(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// One write on its way through a group.
trait Job: Send {
    /// Does the work in the transaction of the group; an error rolls it back.
    fn run(&mut self, tx: &Batch<'_>) -> Result<(), StoreError>;
    fn kind(&self) -> WriteKind;
    /// The number of records that it writes.
    fn weight(&self) -> usize;
    /// Replies to the caller with the result of the work, or with the error of the group.
    fn respond(self: Box<Self>, group: &Result<(), StoreError>);
}

/// What a write needs of the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WriteKind {
    Writes,
    /// A deletion, which a full disk must not refuse.
    Erases,
}

struct Write<T, F> {
    kind: WriteKind,
    weight: usize,
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    /// Held until the reply, also if the caller stops waiting.
    _permit: Option<Permit>,
}

impl<T: Send, F: FnOnce(&Batch<'_>) -> Result<T, StoreError> + Send> Job for Write<T, F> {
    fn run(&mut self, tx: &Batch<'_>) -> Result<(), StoreError> {
        let Some(work) = self.work.take() else { return Ok(()) };
        // A panic would end the writer thread. Partial work is rolled back like any failure.
        let result = panic::catch_unwind(AssertUnwindSafe(|| work(tx)));
        let result = result.unwrap_or_else(|_| Err(StoreError::Internal("a write panicked".to_owned())));
        let outcome = result.as_ref().map(drop).map_err(Clone::clone);
        self.result = Some(result);
        outcome
    }

    fn kind(&self) -> WriteKind {
        self.kind
    }

    fn weight(&self) -> usize {
        self.weight
    }

    fn respond(self: Box<Self>, group: &Result<(), StoreError>) {
        let result = match (group, self.result) {
            // First, because the work can have seen another write of the group that was rolled back.
            (Err(failure), _) => Err(failure.clone()),
            (Ok(()), Some(Err(own))) => Err(own),
            (Ok(()), Some(Ok(done))) => Ok(done),
            (Ok(()), None) => Err(StoreError::Internal("a write was not run".to_owned())),
        };
        // The caller can have hung up; its write is committed all the same.
        drop(self.reply.send(result));
    }
}

impl Writer {
    /// Starts the thread that owns the writing connection.
    pub(crate) fn start(
        db: Connection,
        path: &Path,
        (notifier, snapshots): (ChangeNotifier, Arc<SnapshotPool>),
        disk: Arc<Disk>,
    ) -> Result<Self, StoreError> {
        let file = DatabaseFile::new(&db, path)?;
        // Bounded by the permits.
        let (queue, jobs) = mpsc::unbounded_channel();
        let thread = thread::Builder::new().name("sqlite-writer".to_owned());
        thread
            .spawn(move || write_groups(db, &file, (&notifier, &snapshots), &disk, jobs))
            .map_err(|error| StoreError::Open(format!("the writer thread cannot be started: {error}")))?;
        let (single, many) = (FairSemaphore::new(QUEUE.0, QUEUE.1), FairSemaphore::new(BATCH_QUEUE.0, BATCH_QUEUE.1));
        Ok(Self { queue, single, many })
    }

    /// Runs a deletion, which is accepted on a full disk.
    pub(crate) async fn erase<T, F>(&self, workspace: &WorkspaceId, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = self.single.acquire(workspace).await?;
        self.submit(WriteKind::Erases, 1, Some(permit), work).await
    }

    /// Runs a write and waits until it is durable. A submitted write is completed even if the caller stops waiting.
    pub(crate) async fn run<T, F>(&self, workspace: &WorkspaceId, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = self.single.acquire(workspace).await?;
        self.submit(WriteKind::Writes, 1, Some(permit), work).await
    }

    /// Runs a write of `weight` records.
    pub(crate) async fn run_many<T, F>(&self, workspace: &WorkspaceId, weight: usize, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = self.many.acquire(workspace).await?;
        self.submit(WriteKind::Writes, weight, Some(permit), work).await
    }

    /// Checks that the thread accepts and completes work.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        self.submit(WriteKind::Writes, 1, None, |_| Ok(())).await
    }

    async fn submit<T, F>(
        &self,
        kind: WriteKind,
        weight: usize,
        permit: Option<Permit>,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, response) = oneshot::channel();
        let job = Box::new(Write { kind, weight, work: Some(work), result: None, reply, _permit: permit });
        let closed = || StoreError::Unavailable("the writer is closed".to_owned());
        self.queue.send(Message::Write(job)).map_err(|_| closed())?;
        response.await.map_err(|_| StoreError::Unavailable("the writer has stopped".to_owned()))?
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
    mut db: Connection,
    file: &DatabaseFile,
    (notifier, snapshots): (&ChangeNotifier, &SnapshotPool),
    disk: &Arc<Disk>,
    mut jobs: mpsc::UnboundedReceiver<Message>,
) {
    let (mut ballast, mut maintenance) = (Ballast::new(Arc::clone(disk)), WalMaintenance::default());
    let pages = Arc::new(AtomicI32::new(0));
    let mut broken = count_pages(&mut db, &pages).err().map(|error| error.to_string());
    let mut closing = None;
    let mut deferred = None;
    // After a close, this completes the writes that were submitted before.
    while let Some(first) = deferred.take().or_else(|| jobs.blocking_recv()) {
        let mut group: Vec<Box<dyn Job>> = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                // A write of many records is a group of its own: a savepoint would copy each page.
                Message::Write(job) if !group.is_empty() && job.weight() > 1 => {
                    deferred = Some(Message::Write(job));
                    break;
                }
                Message::Write(job) => group.push(job),
                Message::Close(done) => {
                    jobs.close();
                    closing = Some(done);
                }
            }
            if group.len() < MAX_GROUP && group.first().is_none_or(|job| job.weight() == 1) {
                next = jobs.try_recv().ok();
            }
        }
        let mut maintained = Ok(());
        if ballast.is_full(|| maintained = checkpoint_truncate(&db).map(drop)) {
            let (erasing, refused) = group.into_iter().partition(|job| job.kind() == WriteKind::Erases);
            group = erasing;
            let full = Err(StoreError::Full("only deletions are accepted until there is space".to_owned()));
            Vec::into_iter(refused).for_each(|job| job.respond(&full));
        }
        let outcome = match &broken {
            Some(reason) => Err(StoreError::Unavailable(reason.clone())),
            None if group.is_empty() => Ok(()),
            None => commit_group(&db, file, snapshots, &mut group).map(|changed| {
                notifier.notify(&changed.into_iter().map(|(workspace, _)| workspace).collect());
            }),
        };
        group.into_iter().for_each(|job| job.respond(&outcome));
        if outcome.is_ok() && maintained.is_ok() {
            maintained = maintain_wal(&db, disk, snapshots, &pages, &mut maintenance);
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
    // Readers can outlive this connection; the last of them checkpoints the WAL if they are in the way.
    snapshots.release_snapshots();
    if let Err(error) = checkpoint_truncate(&db) {
        tracing::warn!(error = error.to_string(), "the WAL was not checkpointed");
    }
    drop(db);
    if let Some(done) = closing {
        // The caller of close can have stopped waiting.
        let _ = done.send(());
    }
}

/// The identity of the opened file. A deleted file accepts writes and syncs, which are lost at the next start.
struct DatabaseFile {
    path: PathBuf,
    identity: Option<u64>,
    first_sequence: i64,
}

impl DatabaseFile {
    fn new(db: &Connection, path: &Path) -> Result<Self, StoreError> {
        // Absolute: the process can change its directory.
        let path = path.canonicalize().map_err(|error| StoreError::Open(error.to_string()))?;
        let restored = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok(Self { identity: identity(&path), path, first_sequence: open::first_sequence(restored) })
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

/// Runs the jobs in one transaction and commits it; returns the changed records.
fn commit_group(
    db: &Connection,
    file: &DatabaseFile,
    snapshots: &SnapshotPool,
    group: &mut [Box<dyn Job>],
) -> Result<Vec<(WorkspaceId, CallId)>, StoreError> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    let mut effects = GroupEffects { first_sequence: file.first_sequence, ..GroupEffects::default() };
    let writes = u32::try_from(group.len()).unwrap_or(u32::MAX);
    let run = match group {
        // A single write needs no savepoint: its rollback is that of the group.
        [only] => run_alone(db, only.as_mut(), &mut effects),
        several => several.iter_mut().try_for_each(|job| run_job(db, job.as_mut(), &mut effects)),
    };
    let indexed = run
        .and_then(|()| write_terms(db, &effects.terms))
        .and_then(|()| segment::apply(db, &effects.columns, segment::MAX_CALLS));
    let started = Instant::now();
    snapshots.begin_invalidation(&effects.changed);
    let outcome = indexed.and_then(|()| file.check()).and_then(|()| Ok(db.execute_batch("COMMIT")?));
    snapshots.refresh_snapshots();
    metrics::histogram!("callhistory_commit_seconds").record(started.elapsed());
    metrics::histogram!("callhistory_commit_writes").record(writes);
    if outcome.is_err() && !db.is_autocommit() && db.execute_batch("ROLLBACK").is_err() {
        return Err(StoreError::Io("a transaction could not be rolled back".to_owned()));
    }
    outcome.map(|()| effects.changed)
}

fn run_alone(db: &Connection, job: &mut dyn Job, effects: &mut GroupEffects) -> Result<(), StoreError> {
    let batch = Batch {
        db,
        first_sequence: effects.first_sequence,
        terms: RefCell::default(),
        columns: RefCell::default(),
        changed: RefCell::default(),
    };
    job.run(&batch)?;
    for (position, change) in batch.terms.into_inner() {
        let is_first = !effects.terms.contains_key(&position);
        // Another write of the group can have left terms at the position.
        let change = match change {
            TermChange::Insert(terms) if !is_first => TermChange::Replace(terms),
            change => change,
        };
        effects.terms.insert(position, change);
    }
    for (workspace, values, by) in batch.columns.into_inner() {
        *effects.columns.entry((workspace, values)).or_default() += by;
    }
    effects.changed.extend(batch.changed.into_inner());
    Ok(())
}

/// Runs a job in a savepoint: its failure rolls back only its own work.
fn run_job(db: &Connection, job: &mut dyn Job, effects: &mut GroupEffects) -> Result<(), StoreError> {
    db.prepare_cached("SAVEPOINT job")?.execute([])?;
    match run_alone(db, job, effects) {
        Ok(()) => {}
        // On a full disk or an I/O error SQLite can roll back the whole transaction.
        Err(error) if db.is_autocommit() => return Err(error),
        Err(_) => {
            db.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
    }
    db.prepare_cached("RELEASE job")?.execute([])?;
    Ok(())
}

fn write_terms(db: &Connection, changes: &BTreeMap<i64, TermChange>) -> Result<(), StoreError> {
    for (position, change) in changes {
        match change {
            TermChange::Insert(terms) => {
                db.prepare_cached("INSERT INTO call_term (rowid, terms) VALUES (?1, ?2)")?
                    .execute((position, terms))?;
            }
            TermChange::Replace(terms) => {
                db.prepare_cached("INSERT OR REPLACE INTO call_term (rowid, terms) VALUES (?1, ?2)")?
                    .execute((position, terms))?;
            }
            TermChange::Delete => {
                db.prepare_cached("DELETE FROM call_term WHERE rowid = ?1")?.execute([position])?;
            }
        }
    }
    Ok(())
}
