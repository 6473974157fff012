//! API keys, cached for a moment.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use callhistory_model::{ProblemCode, Timestamp};
use callhistory_store::{ApiKey, ApiKeyStore};
use subtle::ConstantTimeEq as _;

use super::token::Token;
use crate::error::ApiError;

pub(crate) const WRONG_KEY: &str = "The key is not one of this service.";
/// Said whether the workspace exists or not.
pub(crate) const OTHER_WORKSPACE: &str = "The key is of another workspace than x-workspace-id says.";
/// How long a key that was read is taken as it was: revoking one is felt within this time.
pub(crate) const KEY_LIFETIME: Duration = Duration::from_millis(500);
/// How often the use of a key is noted.
const USE_INTERVAL_NANOS: i64 = 60_000_000_000;
/// Keys that are remembered at a time.
const MAX_REMEMBERED: usize = 10_000;

/// The keys of the service, each remembered for a moment.
pub(crate) struct KeyCache {
    store: Arc<dyn ApiKeyStore>,
    remembered: Mutex<HashMap<String, (Arc<ApiKey>, Instant)>>,
}

impl KeyCache {
    pub(crate) fn new(store: Arc<dyn ApiKeyStore>) -> Self {
        Self { store, remembered: Mutex::default() }
    }

    /// Whether keys can be looked up; one that there is not does as well.
    pub(crate) async fn can_be_read(&self) -> bool {
        self.store.find_key("").await.is_ok()
    }

    /// The key with this id, if it was read a moment ago.
    fn recent(&self, id: &str) -> Option<Arc<ApiKey>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(id).filter(|(_, read)| read.elapsed() < KEY_LIFETIME).map(|(key, _)| Arc::clone(key))
    }

    /// The key with this id. One that does not exist is not remembered: it may be made at any time.
    async fn find(&self, id: &str) -> Result<Option<Arc<ApiKey>>, ApiError> {
        let remembered = || self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let read = Instant::now();
        let found = self.store.find_key(id).await?.map(Arc::new);
        let mut remembered = remembered();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        match &found {
            Some(key) => drop(remembered.insert(id.to_owned(), (Arc::clone(key), read))),
            None => drop(remembered.remove(id)),
        }
        Ok(found)
    }

    /// The grant of a caller with this key. The error is the same for every wrong key; only a caller with the right secret
    /// learns that the key has expired or is revoked.
    pub(crate) async fn check(&self, sent: &str, now: i64) -> Result<Arc<ApiKey>, ApiError> {
        let wrong = || ApiError::new(ProblemCode::KeyInvalid, WRONG_KEY);
        let recent = Token::id_in(sent).and_then(|id| self.recent(id));
        let found = match recent {
            Some(key) => Some(key),
            // Only what may be a key is looked up.
            None => self.find(Token::parse(sent).ok_or_else(wrong)?.id()).await?,
        };
        // Compared in any case, so that the time does not tell whether there is a key with this id.
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

    /// Whether a key that was right is no longer accepted.
    pub(crate) async fn is_over(&self, key: &ApiKey, now: i64) -> bool {
        let found = match self.recent(&key.id) {
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

    /// Notes the use of a key now and then, and lets nobody wait for that.
    fn mark_used(&self, key: &ApiKey, now: i64) {
        let is_noted = |at: &Timestamp| now - at.unix_nanos() < USE_INTERVAL_NANOS;
        if key.used_at.as_ref().is_some_and(is_noted) {
            return;
        }
        let now = Timestamp::from_unix_nanos(now);
        let noted = Arc::new(ApiKey { used_at: Some(now.clone()), ..key.clone() });
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((key, _)) = remembered.get_mut(&key.id) {
            *key = noted;
        }
        drop(remembered);
        let (store, id) = (Arc::clone(&self.store), key.id.clone());
        tokio::spawn(async move {
            if let Err(error) = store.mark_key_used(&id, now).await {
                tracing::warn!(%error, "the use of a key could not be noted");
            }
        });
    }
}
