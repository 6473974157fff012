//! A memory budget for all bodies together, so that slow clients cannot exhaust the memory.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use callhistory_model::ProblemCode;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::error::ApiError;

/// Request and response bodies of all callers together, in KiB.
const TOTAL_KIB: usize = 48 * 1024;
/// Bodies up to this size do not count, in bytes: the limit of connections bounds them.
const FREE_BYTES: usize = 16 * 1024;
/// How long a request waits for its share of the budget.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The memory budget of bodies.
pub(crate) struct BodyBudget(Arc<Semaphore>);

/// A response body with its share of the budget, until its last byte is sent.
struct BudgetedBody<T> {
    body: T,
    _permit: OwnedSemaphorePermit,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for BudgetedBody<T> {
    fn as_ref(&self) -> &[u8] {
        self.body.as_ref()
    }
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(TOTAL_KIB)))
    }
}

impl BodyBudget {
    /// Waits for the share of a request body of at most this number of bytes.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        if bytes <= FREE_BYTES {
            return Ok(None);
        }
        let permit = timeout(TIMEOUT, Arc::clone(&self.0).acquire_many_owned(kib(bytes))).await;
        permit.map_err(|_| full())?.map(Some).map_err(|_| full())
    }

    /// Counts a response body until its last byte is sent. It does not wait, because the body is in memory already.
    pub(crate) fn keep<T>(&self, body: T) -> Result<Bytes, ApiError>
    where
        T: AsRef<[u8]> + Into<Bytes> + Send + 'static,
    {
        let bytes = body.as_ref().len();
        if bytes <= FREE_BYTES {
            return Ok(body.into());
        }
        let permit = Arc::clone(&self.0).try_acquire_many_owned(kib(bytes)).map_err(|_| full())?;
        Ok(Bytes::from_owner(BudgetedBody { body, _permit: permit }))
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024).min(TOTAL_KIB)).unwrap_or(u32::MAX)
}

pub(crate) fn full() -> ApiError {
    let detail = "The memory for large bodies is exhausted; request less at once, or retry.";
    ApiError::new(ProblemCode::Unavailable, detail)
}
