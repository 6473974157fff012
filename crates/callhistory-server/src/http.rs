//! The HTTP server, its limits, its middleware and its extractors.

pub(crate) mod allowed_hosts;
pub(crate) mod body_budget;
mod caching;
pub(crate) mod compression;
pub(crate) mod cors;
pub(crate) mod extract;
mod frame_budget;
pub(crate) mod limits;
mod linger;
pub(crate) mod middleware;
mod problem_stream;
pub(crate) mod public_url;
pub(crate) mod server;
mod timeout_stream;
pub(crate) mod tls;
