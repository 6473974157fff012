//! What the service says about itself on standard error.

use std::io::IsTerminal as _;

use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Reads a filter of the log.
///
/// # Errors
///
/// Fails when it is not a list of levels and targets such as `info` or `warn,callhistory_server=debug`.
pub fn check(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().parse(filter).map_err(|error| format!("--log {filter} is not a filter: {error}"))
}

/// Starts the log: lines for people on a terminal, JSON elsewhere. What is still to be written is written when the guard
/// is dropped.
///
/// Lines are written by a thread of their own, and lost where nobody reads them: a log that is not taken must not stop
/// the service.
///
/// # Errors
///
/// Those of [`check`].
pub fn start(filter: &str) -> Result<WorkerGuard, String> {
    let filter = check(filter)?;
    let (writer, guard) = NonBlocking::new(std::io::stderr());
    let registry = tracing_subscriber::registry().with(filter);
    if std::io::stderr().is_terminal() {
        registry.with(fmt::layer().with_writer(writer)).init();
    } else {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(writer)).init();
    }
    Ok(guard)
}
