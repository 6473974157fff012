//! Value types. Each keeps the digits that were sent.

pub(crate) mod decimal;
pub(crate) mod extensible_enum;
pub(crate) mod id;
pub(crate) mod raw_json;
pub(crate) mod scalar;
pub(crate) mod timestamp;
