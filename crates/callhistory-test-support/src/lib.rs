//! What tests and measurements share: a temporary PostgreSQL cluster, and generated call histories.

#[cfg(feature = "harness")]
pub mod history;
#[cfg(feature = "harness")]
pub mod postgres;
pub mod programs;
