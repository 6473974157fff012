//! API keys, and the interface of their store.

use std::{fmt, str::FromStr};

use async_trait::async_trait;
use callhistory_model::{Timestamp, WorkspaceId};

use crate::error::StoreError;

/// A permission of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Reading records, lists, metrics and changes.
    CallsRead,
    /// Creating, replacing, changing and importing records.
    CallsWrite,
    /// Deleting records.
    CallsDelete,
    /// Reading whole histories.
    CallsExport,
    /// Seeing `fromPhoneNumber` and `toPhoneNumber`; without it they are masked.
    PhoneNumbersRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] =
        [Self::CallsRead, Self::CallsWrite, Self::CallsDelete, Self::CallsExport, Self::PhoneNumbersRead];

    /// The name of the scope.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallsRead => "calls:read",
            Self::CallsWrite => "calls:write",
            Self::CallsDelete => "calls:delete",
            Self::CallsExport => "calls:export",
            Self::PhoneNumbersRead => "phone-numbers:read",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no scope; the scopes are {}", names()))
    }
}

/// An API key as it is stored: with its digest, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The public part, which names the key in lists and logs.
    pub id: String,
    /// The SHA-256 of the whole key.
    pub digest: [u8; 32],
    /// The name that its owner gave it.
    pub name: String,
    /// The workspace that it grants access to; `None` for an operator key, which grants access to all.
    pub workspace: Option<WorkspaceId>,
    /// Its scopes.
    pub scopes: Vec<Scope>,
    /// The time of its creation.
    pub created_at: Timestamp,
    /// The time from which it is expired.
    pub expires_at: Option<Timestamp>,
    /// The time from which it is revoked; in the future for a rotated key that is still accepted.
    pub revoked_at: Option<Timestamp>,
    /// The time of its last use, to the minute.
    pub used_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it is revoked at a time, in nanoseconds since 1970.
    #[must_use]
    pub fn is_revoked(&self, now: i64) -> bool {
        is_over(self.revoked_at.as_ref(), now)
    }

    /// Whether it is expired at a time, in nanoseconds since 1970.
    #[must_use]
    pub fn is_expired(&self, now: i64) -> bool {
        is_over(self.expires_at.as_ref(), now)
    }
}

fn is_over(end: Option<&Timestamp>, now: i64) -> bool {
    end.is_some_and(|end| end.unix_nanos() <= now)
}

/// The store of API keys. Every method is one durable transaction.
#[async_trait]
pub trait ApiKeyStore: Send + Sync + 'static {
    /// Stores a new key. With the ID of another key, revokes that key at a time in the same transaction.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`], [`StoreError::Unavailable`], [`StoreError::Io`] and [`StoreError::Internal`].
    async fn create_key(&self, key: ApiKey, replaces: Option<(String, Timestamp)>) -> Result<(), StoreError>;

    /// The key with this ID.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Io`] and [`StoreError::Internal`].
    async fn find_key(&self, id: &str) -> Result<Option<ApiKey>, StoreError>;

    /// All keys, oldest first, including expired and revoked ones.
    ///
    /// # Errors
    ///
    /// Those of [`find_key`](Self::find_key).
    async fn list_keys(&self) -> Result<Vec<ApiKey>, StoreError>;

    /// Revokes a key from a time, unless it is revoked earlier; `false` if it does not exist.
    ///
    /// # Errors
    ///
    /// Those of [`create_key`](Self::create_key).
    async fn revoke_key(&self, id: &str, at: Timestamp) -> Result<bool, StoreError>;

    /// Records the time of a use of a key.
    ///
    /// # Errors
    ///
    /// Those of [`create_key`](Self::create_key).
    async fn mark_key_used(&self, id: &str, at: Timestamp) -> Result<(), StoreError>;
}

/// The columns of a key in the order of the table, with its times as nanoseconds.
#[cfg(feature = "engine")]
pub(crate) struct KeyRow {
    pub(crate) id: String,
    pub(crate) digest: Vec<u8>,
    pub(crate) name: String,
    pub(crate) workspace: Option<String>,
    pub(crate) scopes: String,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    pub(crate) revoked_at: Option<i64>,
    pub(crate) used_at: Option<i64>,
}

#[cfg(feature = "engine")]
impl From<ApiKey> for KeyRow {
    fn from(key: ApiKey) -> Self {
        let nanos = |moment: &Option<Timestamp>| moment.as_ref().map(Timestamp::unix_nanos);
        Self {
            digest: key.digest.to_vec(),
            workspace: key.workspace.as_ref().map(ToString::to_string),
            scopes: key.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "),
            created_at: key.created_at.unix_nanos(),
            expires_at: nanos(&key.expires_at),
            revoked_at: nanos(&key.revoked_at),
            used_at: nanos(&key.used_at),
            id: key.id,
            name: key.name,
        }
    }
}

#[cfg(feature = "engine")]
impl TryFrom<KeyRow> for ApiKey {
    type Error = StoreError;

    fn try_from(row: KeyRow) -> Result<Self, StoreError> {
        let wrong = || StoreError::Internal(format!("the key {} is not stored as a key", row.id));
        let moment = |nanos: Option<i64>| nanos.map(Timestamp::from_unix_nanos);
        Ok(Self {
            digest: row.digest.as_slice().try_into().map_err(|_| wrong())?,
            workspace: row.workspace.as_deref().map(str::parse).transpose().map_err(|_| wrong())?,
            scopes: row.scopes.split_whitespace().map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?,
            created_at: Timestamp::from_unix_nanos(row.created_at),
            expires_at: moment(row.expires_at),
            revoked_at: moment(row.revoked_at),
            used_at: moment(row.used_at),
            id: row.id,
            name: row.name,
        })
    }
}
