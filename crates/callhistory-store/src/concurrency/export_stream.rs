//! Exports: their limits, and the channel of an export.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use callhistory_model::WorkspaceId;
use tokio::sync::mpsc;

use super::fair_semaphore::{Exhausted, FairSemaphore, Permit};
use crate::error::StoreError;

/// Maximum number of exports: each holds a snapshot, and with it every later state of the database.
const MAX_EXPORTS: usize = 8;
/// The same for one workspace, which must not take the permits of others.
const MAX_EXPORTS_PER_WORKSPACE: usize = 2;
/// How long an export may hold its snapshot.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3600);
/// Maximum number of chunks that wait for a slow reader.
const CHUNKS: usize = 4;
/// Size from which a chunk is sent, in bytes.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;
/// Number of records that an export reads at once.
pub(crate) const PAGE: usize = 500;

type Chunk = Result<Bytes, StoreError>;

/// A channel for chunks with a reserved slot for an error: a full channel must not hide that an export is incomplete.
pub(crate) fn channel() -> (mpsc::Sender<Chunk>, ErrorSlot, mpsc::Receiver<Chunk>) {
    let (chunks, receiver) = mpsc::channel(CHUNKS + 1);
    let error_slot = ErrorSlot(chunks.clone().try_reserve_owned().ok());
    (chunks, error_slot, receiver)
}

/// The slot of the error that ends an export.
pub(crate) struct ErrorSlot(Option<mpsc::OwnedPermit<Chunk>>);

impl ErrorSlot {
    pub(crate) fn send(self, chunk: Chunk) {
        // A reader that hung up needs no error.
        drop(self.0.map(|slot| slot.send(chunk)));
    }
}

/// The permits of all exports.
pub(crate) fn semaphore() -> Arc<FairSemaphore> {
    FairSemaphore::new(MAX_EXPORTS, MAX_EXPORTS_PER_WORKSPACE)
}

/// A permit for one export, or the reason why there is none.
pub(crate) fn acquire(semaphore: &Arc<FairSemaphore>, workspace: &WorkspaceId) -> Result<Permit, StoreError> {
    semaphore.try_acquire(workspace, 1).map_err(|exhausted| match exhausted {
        Exhausted::Total => StoreError::Unavailable(format!("{MAX_EXPORTS} exports are in progress already")),
        Exhausted::Share => {
            StoreError::Busy("Two exports of this workspace are in progress already; wait for one to end.")
        }
    })
}
