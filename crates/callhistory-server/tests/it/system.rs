//! Tests that need more of the machine than a test run may ask for: the right to mount, `strace`, nginx, minutes. They run
//! with `--ignored` and print what they measured.

mod disk_faults;
mod hostile_clients;
mod http2_slow_reader;
mod nginx;

use callhistory_client::CallInput;

/// A record with a summary of this text.
fn input(summary: impl Into<String>) -> CallInput {
    CallInput { summary: Some(summary.into()), ..CallInput::default() }
}
