//! The call record: its members, their rules, and the operations on whole records.

mod cost;
mod decode;
mod patch;
mod projection;
mod rules;
mod table;

pub use cost::CallCost;
pub use patch::CallPatch;
pub use table::{CallInput, CallRecord};
