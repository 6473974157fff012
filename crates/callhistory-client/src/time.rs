//! Timers of the platform.

use std::time::Duration;

use backon::Sleeper as _;

/// The future did not complete in time.
pub(crate) struct Elapsed;

/// Waits for a future, at most for this time.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(limit, future).await.map_err(|_| Elapsed)
}

/// Waits for a future. The timeout of the attempt is the only one: browsers do not report when parts of a response arrive.
#[cfg(target_arch = "wasm32")]
pub(crate) async fn within<F: Future>(_: Duration, future: F) -> Result<F::Output, Elapsed> {
    Ok(future.await)
}

pub(crate) async fn sleep(time: Duration) {
    backon::DefaultSleeper::default().sleep(time).await;
}
