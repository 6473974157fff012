//! What says whether and when to retry: a status, `Retry-After`, and faults of TLS.

#[cfg(not(target_arch = "wasm32"))]
use std::time::SystemTime;
use std::{error::Error as StdError, io, time::Duration};

use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};

/// Whether a status is transient. 500 is not: the service returns it where a retry does not help.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 502 | 503 | 504)
}

/// The delay of `Retry-After`, counted from now.
#[cfg(not(target_arch = "wasm32"))]
#[expect(clippy::disallowed_methods, reason = "a date of the service is relative to the clock")]
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    retry_after_at(headers, SystemTime::now())
}

/// The delay of `Retry-After` in seconds. A browser has no clock here for a date.
#[cfg(target_arch = "wasm32")]
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    seconds(headers.get(RETRY_AFTER)?.to_str().ok()?.trim())
}

fn seconds(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(text.parse().unwrap_or(u64::MAX)))
}

/// Seconds, or a date; a date in the past means no delay.
#[cfg(not(target_arch = "wasm32"))]
fn retry_after_at(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Some(seconds) = seconds(text) {
        return Some(seconds);
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Whether a TLS library has refused the connection: its certificate, its protocol, or what the other side has sent.
pub(crate) fn is_tls_fault(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if is_tls_error(error) {
            return true;
        }
        // The source of an I/O error is that of the error inside, which is skipped.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    false
}

#[cfg_attr(
    any(target_arch = "wasm32", not(any(feature = "rustls-no-provider", feature = "native-tls"))),
    expect(unused_variables, reason = "without TLS there is no such error")
)]
fn is_tls_error(error: &(dyn StdError + 'static)) -> bool {
    #[cfg(all(feature = "rustls-no-provider", not(target_arch = "wasm32")))]
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        use rustls::AlertDescription::{CloseNotify, InternalError};
        return !matches!(error, rustls::Error::AlertReceived(CloseNotify | InternalError));
    }
    #[cfg(all(feature = "native-tls", not(target_arch = "wasm32")))]
    if error.is::<native_tls::Error>() {
        return true;
    }
    false
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
