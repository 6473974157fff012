//! Storage of call records: the interface [`CallStore`] and its engines. No other crate contains SQL.

mod admin;
mod api_keys;
mod call_write;
#[cfg(feature = "engine")]
mod concurrency;
mod diagnostic;
mod domain;
mod error;
mod partial_file;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "engine")]
mod record_bytes;
mod results;
#[cfg(feature = "engine")]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
mod url;

/// What the fuzz targets of this repository call. No other build has it.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::domain::cursor::assert_only_given_cursors_open;
}

pub use admin::{backup, diagnose, open, open_api_keys, open_with, rebuild_metrics, require_database, restore};
pub use api_keys::{ApiKey, ApiKeyStore, Scope};
pub use call_write::{
    CallWrite, ImportBatch, ImportOptions, ImportOutcome, ImportedCall, Original, PatchWrite, SentDocument,
};
#[cfg(feature = "engine")]
pub use concurrency::fair_semaphore::{Exhausted, FairSemaphore, Permit};
pub use diagnostic::{Diagnostic, Severity};
pub use domain::mutation::{IDEMPOTENCY_KEY_LIFETIME, IdempotencyKey, Precondition, VersionSet, check_new_call};
pub use domain::{options::StoreOptions, phone_number::NumberingPlan, strategy::Thresholds};
pub use error::StoreError;
pub use partial_file::{PartialFile, sibling};
pub use results::{
    Backup, CallArray, CallPage, CallSearchHit, CallSearchPage, ChangeBatch, Epoch, RestoreOptions, StoreHealth,
    StoredCall, StoredChange, WriteOutcome, WrittenCall,
};
pub use store::CallStore;
pub use url::DatabaseUrl;
