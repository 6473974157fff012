//! The call history service: HTTP on one side, [`CallStore`](callhistory_store::CallStore) on the other.

mod app;
mod calls;
pub mod config;
pub mod demo;
mod error;
mod extract;
mod health;
mod listen;
pub mod openapi;
mod router;
pub mod telemetry;

pub use app::{App, Clock, Randomness};
pub use listen::{Limits, serve};
pub use router::router;
