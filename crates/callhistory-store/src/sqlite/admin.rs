//! What operators do with an embedded database.

pub(super) mod api_keys;
pub(super) mod backup;
pub(super) mod diagnose;
