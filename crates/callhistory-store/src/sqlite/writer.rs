//! The one writer: what arrives while a commit waits for the disk shares the next commit.

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
    time::{Duration, Instant},
};

use callhistory_model::{CallId, WorkspaceId};
use rusqlite::{Connection, hooks::Wal};
use tokio::sync::{mpsc, oneshot};

use super::{
    disk::{Ballast, Disk, Look},
    open::{self, BUSY_TIMEOUT},
    readers::Readers,
    segments::{self, Entry},
};
use crate::{
    StoreError,
    fair::{Fair, Place},
    feed::Feed,
    metrics::Row,
};

/// Writes that may wait, of all workspaces and of one; beyond it callers wait for a place.
const QUEUE: (usize, usize) = (4096, 1024);
/// The same for writes of many records, each of which is a group by itself.
const MANY_QUEUE: (usize, usize) = (2, 1);
/// Pages of the log after which it is folded into the database.
const FOLDED_PAGES: i32 = 4000;
/// Writes in one commit, so that no caller waits for an unbounded number of others.
const GROUP: usize = 512;

/// The handle of the writing thread. The thread ends when the handle is dropped or closed.
pub(crate) struct Writer {
    queue: mpsc::UnboundedSender<Message>,
    single: Arc<Fair>,
    many: Arc<Fair>,
}

/// What becomes of the terms at a position.
pub(crate) enum Change {
    /// There are none yet: to look for those of before takes the index as long as to take new ones.
    Insert(String),
    Replace(String),
    Delete,
}

/// What a write works with: the group's transaction, and what is to be done once at its end.
pub(crate) struct Batch<'a> {
    pub(crate) db: &'a Connection,
    /// The number before the first change of a new workspace.
    pub(crate) first_sequence: i64,
    terms: RefCell<Vec<(i64, Change)>>,
    numbers: RefCell<Vec<(String, Entry, i64)>>,
    changed: RefCell<Vec<(WorkspaceId, CallId)>>,
}

impl Batch<'_> {
    /// Changes the terms of the record at a position at the end of the group: the index takes its rows fast only in the
    /// order of their positions.
    pub(crate) fn index(&self, position: i64, change: Change) {
        self.terms.borrow_mut().push((position, change));
    }

    /// Has a call counted at the end of the group, or counted no more.
    pub(crate) fn count(&self, workspace: &WorkspaceId, row: &Row<'_>, by: i64) -> rusqlite::Result<()> {
        let entry = segments::entry(self.db, workspace, row)?;
        self.numbers.borrow_mut().push((workspace.as_str().to_owned(), entry, by));
        Ok(())
    }

    /// Has those who follow the workspace woken once the change is on disk, and nobody read what was before it.
    pub(crate) fn announce(&self, workspace: &WorkspaceId, id: &CallId) {
        self.changed.borrow_mut().push((workspace.clone(), id.clone()));
    }
}

/// What the writes of a group leave to its end.
#[derive(Default)]
struct Rest {
    terms: BTreeMap<i64, Change>,
    numbers: segments::Changes,
    changed: Vec<(WorkspaceId, CallId)>,
    first_sequence: i64,
}

enum Message {
    Write(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// One write on its way through a group.
trait Job: Send {
    /// Does the work inside the group's transaction; an error asks to have it undone.
    fn run(&mut self, tx: &Batch<'_>) -> Result<(), StoreError>;
    fn kind(&self) -> Kind;
    /// How many records it writes.
    fn weight(&self) -> usize;
    /// Answers the caller: with the result of the work, or with why the group was not committed.
    fn answer(self: Box<Self>, group: &Result<(), StoreError>);
}

/// What a write needs of the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Writes,
    /// It only takes away: a full disk is no reason to refuse it.
    Erases,
}

struct Write<T, F> {
    kind: Kind,
    weight: usize,
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    /// Kept until the answer, also where the caller has stopped waiting.
    _place: Option<Place>,
}

impl<T: Send, F: FnOnce(&Batch<'_>) -> Result<T, StoreError> + Send> Job for Write<T, F> {
    fn run(&mut self, tx: &Batch<'_>) -> Result<(), StoreError> {
        let Some(work) = self.work.take() else { return Ok(()) };
        // A panic would end the one thread that writes. Whatever the work left half-done is rolled back like any failure.
        let result = panic::catch_unwind(AssertUnwindSafe(|| work(tx)));
        let result = result.unwrap_or_else(|_| Err(StoreError::Internal("a write panicked".to_owned())));
        let outcome = result.as_ref().map(drop).map_err(Clone::clone);
        self.result = Some(result);
        outcome
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn weight(&self) -> usize {
        self.weight
    }

    fn answer(self: Box<Self>, group: &Result<(), StoreError>) {
        let result = match (group, self.result) {
            // First, because what the work found may have been another's write that did not come to be.
            (Err(failure), _) => Err(failure.clone()),
            (Ok(()), Some(Err(own))) => Err(own),
            (Ok(()), Some(Ok(done))) => Ok(done),
            (Ok(()), None) => Err(StoreError::Internal("a write was not run".to_owned())),
        };
        // The caller may have hung up; its write stands all the same.
        drop(self.reply.send(result));
    }
}

impl Writer {
    /// Starts the thread that owns the writing connection.
    pub(crate) fn start(
        db: Connection,
        path: &Path,
        (feed, readers): (Feed, Arc<Readers>),
        disk: Arc<Disk>,
    ) -> Result<Self, StoreError> {
        let file = DatabaseFile::new(&db, path)?;
        // Bounded by the places.
        let (queue, jobs) = mpsc::unbounded_channel();
        let thread = thread::Builder::new().name("sqlite-writer".to_owned());
        thread
            .spawn(move || write_groups(db, &file, (&feed, &readers), &disk, jobs))
            .map_err(|error| StoreError::Open(format!("the writing thread cannot be started: {error}")))?;
        let (single, many) = (Fair::new(QUEUE.0, QUEUE.1), Fair::new(MANY_QUEUE.0, MANY_QUEUE.1));
        Ok(Self { queue, single, many })
    }

    /// Runs a write that only takes away, which goes on where the disk is full.
    pub(crate) async fn erase<T, F>(&self, workspace: &WorkspaceId, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let place = self.single.enter(workspace).await?;
        self.hand_over(Kind::Erases, 1, Some(place), work).await
    }

    /// Runs a write and waits until it is on disk. Once handed over it is done even if the caller stops waiting.
    pub(crate) async fn run<T, F>(&self, workspace: &WorkspaceId, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let place = self.single.enter(workspace).await?;
        self.hand_over(Kind::Writes, 1, Some(place), work).await
    }

    /// The same for a write of so many records.
    pub(crate) async fn run_many<T, F>(&self, workspace: &WorkspaceId, weight: usize, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let place = self.many.enter(workspace).await?;
        self.hand_over(Kind::Writes, weight, Some(place), work).await
    }

    /// Whether the thread takes work and answers it.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        self.hand_over(Kind::Writes, 1, None, |_| Ok(())).await
    }

    async fn hand_over<T, F>(&self, kind: Kind, weight: usize, place: Option<Place>, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Write { kind, weight, work: Some(work), result: None, reply, _place: place });
        let closed = || StoreError::Unavailable("the writer is closed".to_owned());
        self.queue.send(Message::Write(job)).map_err(|_| closed())?;
        answer.await.map_err(|_| StoreError::Unavailable("the writer has stopped".to_owned()))?
    }

    /// Lets the writer finish what it has, and waits for that.
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
    (feed, readers): (&Feed, &Readers),
    disk: &Arc<Disk>,
    mut jobs: mpsc::UnboundedReceiver<Message>,
) {
    let (mut ballast, mut looked) = (Ballast::new(Arc::clone(disk)), Look::default());
    let pages = Arc::new(AtomicI32::new(0));
    let mut broken = count_pages(&mut db, &pages).err().map(|error| error.to_string());
    let mut closing = None;
    let mut kept_back = None;
    // After a close this goes on until what was handed over before it is done.
    while let Some(first) = kept_back.take().or_else(|| jobs.blocking_recv()) {
        let mut group: Vec<Box<dyn Job>> = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                // A write of many records is a group by itself: a savepoint around it would keep a copy of each page.
                Message::Write(job) if !group.is_empty() && job.weight() > 1 => {
                    kept_back = Some(Message::Write(job));
                    break;
                }
                Message::Write(job) => group.push(job),
                Message::Close(done) => {
                    jobs.close();
                    closing = Some(done);
                }
            }
            if group.len() < GROUP && group.first().is_none_or(|job| job.weight() == 1) {
                next = jobs.try_recv().ok();
            }
        }
        let mut tended = Ok(());
        if ballast.is_full(|| tended = fold(&db).map(drop)) {
            let (erasing, refused) = group.into_iter().partition(|job| job.kind() == Kind::Erases);
            group = erasing;
            let full = Err(StoreError::Full("writes are refused until there is room".to_owned()));
            Vec::into_iter(refused).for_each(|job| job.answer(&full));
        }
        let outcome = match &broken {
            Some(reason) => Err(StoreError::Unavailable(reason.clone())),
            None if group.is_empty() => Ok(()),
            None => commit_group(&db, file, readers, &mut group).map(|changed| {
                feed.announce(&changed.into_iter().map(|(workspace, _)| workspace).collect());
            }),
        };
        group.into_iter().for_each(|job| job.answer(&outcome));
        if outcome.is_ok() && tended.is_ok() {
            tended = tend(&db, disk, readers, &pages, &mut looked);
        }
        let failed = [outcome, tended].into_iter().filter_map(Result::err);
        for failure in failed {
            if matches!(failure, StoreError::Full(_)) {
                ballast.release();
            }
            let StoreError::Io(reason) = failure else { continue };
            // After a failed sync nobody can tell what the disk holds, and a repeated sync may claim success falsely:
            // nothing more is acknowledged until the database has been opened anew.
            tracing::error!(reason, "the database could not be written; writes stop until a restart");
            disk.has_stopped.store(true, Ordering::Relaxed);
            broken = Some(format!("writes have stopped after an I/O error ({reason}); restart the server"));
        }
    }
    // Those that read may outlive this connection; where they are in the way, the last one of them folds the log.
    readers.let_go();
    if let Err(error) = fold(&db) {
        tracing::warn!(error = error.to_string(), "the log was not folded into the database");
    }
    drop(db);
    if let Some(done) = closing {
        // Whoever asked to close may have stopped waiting.
        let _ = done.send(());
    }
}

/// The file that was opened. A deleted file takes writes and syncs without complaint, and they are gone at the next start.
struct DatabaseFile {
    path: PathBuf,
    identity: Option<u64>,
    first_sequence: i64,
}

impl DatabaseFile {
    fn new(db: &Connection, path: &Path) -> Result<Self, StoreError> {
        // Absolute, because the path must still name the file when the process changes its directory.
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

/// Elsewhere an open file cannot be deleted.
#[cfg(not(unix))]
fn identity(_: &Path) -> Option<u64> {
    None
}

/// Has the pages of the log counted at each commit. SQLite's own way to fold the log inside a commit hides that it failed.
fn count_pages(db: &mut Connection, pages: &Arc<AtomicI32>) -> Result<(), StoreError> {
    let count = Arc::clone(pages);
    db.wal_hook(Some(move |_: &mut Wal, pages| {
        count.store(pages, Ordering::Relaxed);
        Ok(())
    }))?;
    Ok(())
}

/// Keeps the log short, between groups, when those who wrote have their answers.
fn tend(
    db: &Connection,
    disk: &Disk,
    readers: &Readers,
    pages: &AtomicI32,
    looked: &mut Look,
) -> Result<(), StoreError> {
    if disk.is_wal_too_large(looked) {
        readers.let_go();
        if !fold(db)? {
            disk.end_snapshots(looked);
        }
    } else if pages.load(Ordering::Relaxed) >= FOLDED_PAGES {
        pages.store(0, Ordering::Relaxed);
        checkpoint(db, "PRAGMA wal_checkpoint(PASSIVE)")?;
        readers.let_go();
    }
    Ok(())
}

/// Folds the log into the database and cuts it off; gives whether readers allowed it.
fn fold(db: &Connection) -> Result<bool, StoreError> {
    // Writers wait meanwhile: what is not possible at once is tried again after the next commit.
    db.busy_timeout(Duration::ZERO)?;
    let folded = checkpoint(db, "PRAGMA wal_checkpoint(TRUNCATE)");
    db.busy_timeout(BUSY_TIMEOUT)?;
    folded
}

/// Runs a checkpoint; gives whether it was done. A disk that fails here loses what was answered before, so it is as grave
/// as in a commit; a reader in the way is nothing.
fn checkpoint(db: &Connection, text: &str) -> Result<bool, StoreError> {
    match db.query_row(text, [], |row| row.get::<_, i64>(0)).map_err(StoreError::from) {
        Ok(is_held_back) => Ok(is_held_back == 0),
        Err(StoreError::Unavailable(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Runs the jobs in one transaction and commits it; gives the records that changed.
fn commit_group(
    db: &Connection,
    file: &DatabaseFile,
    readers: &Readers,
    group: &mut [Box<dyn Job>],
) -> Result<Vec<(WorkspaceId, CallId)>, StoreError> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    let mut rest = Rest { first_sequence: file.first_sequence, ..Rest::default() };
    let writes = u32::try_from(group.len()).unwrap_or(u32::MAX);
    let run = match group {
        // Alone, it needs no savepoint: what undoes it undoes the group.
        [only] => run_alone(db, only.as_mut(), &mut rest),
        several => several.iter_mut().try_for_each(|job| run_job(db, job.as_mut(), &mut rest)),
    };
    let indexed = run.and_then(|()| write_terms(db, &rest.terms)).and_then(|()| segments::apply(db, &rest.numbers));
    let started = Instant::now();
    readers.expect_commit(&rest.changed);
    let outcome = indexed.and_then(|()| file.check()).and_then(|()| Ok(db.execute_batch("COMMIT")?));
    readers.renew();
    metrics::histogram!("callhistory_commit_seconds").record(started.elapsed());
    metrics::histogram!("callhistory_commit_writes").record(writes);
    if outcome.is_err() && !db.is_autocommit() && db.execute_batch("ROLLBACK").is_err() {
        return Err(StoreError::Io("a transaction could not be rolled back".to_owned()));
    }
    outcome.map(|()| rest.changed)
}

fn run_alone(db: &Connection, job: &mut dyn Job, rest: &mut Rest) -> Result<(), StoreError> {
    let batch = Batch {
        db,
        first_sequence: rest.first_sequence,
        terms: RefCell::default(),
        numbers: RefCell::default(),
        changed: RefCell::default(),
    };
    job.run(&batch)?;
    for (position, change) in batch.terms.into_inner() {
        let is_first = !rest.terms.contains_key(&position);
        // What else happened to the position in this group may have left terms there.
        let change = match change {
            Change::Insert(terms) if !is_first => Change::Replace(terms),
            change => change,
        };
        rest.terms.insert(position, change);
    }
    for (workspace, entry, by) in batch.numbers.into_inner() {
        *rest.numbers.entry((workspace, entry)).or_default() += by;
    }
    rest.changed.extend(batch.changed.into_inner());
    Ok(())
}

/// Runs one job so that its failure undoes its own work alone.
fn run_job(db: &Connection, job: &mut dyn Job, rest: &mut Rest) -> Result<(), StoreError> {
    db.prepare_cached("SAVEPOINT job")?.execute([])?;
    match run_alone(db, job, rest) {
        Ok(()) => {}
        // On a full disk or an I/O error SQLite may roll the whole transaction back, and the group with it.
        Err(error) if db.is_autocommit() => return Err(error),
        Err(_) => {
            db.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
    }
    db.prepare_cached("RELEASE job")?.execute([])?;
    Ok(())
}

fn write_terms(db: &Connection, changes: &BTreeMap<i64, Change>) -> Result<(), StoreError> {
    for (position, change) in changes {
        match change {
            Change::Insert(terms) => {
                db.prepare_cached("INSERT INTO call_term (rowid, terms) VALUES (?1, ?2)")?
                    .execute((position, terms))?;
            }
            Change::Replace(terms) => {
                db.prepare_cached("INSERT OR REPLACE INTO call_term (rowid, terms) VALUES (?1, ?2)")?
                    .execute((position, terms))?;
            }
            Change::Delete => {
                db.prepare_cached("DELETE FROM call_term WHERE rowid = ?1")?.execute([position])?;
            }
        }
    }
    Ok(())
}
