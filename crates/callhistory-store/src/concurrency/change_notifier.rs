//! Notifies waiting followers of a change. A notification carries no data: followers read the feed from the database.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use callhistory_model::WorkspaceId;
use tokio::sync::watch;

/// Number of workspaces from which those without a follower are removed.
const SWEEP_AT: usize = 1024;

/// The followers that wait for changes, by workspace.
#[derive(Clone, Default)]
pub(crate) struct ChangeNotifier(Arc<Mutex<HashMap<WorkspaceId, watch::Sender<()>>>>);

impl ChangeNotifier {
    /// Receives every notification from now on.
    pub(crate) fn subscribe(&self, workspace: &WorkspaceId) -> watch::Receiver<()> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Rarely: writers wait for the lock.
        if waiting.len() >= SWEEP_AT && waiting.len().is_power_of_two() {
            // Their followers have hung up, and no change has removed the entries.
            waiting.retain(|_, sender| sender.receiver_count() > 0);
        }
        waiting.entry(workspace.clone()).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// Notifies all followers.
    #[cfg(feature = "postgres")]
    pub(crate) fn notify_all(&self) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, sender| sender.send(()).is_ok());
    }

    /// Notifies the followers of these workspaces.
    pub(crate) fn notify(&self, changed: &HashSet<WorkspaceId>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for workspace in changed {
            // Without a receiver nobody waits, and the entry is removed.
            if waiting.get(workspace).is_some_and(|sender| sender.send(()).is_err()) {
                waiting.remove(workspace);
            }
        }
    }
}
