//! The HTTP server and what every request passes.

pub(crate) mod body_budget;
pub(crate) mod extract;
pub(crate) mod limits;
pub(crate) mod middleware;
pub(crate) mod server;
mod timeout_stream;
pub(crate) mod tls;
