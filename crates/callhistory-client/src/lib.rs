//! The Rust SDK of callhistory: a client for the call records of one workspace.
//!
//! # Overview
//!
//! * [`Client`] connects to one service for one workspace. It is cheap to clone and pools its connections: build it
//!   once.
//! * Each operation of the API is one method. For one record: [`Client::get_call`],
//!   [`replace_call`](Client::replace_call),
//!   [`create_call`](Client::create_call), [`update_call`](Client::update_call), [`upsert_call`](Client::upsert_call),
//!   [`delete_call`](Client::delete_call), and what was sent: [`list_originals`](Client::list_originals),
//!   [`get_original`](Client::get_original). For many: [`list_calls`](Client::list_calls), [`search_calls`](Client::search_calls), [`get_call_metrics`](Client::get_call_metrics),
//!   [`export_calls`](Client::export_calls), [`import_calls`](Client::import_calls),
//!   [`import`](Client::import) and
//!   [`list_call_changes`](Client::list_call_changes).
//! * [`Client::stream_calls`] reads all pages of a list, [`Client::follow_changes`] follows the change feed. Streams have a name, so
//!   they fit into a struct, and a `next()` of their own.
//! * [`Client::with`] sets a timeout, a header, an idempotency key or the retries of one call, [`Client::for_workspace`] another
//!   workspace, [`Client::if_version`] a precondition. All share one connection pool.
//! * Parameters are plain structs with a `Default`: [`ListQuery`], [`CallFilter`], [`MetricsQuery`],
//!   [`ChangesQuery`].
//! * [`CallRecord`] is the record in a response, [`CallInput`] the record in a request. Numbers keep their digits, and
//!   members and values that this version does not know are kept, also when a record is written back.
//! * [`Versioned`] is a record with its version, and the warnings of its write; [`RequestOptions::handling`] selects strict or lenient
//!   handling of what breaks a rule.
//! * [`Error`] is one opaque type with predicates.
//!
//! # Quick start
//!
//! ```no_run
#![doc = include_str!("../examples/quickstart.rs")]
//! ```
//!
//! # Errors
//!
//! Use the predicates of [`Error`]:
//!
//! ```no_run
//! # use callhistory_client::{Client, Error, Versioned};
//! async fn find(client: &Client, id: &str) -> Result<Option<Versioned>, Error> {
//!     match client.get_call(id).await {
//!         Ok(call) => Ok(Some(call)),
//!         Err(error) if error.is_not_found() => Ok(None),
//!         Err(error) => Err(error),
//!     }
//! }
//! ```
//!
//! Its text is one line that can be logged: no API key and no content of a record. [`Error::problem`] is the problem
//! document of the service, and [`Error::request_id`] identifies the request in the log of the service.
//!
//! # Retries
//!
//! Every operation is idempotent, so transient errors are retried: no connection, a broken connection, a
//! timeout, and the statuses 408, 425, 429, 502, 503 and 504. Other errors, 500 included, are returned at once.
//!
//! | | default | |
//! |---|---|---|
//! | retries after the first attempt | 3 | [`ClientBuilder::max_retries`] |
//! | backoff | 100, 200, 400 ms, each plus a jitter of up to its own length | |
//! | `Retry-After` of the response | added to the backoff; beyond 60 s the error is returned instead | [`Error::retry_after`] |
//! | connect timeout | 3 s | [`ClientBuilder::connect_timeout`] |
//! | read timeout, between two reads | 10 s | [`ClientBuilder::read_timeout`] |
//! | timeout of one attempt | 30 s | [`ClientBuilder::timeout`] |
//!
//! For a deadline over all attempts, drop the future, for example with `tokio::time::timeout`. The service may still
//! complete a dropped write.
//!
//! A write with a success response that cannot be read is not retried: [`Error::was_accepted`].
//!
//! A write with a precondition ([`Client::if_version`], [`Client::if_absent`]) whose first response was lost has changed the version
//! that its retry requires: the retry fails with [`Error::is_precondition_failed`]. If [`Error::attempts`] is more than 1, read the
//! record to see whether it is your write.
//!
//! # TLS
//!
//! | feature | |
//! |---|---|
//! | `rustls-ring` (default) | rustls with the cryptography of ring; no C compiler besides the one that ring needs |
//! | `rustls-aws-lc` | rustls with the cryptography of AWS-LC |
//! | `rustls-no-provider` | rustls with the provider that the program installs before it builds a client |
//! | `native-tls` | the TLS library of the platform, unless one of the above is enabled |
//!
//! A provider that the program has installed overrides those of the features.
//! Without these features only `http` works.
//!
//! # Other features
//!
//! | feature | |
//! |---|---|
//! | `tracing` | a span `callhistory` for each operation, with its name, the number of the attempt, the status and the request ID of the response of the last attempt, and an event for each retry; no key and no content of a record |
//! | `blocking` | `ClientBuilder::build_blocking`: a client that blocks the thread, whose streams are iterators |
//! | `spool` | the module `spool`: writes go to a bounded file first, and survive an outage and a restart |
//!
//! In a browser (`wasm32-unknown-unknown`), the connections, proxies and certificates are those of the browser, the timeout of an
//! attempt is the only one, and an export arrives as a whole.
//!
//! # Tests
//!
//! The feature `test-util` adds the module `test_util`: records, and errors of every kind, without a server. The crate
//! `callhistory-test-server` starts a server with the real routes, in one line, which can be told to fail.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(feature = "blocking", not(target_arch = "wasm32")))]
pub mod blocking;
mod builder;
mod calls;
mod changes;
mod client;
mod error;
mod export;
mod import;
mod list;
mod metrics;
mod options;
mod originals;
mod retry;
mod search;
#[cfg(all(feature = "spool", not(target_arch = "wasm32")))]
pub mod spool;
mod stream;
#[cfg(all(feature = "test-util", not(target_arch = "wasm32")))]
pub mod test_util;
mod time;
mod tls;
mod trace;
mod transport;
mod version;

pub use builder::ClientBuilder;
pub use callhistory_model as model;
pub use callhistory_model::{
    Amount, AnalysisClause, AnalysisOperator, CallChange, CallChangePage, CallCost, CallFilter, CallId, CallInput,
    CallMetrics, CallOutcome, CallPatch, CallRecord, CallStatus, CallType, ChangeType, ChangesQuery, Direction,
    ExactDecimal, ExportFormat, ExportQuery, FieldError, FieldErrorCode, FieldErrors, FieldWarning, GroupKey, Handling,
    ImportError, ImportMode, ImportQuery, ImportReport, ImportSource, ImportWarning, JsonArray, JsonObject, JsonText,
    ListQuery, MAX_JSON_DEPTH, MetadataTest, MetadataValue, MetricsGroup, MetricsQuery, OneOf, OriginalInfo, Problem,
    ProblemCode, RESERVED_CALL_IDS, Scalar, SearchEvidence, SearchHit, SearchPage, SearchQuery, SearchSort, Seconds,
    Sort, SortKey, TextPattern, TimeZone, Timestamp, UnixSeconds, WarningCode, WorkspaceId, normalize_enum_value,
};
pub use changes::Changes;
pub use client::Client;
pub use error::Error;
pub use import::Import;
pub use list::CallPage;
pub use options::RequestOptions;
pub use originals::Original;
pub use reqwest;
pub use stream::ItemStream;
pub use version::{Version, Versioned, WriteWarning};

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
