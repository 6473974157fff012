//! Limits of connections.

use std::time::Duration;

/// Limits of connections and requests.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections; further ones wait in the queue of the kernel.
    pub connections: usize,
    /// From the start of a connection, or the first byte of a later request's head, to the last byte of the head.
    pub head: Duration,
    /// Between requests of one connection.
    pub idle: Duration,
    /// While a client reads no byte of a response.
    pub write: Duration,
    /// How long a shutdown waits for requests in flight.
    pub drain: Duration,
}

/// File descriptors that are not for connections of clients: those of databases, exports, listeners and logs.
const OTHER_FILES: u64 = 256;

impl Limits {
    /// The limits for the files that this process may open, and their number: a connection that takes the last descriptor leaves
    /// none to read the database with.
    pub(crate) fn for_open_files() -> (Self, Option<u64>) {
        let (limits, files) = (Self::default(), max_open_files());
        let fit = files.map_or(u64::MAX, |files| files.saturating_sub(OTHER_FILES).max(files / 2));
        let connections = limits.connections.min(usize::try_from(fit).unwrap_or(usize::MAX));
        (Self { connections, ..limits }, files)
    }
}

/// Raises the number of files that this process may open as far as it is allowed to, and returns it; `None` for no limit.
#[cfg(unix)]
fn max_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Systems that refuse this keep the old limit, which is read again.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current
}

#[cfg(not(unix))]
fn max_open_files() -> Option<u64> {
    None
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            write: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}
