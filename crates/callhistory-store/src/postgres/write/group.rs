//! Group commit: writes of a workspace that arrive while one of its groups is in flight make the next group, which shares its
//! round trips and its commit. A group is one transaction of one workspace.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use callhistory_model::{CallId, WorkspaceId};
use deadpool_postgres::{Object, Pool};
use tokio::{
    sync::Semaphore,
    task,
    time::{sleep, timeout},
};

use super::{
    plan::{GroupPlan, Rejection, Reply},
    rows::GroupRows,
    statements::{self, GroupReads},
};
use crate::{
    concurrency::{
        fair_semaphore::{FairSemaphore, QUEUE_TIMEOUT},
        group_commit::{self, GroupTransaction, QUEUE, QueuedWrite, queue_write},
    },
    domain::{options::StoreOptions, original::ContentHash},
    error::StoreError,
    postgres::{
        epoch::CurrentEpoch,
        error::{PgError, timed_out},
        notify::Listener,
    },
};

/// Maximum number of attempts of a group that conflicts, or loses its connection.
const ATTEMPTS: u32 = 6;
/// Backoff before the second attempt; it doubles with each further one, with jitter.
const BACKOFF: Duration = Duration::from_millis(10);
/// Timeout of one round trip, above the statement timeout of the server; the session is then dropped.
const ROUND_TRIP_TIMEOUT: Duration = Duration::from_secs(20);

impl GroupTransaction for GroupPlan {
    type Info = WriteSet;
    type Error = Rejection;
    /// The sequence before the group.
    type Commit = i64;
}

/// What a write reads, and how much it writes.
#[derive(Default)]
pub(crate) struct WriteSet {
    pub(crate) ids: Vec<CallId>,
    pub(crate) key: Option<String>,
    /// The documents that it may keep, each with the ID of its record.
    pub(crate) documents: Vec<(CallId, ContentHash)>,
    /// Whether it must know which of the records were deleted.
    pub(crate) is_import: bool,
}

type Group = Vec<QueuedWrite<GroupPlan>>;
type Queues = HashMap<WorkspaceId, VecDeque<QueuedWrite<GroupPlan>>>;

/// The writes of a store.
pub(crate) struct PgWriter {
    pool: Pool,
    listener: Listener,
    epoch: Arc<CurrentEpoch>,
    options: StoreOptions,
    /// The waiting writes by workspace; a workspace is present while one of its groups is in flight.
    queues: Mutex<Queues>,
    semaphore: Arc<FairSemaphore>,
    /// Held by writes in flight; closing takes all of them.
    in_flight: Arc<Semaphore>,
}

/// Why a group failed. If it is not known to be rolled back, it can be committed.
struct GroupError {
    error: PgError,
    is_rolled_back: bool,
}

fn rolled_back(error: PgError) -> GroupError {
    GroupError { error, is_rolled_back: true }
}

impl PgWriter {
    pub(crate) fn new(pool: Pool, listener: Listener, epoch: Arc<CurrentEpoch>, options: StoreOptions) -> Arc<Self> {
        let (semaphore, in_flight) = (FairSemaphore::new(QUEUE.0, QUEUE.1), Arc::new(Semaphore::new(QUEUE.0)));
        Arc::new(Self { pool, listener, epoch, options, queues: Mutex::default(), semaphore, in_flight })
    }

    /// Runs a write and waits until it is durable. A submitted write is completed even if the caller stops waiting.
    pub(crate) async fn run<T, F>(
        self: &Arc<Self>,
        workspace: &WorkspaceId,
        write_set: WriteSet,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut GroupPlan) -> Result<Reply<T>, Rejection> + Send + 'static,
    {
        let closed = |_| StoreError::Unavailable("the writer is closed".to_owned());
        let permit = self.semaphore.acquire(workspace).await?;
        let in_flight = Arc::clone(&self.in_flight).acquire_owned().await.map_err(closed)?;
        let weight = write_set.ids.len();
        let (write, response) = queue_write(write_set, weight, (permit, in_flight), work);
        match self.queues().entry(workspace.clone()) {
            Entry::Occupied(mut queue) => queue.get_mut().push_back(write),
            Entry::Vacant(queue) => {
                queue.insert(VecDeque::from([write]));
                tokio::spawn(Arc::clone(self).run_groups(workspace.clone()));
            }
        }
        response.await
    }

    /// Checks that a group can run.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        if self.in_flight.is_closed() {
            return Err(StoreError::Unavailable("the writer is closed".to_owned()));
        }
        let db = self.pool.get().await.map_err(PgError::from)?;
        match timeout(QUEUE_TIMEOUT, statements::is_standby(&db)).await.map_err(timed_out).flatten() {
            Ok(false) => Ok(()),
            Ok(true) => Err(StoreError::Unavailable("the database is a standby".to_owned())),
            Err(error) => {
                roll_back(db, &error).await;
                Err(error.into())
            }
        }
    }

    /// Completes the writes in flight, refuses further ones, and closes the connections.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(QUEUE.0).unwrap_or(u32::MAX);
        let done = self.in_flight.acquire_many(all).await;
        self.in_flight.close();
        drop(done);
        self.pool.close();
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next group of a workspace. If it is empty, the task of the workspace must end.
    fn next_group(&self, workspace: &WorkspaceId) -> Group {
        let mut queues = self.queues();
        let group = queues.get_mut(workspace).map(group_commit::take_group).unwrap_or_default();
        if group.is_empty() {
            queues.remove(workspace);
        }
        group
    }

    async fn run_groups(self: Arc<Self>, workspace: WorkspaceId) {
        let _cleanup = CleanupGuard { writer: &self, workspace: &workspace };
        loop {
            let group = self.next_group(&workspace);
            if group.is_empty() {
                return;
            }
            let (group, outcome) = self.run_group(&workspace, group).await;
            match outcome {
                // The database refused a value. Running each write alone finds the write with this value.
                Err(StoreError::Internal(_)) if group.len() > 1 => {
                    for write in group {
                        let (alone, outcome) = self.run_group(&workspace, vec![write]).await;
                        alone.into_iter().for_each(|write| write.respond(&outcome));
                    }
                }
                outcome => group.into_iter().for_each(|write| write.respond(&outcome)),
            }
        }
    }

    /// Runs a group until it is committed or fails; returns the sequence before it.
    async fn run_group(&self, workspace: &WorkspaceId, mut group: Group) -> (Group, Result<i64, StoreError>) {
        for attempt in 1.. {
            let outcome = self.try_group(workspace, &mut group).await;
            let GroupError { error, is_rolled_back } = match outcome {
                Ok(base) => return (group, Ok(base)),
                Err(failure) => failure,
            };
            let is_transient = error.is_conflict() || is_rolled_back && error.is_disconnected();
            if !is_transient || attempt == ATTEMPTS {
                let error = match StoreError::from(error) {
                    // Other writes conflicted each time; the group itself is valid.
                    StoreError::Internal(reason) if is_transient => StoreError::Unavailable(reason),
                    error => error,
                };
                return (group, Err(error));
            }
            sleep(self.listener.jitter(BACKOFF * 2_u32.pow(attempt - 1))).await;
        }
        (group, Err(StoreError::Internal("a group was not run".to_owned())))
    }

    async fn try_group(&self, workspace: &WorkspaceId, group: &mut Group) -> Result<i64, GroupError> {
        let db = self.pool.get().await.map_err(|error| rolled_back(error.into()))?;
        let outcome = self.commit_group(&db, workspace, group).await;
        if let Err(GroupError { error, .. }) = &outcome {
            roll_back(db, error).await;
            if matches!(error, PgError::OtherServer) {
                self.epoch.advance().await.map_err(rolled_back)?;
            }
        }
        outcome
    }

    async fn commit_group(&self, db: &Object, workspace: &WorkspaceId, group: &mut Group) -> Result<i64, GroupError> {
        let reads = reads(group);
        let begin = statements::begin(db, &self.epoch, (workspace, self.options), &reads);
        let plan = round_trip(begin).await.map_err(rolled_back)?;
        let waiting = std::mem::take(group);
        let planned = task::spawn_blocking(move || run_plan(waiting, plan)).await;
        let failed = |error: task::JoinError| rolled_back(StoreError::Internal(error.to_string()).into());
        let (planned, deferred, rows) = planned.map_err(failed)?;
        *group = planned;
        self.queue_again(workspace, deferred);
        if rows.is_empty() {
            // Nothing to write: the commit only ends the transaction.
            round_trip(async { Ok(db.batch_execute("COMMIT").await?) }).await.map_err(rolled_back)?;
            return Ok(0);
        }
        // A conflict is a response of the server: the group is rolled back. Without a response, it can be committed.
        let failed = |error: PgError| GroupError { is_rolled_back: error.is_conflict(), error };
        let base = round_trip(statements::commit(db, &rows)).await.map_err(failed)?;
        self.listener.notify(workspace);
        Ok(base)
    }

    /// Puts writes in front of the queue.
    fn queue_again(&self, workspace: &WorkspaceId, deferred: Group) {
        let mut queues = self.queues();
        let queue = queues.entry(workspace.clone()).or_default();
        deferred.into_iter().rev().for_each(|write| queue.push_front(write));
    }
}

/// Removes the queue of a workspace when its task panics, so that the next write starts another task.
struct CleanupGuard<'a> {
    writer: &'a PgWriter,
    workspace: &'a WorkspaceId,
}

impl Drop for CleanupGuard<'_> {
    fn drop(&mut self) {
        // The callers of the dropped writes get an error.
        if std::thread::panicking() {
            drop(self.writer.queues().remove(self.workspace));
        }
    }
}

/// Runs the writes on the plan; returns those of the group, those of the next group, and the rows to write.
fn run_plan(group: Group, mut plan: GroupPlan) -> (Group, Group, GroupRows) {
    let is_single = group.len() == 1;
    let (mut planned, mut deferred, mut failed) = (Vec::with_capacity(group.len()), Vec::new(), false);
    for mut write in group {
        match write.run(&mut plan) {
            Err(Rejection::Defer) => deferred.push(write),
            outcome => {
                failed |= outcome.is_err();
                planned.push(write);
            }
        }
    }
    // A write of one record changes the plan in its last step. One of many records can fail after a part of its changes.
    let rows = if is_single && failed { GroupRows::default() } else { GroupRows::of(plan) };
    (planned, deferred, rows)
}

/// What the writes of a group read.
fn reads(group: &Group) -> GroupReads<'_> {
    let sets = || group.iter().map(|write| write.info());
    let documents = sets().flat_map(|set| &set.documents).map(|(id, hash)| (id.as_str(), &hash[..]));
    let documents: HashSet<_> = documents.collect();
    GroupReads {
        ids: distinct(sets().flat_map(|set| &set.ids).map(CallId::as_str)),
        keys: distinct(sets().filter_map(|set| set.key.as_deref())),
        documents: documents.into_iter().unzip(),
        imported: distinct(sets().filter(|set| set.is_import).flat_map(|set| &set.ids).map(CallId::as_str)),
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names.collect::<HashSet<_>>().into_iter().collect()
}

async fn round_trip<T>(statements: impl Future<Output = Result<T, PgError>>) -> Result<T, PgError> {
    timeout(ROUND_TRIP_TIMEOUT, statements).await.map_err(timed_out).flatten()
}

/// Rolls back a failed transaction. If that fails, drops its session, which must not return to the pool.
async fn roll_back(db: Object, error: &PgError) {
    // A session that timed out would time out again.
    let rollback_timeout = if matches!(error, PgError::NoSession(_)) { Duration::ZERO } else { QUEUE_TIMEOUT };
    let ended = timeout(rollback_timeout, db.batch_execute("ROLLBACK")).await;
    if !matches!(ended, Ok(Ok(()))) {
        drop(Object::take(db));
    }
}
