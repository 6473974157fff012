//! Spans and events of the feature `tracing`. They have neither keys nor content of records.

use std::time::Duration;

use crate::error::{Error, ResponseHead};

/// The span of an operation. It is held, because the current span is that of the caller if this one is filtered out.
pub(crate) struct Span(Held);

#[cfg(feature = "tracing")]
type Held = tracing::Span;
#[cfg(not(feature = "tracing"))]
type Held = ();

#[cfg(feature = "tracing")]
mod enabled {
    use tracing::{Instrument as _, field::Empty};

    use super::{Duration, Error, ResponseHead, Span};

    impl Span {
        pub(crate) fn new(name: &'static str) -> Self {
            Self(tracing::info_span!(
                "callhistory",
                operation = name,
                attempt = Empty,
                status = Empty,
                request_id = Empty
            ))
        }

        /// Runs an operation in its span.
        pub(crate) async fn run<F: Future>(&self, future: F) -> F::Output {
            future.instrument(self.0.clone()).await
        }

        /// Notes the number of an attempt.
        pub(crate) fn attempt(&self, number: u32) {
            self.0.record("attempt", number);
        }

        /// Notes the response of the last attempt. Those of earlier ones are not noted, because a field cannot be cleared.
        pub(crate) fn end(&self, head: Option<&ResponseHead>) {
            if let Some(head) = head {
                self.0.record("status", head.status.as_u16());
                self.0.record("request_id", head.request_id.as_deref());
            }
        }
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
    use super::{Duration, Error, ResponseHead, Span};

    impl Span {
        pub(crate) fn new(_: &'static str) -> Self {
            Self(())
        }

        pub(crate) async fn run<F: Future>(&self, future: F) -> F::Output {
            future.await
        }

        pub(crate) fn attempt(&self, _: u32) {}

        pub(crate) fn end(&self, _: Option<&ResponseHead>) {}
    }

    pub(crate) fn retry(_: &Error, _: Duration) {}
}

#[cfg(not(feature = "tracing"))]
pub(crate) use disabled::*;
