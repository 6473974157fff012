//! How much a key may ask for: token buckets in requests and in records read.

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
/// The records of the largest page: a bucket that holds fewer could never pay for it.
const MIN_RECORDS: NonZeroU32 = NonZeroU32::new(1000).expect("a thousand is not zero");
/// Keys whose buckets are kept before the full ones are forgotten.
const MAX_KEYS: usize = 10_000;

/// What a key may ask for in a second; `None` is no bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Requests in a second, and at once.
    pub requests: Option<NonZeroU32>,
    /// Records read in a second. At once it may be as many, or the 1,000 of the largest page where that is more.
    pub records: Option<NonZeroU32>,
}

/// Time since some fixed moment. It never goes back.
pub type MonotonicClock = fn() -> Duration;

/// The clock of the limiters, which is given to them so that tests can stop it.
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
    /// `None` where nothing is bounded.
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
        (requests.is_some() || records.is_some())
            .then(|| Some(Self { requests, records, policy: HeaderValue::try_from(policy).ok()?, clock }))
            .flatten()
    }

    /// Takes one request from the bucket of a key.
    pub(crate) fn charge_request(&self, key: &str, left: Option<&RateLimitState>) -> Result<(), ApiError> {
        let Some((rate, bucket)) = &self.requests else {
            left.map(|left| left.0.set(None));
            return Ok(());
        };
        if bucket.len() > MAX_KEYS {
            bucket.retain_recent();
        }
        let taken = bucket.check_key(&key.to_owned());
        let remaining = taken.as_ref().map_or(0, governor::middleware::StateSnapshot::remaining_burst_capacity);
        left.map(|left| left.0.set(Some(remaining)));
        taken.map(drop).map_err(|until| {
            refused(&format!("This key may send {rate} requests in a second."), until.wait_time_from(self.clock.now()))
        })
    }

    /// Takes the records of a page from the bucket of a key, before they are read.
    pub(crate) fn charge_records(&self, key: &str, count: u32) -> Result<(), ApiError> {
        let (Some((rate, bucket)), Some(count)) = (&self.records, NonZeroU32::new(count)) else { return Ok(()) };
        if bucket.len() > MAX_KEYS {
            bucket.retain_recent();
        }
        // More than a bucket holds is a whole bucket.
        let count = count.min((*rate).max(MIN_RECORDS));
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
        let (Some((_, bucket)), Some(count)) = (&self.records, NonZeroU32::new(count)) else { return };
        let key = key.to_owned();
        if bucket.until_key_n_ready(&key, count).await.is_err() {
            // More than a bucket holds is a whole bucket.
            let _ = bucket.until_key_n_ready(&key, MIN_RECORDS).await;
        }
    }

    /// Says what was asked for, and what is left of it.
    pub(crate) fn describe(&self, headers: &mut HeaderMap, left: &RateLimitState) {
        // A request that was refused before its key was known has no bucket.
        let Some(remaining) = left.0.get() else { return };
        headers.insert(POLICY, self.policy.clone());
        let Some(remaining) = remaining else { return };
        if let Ok(text) = HeaderValue::try_from(format!("\"requests\";r={remaining};t=1")) {
            headers.insert(RATE_LIMIT, text);
        }
    }
}

/// An example of a refusal, for the contract.
pub(crate) const TOO_MANY: &str = "This key may send 100 requests in a second.";

pub(crate) fn refused(detail: &str, wait: Duration) -> ApiError {
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
    ApiError::new(ProblemCode::RateLimited, format!("{detail} Try again in {seconds} s.")).retry_after(seconds)
}
