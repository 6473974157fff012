//! What every handler works with: the store, the time, and fresh ids.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use callhistory_model::{CallId, Timestamp};
use callhistory_store::{ApiKeyStore, CallStore};
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{Keys, hex},
    error::ApiError,
    memory::Memory,
    meters::Meters,
    rates::{Buckets, MonotonicClock, Rates},
};

/// Tells the time.
pub type Clock = fn() -> DateTime<Utc>;
/// Gives 64 unpredictable bits.
pub type Randomness = fn() -> u64;

/// The service without its wire.
pub struct App {
    pub(crate) store: Arc<dyn CallStore>,
    clock: Clock,
    randomness: Randomness,
    last_id: Mutex<u128>,
    /// What the ids of requests are made of: one number of this process, and one that goes on.
    requests: (u64, AtomicU64),
    /// Cancelled when the service is to end: those who wait for changes must not hold it up.
    pub(crate) stop: CancellationToken,
    /// The keys that callers need; without them, whoever reaches the service may do everything.
    pub(crate) keys: Option<Keys>,
    pub(crate) memory: Memory,
    /// Where answers are counted, if anyone wants to know.
    pub(crate) meters: Option<Meters>,
    /// Whether requests are traced.
    pub(crate) traces: bool,
    /// What each key may ask for, where that is bounded.
    pub(crate) buckets: Option<Buckets>,
}

impl App {
    /// A service over a store. Time and randomness are given, so that tests can choose them.
    #[must_use]
    pub fn new(store: Arc<dyn CallStore>, clock: Clock, randomness: Randomness) -> Self {
        let (last_id, stop) = (Mutex::new(0), CancellationToken::new());
        let requests = (randomness(), AtomicU64::new(randomness()));
        Self {
            store,
            clock,
            randomness,
            last_id,
            requests,
            stop,
            keys: None,
            memory: Memory::default(),
            meters: None,
            traces: false,
            buckets: None,
        }
    }

    /// The same service, whose streams end when the token is cancelled.
    #[must_use]
    pub fn until(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    /// The same service, which asks each caller for a key.
    #[must_use]
    pub fn with_keys(mut self, keys: Arc<dyn ApiKeyStore>) -> Self {
        self.keys = Some(Keys::new(keys));
        self
    }

    /// The same service, which bounds what each key may ask for.
    #[must_use]
    pub fn with_rates(mut self, rates: Rates, clock: MonotonicClock) -> Self {
        self.buckets = Buckets::new(rates, clock);
        self
    }

    /// The same service, which counts its answers.
    #[must_use]
    pub fn with_meters(mut self, meters: Meters) -> Self {
        self.meters = Some(meters);
        self
    }

    /// The same service, which traces its requests.
    #[must_use]
    pub fn with_traces(mut self) -> Self {
        self.traces = true;
        self
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)().into()
    }

    /// The same in nanoseconds since 1970, for what is only compared.
    pub(crate) fn now_nanos(&self) -> i64 {
        (self.clock)().timestamp_nanos_opt().unwrap_or_default()
    }

    /// A fresh record id: 24 hexadecimal digits, of which 12 are the Unix time in milliseconds and 12 are random. Ids of
    /// one server sort by time of creation even within a millisecond.
    pub(crate) fn new_call_id(&self) -> Result<CallId, ApiError> {
        let millis = u128::try_from((self.clock)().timestamp_millis()).unwrap_or(0);
        let fresh = (millis << 48) | (u128::from((self.randomness)()) >> 16);
        let mut last = self.last_id.lock().unwrap_or_else(PoisonError::into_inner);
        *last = fresh.max(*last + 1);
        format!("{:024x}", *last).parse().map_err(|error| ApiError::internal(&error))
    }

    /// 32 hexadecimal digits that no other request has. They tell nothing and need not be unpredictable, so no system call
    /// is made for them.
    pub(crate) fn new_request_id(&self) -> String {
        let (process, next) = &self.requests;
        let id = (u128::from(*process) << 64) | u128::from(next.fetch_add(1, Ordering::Relaxed));
        hex(&id.to_be_bytes())
    }
}
