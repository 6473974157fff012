//! The checks pass on this repository, and each finds its seeded fault.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod architecture;
mod openapi;
mod tidy;
