//! Writes on their way to the database: those of a workspace that arrive while a group of it is under way make the next
//! group, which shares its round trips and its commit. A group is one transaction of one workspace.

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
    failure::{Failure, late},
    listen::Listener,
    plan::{Answer, Plan, Stop},
    write::{self, Rows},
};
use crate::{
    StoreError,
    fair::{Fair, Place, QUEUE_TIMEOUT},
};

/// Writes that may be under way, of all workspaces and of one; beyond it callers wait for a place.
const QUEUE: (usize, usize) = (4096, 1024);
/// Writes in one group, so that no caller waits for an unbounded number of others.
const GROUP: usize = 512;
/// How often a group is tried that another server's group, or a lost connection, has undone.
const ATTEMPTS: u32 = 6;
/// The wait before the second attempt; it doubles with each further one, and a part of it is left to chance.
const PAUSE: Duration = Duration::from_millis(10);
/// How long one flight of statements may take before its session is given up: longer than the server lets a statement run.
const FLIGHT_TIMEOUT: Duration = Duration::from_secs(20);

/// The handle of all writes of a store.
#[derive(Clone)]
pub(super) struct Writer(Arc<Inner>);

struct Inner {
    pool: Pool,
    listener: Listener,
    /// The writes that wait, by workspace; a workspace is here while one of its groups is under way.
    queues: Mutex<HashMap<WorkspaceId, VecDeque<Box<dyn Job>>>>,
    turns: Arc<Fair>,
    /// Taken by writes that are under way, and all of them by the end.
    places: Arc<Semaphore>,
}

/// One write on its way through a group.
trait Job: Send {
    fn ids(&self) -> &[CallId];
    fn key(&self) -> Option<&str>;
    /// How many records it writes.
    fn weight(&self) -> usize;
    /// Finds out what it does; gives whether it has a place in this group. It may be asked again, with another plan.
    fn plan(&mut self, plan: &mut Plan) -> bool;
    /// Answers the caller: with the result of the plan, or with why the group was not committed.
    fn answer(self: Box<Self>, group: &Result<i64, StoreError>);
}

/// What a write touches.
pub(super) struct Touched {
    pub(super) ids: Vec<CallId>,
    pub(super) key: Option<String>,
}

struct Write<T, F> {
    touched: Touched,
    work: F,
    result: Option<Result<Answer<T>, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    _turn: Place,
    _place: OwnedSemaphorePermit,
}

impl<T: Send, F: Fn(&mut Plan) -> Result<Answer<T>, Stop> + Send> Job for Write<T, F> {
    fn ids(&self) -> &[CallId] {
        &self.touched.ids
    }

    fn key(&self) -> Option<&str> {
        self.touched.key.as_deref()
    }

    fn weight(&self) -> usize {
        self.touched.ids.len()
    }

    fn plan(&mut self, plan: &mut Plan) -> bool {
        // A panic would end the group, and with it the writes of others. It leaves the plan as it was: a change of the plan
        // is the last step of a write.
        let result = panic::catch_unwind(AssertUnwindSafe(|| (self.work)(plan)));
        let result = result.unwrap_or_else(|_| Err(StoreError::Internal("a write panicked".to_owned()).into()));
        self.result = match result {
            Ok(answer) => Some(Ok(answer)),
            Err(Stop::Failed(error)) => Some(Err(error)),
            Err(Stop::Later) => return false,
        };
        true
    }

    fn answer(self: Box<Self>, group: &Result<i64, StoreError>) {
        let result = match (group, self.result) {
            // First, because what the work found may have been another's write that did not come to be.
            (Err(failure), _) => Err(failure.clone()),
            (Ok(_), Some(Err(own))) => Err(own),
            (Ok(base), Some(Ok(answer))) => Ok(answer(*base)),
            (Ok(_), None) => Err(StoreError::Internal("a write was not planned".to_owned())),
        };
        // The caller may have hung up; its write stands all the same.
        drop(self.reply.send(result));
    }
}

/// Why a group was not committed, and whether it certainly was not.
struct Undone {
    failure: Failure,
    certainly: bool,
}

impl Writer {
    pub(super) fn new(pool: Pool, listener: Listener) -> Self {
        let (turns, places) = (Fair::new(QUEUE.0, QUEUE.1), Arc::new(Semaphore::new(QUEUE.0)));
        Self(Arc::new(Inner { pool, listener, queues: Mutex::default(), turns, places }))
    }

    /// Runs a write and waits until it is on disk. Once handed over it is done even if the caller stops waiting.
    pub(super) async fn run<T, F>(&self, workspace: &WorkspaceId, touched: Touched, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut Plan) -> Result<Answer<T>, Stop> + Send + 'static,
    {
        let closed = |_| StoreError::Unavailable("the writer is closed".to_owned());
        let turn = self.0.turns.enter(workspace).await?;
        let place = Arc::clone(&self.0.places).acquire_owned().await.map_err(closed)?;
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Write { touched, work, result: None, reply, _turn: turn, _place: place });
        match self.0.queues().entry(workspace.clone()) {
            Entry::Occupied(mut queue) => queue.get_mut().push_back(job),
            Entry::Vacant(queue) => {
                queue.insert(VecDeque::from([job as Box<dyn Job>]));
                tokio::spawn(Arc::clone(&self.0).run_groups(workspace.clone()));
            }
        }
        answer.await.map_err(|_| StoreError::Unavailable("the writer has stopped".to_owned()))?
    }

    /// Whether a group could be run.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        if self.0.places.is_closed() {
            return Err(StoreError::Unavailable("the writer is closed".to_owned()));
        }
        let db = self.0.pool.get().await.map_err(Failure::from)?;
        let standby = timeout(QUEUE_TIMEOUT, db.query_one("SELECT pg_is_in_recovery()", &[])).await;
        let Ok(standby) = standby else {
            drop(Object::take(db));
            return Err(late().into());
        };
        if standby?.try_get(0)? { Err(StoreError::Unavailable("the database is a standby".to_owned())) } else { Ok(()) }
    }

    /// Lets every write finish, refuses further ones, and closes the connections.
    pub(super) async fn close(&self) {
        let all = u32::try_from(QUEUE.0).unwrap_or(u32::MAX);
        let done = self.0.places.acquire_many(all).await;
        self.0.places.close();
        drop(done);
        self.0.pool.close();
    }
}

impl Inner {
    fn queues(&self) -> MutexGuard<'_, HashMap<WorkspaceId, VecDeque<Box<dyn Job>>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next group of a workspace, or none, after which nobody looks after the workspace any more.
    fn next_group(&self, workspace: &WorkspaceId) -> Vec<Box<dyn Job>> {
        let mut queues = self.queues();
        let mut group: Vec<Box<dyn Job>> = Vec::new();
        let queue = queues.entry(workspace.clone()).or_default();
        while let Some(job) = queue.pop_front() {
            // A write of many records is a group by itself: where it fails it fails alone.
            if !group.is_empty() && job.weight() > 1 {
                queue.push_front(job);
                break;
            }
            let alone = job.weight() > 1;
            group.push(job);
            if alone || group.len() == GROUP {
                break;
            }
        }
        if group.is_empty() {
            queues.remove(workspace);
        }
        group
    }

    async fn run_groups(self: Arc<Self>, workspace: WorkspaceId) {
        let _gone = Gone { inner: &self, workspace: &workspace };
        loop {
            let group = self.next_group(&workspace);
            if group.is_empty() {
                return;
            }
            let (group, outcome) = self.run_group(&workspace, group).await;
            match outcome {
                // The database refused a value: whose it is shows when each goes alone.
                Err(StoreError::Internal(_)) if group.len() > 1 => {
                    for job in group {
                        let (job, outcome) = self.run_group(&workspace, vec![job]).await;
                        job.into_iter().for_each(|job| job.answer(&outcome));
                    }
                }
                outcome => group.into_iter().for_each(|job| job.answer(&outcome)),
            }
        }
    }

    /// Runs a group until it is committed or cannot be; gives the number before its own.
    async fn run_group(
        &self,
        workspace: &WorkspaceId,
        mut group: Vec<Box<dyn Job>>,
    ) -> (Vec<Box<dyn Job>>, Result<i64, StoreError>) {
        for attempt in 1.. {
            let outcome = self.try_group(workspace, &mut group).await;
            let undone = match outcome {
                Ok(base) => return (group, Ok(base)),
                Err(undone) => undone,
            };
            let repeat = undone.failure.is_conflict() || undone.certainly && undone.failure.is_disconnected();
            if !repeat || attempt == ATTEMPTS {
                let error = match StoreError::from(undone.failure) {
                    // Someone else's writes got in its way each time: nothing is wrong with it.
                    StoreError::Internal(reason) if repeat => StoreError::Unavailable(reason),
                    error => error,
                };
                return (group, Err(error));
            }
            sleep(self.listener.jitter(PAUSE * 2_u32.pow(attempt - 1))).await;
        }
        (group, Err(StoreError::Internal("a group was not tried".to_owned())))
    }

    async fn try_group(&self, workspace: &WorkspaceId, group: &mut Vec<Box<dyn Job>>) -> Result<i64, Undone> {
        let before = |failure: Failure| Undone { failure, certainly: true };
        let db = self.pool.get().await.map_err(|error| before(error.into()))?;
        let ids: HashSet<_> = group.iter().flat_map(|job| job.ids()).map(CallId::as_str).collect();
        let keys: HashSet<_> = group.iter().filter_map(|job| job.key()).collect();
        let (ids, keys): (Vec<_>, Vec<_>) = (ids.into_iter().collect(), keys.into_iter().collect());
        let begun = timeout(FLIGHT_TIMEOUT, write::begin(&db, workspace, &ids, &keys)).await;
        let plan = match begun.map_err(|_| late()).flatten() {
            Ok(plan) => plan,
            Err(failure) => return Err(before(give_up(db, failure).await)),
        };
        let planned = std::mem::take(group);
        let planned = task::spawn_blocking(move || make_plan(planned, plan)).await;
        let (rows, later) = match planned {
            Ok((planned, later, rows)) => {
                *group = planned;
                (rows, later)
            }
            Err(error) => {
                let failure = StoreError::Internal(error.to_string()).into();
                return Err(before(give_up(db, failure).await));
            }
        };
        self.queue_again(workspace, later);
        if rows.is_empty() {
            // Only read; there is nothing that a commit could lose.
            let ended = timeout(FLIGHT_TIMEOUT, db.batch_execute("COMMIT")).await;
            return match ended.map_err(|_| late()).and_then(|ended| Ok(ended?)) {
                Ok(()) => Ok(0),
                Err(failure) => Err(before(give_up(db, failure).await)),
            };
        }
        match timeout(FLIGHT_TIMEOUT, write::commit(&db, &rows)).await.map_err(|_| late()).flatten() {
            Ok(base) => {
                self.listener.announce(workspace);
                Ok(base)
            }
            // An answer of the server says that it was undone. Without one, it may have been committed.
            Err(failure) => {
                let certainly = failure.is_conflict();
                Err(Undone { failure: give_up(db, failure).await, certainly })
            }
        }
    }

    /// Puts writes in front of those that wait.
    fn queue_again(&self, workspace: &WorkspaceId, later: Vec<Box<dyn Job>>) {
        let mut queues = self.queues();
        let queue = queues.entry(workspace.clone()).or_default();
        later.into_iter().rev().for_each(|job| queue.push_front(job));
    }
}

/// Whatever ends the task of a workspace, the next write of the workspace starts another.
struct Gone<'a> {
    inner: &'a Inner,
    workspace: &'a WorkspaceId,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        // Only after a panic there is anything left, and its callers are told that the writer has stopped.
        if std::thread::panicking() {
            drop(self.inner.queues().remove(self.workspace));
        }
    }
}

type Planned = (Vec<Box<dyn Job>>, Vec<Box<dyn Job>>, Rows);

/// Asks each write what it does; gives those of the group, those of the next, and what is to be written.
fn make_plan(group: Vec<Box<dyn Job>>, mut plan: Plan) -> Planned {
    let (mut planned, mut later) = (Vec::with_capacity(group.len()), Vec::new());
    for mut job in group {
        if job.plan(&mut plan) { planned.push(job) } else { later.push(job) }
    }
    (planned, later, Rows::of(plan))
}

/// Ends a transaction that failed, or else its session, which must not go back to the others with it.
async fn give_up(db: Object, failure: Failure) -> Failure {
    // One that was late would be late again.
    let patience = if matches!(failure, Failure::NoSession(_)) { Duration::ZERO } else { QUEUE_TIMEOUT };
    let ended = timeout(patience, db.batch_execute("ROLLBACK")).await;
    if !matches!(ended, Ok(Ok(()))) {
        drop(Object::take(db));
    }
    failure
}
