//! The words that every part of callhistory shares: the call record, its rules, and its errors.
//!
//! # Overview
//!
//! * [`CallRecord`] is one call as the service answers it; [`CallInput`] is the same call as a caller writes it.
//! * [`CallInput::from_json`] is the strict reading of untrusted input: it reports every [`FieldError`] at once.
//! * `CallRecord`'s `Deserialize` is the lenient reading for clients: members and values that this version does not
//!   know are kept.
//! * [`UnixSeconds`], [`Seconds`] and [`Amount`] are exact decimals that come back digit for digit;
//!   [`JsonObject`] and [`JsonArray`] do the same for free-form members.
//! * [`CallFilter`] says which calls; [`ListQuery`], [`ExportQuery`], [`MetricsQuery`] and [`ChangesQuery`] are the
//!   parameters of the routes, read strictly and written in one form.
//! * [`Problem`] is the error body of the service (RFC 9457).
//!
//! This crate does no I/O and knows no framework. The feature `schema` adds JSON Schema descriptions of all wire types.
//!
//! # Example
//!
//! ```
//! use callhistory_model::{CallInput, CallStatus};
//!
//! let input = CallInput::from_json(br#"{"status": "completed", "cost": {"customer_charge": 0.10}}"#)?;
//! assert_eq!(input.status, Some(CallStatus::Completed));
//! assert_eq!(input.cost.unwrap().customer_charge().unwrap().as_str(), "0.10");
//!
//! let errors = CallInput::from_json(br#"{"startTime": 1680000000000, "statu": "busy"}"#).unwrap_err();
//! assert_eq!(errors[0].pointer.as_deref(), Some("/startTime"));
//! assert_eq!(errors[1].pointer.as_deref(), Some("/statu"));
//! # Ok::<(), callhistory_model::FieldErrors>(())
//! ```

mod analysis;
mod change;
mod decode;
pub mod examples;
mod extensible_enum;
mod id;
mod import;
mod json;
mod metrics;
mod number;
mod page;
mod patch;
mod problem;
mod query;
mod record;
#[cfg(feature = "schema")]
pub mod schema;
mod time;
mod value;

pub use analysis::{AnalysisClause, AnalysisOperator};
pub use change::{CallChange, CallChangePage, ChangeType, ChangesQuery};
pub use extensible_enum::{CallStatus, CallType, Direction};
pub use id::{CallId, RESERVED_CALL_IDS, WorkspaceId};
pub use import::{ImportError, ImportReport};
pub use json::{JsonArray, JsonObject, JsonText, MAX_JSON_DEPTH};
pub use metrics::{CallMetrics, GroupKey, MetricsGroup, MetricsQuery};
pub use number::{Amount, ExactDecimal, Seconds, UnixSeconds};
pub use page::{ExportFormat, ExportQuery, ListQuery};
pub use patch::CallPatch;
pub use problem::{FieldError, FieldErrorCode, FieldErrors, Problem, ProblemCode};
pub use query::{
    CallFilter, MAX_DATE_RANGE_CHARS, MAX_PARAMETER_BYTES, MAX_PATH_BYTES, MAX_SEARCH_CHARS, MAX_TIME_ZONE_CHARS, Sort,
    SortKey, nearest_name, words,
};
pub use record::{CallCost, CallInput, CallRecord};
pub use time::Timestamp;
pub use value::{ExactNumber, OneOf, Scalar, TextPattern, visit_members};
