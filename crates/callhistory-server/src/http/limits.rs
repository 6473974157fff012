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
