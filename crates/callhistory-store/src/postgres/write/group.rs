//! Group commit: writes of a workspace that arrive while one of its groups is in flight make the next group, which shares its
//! round trips and its commit. A group is one transaction of one workspace.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use callhistory_model::{CallId, WorkspaceId};
use deadpool_postgres::{Object, Pool};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task,
    time::{sleep, timeout},
};

use super::{
    plan::{GroupPlan, Rejection, Reply},
    statements::{self, GroupRows},
};
use crate::{
    concurrency::fair_semaphore::{FairSemaphore, Permit, QUEUE_TIMEOUT},
    error::StoreError,
    postgres::{
        error::{PgError, timed_out},
        notify::Listener,
    },
};

/// Maximum number of writes in flight, of all workspaces and of one; further callers wait for a permit.
const QUEUE: (usize, usize) = (4096, 1024);
/// Maximum number of writes in one group, so that no caller waits for an unbounded number of others.
const MAX_GROUP: usize = 512;
/// Maximum number of attempts of a group that conflicts, or loses its connection.
const ATTEMPTS: u32 = 6;
/// Backoff before the second attempt; it doubles with each further one, with jitter.
const BACKOFF: Duration = Duration::from_millis(10);
/// Timeout of one round trip, above the statement timeout of the server; the session is then dropped.
const ROUND_TRIP_TIMEOUT: Duration = Duration::from_secs(20);

/// The handle of all writes of a store.
#[derive(Clone)]
pub(crate) struct Writer(Arc<Inner>);

struct Inner {
    pool: Pool,
    listener: Listener,
    /// The waiting writes by workspace; a workspace is present while one of its groups is in flight.
    queues: Mutex<HashMap<WorkspaceId, VecDeque<Box<dyn Job>>>>,
    semaphore: Arc<FairSemaphore>,
    /// Held by writes in flight; closing takes all of them.
    in_flight: Arc<Semaphore>,
}

/// One statements on its way through a group.
trait Job: Send {
    fn ids(&self) -> &[CallId];
    fn key(&self) -> Option<&str>;
    /// The number of records that it writes.
    fn weight(&self) -> usize;
    /// Plans the write; false if it belongs to the next group. It can be called again, with another plan.
    fn plan(&mut self, plan: &mut GroupPlan) -> bool;
    /// Replies to the caller with the result of the plan, or with the error of the group.
    fn respond(self: Box<Self>, group: &Result<i64, StoreError>);
}

/// The records and the key of a write.
pub(crate) struct WriteSet {
    pub(crate) ids: Vec<CallId>,
    pub(crate) key: Option<String>,
}

struct Write<T, F> {
    write_set: WriteSet,
    work: F,
    result: Option<Result<Reply<T>, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    _permit: Permit,
    _in_flight: OwnedSemaphorePermit,
}

impl<T: Send, F: Fn(&mut GroupPlan) -> Result<Reply<T>, Rejection> + Send> Job for Write<T, F> {
    fn ids(&self) -> &[CallId] {
        &self.write_set.ids
    }

    fn key(&self) -> Option<&str> {
        self.write_set.key.as_deref()
    }

    fn weight(&self) -> usize {
        self.write_set.ids.len()
    }

    fn plan(&mut self, plan: &mut GroupPlan) -> bool {
        // A panic would end the group, and with it the writes of others. It leaves the plan as it was: a change of the plan
        // is the last step of a statements.
        let result = panic::catch_unwind(AssertUnwindSafe(|| (self.work)(plan)));
        let result = result.unwrap_or_else(|_| Err(StoreError::Internal("a write panicked".to_owned()).into()));
        self.result = match result {
            Ok(answer) => Some(Ok(answer)),
            Err(Rejection::Failed(error)) => Some(Err(error)),
            Err(Rejection::Defer) => return false,
        };
        true
    }

    fn respond(self: Box<Self>, group: &Result<i64, StoreError>) {
        let result = match (group, self.result) {
            // First, because the work can have seen another write of the group that was rolled back.
            (Err(error), _) => Err(error.clone()),
            (Ok(_), Some(Err(own))) => Err(own),
            (Ok(base), Some(Ok(answer))) => Ok(answer(*base)),
            (Ok(_), None) => Err(StoreError::Internal("a write was not planned".to_owned())),
        };
        // The caller may have hung up; its statements stands all the same.
        drop(self.reply.send(result));
    }
}

/// Why a group failed, and whether it is certainly not committed.
struct RolledBack {
    error: PgError,
    certainly: bool,
}

impl Writer {
    pub(crate) fn new(pool: Pool, listener: Listener) -> Self {
        let (semaphore, in_flight) = (FairSemaphore::new(QUEUE.0, QUEUE.1), Arc::new(Semaphore::new(QUEUE.0)));
        Self(Arc::new(Inner { pool, listener, queues: Mutex::default(), semaphore, in_flight }))
    }

    /// Runs a write and waits until it is durable. A submitted write is completed even if the caller stops waiting.
    pub(crate) async fn run<T, F>(&self, workspace: &WorkspaceId, write_set: WriteSet, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut GroupPlan) -> Result<Reply<T>, Rejection> + Send + 'static,
    {
        let closed = |_| StoreError::Unavailable("the writer is closed".to_owned());
        let permit = self.0.semaphore.acquire(workspace).await?;
        let in_flight_permit = Arc::clone(&self.0.in_flight).acquire_owned().await.map_err(closed)?;
        let (reply, response) = oneshot::channel();
        let job =
            Box::new(Write { write_set, work, result: None, reply, _permit: permit, _in_flight: in_flight_permit });
        match self.0.queues().entry(workspace.clone()) {
            Entry::Occupied(mut queue) => queue.get_mut().push_back(job),
            Entry::Vacant(queue) => {
                queue.insert(VecDeque::from([job as Box<dyn Job>]));
                tokio::spawn(Arc::clone(&self.0).run_groups(workspace.clone()));
            }
        }
        response.await.map_err(|_| StoreError::Unavailable("the writer has stopped".to_owned()))?
    }

    /// Checks that a group can run.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        if self.0.in_flight.is_closed() {
            return Err(StoreError::Unavailable("the writer is closed".to_owned()));
        }
        let db = self.0.pool.get().await.map_err(PgError::from)?;
        match timeout(QUEUE_TIMEOUT, statements::is_standby(&db)).await {
            Ok(Ok(false)) => Ok(()),
            Ok(Ok(true)) => Err(StoreError::Unavailable("the database is a standby".to_owned())),
            Ok(Err(error)) => Err(error.into()),
            Err(elapsed) => {
                drop(Object::take(db));
                Err(timed_out(elapsed).into())
            }
        }
    }

    /// Lets every statements finish, refuses further ones, and closes the connections.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(QUEUE.0).unwrap_or(u32::MAX);
        let done = self.0.in_flight.acquire_many(all).await;
        self.0.in_flight.close();
        drop(done);
        self.0.pool.close();
    }
}

impl Inner {
    fn queues(&self) -> MutexGuard<'_, HashMap<WorkspaceId, VecDeque<Box<dyn Job>>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next group of a workspace; after an empty one the task of the workspace ends.
    fn next_group(&self, workspace: &WorkspaceId) -> Vec<Box<dyn Job>> {
        let mut queues = self.queues();
        let mut group: Vec<Box<dyn Job>> = Vec::new();
        let queue = queues.entry(workspace.clone()).or_default();
        while let Some(job) = queue.pop_front() {
            // A statements of many records is a group by itself: where it fails it fails alone.
            if !group.is_empty() && job.weight() > 1 {
                queue.push_front(job);
                break;
            }
            let alone = job.weight() > 1;
            group.push(job);
            if alone || group.len() == MAX_GROUP {
                break;
            }
        }
        if group.is_empty() {
            queues.remove(workspace);
        }
        group
    }

    async fn run_groups(self: Arc<Self>, workspace: WorkspaceId) {
        let _cleanup = CleanupGuard { inner: &self, workspace: &workspace };
        loop {
            let group = self.next_group(&workspace);
            if group.is_empty() {
                return;
            }
            let (group, outcome) = self.run_group(&workspace, group).await;
            match outcome {
                // The database refused a value; running each write alone finds whose it is.
                Err(StoreError::Internal(_)) if group.len() > 1 => {
                    for job in group {
                        let (job, outcome) = self.run_group(&workspace, vec![job]).await;
                        job.into_iter().for_each(|job| job.respond(&outcome));
                    }
                }
                outcome => group.into_iter().for_each(|job| job.respond(&outcome)),
            }
        }
    }

    /// Runs a group until it is committed or fails; returns the sequence before it.
    async fn run_group(
        &self,
        workspace: &WorkspaceId,
        mut group: Vec<Box<dyn Job>>,
    ) -> (Vec<Box<dyn Job>>, Result<i64, StoreError>) {
        for attempt in 1.. {
            let outcome = self.try_group(workspace, &mut group).await;
            let rolled_back = match outcome {
                Ok(base) => return (group, Ok(base)),
                Err(rolled_back) => rolled_back,
            };
            let repeat =
                rolled_back.error.is_conflict() || rolled_back.certainly && rolled_back.error.is_disconnected();
            if !repeat || attempt == ATTEMPTS {
                let error = match StoreError::from(rolled_back.error) {
                    // Other writes conflicted each time; the group itself is valid.
                    StoreError::Internal(reason) if repeat => StoreError::Unavailable(reason),
                    error => error,
                };
                return (group, Err(error));
            }
            sleep(self.listener.jitter(BACKOFF * 2_u32.pow(attempt - 1))).await;
        }
        (group, Err(StoreError::Internal("a group was not run".to_owned())))
    }

    async fn try_group(&self, workspace: &WorkspaceId, group: &mut Vec<Box<dyn Job>>) -> Result<i64, RolledBack> {
        let before = |error: PgError| RolledBack { error, certainly: true };
        let db = self.pool.get().await.map_err(|error| before(error.into()))?;
        let ids: HashSet<_> = group.iter().flat_map(|job| job.ids()).map(CallId::as_str).collect();
        let keys: HashSet<_> = group.iter().filter_map(|job| job.key()).collect();
        let (ids, keys): (Vec<_>, Vec<_>) = (ids.into_iter().collect(), keys.into_iter().collect());
        let begun = timeout(ROUND_TRIP_TIMEOUT, statements::begin(&db, workspace, &ids, &keys)).await;
        let plan = match begun.map_err(timed_out).flatten() {
            Ok(plan) => plan,
            Err(error) => return Err(before(give_up(db, error).await)),
        };
        let planned = std::mem::take(group);
        let planned = task::spawn_blocking(move || make_plan(planned, plan)).await;
        let (rows, deferred) = match planned {
            Ok((planned, deferred, rows)) => {
                *group = planned;
                (rows, deferred)
            }
            Err(error) => {
                let error = StoreError::Internal(error.to_string()).into();
                return Err(before(give_up(db, error).await));
            }
        };
        self.queue_again(workspace, deferred);
        if rows.is_empty() {
            // Only reads: a commit has nothing to lose.
            let ended = timeout(ROUND_TRIP_TIMEOUT, db.batch_execute("COMMIT")).await;
            return match ended.map_err(timed_out).and_then(|ended| Ok(ended?)) {
                Ok(()) => Ok(0),
                Err(error) => Err(before(give_up(db, error).await)),
            };
        }
        match timeout(ROUND_TRIP_TIMEOUT, statements::commit(&db, &rows)).await.map_err(timed_out).flatten() {
            Ok(base) => {
                self.listener.notify(workspace);
                Ok(base)
            }
            // A response of the server says that it was rolled back. Without one, it can be committed.
            Err(error) => {
                let certainly = error.is_conflict();
                Err(RolledBack { error: give_up(db, error).await, certainly })
            }
        }
    }

    /// Puts writes in front of the waiting ones.
    fn queue_again(&self, workspace: &WorkspaceId, deferred: Vec<Box<dyn Job>>) {
        let mut queues = self.queues();
        let queue = queues.entry(workspace.clone()).or_default();
        deferred.into_iter().rev().for_each(|job| queue.push_front(job));
    }
}

/// Removes the queue of a workspace when its task panics, so that the next write starts another task.
struct CleanupGuard<'a> {
    inner: &'a Inner,
    workspace: &'a WorkspaceId,
}

impl Drop for CleanupGuard<'_> {
    fn drop(&mut self) {
        // Only a panic leaves writes; their callers get an error.
        if std::thread::panicking() {
            drop(self.inner.queues().remove(self.workspace));
        }
    }
}

type Planned = (Vec<Box<dyn Job>>, Vec<Box<dyn Job>>, GroupRows);

/// Asks each statements what it does; gives those of the group, those of the next, and what is to be written.
fn make_plan(group: Vec<Box<dyn Job>>, mut plan: GroupPlan) -> Planned {
    let (mut planned, mut deferred) = (Vec::with_capacity(group.len()), Vec::new());
    for mut job in group {
        if job.plan(&mut plan) { planned.push(job) } else { deferred.push(job) }
    }
    (planned, deferred, GroupRows::of(plan))
}

/// Rolls back a failed transaction, or drops its session, which must not return to the pool.
async fn give_up(db: Object, error: PgError) -> PgError {
    // A session that was late would be late again.
    let rollback_timeout = if matches!(error, PgError::NoSession(_)) { Duration::ZERO } else { QUEUE_TIMEOUT };
    let ended = timeout(rollback_timeout, db.batch_execute("ROLLBACK")).await;
    if !matches!(ended, Ok(Ok(()))) {
        drop(Object::take(db));
    }
    error
}
