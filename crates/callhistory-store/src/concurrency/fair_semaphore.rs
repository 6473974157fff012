//! A semaphore that all workspaces share: a busy workspace does not starve a quiet one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use callhistory_model::WorkspaceId;
use tokio::{sync::oneshot, time::timeout};

use crate::error::StoreError;

/// How long a caller waits for a permit.
pub(crate) const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// A number of permits, of which one workspace holds at most a share. Waiting callers get them round-robin by workspace, and in
/// the order of arrival within a workspace.
pub(crate) struct FairSemaphore {
    share: usize,
    state: Mutex<State>,
}

struct State {
    free: usize,
    held: HashMap<WorkspaceId, usize>,
    waiting: HashMap<WorkspaceId, VecDeque<oneshot::Sender<Permit>>>,
    /// The workspaces that wait, the next one first.
    round_robin: VecDeque<WorkspaceId>,
}

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// All permits are taken.
    Total,
    /// The workspace holds its share.
    Share,
}

/// A permit, which is released when this value is dropped.
pub(crate) struct Permit {
    semaphore: Arc<FairSemaphore>,
    workspace: WorkspaceId,
}

impl FairSemaphore {
    pub(crate) fn new(permits: usize, share: usize) -> Arc<Self> {
        let state =
            State { free: permits, held: HashMap::new(), waiting: HashMap::new(), round_robin: VecDeque::new() };
        Arc::new(Self { share, state: Mutex::new(state) })
    }

    /// Waits for a permit.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if there is none in time.
    pub(crate) async fn acquire(self: &Arc<Self>, workspace: &WorkspaceId) -> Result<Permit, StoreError> {
        let granted = {
            let mut state = self.state();
            if state.free > 0 && state.held(workspace) < self.share {
                return Ok(state.take(self, workspace.clone()));
            }
            let (sender, granted) = oneshot::channel();
            let queue = state.waiting.entry(workspace.clone()).or_default();
            queue.push_back(sender);
            if queue.len() == 1 {
                state.round_robin.push_back(workspace.clone());
            }
            granted
        };
        let busy =
            || StoreError::Unavailable("too many operations are in flight; no permit became free in time".to_owned());
        timeout(QUEUE_TIMEOUT, granted).await.map_err(|_| busy())?.map_err(|_| busy())
    }

    /// Takes a permit if one is free now.
    pub(crate) fn try_acquire(self: &Arc<Self>, workspace: &WorkspaceId) -> Result<Permit, Exhausted> {
        let mut state = self.state();
        match (state.free, state.held(workspace)) {
            (0, _) => Err(Exhausted::Total),
            (_, held) if held >= self.share => Err(Exhausted::Share),
            _ => Ok(state.take(self, workspace.clone())),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn held(&self, workspace: &WorkspaceId) -> usize {
        self.held.get(workspace).copied().unwrap_or(0)
    }

    fn take(&mut self, semaphore: &Arc<FairSemaphore>, workspace: WorkspaceId) -> Permit {
        self.free -= 1;
        *self.held.entry(workspace.clone()).or_default() += 1;
        Permit { semaphore: Arc::clone(semaphore), workspace }
    }

    fn release(&mut self, workspace: &WorkspaceId) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(workspace) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(workspace);
            }
        }
    }

    /// The next waiting caller whose workspace holds less than its share.
    fn next(&mut self, share: usize) -> Option<(WorkspaceId, oneshot::Sender<Permit>)> {
        for _ in 0..self.round_robin.len() {
            let workspace = self.round_robin.pop_front()?;
            let may = self.held(&workspace) < share;
            let queue = self.waiting.get_mut(&workspace)?;
            // A caller that hung up no longer waits.
            while queue.front().is_some_and(oneshot::Sender::is_closed) {
                queue.pop_front();
            }
            let next = if may { queue.pop_front() } else { None };
            if queue.is_empty() {
                self.waiting.remove(&workspace);
            } else {
                self.round_robin.push_back(workspace.clone());
            }
            if let Some(sender) = next {
                return Some((workspace, sender));
            }
        }
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let granted = {
            let mut state = self.semaphore.state();
            state.release(&self.workspace);
            let next = state.next(self.semaphore.share);
            next.map(|(workspace, sender)| (state.take(&self.semaphore, workspace), sender))
        };
        // Outside the lock: a permit that nobody takes is released at once.
        if let Some((permit, sender)) = granted {
            drop(sender.send(permit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(name: &str) -> WorkspaceId {
        name.parse().unwrap()
    }

    /// A hundred waiting callers of a busy workspace do not delay the first of a quiet one, and no workspace exceeds its share.
    #[tokio::test]
    async fn permits_go_round_robin_by_workspace() {
        let semaphore = FairSemaphore::new(4, 3);
        let (busy, quiet) = (workspace("busy"), workspace("quiet"));
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(semaphore.acquire(&busy).await.unwrap());
        }
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for number in 0..100 {
            let (semaphore, busy, order) = (Arc::clone(&semaphore), busy.clone(), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let permit = semaphore.acquire(&busy).await.unwrap();
                order.lock().unwrap().push(number);
                drop(permit);
            }));
        }
        tokio::task::yield_now().await;
        // The fourth permit is for others; then callers wait round-robin.
        let own = semaphore.acquire(&quiet).await.unwrap();
        let second = tokio::spawn({
            let (semaphore, quiet, order) = (Arc::clone(&semaphore), quiet.clone(), Arc::clone(&order));
            async move {
                let permit = semaphore.acquire(&quiet).await.unwrap();
                order.lock().unwrap().push(1000);
                drop(permit);
            }
        });
        tokio::task::yield_now().await;
        drop(held);
        second.await.unwrap();
        for task in tasks {
            task.await.unwrap();
        }
        let order = order.lock().unwrap();
        let at = order.iter().position(|number| *number == 1000).unwrap();
        assert!(at <= 4, "the quiet workspace was number {at}");
        assert_eq!(
            order.iter().filter(|number| **number < 1000).copied().collect::<Vec<_>>(),
            (0..100).collect::<Vec<_>>()
        );
        drop(own);
        let state = semaphore.state();
        assert_eq!((state.free, state.held.len(), state.waiting.len(), state.round_robin.len()), (4, 0, 0, 0));
    }

    /// A caller that hangs up while waiting does not leak a permit.
    #[tokio::test]
    async fn permits_are_not_lost() {
        let semaphore = FairSemaphore::new(1, 1);
        let own = semaphore.acquire(&workspace("a")).await.unwrap();
        let mut tasks = Vec::new();
        for number in 0..50 {
            let semaphore = Arc::clone(&semaphore);
            tasks.push(tokio::spawn(async move { drop(semaphore.acquire(&workspace(&format!("w{number}"))).await) }));
        }
        tokio::task::yield_now().await;
        tasks.iter().step_by(2).for_each(tokio::task::JoinHandle::abort);
        drop(own);
        for task in tasks {
            drop(task.await);
        }
        let state = semaphore.state();
        assert_eq!((state.free, state.held.len(), state.waiting.len(), state.round_robin.len()), (1, 0, 0, 0));
    }
}
