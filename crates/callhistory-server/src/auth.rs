//! Authentication and authorization: API keys, grants, rate limits.

pub(crate) mod caller;
pub(crate) mod grant;
pub(crate) mod key_cache;
pub mod rate_limit;
pub mod token;
