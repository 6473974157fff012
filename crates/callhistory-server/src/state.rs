//! The state that handlers share.

use std::sync::Arc;

use callhistory_model::{CallRecord, Timestamp};
use callhistory_store::{ApiKey, ApiKeyStore, CallStore, FairSemaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{
        grant::Grant,
        key_cache::KeyCache,
        rate_limit::{MonotonicClock, RateLimiter, Rates},
    },
    console::recording_hosts::RecordingHosts,
    followers::Followers,
    http::{
        allowed_hosts::AllowedHosts, body_budget::BodyBudget, compression::Compressor, cors::CorsOrigins,
        limits::Limits, public_url::PublicUrl,
    },
    ids::{Clock, IdGenerator, Randomness},
    telemetry::prometheus::PrometheusRegistry,
};

/// Imports in progress, and those of one workspace. Each has up to two batches of 4 MiB in memory.
const MAX_IMPORTS: usize = 16;
const MAX_IMPORTS_PER_WORKSPACE: usize = 4;

/// Workbooks that are written or sent, and those of one workspace: as many as exports. Each is in temporary files.
const MAX_WORKBOOKS: usize = 8;
const MAX_WORKBOOKS_PER_WORKSPACE: usize = 2;

/// What the console is given.
#[derive(Clone, Debug, Default)]
pub struct ConsoleOptions {
    /// The hosts whose recordings it plays.
    pub recording_hosts: RecordingHosts,
    /// The workspace that it opens if nobody chooses one.
    pub workspace: Option<String>,
}

/// The state of the service.
pub struct AppState {
    pub(crate) store: Arc<dyn CallStore>,
    clock: Clock,
    pub(crate) ids: IdGenerator,
    /// Cancelled when the service stops: followers of the change feed must not delay it.
    pub(crate) stop: CancellationToken,
    /// `None` if the service does not require keys.
    pub(crate) keys: Option<Arc<KeyCache>>,
    /// The largest record, and the largest body of one, in bytes.
    pub(crate) max_record_bytes: usize,
    pub(crate) body_budget: BodyBudget,
    pub(crate) imports: Arc<FairSemaphore>,
    pub(crate) workbooks: Arc<FairSemaphore>,
    pub(crate) followers: Followers,
    /// Host names that are answered to without keys.
    pub(crate) allowed_hosts: AllowedHosts,
    /// The origins whose web pages may use the service, if there are any.
    pub(crate) cors_origins: Option<CorsOrigins>,
    /// The URL of the service for callers, if it is known.
    pub(crate) public_url: Option<PublicUrl>,
    pub(crate) compressor: Compressor,
    /// `None` if there is no console.
    pub(crate) console: Option<ConsoleOptions>,
    /// Metrics of the process, if they are exported.
    pub(crate) metrics: Option<PrometheusRegistry>,
    /// Whether requests are traced.
    pub(crate) has_traces: bool,
    /// The rate limits of keys, if there are any.
    pub(crate) rate_limiter: Option<Arc<RateLimiter>>,
}

impl AppState {
    /// A service over a store. Time and randomness are arguments, so that tests can choose them.
    #[must_use]
    pub fn new(store: Arc<dyn CallStore>, clock: Clock, randomness: Randomness) -> Self {
        Self {
            store,
            clock,
            ids: IdGenerator::new(clock, randomness),
            stop: CancellationToken::new(),
            keys: None,
            max_record_bytes: CallRecord::DEFAULT_MAX_BYTES,
            body_budget: BodyBudget::new(CallRecord::DEFAULT_MAX_BYTES),
            imports: FairSemaphore::new(MAX_IMPORTS, MAX_IMPORTS_PER_WORKSPACE),
            workbooks: FairSemaphore::new(MAX_WORKBOOKS, MAX_WORKBOOKS_PER_WORKSPACE),
            followers: Followers::new(Limits::default().connections),
            allowed_hosts: AllowedHosts::default(),
            cors_origins: None,
            public_url: None,
            compressor: Compressor::new(),
            console: Some(ConsoleOptions::default()),
            metrics: None,
            has_traces: false,
            rate_limiter: None,
        }
    }

    /// The same service, whose streams end when the token is cancelled.
    #[must_use]
    pub fn until(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    /// The same service behind this number of connections, half of which may be followers of one workspace.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.followers = Followers::new(connections);
        self
    }

    /// The same service, whose records have at most this number of bytes, as those of its store.
    #[must_use]
    pub fn with_max_record_bytes(mut self, bytes: usize) -> Self {
        self.max_record_bytes = bytes;
        self.body_budget = BodyBudget::new(bytes);
        self
    }

    /// The same service, which requires an API key of each caller.
    #[must_use]
    pub fn with_keys(mut self, keys: Arc<dyn ApiKeyStore>) -> Self {
        self.keys = Some(Arc::new(KeyCache::new(keys)));
        self
    }

    /// The same service, which without keys also answers to these host names.
    #[must_use]
    pub fn with_allowed_hosts(mut self, hosts: AllowedHosts) -> Self {
        self.allowed_hosts = hosts;
        self
    }

    /// The same service, whose responses the web pages of these origins may read.
    #[must_use]
    pub fn with_cors_origins(mut self, origins: CorsOrigins) -> Self {
        self.cors_origins = Some(origins);
        self
    }

    /// The same service, whose links are absolute.
    #[must_use]
    pub fn with_public_url(mut self, url: PublicUrl) -> Self {
        self.public_url = Some(url);
        self
    }

    /// The same service, with this console or without one.
    #[must_use]
    pub fn with_console(mut self, options: Option<ConsoleOptions>) -> Self {
        self.console = options;
        self
    }

    /// The same service, with rate limits per key.
    #[must_use]
    pub fn with_rates(mut self, rates: Rates, clock: MonotonicClock) -> Self {
        self.rate_limiter = RateLimiter::new(rates, clock).map(Arc::new);
        self
    }

    /// The same service, which records metrics of its requests.
    #[must_use]
    pub fn with_metrics(mut self, metrics: PrometheusRegistry) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// The same service, which traces its requests.
    #[must_use]
    pub fn with_traces(mut self) -> Self {
        self.has_traces = true;
        self
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)().into()
    }

    /// The time in nanoseconds since 1970, for comparisons.
    pub(crate) fn now_nanos(&self) -> i64 {
        (self.clock)().timestamp_nanos_opt().unwrap_or_default()
    }

    /// The grant of a request with this key.
    pub(crate) fn grant(&self, key: Option<Arc<ApiKey>>) -> Grant {
        Grant::new(key, self.keys.clone(), self.rate_limiter.clone(), self.clock)
    }
}
