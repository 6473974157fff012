//! The call record: its members, their rules, and the operations on whole records.

pub(crate) mod cost;
mod decode;
mod identity;
mod merge;
mod patch;
mod projection;
mod repair;
mod response;
mod rules;
mod table;

pub use cost::CallCost;
pub use decode::ParsedCall;
pub use patch::CallPatch;
pub use rules::index_text;
pub use table::{CallInput, CallRecord};
