//! Time, randomness, and the IDs that are made from them.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use callhistory_model::{CallId, Timestamp};
use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

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
    /// The key of request IDs, which is random for this process.
    request_key: [u64; 4],
    requests: AtomicU64,
}

impl IdGenerator {
    pub(crate) fn new(clock: Clock, randomness: Randomness) -> Self {
        let request_key = std::array::from_fn(|_| randomness());
        Self { clock, randomness, last_call_id: Mutex::new(0), request_key, requests: AtomicU64::new(0) }
    }

    /// A new record ID: 24 hexadecimal digits, 12 of the Unix time in milliseconds and 12 random ones. The IDs of one server sort
    /// by creation time, also within a millisecond, and after the clock was set back.
    pub(crate) fn call_id(&self) -> Result<CallId, ApiError> {
        let millis = u128::try_from((self.clock)().timestamp_millis()).unwrap_or(0);
        let random = (self.randomness)();
        let fresh = (millis << 48) | (u128::from(random) >> 16);
        let mut last = self.last_call_id.lock().unwrap_or_else(PoisonError::into_inner);
        // A random step: the IDs of a caller do not tell how many others were made.
        *last = fresh.max(*last + 1 + u128::from(random & u64::from(u32::MAX)));
        format!("{:024x}", *last).parse().map_err(|error| ApiError::internal(&error))
    }

    /// Makes later IDs sort after all of this time, although the clock is behind it.
    pub(crate) fn not_before(&self, time: &Timestamp) {
        let millis = u128::try_from(time.unix_nanos() / 1_000_000).unwrap_or(0);
        let mut last = self.last_call_id.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (*last).max((millis + 1) << 48);
    }

    /// A unique request ID of 32 hexadecimal digits: a keyed digest of a counter. It costs no system call, and a caller cannot
    /// tell from its IDs how many requests others have sent.
    pub(crate) fn request_id(&self) -> String {
        let mut digest = Sha256::new();
        for part in self.request_key.into_iter().chain([self.requests.fetch_add(1, Ordering::Relaxed)]) {
            digest.update(part.to_be_bytes());
        }
        hex(&digest.finalize()[..16])
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Two IDs of a caller say nothing about the number of requests between them.
    #[test]
    fn request_ids_are_unique_and_not_countable() {
        let ids = IdGenerator::new(|| DateTime::UNIX_EPOCH, || 7);
        let requested: Vec<_> = (0..1000).map(|_| ids.request_id()).collect();
        let numbers: Vec<_> = requested.iter().map(|id| u128::from_str_radix(id, 16).unwrap()).collect();
        assert!(requested.iter().all(|id| id.len() == 32));
        assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), 1000);
        let halves = |number: &u128| [number >> 64, number & u128::from(u64::MAX)];
        for pair in numbers.windows(2) {
            let near = |(one, next): (u128, u128)| one.abs_diff(next) < 1 << 32;
            assert!(!halves(&pair[0]).into_iter().zip(halves(&pair[1])).any(near), "{:x} then {:x}", pair[0], pair[1]);
        }
        let other = IdGenerator::new(|| DateTime::UNIX_EPOCH, || 8);
        assert_ne!(other.request_id(), requested[0], "the key does not matter");
    }
}
