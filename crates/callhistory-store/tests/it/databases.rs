//! Opens databases by URL. The planner gets small thresholds, which reach every strategy on little data.

use std::sync::Arc;

use callhistory_store::{ApiKeyStore, CallStore, Diagnostic, StoreError, StoreOptions, Thresholds};

pub(crate) async fn open(url: &str) -> Result<Arc<dyn CallStore>, StoreError> {
    open_options(url, StoreOptions { thresholds: Thresholds::SMALL, ..StoreOptions::default() }).await
}

pub(crate) async fn open_options(url: &str, options: StoreOptions) -> Result<Arc<dyn CallStore>, StoreError> {
    callhistory_store::open_with(&url.parse()?, options).await
}

pub(crate) async fn open_api_keys(url: &str) -> Result<Arc<dyn ApiKeyStore>, StoreError> {
    callhistory_store::open_api_keys(&url.parse()?).await
}

pub(crate) fn rebuild_metrics(url: &str) -> Result<u64, StoreError> {
    callhistory_store::rebuild_metrics(&url.parse()?)
}

pub(crate) async fn diagnose(url: &str) -> Vec<Diagnostic> {
    callhistory_store::diagnose(&url.parse().unwrap(), true).await
}
