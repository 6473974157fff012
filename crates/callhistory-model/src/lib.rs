//! The data model of callhistory: the call record, queries, responses, and errors.
//!
//! # Overview
//!
//! * [`CallRecord`] is a call record in a response; [`CallInput`] is a call record in a request.
//! * [`CallInput::parse`] is the parser for untrusted input, strict or lenient ([`Handling`]): it reports every [`FieldError`], or
//!   what it kept, converted or left out as a [`FieldWarning`].
//! * `CallRecord`'s `Deserialize` is the lenient parser for clients: it keeps members and values that this version does
//!   not know.
//! * [`UnixSeconds`], [`Seconds`] and [`Amount`] are exact decimals that keep their digits;
//!   [`JsonObject`] and [`JsonArray`] do the same for free-form members.
//! * [`CallFilter`] selects calls; [`ListQuery`], [`ExportQuery`], [`MetricsQuery`] and [`ChangesQuery`] are the
//!   parameters of the operations.
//! * [`Problem`] is the body of an error response (RFC 9457).
//!
//! This crate does no I/O and depends on no framework. The feature `schema` adds JSON Schemas of all wire types.
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
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod examples;
mod field_error;
mod field_warning;
mod query;
mod record;
mod reply;
mod reply_struct;
#[cfg(feature = "schema")]
pub mod schema;
mod spelling;
mod value;

pub use field_error::{FieldError, FieldErrorCode, FieldErrors};
pub use field_warning::{FieldWarning, Handling, WarningCode};
pub use query::{
    analysis::{AnalysisClause, AnalysisOperator},
    changes::ChangesQuery,
    export::{ExportFormat, ExportQuery},
    filter::{CallFilter, MAX_DATE_RANGE_CHARS, MAX_SEARCH_CHARS},
    import::{ImportMode, ImportQuery, ImportSource},
    list::{ListQuery, Sort, SortKey},
    metadata::{MetadataTest, MetadataValue, grouped_scalar},
    metrics::{GroupKey, MetricsQuery},
    one_of::{OneOf, TextPattern},
    query_string::MAX_PARAMETER_BYTES,
    search::{SearchQuery, SearchSort},
    update::UpdateQuery,
};
pub use record::{CallCost, CallInput, CallPatch, CallRecord, ParsedCall, index_text};
pub use reply::{
    changes::{CallChange, CallChangePage, ChangeType},
    import::{ImportError, ImportReport, ImportWarning},
    metrics::{CallMetrics, MetricsGroup},
    originals::OriginalInfo,
    problem::{Problem, ProblemCode},
    search::{SearchEvidence, SearchHit, SearchPage},
};
pub use spelling::nearest_name;
pub use value::{
    call_status::{CallOutcome, CallStatus},
    decimal::{Amount, ExactDecimal, Seconds, UnixSeconds},
    extensible_enum::{CallType, Direction, normalize_enum_value},
    id::{CallId, RESERVED_CALL_IDS, WorkspaceId},
    json_text::JsonText,
    raw_json::{JsonArray, JsonObject, MAX_JSON_DEPTH},
    scalar::{ExactNumber, MAX_PATH_BYTES, Scalar, visit_members, visit_scalars},
    time_zone::{MAX_TIME_ZONE_CHARS, TimeZone},
    timestamp::Timestamp,
};

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
