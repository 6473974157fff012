//! The checks pass on this repository, and each fails on a fault that is seeded for it.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod architecture;
mod compatibility;
mod openapi;
mod tidy;
