//! What bodies may take of the memory together, so that slow clients cannot take all of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use callhistory_model::ProblemCode;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::error::ApiError;

/// Bodies of records and answers of all callers together, in KiB.
const TOTAL_KIB: usize = 48 * 1024;
/// What a body may have uncounted, in bytes: the number of connections bounds these.
const FREE_BYTES: usize = 16 * 1024;
/// How long a request waits for room for its body.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The memory of bodies.
pub(crate) struct Memory(Arc<Semaphore>);

/// An answer with the room that it takes until its last byte is sent.
struct Kept<T> {
    body: T,
    _room: OwnedSemaphorePermit,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Kept<T> {
    fn as_ref(&self) -> &[u8] {
        self.body.as_ref()
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(TOTAL_KIB)))
    }
}

impl Memory {
    /// Waits for room for a body that is to come, of so many bytes at most.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        if bytes <= FREE_BYTES {
            return Ok(None);
        }
        let room = timeout(TIMEOUT, Arc::clone(&self.0).acquire_many_owned(kib(bytes))).await;
        room.map_err(|_| full())?.map(Some).map_err(|_| full())
    }

    /// Counts an answer until its last byte is sent. It does not wait: what waits is in memory as well.
    pub(crate) fn keep<T>(&self, body: T) -> Result<Bytes, ApiError>
    where
        T: AsRef<[u8]> + Into<Bytes> + Send + 'static,
    {
        let bytes = body.as_ref().len();
        if bytes <= FREE_BYTES {
            return Ok(body.into());
        }
        let room = Arc::clone(&self.0).try_acquire_many_owned(kib(bytes)).map_err(|_| full())?;
        Ok(Bytes::from_owner(Kept { body, _room: room }))
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024).min(TOTAL_KIB)).unwrap_or(u32::MAX)
}

pub(crate) fn full() -> ApiError {
    let detail = "Too many large bodies are on their way; ask for less at once, or try again.";
    ApiError::new(ProblemCode::Unavailable, detail)
}
