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

/// What the key of a request allows.
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

    /// The ID of the key, if the service requires keys.
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.id.as_str())
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

    /// Slows a stream of records down to the rate limit of the key. They are counted only if there is one.
    pub(crate) async fn throttle(&self, count: impl FnOnce() -> usize) {
        if let Some((limiter, key)) = self.limited_key() {
            limiter.throttle(key, u32::try_from(count()).unwrap_or(u32::MAX)).await;
        }
    }

    /// Whether this caller may see phone numbers.
    pub(crate) fn sees_phone_numbers(&self) -> bool {
        self.allows(Scope::PhoneNumbersRead)
    }

    /// Removes from a record what this caller may not see.
    pub(crate) fn redact(&self, body: bytes::Bytes) -> Result<bytes::Bytes, ApiError> {
        if self.sees_phone_numbers() {
            return Ok(body);
        }
        CallRecord::redact_phone_numbers(&body).map(Into::into).map_err(|error| ApiError::internal(&error))
    }

    /// The same for records on a line each.
    pub(crate) fn redact_lines(&self, lines: bytes::Bytes) -> Result<bytes::Bytes, ApiError> {
        if self.sees_phone_numbers() {
            return Ok(lines);
        }
        let mut redacted = Vec::with_capacity(lines.len());
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = CallRecord::redact_phone_numbers(line).map_err(|error| ApiError::internal(&error))?;
            redacted.extend_from_slice(line.as_bytes());
            redacted.push(b'\n');
        }
        Ok(redacted.into())
    }

    /// Refuses a masked phone number of a caller who may only read masked ones: the real one would be overwritten.
    pub(crate) fn check_phone_numbers(&self, from: Option<&str>, to: Option<&str>) -> Result<(), FieldErrors> {
        let numbers = [("/fromPhoneNumber", from), ("/toPhoneNumber", to)];
        let overwrites = |number: &str| CallRecord::is_redacted(number) && !self.allows(Scope::PhoneNumbersRead);
        let masked = numbers.into_iter().filter(|(_, number)| number.is_some_and(overwrites));
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

    /// Refuses a filter whose result would reveal phone numbers that this caller may not see.
    pub(crate) fn check_filter(&self, filter: &CallFilter) -> Result<(), ApiError> {
        let reveals = filter.from_phone_number.is_some()
            || filter.to_phone_number.is_some()
            || filter.phone_number.is_some()
            || filter.search.as_ref().is_some_and(|search| search.chars().any(char::is_numeric));
        if reveals { self.require(Scope::PhoneNumbersRead) } else { Ok(()) }
    }

    /// Completes when the key is no longer accepted; never, if the service does not require keys.
    pub(crate) async fn ended(&self) {
        let (Some(keys), Some(key)) = (&self.keys, &self.key) else { return std::future::pending().await };
        while !keys.has_ended(key, (self.clock)().timestamp_nanos_opt().unwrap_or_default()).await {
            tokio::time::sleep(KEY_LIFETIME).await;
        }
    }
}
