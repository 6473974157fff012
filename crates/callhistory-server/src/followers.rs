//! Clients that wait for changes: those at one position of a feed share one read, and a workspace and a key have a maximum number of
//! them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use bytes::Bytes;
use callhistory_model::WorkspaceId;
use callhistory_store::{CallStore, ChangeBatch, FairSemaphore, Permit};
use tokio::{sync::OnceCell, task::yield_now};

use crate::{error::ApiError, http::body_budget::BodyBudget};

/// What is read at once for a stream, in bytes and in changes.
const READ_AHEAD_BYTES: usize = 16 * 1024;
const MAX_READ_AHEAD: usize = 100;
/// Number of positions from which those without a follower are removed.
const SWEEP_AT: usize = 1024;

/// The followers of all feeds.
pub(crate) struct Followers {
    positions: Mutex<HashMap<Position, Weak<SharedRead>>>,
    by_workspace: Arc<FairSemaphore>,
    by_key: Arc<FairSemaphore<String>>,
    max: usize,
}

/// Counts a follower until it is dropped.
pub(crate) struct FollowerPermit {
    _workspace: Permit,
    _key: Option<Permit<String>>,
    gauge: metrics::Gauge,
}

impl Drop for FollowerPermit {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
    }
}

/// Where followers wait, and how many changes they read at once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Position {
    pub(crate) workspace: WorkspaceId,
    pub(crate) cursor: String,
    pub(crate) limit: usize,
}

impl Position {
    /// Moves behind a batch, and chooses how much is read next: many readers that take nothing must not matter.
    pub(crate) fn advance(&mut self, batch: &ChangeBatch) {
        let average = (batch_bytes(batch) / batch.changes.len().max(1)).max(1);
        self.limit = (READ_AHEAD_BYTES / average).clamp(1, MAX_READ_AHEAD);
        self.cursor.clone_from(&batch.cursor);
    }
}

fn batch_bytes(batch: &ChangeBatch) -> usize {
    batch.changes.iter().map(|change| change.body.as_ref().map_or(0, Bytes::len)).sum()
}

/// The read after the next change at a position.
pub(crate) type SharedRead = OnceCell<Arc<SharedBatch>>;

/// A batch, and the events that it is sent as. Those of readers who may not see phone numbers are made when one needs them.
pub(crate) struct SharedBatch {
    pub(crate) batch: ChangeBatch,
    events: [OnceLock<Option<Bytes>>; 2],
    permit: Option<Arc<Permit>>,
}

/// Events with the share of the budget of their batch.
struct BudgetedEvents {
    events: Vec<u8>,
    _permit: Arc<Permit>,
}

impl AsRef<[u8]> for BudgetedEvents {
    fn as_ref(&self) -> &[u8] {
        &self.events
    }
}

impl SharedBatch {
    /// A batch with its share of the budget.
    pub(crate) async fn new(
        budget: &BodyBudget,
        workspace: &WorkspaceId,
        batch: ChangeBatch,
    ) -> Result<Arc<Self>, ApiError> {
        let permit = budget.reserve(workspace, batch_bytes(&batch)).await?.map(Arc::new);
        Ok(Arc::new(Self { batch, events: Default::default(), permit }))
    }

    /// The events for readers of one kind; `None` if they cannot be made.
    pub(crate) fn events(
        &self,
        sees_phone_numbers: bool,
        make: impl FnOnce(&ChangeBatch) -> Result<Vec<u8>, ApiError>,
    ) -> Option<Bytes> {
        let make = || {
            let events = make(&self.batch).ok()?;
            Some(match &self.permit {
                None => events.into(),
                Some(permit) => Bytes::from_owner(BudgetedEvents { events, _permit: Arc::clone(permit) }),
            })
        };
        self.events[usize::from(sees_phone_numbers)].get_or_init(make).clone()
    }
}

impl Followers {
    /// Followers of a service with this number of connections: half of them for one workspace, and half for one key.
    pub(crate) fn new(connections: usize) -> Self {
        let max = (connections / 2).max(1);
        // HTTP/2 has more requests than connections.
        let total = connections.saturating_mul(4).max(1);
        let (by_workspace, by_key) = (FairSemaphore::new(total, max), FairSemaphore::new(total, max));
        Self { positions: Mutex::default(), by_workspace, by_key, max }
    }

    /// Admits one more follower.
    pub(crate) fn admit(&self, workspace: &WorkspaceId, key: Option<&str>) -> Result<FollowerPermit, ApiError> {
        let refused = |who: &str| {
            let max = self.max;
            let detail = format!("{who} has {max} streams and waits for changes already; end one of them, or retry.");
            ApiError::refused("followers", detail)
        };
        let _workspace = self.by_workspace.try_acquire(workspace, 1).map_err(|_| refused("This workspace"))?;
        let gauge = metrics::gauge!("callhistory_followers");
        let key = key.map(|key| self.by_key.try_acquire(&key.to_owned(), 1)).transpose();
        let _key = key.map_err(|_| refused("This key"))?;
        gauge.increment(1.0);
        Ok(FollowerPermit { _workspace, _key, gauge })
    }

    fn positions(&self) -> MutexGuard<'_, HashMap<Position, Weak<SharedRead>>> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The read that has not begun yet at a position.
    fn next_read(&self, position: &Position) -> Arc<SharedRead> {
        let mut positions = self.positions();
        if let Some(read) = positions.get(position).and_then(Weak::upgrade) {
            return read;
        }
        if positions.len() >= SWEEP_AT && positions.len().is_power_of_two() {
            positions.retain(|_, read| read.strong_count() > 0);
        }
        let read = Arc::new(SharedRead::new());
        positions.insert(position.clone(), Arc::downgrade(&read));
        read
    }

    /// Whoever comes from now on must not share this read: it could be older than a write that the newcomer knows.
    fn begin(&self, position: &Position, read: &Arc<SharedRead>) {
        let mut positions = self.positions();
        if positions.get(position).is_some_and(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(read))) {
            positions.remove(position);
        }
    }

    /// Waits for a change after a position. One of the followers there reads it for all; if it hangs up, the next one does.
    pub(crate) async fn next(
        &self,
        store: &dyn CallStore,
        budget: &BodyBudget,
        position: &Position,
    ) -> Result<Arc<SharedBatch>, ApiError> {
        let read = self.next_read(position);
        let Position { workspace, cursor, limit } = position;
        let wait_and_read = || async {
            loop {
                store.wait_for_change(workspace, cursor).await?;
                // Others that the same change has woken come here as well, before it is read.
                yield_now().await;
                self.begin(position, &read);
                metrics::counter!("callhistory_follower_reads_total").increment(1);
                let batch = store.list_call_changes(workspace, Some(cursor), *limit).await?;
                if !batch.changes.is_empty() {
                    return SharedBatch::new(budget, workspace, batch).await;
                }
            }
        };
        read.get_or_try_init(wait_and_read).await.map(Arc::clone)
    }
}
