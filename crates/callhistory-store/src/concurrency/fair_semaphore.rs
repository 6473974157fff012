//! A semaphore that all workspaces share: a busy workspace does not starve a quiet one.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use callhistory_model::WorkspaceId;
use tokio::{sync::oneshot, time::timeout};

use crate::error::StoreError;

/// How long a caller waits for permits.
pub(crate) const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// A number of permits, of which one workspace, or another kind of key, holds at most a share. Waiting callers get them round-robin
/// by workspace, and in the order of arrival within a workspace.
pub struct FairSemaphore<K: Clone + Eq + Hash = WorkspaceId> {
    share: usize,
    state: Mutex<State<K>>,
}

struct State<K: Clone + Eq + Hash> {
    free: usize,
    held: HashMap<K, usize>,
    waiting: HashMap<K, VecDeque<Waiting<K>>>,
    /// The workspaces that wait, the next one first.
    round_robin: VecDeque<K>,
    /// Whether the next caller needs more permits than are free. Until it has them, no other caller gets any.
    is_blocked: bool,
}

/// A caller that waits for this number of permits.
struct Waiting<K: Clone + Eq + Hash> {
    count: usize,
    sender: oneshot::Sender<Permit<K>>,
}

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// All permits are taken.
    Total,
    /// The workspace holds its share.
    Share,
}

/// One or more permits, which are released when this value is dropped.
pub struct Permit<K: Clone + Eq + Hash = WorkspaceId> {
    semaphore: Arc<FairSemaphore<K>>,
    key: K,
    count: usize,
}

impl<K: Clone + Eq + Hash> FairSemaphore<K> {
    /// A semaphore with this number of permits, and the share of one workspace.
    #[must_use]
    pub fn new(permits: usize, share: usize) -> Arc<Self> {
        let state = State {
            free: permits,
            held: HashMap::new(),
            waiting: HashMap::new(),
            round_robin: VecDeque::new(),
            is_blocked: false,
        };
        Arc::new(Self { share, state: Mutex::new(state) })
    }

    /// Waits for a permit.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if there is none in time.
    pub(crate) async fn acquire(self: &Arc<Self>, key: &K) -> Result<Permit<K>, StoreError> {
        let busy =
            |_| StoreError::Unavailable("too many operations are in flight; no permit became free in time".to_owned());
        self.acquire_many(key, 1).await.map_err(busy)
    }

    /// Waits for this number of permits, or for a whole share.
    ///
    /// # Errors
    ///
    /// Why they did not become free in time.
    pub async fn acquire_many(self: &Arc<Self>, key: &K, count: usize) -> Result<Permit<K>, Exhausted> {
        let count = count.min(self.share);
        let waiting = {
            let mut state = self.state();
            if let Ok(permit) = state.try_take(self, key, count) {
                return Ok(permit);
            }
            let (sender, waiting) = oneshot::channel();
            let queue = state.waiting.entry(key.clone()).or_default();
            queue.push_back(Waiting { count, sender });
            if queue.len() == 1 {
                state.round_robin.push_back(key.clone());
            }
            let granted = state.grant(self);
            drop(state);
            send(granted);
            waiting
        };
        match timeout(QUEUE_TIMEOUT, waiting).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => self.try_acquire(key, count),
        }
    }

    /// Takes this number of permits if they are free now.
    ///
    /// # Errors
    ///
    /// Why they are not free.
    pub fn try_acquire(self: &Arc<Self>, key: &K, count: usize) -> Result<Permit<K>, Exhausted> {
        self.state().try_take(self, key, count.min(self.share))
    }

    /// Whether this number of permits is free, and no caller of the workspace waits.
    #[must_use]
    pub fn has_room(&self, key: &K, count: usize) -> bool {
        let state = self.state();
        let is_within_share = state.held(key) + count <= self.share;
        is_within_share && count <= state.free && !state.is_blocked && !state.waiting.contains_key(key)
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn held(&self, key: &K) -> usize {
        self.held.get(key).copied().unwrap_or(0)
    }

    fn try_take(&mut self, semaphore: &Arc<FairSemaphore<K>>, key: &K, count: usize) -> Result<Permit<K>, Exhausted> {
        if self.held(key) + count > semaphore.share {
            return Err(Exhausted::Share);
        }
        if self.is_blocked || self.free < count {
            return Err(Exhausted::Total);
        }
        Ok(self.take(semaphore, key.clone(), count))
    }

    fn take(&mut self, semaphore: &Arc<FairSemaphore<K>>, key: K, count: usize) -> Permit<K> {
        self.free -= count;
        *self.held.entry(key.clone()).or_default() += count;
        Permit { semaphore: Arc::clone(semaphore), key, count }
    }

    fn release(&mut self, key: &K, count: usize) {
        self.free += count;
        if let Some(held) = self.held.get_mut(key) {
            *held -= count;
            if *held == 0 {
                self.held.remove(key);
            }
        }
    }

    /// Takes free permits for the waiting callers whose workspaces hold less than their shares.
    fn grant(&mut self, semaphore: &Arc<FairSemaphore<K>>) -> Vec<(Permit<K>, Waiting<K>)> {
        self.is_blocked = false;
        let (mut granted, mut skipped) = (Vec::new(), 0);
        while skipped < self.round_robin.len() {
            let Some(key) = self.round_robin.pop_front() else { break };
            let held = self.held(&key);
            let Some(queue) = self.waiting.get_mut(&key) else { continue };
            // A caller that hung up no longer waits.
            while queue.front().is_some_and(|waiting| waiting.sender.is_closed()) {
                queue.pop_front();
            }
            let Some(count) = queue.front().map(|waiting| waiting.count) else {
                self.waiting.remove(&key);
                continue;
            };
            if held + count > semaphore.share {
                self.round_robin.push_back(key);
                skipped += 1;
                continue;
            }
            if self.free < count {
                self.round_robin.push_front(key);
                self.is_blocked = true;
                break;
            }
            let next = queue.pop_front();
            if queue.is_empty() {
                self.waiting.remove(&key);
            } else {
                self.round_robin.push_back(key.clone());
            }
            let permit = self.take(semaphore, key, count);
            granted.extend(next.map(|waiting| (permit, waiting)));
            skipped = 0;
        }
        granted
    }
}

impl<K: Clone + Eq + Hash> Permit<K> {
    /// Releases all but this number of permits.
    pub fn shrink(&mut self, count: usize) {
        let released = self.count.saturating_sub(count);
        self.count -= released;
        self.release(released);
    }

    fn release(&self, count: usize) {
        let granted = {
            let mut state = self.semaphore.state();
            state.release(&self.key, count);
            state.grant(&self.semaphore)
        };
        send(granted);
    }
}

/// Hands permits to their callers. Outside the lock: a permit that nobody takes is released at once.
fn send<K: Clone + Eq + Hash>(granted: Vec<(Permit<K>, Waiting<K>)>) {
    for (permit, waiting) in granted {
        drop(waiting.sender.send(permit));
    }
}

impl<K: Clone + Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        self.release(self.count);
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

    /// Small requests do not overtake a large one for ever, and a workspace that holds its share delays nobody.
    #[tokio::test]
    async fn large_requests_get_their_turn() {
        let semaphore = FairSemaphore::new(8, 6);
        let (busy, large, small) = (workspace("busy"), workspace("large"), workspace("small"));
        let held = semaphore.acquire_many(&busy, 6).await.unwrap();
        assert_eq!(semaphore.try_acquire(&busy, 1).err(), Some(Exhausted::Share));
        let over_share = tokio::spawn({
            let (semaphore, busy) = (Arc::clone(&semaphore), busy.clone());
            async move { drop(semaphore.acquire_many(&busy, 2).await.unwrap()) }
        });
        tokio::task::yield_now().await;
        drop(semaphore.acquire_many(&small, 2).await.unwrap());
        let waiting = tokio::spawn({
            let semaphore = Arc::clone(&semaphore);
            async move { semaphore.acquire_many(&large, 100).await.unwrap() }
        });
        tokio::task::yield_now().await;
        // Two are free, and the large request needs six.
        assert_eq!(semaphore.try_acquire(&small, 1).err(), Some(Exhausted::Total));
        drop(held);
        let mut taken = waiting.await.unwrap();
        assert_eq!((taken.count, semaphore.has_room(&small, 2), semaphore.has_room(&small, 3)), (6, true, false));
        taken.shrink(1);
        assert!(semaphore.has_room(&small, 3));
        over_share.await.unwrap();
        drop(taken);
        let state = semaphore.state();
        assert_eq!((state.free, state.held.len(), state.waiting.len(), state.is_blocked), (8, 0, 0, false));
    }
}
