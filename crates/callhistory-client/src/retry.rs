//! When a failed attempt is followed by another. The figures are documented in the crate's text.

use std::time::{Duration, SystemTime};

use backon::ExponentialBuilder;
use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};

use crate::error::Error;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A service that wants to be left alone for longer is not waited for inside a call.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The waits between attempts: doubled each time, and lengthened at random so that clients that failed together come
/// back apart.
pub(crate) fn schedule(max_retries: usize) -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(FIRST_WAIT)
        .with_factor(2.0)
        .with_max_delay(LONGEST_WAIT)
        .with_max_times(max_retries)
        .with_jitter()
}

/// The statuses that may be gone at the next attempt. 500 is not among them: the service answers it where trying again
/// does not help.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 502 | 503 | 504)
}

/// How long to wait before the next attempt, or `None` for no further attempt.
pub(crate) fn wait(error: &Error, scheduled: Option<Duration>) -> Option<Duration> {
    let scheduled = scheduled?;
    match error.retry_after() {
        None => Some(scheduled),
        Some(asked) if asked > LONGEST_RETRY_AFTER => None,
        // In addition, because every client that was turned away has been told the same time.
        Some(asked) => Some(asked + scheduled),
    }
}

/// What `Retry-After` asks for, counted from now.
#[expect(clippy::disallowed_methods, reason = "the service says a date, and only the clock knows how far it is")]
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    retry_after_at(headers, SystemTime::now())
}

/// Seconds, or a date, which asks for nothing once it has passed.
fn retry_after_at(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_seconds_and_dates() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:07 GMT").unwrap();
        let asked = |value: &str| retry_after_at(&HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]), now);
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:48:37 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("-1"), None);
        assert_eq!(asked("soon"), None);
    }
}
