//! The Rust SDK of callhistory: reads and writes the call records of one workspace.
//!
//! # Overview
//!
//! * [`Client`] talks to one service for one workspace. It is cheap to clone and keeps its connections; build it once.
//! * Each operation of the API is one method. Of one record: [`Client::get_call`], [`replace_call`](Client::replace_call),
//!   [`create_call`](Client::create_call), [`update_call`](Client::update_call), [`delete_call`](Client::delete_call). Of
//!   many: [`list_calls`](Client::list_calls), [`get_call_metrics`](Client::get_call_metrics),
//!   [`export_calls`](Client::export_calls), [`import_calls`](Client::import_calls) and
//!   [`list_call_changes`](Client::list_call_changes).
//! * [`Client::stream_calls`] goes through all pages of a list, [`Client::follow_changes`] follows the feed.
//! * What they are asked for is a plain struct with a `Default`: [`ListQuery`], [`CallFilter`], [`MetricsQuery`],
//!   [`ChangesQuery`].
//! * [`CallRecord`] is what the service answers, [`CallInput`] is what you write. Numbers keep their digits, and members
//!   and values that this version does not know are kept.
//! * [`Error`] is one opaque type that answers questions.
//!
//! # Quick start
//!
//! ```no_run
#![doc = include_str!("../examples/quickstart.rs")]
//! ```
//!
//! # Errors
//!
//! Ask an [`Error`] what you need to know instead of matching on it:
//!
//! ```no_run
//! # use callhistory_client::{CallRecord, Client, Error};
//! async fn find(client: &Client, id: &str) -> Result<Option<CallRecord>, Error> {
//!     match client.get_call(id).await {
//!         Ok(call) => Ok(Some(call)),
//!         Err(error) if error.is_not_found() => Ok(None),
//!         Err(error) => Err(error),
//!     }
//! }
//! ```
//!
//! Its text is one line that can be logged: no API key and nothing out of a record. The service's own explanation is in
//! [`Error::problem`], and [`Error::request_id`] finds the request in the service's log.
//!
//! # Retries
//!
//! Every operation can be repeated safely, so failures that may pass are retried: no connection, a broken connection, a
//! timeout, and the statuses 408, 425, 429, 502, 503 and 504. Everything else, 500 included, is returned at once.
//!
//! | | default | |
//! |---|---|---|
//! | retries after the first attempt | 3 | [`ClientBuilder::max_retries`] |
//! | wait before them | 100, 200, 400 ms, each lengthened at random by up to its own length | |
//! | `Retry-After` of the answer | waited for in addition; more than 60 s is not waited for, the error is returned | [`Error::retry_after`] |
//! | to connect | 3 s | [`ClientBuilder::connect_timeout`] |
//! | between two reads | 10 s | [`ClientBuilder::read_timeout`] |
//! | one attempt as a whole | 30 s | [`ClientBuilder::timeout`] |
//!
//! A deadline over all attempts is the caller's: drop the future, as `tokio::time::timeout` does. A write that was
//! dropped may still be carried out.
//!
//! A write whose answer came but could not be read is not sent again: [`Error::was_accepted`].
//!
//! # TLS
//!
//! | feature | |
//! |---|---|
//! | `rustls` (default) | rustls with its default cryptography |
//! | `rustls-no-provider` | rustls with the cryptography that the program installs before it builds a client |
//! | `native-tls` | the platform's library |
//!
//! Without any of them only `http` works.

mod calls;
mod client;
mod error;
mod many;
mod retry;
mod send;

pub use callhistory_model as model;
pub use callhistory_model::{
    Amount, AnalysisClause, AnalysisOperator, CallChange, CallChangePage, CallCost, CallFilter, CallId, CallInput,
    CallMetrics, CallPatch, CallRecord, CallStatus, CallType, ChangeType, ChangesQuery, Direction, ExactDecimal,
    GroupKey, ImportError, ImportReport, ListQuery, MetricsGroup, MetricsQuery, OneOf, Problem, ProblemCode, Seconds,
    Sort, SortKey, Timestamp, UnixSeconds, WorkspaceId,
};
pub use client::{Client, ClientBuilder, Version};
pub use error::Error;
pub use many::CallPage;
