//! The HTTP server, its limits, its middleware and its extractors.

pub(crate) mod body_budget;
mod caching;
pub(crate) mod extract;
pub(crate) mod limits;
pub(crate) mod middleware;
pub(crate) mod server;
mod timeout_stream;
pub(crate) mod tls;
