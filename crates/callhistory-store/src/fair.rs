//! Places that all workspaces share, so that a busy one does not keep a quiet one waiting.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use callhistory_model::WorkspaceId;
use tokio::{sync::oneshot, time::timeout};

use crate::StoreError;

/// How long a caller waits for a place.
pub(crate) const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// A number of places, of which one workspace has a share at most. Those who wait get them in turn by workspace, and in
/// the order of their arrival within one.
pub(crate) struct Fair {
    share: usize,
    state: Mutex<State>,
}

struct State {
    free: usize,
    held: HashMap<WorkspaceId, usize>,
    waiting: HashMap<WorkspaceId, VecDeque<oneshot::Sender<Place>>>,
    /// The workspaces that wait, the next one first.
    turns: VecDeque<WorkspaceId>,
}

/// A place, which is free again when this value is dropped.
pub(crate) struct Place {
    fair: Arc<Fair>,
    workspace: WorkspaceId,
}

impl Fair {
    pub(crate) fn new(places: usize, share: usize) -> Arc<Self> {
        let state = State { free: places, held: HashMap::new(), waiting: HashMap::new(), turns: VecDeque::new() };
        Arc::new(Self { share, state: Mutex::new(state) })
    }

    /// Waits for a place.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] where there is none in time.
    pub(crate) async fn enter(self: &Arc<Self>, workspace: &WorkspaceId) -> Result<Place, StoreError> {
        let turn = {
            let mut state = self.state();
            if state.free > 0 && state.held(workspace) < self.share {
                return Ok(state.take(self, workspace.clone()));
            }
            let (sender, turn) = oneshot::channel();
            let queue = state.waiting.entry(workspace.clone()).or_default();
            queue.push_back(sender);
            if queue.len() == 1 {
                state.turns.push_back(workspace.clone());
            }
            turn
        };
        let busy = || StoreError::Unavailable("too much is under way; a place was not free in time".to_owned());
        timeout(QUEUE_TIMEOUT, turn).await.map_err(|_| busy())?.map_err(|_| busy())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn held(&self, workspace: &WorkspaceId) -> usize {
        self.held.get(workspace).copied().unwrap_or(0)
    }

    fn take(&mut self, fair: &Arc<Fair>, workspace: WorkspaceId) -> Place {
        self.free -= 1;
        *self.held.entry(workspace.clone()).or_default() += 1;
        Place { fair: Arc::clone(fair), workspace }
    }

    fn give_back(&mut self, workspace: &WorkspaceId) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(workspace) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(workspace);
            }
        }
    }

    /// The next to wait whose workspace has not its share already.
    fn next(&mut self, share: usize) -> Option<(WorkspaceId, oneshot::Sender<Place>)> {
        for _ in 0..self.turns.len() {
            let workspace = self.turns.pop_front()?;
            let may = self.held(&workspace) < share;
            let queue = self.waiting.get_mut(&workspace)?;
            // Who has hung up does not wait any more.
            while queue.front().is_some_and(oneshot::Sender::is_closed) {
                queue.pop_front();
            }
            let next = if may { queue.pop_front() } else { None };
            if queue.is_empty() {
                self.waiting.remove(&workspace);
            } else {
                self.turns.push_back(workspace.clone());
            }
            if let Some(sender) = next {
                return Some((workspace, sender));
            }
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let given = {
            let mut state = self.fair.state();
            state.give_back(&self.workspace);
            let next = state.next(self.fair.share);
            next.map(|(workspace, sender)| (state.take(&self.fair, workspace), sender))
        };
        // Outside of the lock: a place that nobody takes is given back at once.
        if let Some((place, sender)) = given {
            drop(sender.send(place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(name: &str) -> WorkspaceId {
        name.parse().unwrap()
    }

    /// A hundred that wait for the busy workspace do not keep back the first of a quiet one, and none exceeds its share.
    #[tokio::test]
    async fn places_go_round_by_workspace() {
        let fair = Fair::new(4, 3);
        let (busy, quiet) = (workspace("busy"), workspace("quiet"));
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(fair.enter(&busy).await.unwrap());
        }
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for number in 0..100 {
            let (fair, busy, order) = (Arc::clone(&fair), busy.clone(), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let place = fair.enter(&busy).await.unwrap();
                order.lock().unwrap().push(number);
                drop(place);
            }));
        }
        tokio::task::yield_now().await;
        // The fourth place is for others, and then they wait in turn.
        let own = fair.enter(&quiet).await.unwrap();
        let second = tokio::spawn({
            let (fair, quiet, order) = (Arc::clone(&fair), quiet.clone(), Arc::clone(&order));
            async move {
                let place = fair.enter(&quiet).await.unwrap();
                order.lock().unwrap().push(1000);
                drop(place);
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
        let state = fair.state();
        assert_eq!((state.free, state.held.len(), state.waiting.len(), state.turns.len()), (4, 0, 0, 0));
    }

    /// Who hangs up while waiting leaves no place behind.
    #[tokio::test]
    async fn places_are_not_lost() {
        let fair = Fair::new(1, 1);
        let own = fair.enter(&workspace("a")).await.unwrap();
        let mut tasks = Vec::new();
        for number in 0..50 {
            let fair = Arc::clone(&fair);
            tasks.push(tokio::spawn(async move { drop(fair.enter(&workspace(&format!("w{number}"))).await) }));
        }
        tokio::task::yield_now().await;
        tasks.iter().step_by(2).for_each(tokio::task::JoinHandle::abort);
        drop(own);
        for task in tasks {
            drop(task.await);
        }
        let state = fair.state();
        assert_eq!((state.free, state.held.len(), state.waiting.len(), state.turns.len()), (1, 0, 0, 0));
    }
}
