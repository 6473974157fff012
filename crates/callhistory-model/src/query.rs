//! What callers may ask for: filters, lists, exports, metrics and changes, as query strings write them.

pub(crate) mod analysis;
pub(crate) mod changes;
pub(crate) mod export;
pub(crate) mod filter;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod metadata;
pub(crate) mod metrics;
pub(crate) mod one_of;
pub(crate) mod query_string;
pub(crate) mod search;
pub(crate) mod update;
