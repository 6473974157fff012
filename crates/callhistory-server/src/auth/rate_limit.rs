//! Rate limits of keys: token buckets of requests, and of records that are read.

use std::{
    num::NonZeroU32,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use callhistory_model::ProblemCode;
use governor::{
    Quota,
    clock::{Clock, ReasonablyRealtime},
    middleware::{NoOpMiddleware, StateInformationMiddleware},
    state::keyed::DefaultKeyedStateStore,
};

use crate::error::ApiError;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The records of the largest page. A bucket must hold as many, or the page could never be read.
const MIN_RECORDS: NonZeroU32 = NonZeroU32::new(1000).expect("a thousand is not zero");
/// The number of keys from which on full buckets are removed.
const MAX_KEYS: usize = 10_000;

/// What a key may request in a second; `None` is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Requests in a second. The burst is as large.
    pub requests: Option<NonZeroU32>,
    /// Records read in a second. The burst is as large, and at least the 1,000 records of the largest page.
    pub records: Option<NonZeroU32>,
}

/// Returns the time since some fixed moment. It never goes back.
pub type MonotonicClock = fn() -> Duration;

/// The clock of the limiters, an argument so that tests can stop it.
#[derive(Clone, Copy, Debug)]
struct LimiterClock(MonotonicClock);

impl Clock for LimiterClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        (self.0)()
    }
}

impl ReasonablyRealtime for LimiterClock {}

type Keyed<M> = governor::RateLimiter<String, DefaultKeyedStateStore<String>, LimiterClock, M>;

/// The buckets of all keys.
pub(crate) struct RateLimiter {
    requests: Option<(NonZeroU32, Keyed<StateInformationMiddleware>)>,
    records: Option<(NonZeroU32, Keyed<NoOpMiddleware<Duration>>)>,
    policy: HeaderValue,
    clock: LimiterClock,
}

/// The state of the rate limit for the response headers, set once the key is known.
#[derive(Clone, Default)]
pub(crate) struct RateLimitState(Arc<OnceLock<Option<u32>>>);

impl RateLimiter {
    /// `None` if there is no limit.
    pub(crate) fn new(rates: Rates, clock: MonotonicClock) -> Option<Self> {
        let Rates { requests, records } = rates;
        let clock = LimiterClock(clock);
        let policy = [("requests", requests), ("records", records)]
            .map(|(name, rate)| rate.map(|rate| format!("\"{name}\";q={rate};w=1")));
        let policy = policy.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let bucket = |quota| governor::RateLimiter::new(quota, DefaultKeyedStateStore::default(), clock);
        let records = records.map(|rate| {
            let quota = Quota::per_second(rate).allow_burst(rate.max(MIN_RECORDS));
            (rate, bucket(quota))
        });
        let requests = requests.map(|rate| (rate, bucket(Quota::per_second(rate)).with_middleware()));
        if requests.is_none() && records.is_none() {
            return None;
        }
        Some(Self { requests, records, policy: HeaderValue::try_from(policy).ok()?, clock })
    }

    /// Takes one request from the bucket of a key.
    pub(crate) fn charge_request(&self, key: &str, state: Option<&RateLimitState>) -> Result<(), ApiError> {
        let Some((rate, bucket)) = &self.requests else {
            state.map(|state| state.0.set(None));
            return Ok(());
        };
        if bucket.len() > MAX_KEYS {
            bucket.retain_recent();
        }
        let taken = bucket.check_key(&key.to_owned());
        let remaining = taken.as_ref().map_or(0, governor::middleware::StateSnapshot::remaining_burst_capacity);
        state.map(|state| state.0.set(Some(remaining)));
        taken.map(drop).map_err(|until| {
            refused(&format!("This key may send {rate} requests in a second."), until.wait_time_from(self.clock.now()))
        })
    }

    /// The bucket of records, its rate, and this number of records, but not more than the bucket holds; `None` for none.
    fn records(&self, count: u32) -> Option<(&Keyed<NoOpMiddleware<Duration>>, NonZeroU32, NonZeroU32)> {
        let (rate, bucket) = self.records.as_ref()?;
        Some((bucket, *rate, NonZeroU32::new(count)?.min((*rate).max(MIN_RECORDS))))
    }

    /// Takes the records of a page from the bucket of a key, before they are read.
    pub(crate) fn charge_records(&self, key: &str, count: u32) -> Result<(), ApiError> {
        let Some((bucket, rate, count)) = self.records(count) else { return Ok(()) };
        if bucket.len() > MAX_KEYS {
            bucket.retain_recent();
        }
        match bucket.check_key_n(&key.to_owned(), count) {
            Ok(Err(until)) => {
                let detail = format!("This key may read {rate} records in a second; a page counts as its limit.");
                Err(refused(&detail, until.wait_time_from(self.clock.now())))
            }
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// Waits until a key may read this number of further records: a stream is slowed down, not aborted.
    pub(crate) async fn throttle(&self, key: &str, count: u32) {
        if let Some((bucket, _, count)) = self.records(count) {
            // Cannot fail: the bucket holds the count.
            let _ = bucket.until_key_n_ready(&key.to_owned(), count).await;
        }
    }

    /// Adds the headers with the limits and what remains of them.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap, state: &RateLimitState) {
        // A request that was rejected before its key was known has no bucket.
        let Some(remaining) = state.0.get() else { return };
        headers.insert(POLICY, self.policy.clone());
        let Some(remaining) = remaining else { return };
        if let Ok(text) = HeaderValue::try_from(format!("\"requests\";r={remaining};t=1")) {
            headers.insert(RATE_LIMIT, text);
        }
    }
}

/// An example of the error, for the contract.
pub(crate) const TOO_MANY: &str = "This key may send 100 requests in a second.";

pub(crate) fn refused(detail: &str, wait: Duration) -> ApiError {
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
    ApiError::new(ProblemCode::RateLimited, format!("{detail} Try again in {seconds} s.")).retry_after(seconds)
}
