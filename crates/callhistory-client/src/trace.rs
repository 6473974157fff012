//! Spans and events of the feature `tracing`. They have neither keys nor content of records.

use std::time::Duration;

use crate::error::{Error, ResponseHead};

#[cfg(feature = "tracing")]
mod enabled {
    use tracing::{Instrument as _, field::Empty};

    use super::{Duration, Error, ResponseHead};

    /// Runs an operation in its span.
    pub(crate) async fn operation<F: Future>(name: &'static str, future: F) -> F::Output {
        let span =
            tracing::info_span!("callhistory", operation = name, attempt = Empty, status = Empty, request_id = Empty);
        future.instrument(span).await
    }

    /// Notes the number of an attempt.
    pub(crate) fn attempt(number: u32) {
        tracing::Span::current().record("attempt", number);
    }

    /// Notes the response of an attempt.
    pub(crate) fn response(head: &ResponseHead) {
        let span = tracing::Span::current();
        span.record("status", head.status.as_u16());
        span.record("request_id", head.request_id.as_deref());
    }

    /// Notes that an attempt has failed, and when the next one follows.
    pub(crate) fn retry(error: &Error, delay: Duration) {
        tracing::warn!(
            attempt = error.attempts(),
            delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            "retrying: {error}"
        );
    }
}

#[cfg(feature = "tracing")]
pub(crate) use enabled::*;

#[cfg(not(feature = "tracing"))]
mod disabled {
    use super::{Duration, Error, ResponseHead};

    pub(crate) async fn operation<F: Future>(_: &'static str, future: F) -> F::Output {
        future.await
    }

    pub(crate) fn attempt(_: u32) {}

    pub(crate) fn response(_: &ResponseHead) {}

    pub(crate) fn retry(_: &Error, _: Duration) {}
}

#[cfg(not(feature = "tracing"))]
pub(crate) use disabled::*;
