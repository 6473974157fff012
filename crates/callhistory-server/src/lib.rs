//! The call history service: HTTP on one side, [`CallStore`](callhistory_store::CallStore) on the other.

mod app;
pub mod auth;
mod calls;
mod changes;
pub mod config;
pub mod demo;
pub mod doctor;
mod error;
mod examples;
mod export;
mod extract;
mod health;
pub mod import;
pub mod keys;
pub mod layers;
mod listen;
mod log;
mod memory;
pub mod meters;
mod metrics;
pub mod openapi;
mod parameters;
pub mod rates;
mod router;
mod split;
pub mod telemetry;
mod timed;
mod tls;
pub mod transfer;

/// What the fuzz targets of this repository call. No other build has it.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::{auth::assert_only_keys_parse, split::split_in_chunks};
}

pub use app::{App, Clock, Randomness};
pub use listen::{Limits, serve};
pub use router::{operations_router, router};
pub use tls::Tls;
