//! The call history service: HTTP on one side, [`CallStore`](callhistory_store::CallStore) on the other.

mod api;
pub mod auth;
pub mod commands;
pub mod config;
mod console;
mod error;
mod export;
mod faults;
mod followers;
mod gunzip;
mod headers;
mod http;
mod ids;
pub mod import;
mod openapi;
mod state;
pub mod telemetry;

/// What the fuzz targets of this repository call. No other build has it.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::{auth::token::assert_only_keys_parse, import::record_stream::split_in_chunks};
}

pub use api::{contract_document, contract_files, new_faults, operations_router, router, router_with_faults};
pub use console::recording_hosts::RecordingHosts;
pub use faults::{
    FaultCount, Faults,
    fault::{Fault, InvalidFault},
};
pub use http::{
    allowed_hosts::AllowedHosts, cors::CorsOrigins, limits::Limits, public_url::PublicUrl, server::serve, tls::Tls,
};
pub use ids::{Clock, Randomness};
pub use state::{AppState, ConsoleOptions};
