//! A memory budget for all bodies together, of which each workspace has a share: slow clients cannot exhaust the memory, and those
//! of one workspace do not take that of others.

use std::sync::Arc;

use bytes::Bytes;
use callhistory_model::WorkspaceId;
use callhistory_store::{Exhausted, FairSemaphore, Permit};

use crate::error::ApiError;

/// Request and response bodies of all callers together, and of one workspace, in KiB: at least these, and enough for eight of the
/// largest records, two of them of one workspace.
const MIN_TOTAL_KIB: usize = 64 * 1024;
const MIN_SHARE_KIB: usize = MIN_TOTAL_KIB / 4;
/// The same for the responses to writes that wait for the budget, which are in memory meanwhile.
const MIN_WAITING_KIB: usize = 8 * 1024;
const MIN_WAITING_SHARE_KIB: usize = MIN_WAITING_KIB / 2;
/// The largest page, in KiB. Pages of up to this number of records are read before they are counted.
const PAGE_KIB: usize = 4 * 1024;
const MAX_SMALL_PAGE: usize = 100;
/// Bodies up to this size do not count, in bytes: the limit of connections bounds them.
const FREE_BYTES: usize = 16 * 1024;

/// The memory budget of bodies.
pub(crate) struct BodyBudget {
    /// The share of one workspace, in KiB.
    share: usize,
    bodies: Arc<FairSemaphore>,
    waiting: Arc<FairSemaphore>,
}

/// A body with its share of the budget, until its last byte is sent.
struct BudgetedBody<T> {
    body: T,
    _permit: Permit,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for BudgetedBody<T> {
    fn as_ref(&self) -> &[u8] {
        self.body.as_ref()
    }
}

impl BodyBudget {
    /// A budget for records of at most this number of bytes.
    pub(crate) fn new(max_record_bytes: usize) -> Self {
        let record = max_record_bytes.div_ceil(1024);
        let share = MIN_SHARE_KIB.max(2 * record);
        Self {
            share,
            bodies: FairSemaphore::new(MIN_TOTAL_KIB.max(8 * record), share),
            waiting: FairSemaphore::new(MIN_WAITING_KIB.max(2 * record), MIN_WAITING_SHARE_KIB.max(record)),
        }
    }

    /// The share of one workspace, in bytes.
    pub(crate) fn share_bytes(&self) -> usize {
        self.share * 1024
    }

    /// Waits for the share of a body of at most this number of bytes; `None` if it does not count.
    pub(crate) async fn reserve(&self, workspace: &WorkspaceId, bytes: usize) -> Result<Option<Permit>, ApiError> {
        if bytes <= FREE_BYTES {
            return Ok(None);
        }
        self.bodies
            .acquire_many(workspace, bytes.div_ceil(1024))
            .await
            .map(Some)
            .map_err(|reason| self.exhausted(reason))
    }

    /// The share of more bytes of a body, if there is room for it now. A body that holds a share and waited for more could wait for
    /// another one that does the same.
    pub(crate) fn try_reserve(&self, workspace: &WorkspaceId, bytes: usize) -> Result<Permit, ApiError> {
        self.bodies.try_acquire(workspace, bytes.div_ceil(1024)).map_err(|reason| self.exhausted(reason))
    }

    /// Counts the body of a response until its last byte is sent. If it must wait, it does so in memory.
    pub(crate) async fn keep<T>(&self, workspace: &WorkspaceId, body: T) -> Result<Bytes, ApiError>
    where
        T: AsRef<[u8]> + Into<Bytes> + Send + 'static,
    {
        let kib = body.as_ref().len().div_ceil(1024);
        match self.try_count(workspace, body) {
            Ok(counted) => Ok(counted),
            Err(body) => {
                let _waiting = self.waiting.try_acquire(workspace, kib).map_err(|reason| self.exhausted(reason))?;
                let _permit =
                    self.bodies.acquire_many(workspace, kib).await.map_err(|reason| self.exhausted(reason))?;
                Ok(Bytes::from_owner(BudgetedBody { body, _permit }))
            }
        }
    }

    /// Counts the page of a response until its last byte is sent. If it must wait, it is dropped, and read again in its turn. A
    /// large page is not even read before: that would take the time of others.
    pub(crate) async fn send<H, T, F>(
        &self,
        (workspace, limit): (&WorkspaceId, usize),
        mut first: Option<(H, T)>,
        read: impl Fn() -> F,
    ) -> Result<(H, Bytes), ApiError>
    where
        T: AsRef<[u8]> + Into<Bytes> + Send + 'static,
        F: Future<Output = Result<(H, T), ApiError>>,
    {
        let must_wait = limit > MAX_SMALL_PAGE && first.is_none() && !self.bodies.has_room(workspace, PAGE_KIB);
        let mut wanted = if must_wait { Some(PAGE_KIB) } else { None };
        loop {
            let permit = match wanted {
                Some(kib) => {
                    Some(self.bodies.acquire_many(workspace, kib).await.map_err(|reason| self.exhausted(reason))?)
                }
                None => None,
            };
            let (head, body) = match first.take() {
                Some(first) => first,
                None => read().await?,
            };
            let kib = body.as_ref().len().div_ceil(1024).min(self.share);
            match permit.zip(wanted) {
                Some((mut _permit, held)) if kib <= held => {
                    _permit.shrink(kib);
                    return Ok((head, Bytes::from_owner(BudgetedBody { body, _permit })));
                }
                _ => {
                    if let Ok(counted) = self.try_count(workspace, body) {
                        return Ok((head, counted));
                    }
                }
            }
            wanted = Some(kib);
        }
    }

    /// Counts a body if there is room for it now.
    fn try_count<T>(&self, workspace: &WorkspaceId, body: T) -> Result<Bytes, T>
    where
        T: AsRef<[u8]> + Into<Bytes> + Send + 'static,
    {
        let bytes = body.as_ref().len();
        if bytes <= FREE_BYTES {
            return Ok(body.into());
        }
        match self.bodies.try_acquire(workspace, bytes.div_ceil(1024)) {
            Ok(_permit) => Ok(Bytes::from_owner(BudgetedBody { body, _permit })),
            Err(_) => Err(body),
        }
    }

    fn exhausted(&self, reason: Exhausted) -> ApiError {
        match reason {
            Exhausted::Share => {
                let detail = format!(
                    "The bodies of this workspace that are being sent or received hold its share of the memory, {} MiB; \
                     read the responses, request less at once, or retry.",
                    self.share / 1024
                );
                ApiError::refused("workspace_bodies", detail)
            }
            Exhausted::Total => {
                let detail = "The memory for large bodies is exhausted; request less at once, or retry.";
                ApiError::refused("bodies", detail)
            }
        }
    }
}
