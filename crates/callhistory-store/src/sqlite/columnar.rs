//! The values that metrics need, in columns: some nanoseconds a call instead of some hundred in an index.

mod encoding;
pub(super) mod rebuild;
pub(super) mod scan;
pub(super) mod segment;
