//! What every engine does in the same way: no I/O, no statements.

#[cfg(feature = "engine")]
pub(crate) mod aggregate;
#[cfg(feature = "engine")]
pub(crate) mod cursor;
#[cfg(feature = "engine")]
pub(crate) mod import_parts;
#[cfg(feature = "engine")]
pub(crate) mod index_texts;
#[cfg(feature = "engine")]
pub(crate) mod metrics_aggregator;
#[cfg_attr(not(feature = "engine"), expect(dead_code, reason = "the engines use it, and this build has none"))]
pub(crate) mod mutation;
pub(crate) mod options;
#[cfg(feature = "engine")]
pub(crate) mod original;
#[cfg(feature = "engine")]
pub(crate) mod page;
pub(crate) mod phone_number;
#[cfg(feature = "engine")]
pub(crate) mod predicate;
#[cfg(feature = "engine")]
pub(crate) mod prepared;
#[cfg(feature = "engine")]
pub(crate) mod record_digest;
#[cfg(feature = "engine")]
pub(crate) mod search_terms;
#[cfg(feature = "engine")]
pub(crate) mod search_text;
#[cfg_attr(not(feature = "engine"), expect(dead_code, reason = "the engines use it, and this build has none"))]
pub(crate) mod strategy;
#[cfg(feature = "engine")]
pub(crate) mod time_bucket;
