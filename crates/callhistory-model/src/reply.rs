//! What the service answers, apart from records.

pub(crate) mod changes;
pub(crate) mod import;
pub(crate) mod metrics;
pub(crate) mod originals;
pub(crate) mod problem;
pub(crate) mod search;
