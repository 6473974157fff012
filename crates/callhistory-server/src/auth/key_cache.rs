//! A short-lived cache of API keys.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use callhistory_model::{ProblemCode, Timestamp};
use callhistory_store::{ApiKey, ApiKeyStore};
use subtle::ConstantTimeEq as _;

use super::token::Token;
use crate::error::ApiError;

pub(crate) const WRONG_KEY: &str = "The key is not one of this service.";
/// The error does not depend on whether the workspace exists.
pub(crate) const OTHER_WORKSPACE: &str = "The key is of another workspace than x-workspace-id says.";
/// How long a key is cached. A revocation takes effect within this time.
pub(crate) const KEY_LIFETIME: Duration = Duration::from_millis(500);
/// How often the use of a key is recorded, in nanoseconds.
const USE_INTERVAL_NANOS: i64 = 60_000_000_000;
/// Cached keys at a time.
const MAX_KEYS: usize = 10_000;

/// The keys of the service.
pub(crate) struct KeyCache {
    store: Arc<dyn ApiKeyStore>,
    /// Each key with the time when it was read.
    cached: Mutex<HashMap<String, (Arc<ApiKey>, Instant)>>,
}

impl KeyCache {
    pub(crate) fn new(store: Arc<dyn ApiKeyStore>) -> Self {
        Self { store, cached: Mutex::default() }
    }

    /// Whether the store can read keys. It need not have any.
    pub(crate) async fn can_be_read(&self) -> bool {
        self.store.find_key("").await.is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Arc<ApiKey>, Instant)>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key with this ID, if it is cached.
    fn cached(&self, id: &str) -> Option<Arc<ApiKey>> {
        self.lock().get(id).filter(|(_, read)| read.elapsed() < KEY_LIFETIME).map(|(key, _)| Arc::clone(key))
    }

    /// Reads the key with this ID. That a key does not exist is not cached, because it can be created at any time.
    async fn find(&self, id: &str) -> Result<Option<Arc<ApiKey>>, ApiError> {
        let read = Instant::now();
        let found = self.store.find_key(id).await?.map(Arc::new);
        let mut cached = self.lock();
        if cached.len() >= MAX_KEYS {
            cached.clear();
        }
        match &found {
            Some(key) => drop(cached.insert(id.to_owned(), (Arc::clone(key), read))),
            None => drop(cached.remove(id)),
        }
        Ok(found)
    }

    /// The key that a caller sent. The error is the same for every wrong key; only a caller with the right secret learns that the
    /// key has expired or is revoked.
    pub(crate) async fn check(&self, sent: &str, now: i64) -> Result<Arc<ApiKey>, ApiError> {
        let wrong = || ApiError::new(ProblemCode::KeyInvalid, WRONG_KEY);
        let found = match Token::id_in(sent).and_then(|id| self.cached(id)) {
            Some(key) => Some(key),
            // Only a text with a valid checksum costs the store a read.
            None => self.find(Token::parse(sent).ok_or_else(wrong)?.id()).await?,
        };
        // Always compared, so that the time does not reveal whether there is a key with this ID.
        let digest = found.as_ref().map_or([0; 32], |key| key.digest);
        let is_right = bool::from(Token::digest_of(sent).ct_eq(&digest));
        let key = found.filter(|_| is_right).ok_or_else(wrong)?;
        if key.is_revoked(now) {
            return Err(ApiError::new(ProblemCode::KeyRevoked, "The key has been revoked."));
        }
        if key.is_expired(now) {
            return Err(ApiError::new(ProblemCode::KeyExpired, "The key has expired."));
        }
        self.mark_used(&key, now);
        Ok(key)
    }

    /// Whether a key that was accepted has expired or is revoked.
    pub(crate) async fn has_ended(&self, key: &ApiKey, now: i64) -> bool {
        let found = match self.cached(&key.id) {
            Some(key) => Ok(Some(key)),
            None => self.find(&key.id).await,
        };
        match found {
            Ok(Some(found)) if found.digest == key.digest && !found.is_revoked(now) && !found.is_expired(now) => {
                self.mark_used(&found, now);
                false
            }
            Ok(_) => true,
            // An unavailable store says nothing about the key.
            Err(_) => false,
        }
    }

    /// Records the use of a key from time to time, in a task of its own.
    fn mark_used(&self, key: &ApiKey, now: i64) {
        let is_recent = |at: &Timestamp| now - at.unix_nanos() < USE_INTERVAL_NANOS;
        if key.used_at.as_ref().is_some_and(is_recent) {
            return;
        }
        let now = Timestamp::from_unix_nanos(now);
        let used = Arc::new(ApiKey { used_at: Some(now.clone()), ..key.clone() });
        if let Some((key, _)) = self.lock().get_mut(&key.id) {
            *key = used;
        }
        let (store, id) = (Arc::clone(&self.store), key.id.clone());
        tokio::spawn(async move {
            if let Err(error) = store.mark_key_used(&id, now).await {
                tracing::warn!(%error, "the use of a key could not be recorded");
            }
        });
    }
}
