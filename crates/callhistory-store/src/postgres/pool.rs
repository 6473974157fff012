//! Sessions for reads that can take long.

use std::{sync::Arc, time::Duration};

use callhistory_model::WorkspaceId;
use deadpool_postgres::{ClientWrapper, Object, Pool};
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::{
    config::{DatabaseServer, SessionKind},
    error::{PgError, timed_out},
};
use crate::{concurrency::fair_semaphore::FairSemaphore, error::StoreError};

/// Timeout of one read of several statements, above the timeout of each statement.
const READ_TIMEOUT: Duration = Duration::from_secs(35);

/// Sessions for reads that can take long, and the permits of their callers.
pub(super) struct PgReadPool {
    pool: Pool,
    semaphore: Arc<FairSemaphore>,
}

impl PgReadPool {
    pub(super) fn new(server: &Arc<DatabaseServer>, (size, share): (usize, usize)) -> Result<Self, StoreError> {
        Ok(Self { pool: server.pool(SessionKind::Read, size)?, semaphore: FairSemaphore::new(size, share) })
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }

    /// Runs a read on a session of its own, and once more if that session had ended. It continues when its caller hangs up: the
    /// session returns to the pool only after its statement.
    pub(super) async fn run<T: Send + 'static, A: Send + Sync + 'static>(
        &self,
        workspace: &WorkspaceId,
        arguments: A,
        work: for<'a> fn(&'a ClientWrapper, &'a A) -> BoxFuture<'a, Result<T, PgError>>,
    ) -> Result<T, StoreError> {
        let (pool, permit) = (self.pool.clone(), self.semaphore.acquire(workspace).await?);
        let read = tokio::spawn(async move {
            let _permit = permit;
            let mut may_retry = true;
            loop {
                let outcome = match pool.get().await {
                    Ok(db) => match timeout(READ_TIMEOUT, work(&db, &arguments)).await {
                        Ok(outcome) => outcome,
                        Err(elapsed) => {
                            // Its statement continues, and no other read should wait for it.
                            drop(Object::take(db));
                            Err(timed_out(elapsed))
                        }
                    },
                    Err(error) => Err(error.into()),
                };
                match outcome {
                    Err(error) if may_retry && error.is_disconnected() => may_retry = false,
                    outcome => return Ok(outcome?),
                }
            }
        });
        read.await.map_err(|error| StoreError::Internal(error.to_string()))?
    }
}
