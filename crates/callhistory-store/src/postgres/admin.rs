//! API keys and diagnostics.

pub(super) mod api_keys;
pub(super) mod diagnose;
