//! The exports under way: how many there may be, of all workspaces and of one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use callhistory_model::WorkspaceId;
use tokio::sync::mpsc;

use crate::StoreError;

/// Exports at a time: each keeps a snapshot, and with it every state of the database since.
const AT_ONCE: usize = 8;
/// Exports of one workspace, so that it does not take the places of all others.
const AT_ONCE_OF_WORKSPACE: usize = 2;
/// How long an export may keep its snapshot.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3600);
/// Chunks that wait for a slow reader.
const CHUNKS: usize = 4;
/// The size that a chunk reaches before it is sent, in bytes.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;
/// Records that an export reads at a time.
pub(crate) const PAGE: usize = 500;

type Chunk = Result<Bytes, StoreError>;

/// A channel for chunks with a place that is kept for a failure: without it, the part that a slow reader has taken would
/// pass for the whole.
pub(crate) fn channel() -> (mpsc::Sender<Chunk>, Verdict, mpsc::Receiver<Chunk>) {
    let (chunks, receiver) = mpsc::channel(CHUNKS + 1);
    let verdict = Verdict(chunks.clone().try_reserve_owned().ok());
    (chunks, verdict, receiver)
}

/// The place of the last chunk of an export that fails.
pub(crate) struct Verdict(Option<mpsc::OwnedPermit<Chunk>>);

impl Verdict {
    pub(crate) fn send(self, chunk: Chunk) {
        // A reader that has hung up needs no reason.
        drop(self.0.map(|place| place.send(chunk)));
    }
}

/// The exports under way, by workspace.
#[derive(Default)]
pub(crate) struct Exports(Mutex<HashMap<WorkspaceId, usize>>);

/// The place of one export, which ends with this value.
pub(crate) struct ExportPlace {
    exports: Arc<Exports>,
    workspace: WorkspaceId,
}

impl Exports {
    pub(crate) fn enter(exports: &Arc<Self>, workspace: &WorkspaceId) -> Result<ExportPlace, StoreError> {
        let mut under_way = exports.0.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.values().sum::<usize>() >= AT_ONCE {
            return Err(StoreError::Unavailable(format!("{AT_ONCE} exports are under way already")));
        }
        let own = under_way.entry(workspace.clone()).or_default();
        if *own >= AT_ONCE_OF_WORKSPACE {
            return Err(StoreError::Busy("Two exports of this workspace are under way already; wait for one to end."));
        }
        *own += 1;
        Ok(ExportPlace { exports: Arc::clone(exports), workspace: workspace.clone() })
    }
}

impl Drop for ExportPlace {
    fn drop(&mut self) {
        let mut under_way = self.exports.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = under_way.get_mut(&self.workspace) {
            *own = own.saturating_sub(1);
        }
        under_way.retain(|_, own| *own > 0);
    }
}
