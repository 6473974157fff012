//! A team's tests of its client, with the test server.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod faults;
mod one_line;
mod server;
