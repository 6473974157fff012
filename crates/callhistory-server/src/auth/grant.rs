//! What a request may do: scopes, redaction, and rate limits of its key.

use std::sync::Arc;

use callhistory_model::{
    CallFilter, CallInput, CallRecord, FieldError, FieldErrorCode, FieldErrors, ProblemCode, WorkspaceId,
};
use callhistory_store::{ApiKey, Scope};

use super::{
    key_cache::{KEY_LIFETIME, KeyCache},
    rate_limit::RateLimiter,
};
use crate::{error::ApiError, ids::Clock};

/// What the key of a request allows, and the request's way to ask again.
#[derive(Clone)]
pub(crate) struct Grant {
    /// `None` if the service does not require keys.
    key: Option<Arc<ApiKey>>,
    keys: Option<Arc<KeyCache>>,
    rate_limiter: Option<Arc<RateLimiter>>,
    clock: Clock,
}

impl Grant {
    pub(crate) fn new(
        key: Option<Arc<ApiKey>>,
        keys: Option<Arc<KeyCache>>,
        rate_limiter: Option<Arc<RateLimiter>>,
        clock: Clock,
    ) -> Self {
        Self { key, keys, rate_limiter, clock }
    }

    /// The workspace that the key is limited to.
    pub(crate) fn workspace(&self) -> Option<&WorkspaceId> {
        self.key.as_ref()?.workspace.as_ref()
    }

    fn allows(&self, scope: Scope) -> bool {
        self.key.as_ref().is_none_or(|key| key.scopes.contains(&scope))
    }

    pub(crate) fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.allows(scope) {
            return Ok(());
        }
        let detail = format!("The key does not have the scope {scope}, which this needs.");
        Err(ApiError::new(ProblemCode::InsufficientScope, detail))
    }

    fn limited_key(&self) -> Option<(&RateLimiter, &str)> {
        Some((self.rate_limiter.as_deref()?, &self.key.as_ref()?.id))
    }

    /// Charges this number of records, which are about to be read, to the rate limit.
    pub(crate) fn charge_records(&self, count: usize) -> Result<(), ApiError> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.limited_key().map_or(Ok(()), |(limiter, key)| limiter.charge_records(key, count))
    }

    /// Slows a stream of records down to what the key may read. They are counted only where that is bounded.
    pub(crate) async fn throttle(&self, count: impl FnOnce() -> usize) {
        if let Some((limiter, key)) = self.limited_key() {
            limiter.throttle(key, u32::try_from(count()).unwrap_or(u32::MAX)).await;
        }
    }

    /// Whether this caller sees records as they are.
    pub(crate) fn sees_phone_numbers(&self) -> bool {
        self.allows(Scope::PhoneNumbersRead)
    }

    /// A record as this caller may see it.
    pub(crate) fn redact(&self, body: bytes::Bytes) -> Result<bytes::Bytes, ApiError> {
        if self.sees_phone_numbers() {
            return Ok(body);
        }
        CallRecord::redact_phone_numbers(&body).map(Into::into).map_err(|error| ApiError::internal(&error))
    }

    /// The same for records that each have a line.
    pub(crate) fn redact_lines(&self, lines: bytes::Bytes) -> Result<bytes::Bytes, ApiError> {
        if self.sees_phone_numbers() {
            return Ok(lines);
        }
        let mut shown = Vec::with_capacity(lines.len());
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = CallRecord::redact_phone_numbers(line).map_err(|error| ApiError::internal(&error))?;
            shown.extend_from_slice(line.as_bytes());
            shown.push(b'\n');
        }
        Ok(shown.into())
    }

    /// Refuses to write a phone number that was read masked: the real one would be lost.
    pub(crate) fn check_phone_numbers(&self, from: Option<&str>, to: Option<&str>) -> Result<(), FieldErrors> {
        let numbers = [("/fromPhoneNumber", from), ("/toPhoneNumber", to)];
        let is_lost = |number: &str| CallRecord::is_redacted(number) && !self.allows(Scope::PhoneNumbersRead);
        let masked = numbers.into_iter().filter(|(_, number)| number.is_some_and(is_lost));
        let error = |(pointer, _): (&str, _)| {
            let detail = format!("is masked; leave it out, or use a key with the scope {}", Scope::PhoneNumbersRead);
            FieldError::new(FieldErrorCode::NotWritable, detail).prefix_pointer(pointer)
        };
        let errors: Vec<_> = masked.map(error).collect();
        if errors.is_empty() { Ok(()) } else { Err(FieldErrors(errors)) }
    }

    pub(crate) fn check_input(&self, input: &CallInput) -> Result<(), FieldErrors> {
        self.check_phone_numbers(input.from_phone_number.as_deref(), input.to_phone_number.as_deref())
    }

    /// Refuses a filter whose answer would tell phone numbers to those who may not see them.
    pub(crate) fn check_filter(&self, filter: &CallFilter) -> Result<(), ApiError> {
        let asks = filter.from_phone_number.is_some()
            || filter.to_phone_number.is_some()
            || filter.phone_number.is_some()
            || filter.search.as_ref().is_some_and(|search| search.chars().any(char::is_numeric));
        if asks { self.require(Scope::PhoneNumbersRead) } else { Ok(()) }
    }

    /// Ends when the key is no longer accepted; never, where there are no keys.
    pub(crate) async fn ended(&self) {
        let (Some(keys), Some(key)) = (&self.keys, &self.key) else { return std::future::pending().await };
        while !keys.is_over(key, (self.clock)().timestamp_nanos_opt().unwrap_or_default()).await {
            tokio::time::sleep(KEY_LIFETIME).await;
        }
    }
}
