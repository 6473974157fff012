//! Who calls, and what the caller may do.

pub(crate) mod caller;
pub(crate) mod grant;
pub(crate) mod key_cache;
pub mod rate_limit;
pub mod token;
