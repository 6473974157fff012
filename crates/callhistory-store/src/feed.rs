//! Waking those who wait for a change. It carries no data: whoever is woken reads the feed from the database.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use callhistory_model::WorkspaceId;
use tokio::sync::watch;

/// Workspaces that may be kept before those that nobody follows any more are cleared away.
const SWEEP_AT: usize = 1024;

/// Who waits for changes of which workspace.
#[derive(Clone, Default)]
pub(crate) struct Feed(Arc<Mutex<HashMap<WorkspaceId, watch::Sender<()>>>>);

impl Feed {
    /// Sees every announcement from now on.
    pub(crate) fn subscribe(&self, workspace: &WorkspaceId) -> watch::Receiver<()> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Seldom, because writers wait for the lock.
        if waiting.len() >= SWEEP_AT && waiting.len().is_power_of_two() {
            // Those who have gone from workspaces that do not change.
            waiting.retain(|_, sender| sender.receiver_count() > 0);
        }
        waiting.entry(workspace.clone()).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// Has everyone look.
    #[cfg(feature = "postgres")]
    pub(crate) fn announce_all(&self) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, sender| sender.send(()).is_ok());
    }

    pub(crate) fn announce(&self, changed: &HashSet<WorkspaceId>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for workspace in changed {
            // Without a receiver nobody waits any more, and the entry goes.
            if waiting.get(workspace).is_some_and(|sender| sender.send(()).is_err()) {
                waiting.remove(workspace);
            }
        }
    }
}
