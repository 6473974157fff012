//! Time, randomness, and the IDs that are made from them.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use callhistory_model::CallId;
use chrono::{DateTime, Utc};

use crate::error::ApiError;

/// Returns the current time.
pub type Clock = fn() -> DateTime<Utc>;
/// Returns 64 unpredictable bits.
pub type Randomness = fn() -> u64;

/// Generates the IDs of records and requests.
pub(crate) struct IdGenerator {
    clock: Clock,
    randomness: Randomness,
    last_call_id: Mutex<u128>,
    /// The first half of request IDs, which is random for this process.
    process: u64,
    /// The second half of the next request ID.
    next_request: AtomicU64,
}

impl IdGenerator {
    pub(crate) fn new(clock: Clock, randomness: Randomness) -> Self {
        let (process, next_request) = (randomness(), AtomicU64::new(randomness()));
        Self { clock, randomness, last_call_id: Mutex::new(0), process, next_request }
    }

    /// A new record ID: 24 hexadecimal digits, 12 of the Unix time in milliseconds and 12 random ones. The IDs of one server sort
    /// by creation time, also within a millisecond.
    pub(crate) fn call_id(&self) -> Result<CallId, ApiError> {
        let millis = u128::try_from((self.clock)().timestamp_millis()).unwrap_or(0);
        let fresh = (millis << 48) | (u128::from((self.randomness)()) >> 16);
        let mut last = self.last_call_id.lock().unwrap_or_else(PoisonError::into_inner);
        *last = fresh.max(*last + 1);
        format!("{:024x}", *last).parse().map_err(|error| ApiError::internal(&error))
    }

    /// A unique request ID of 32 hexadecimal digits. It need not be unpredictable, so it costs no system call.
    pub(crate) fn request_id(&self) -> String {
        let next = self.next_request.fetch_add(1, Ordering::Relaxed);
        hex(&(u128::from(self.process) << 64 | u128::from(next)).to_be_bytes())
    }
}

/// Hexadecimal digits, without `format!`: each request has an ID.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    push_hex(&mut text, bytes);
    text
}

pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    let digit = |four: u8| char::from(b"0123456789abcdef"[usize::from(four)]);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
}
