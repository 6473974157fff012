//! Errors of PostgreSQL: which can be retried, and how callers see them.

use deadpool_postgres::PoolError;
use tokio::time::error::Elapsed;
use tokio_postgres::{Error, error::SqlState};

use crate::error::StoreError;

/// Why a transaction failed.
#[derive(Debug)]
pub(super) enum PgError {
    /// The work returned an error of the store.
    Store(StoreError),
    /// The server returned an error, or the connection to it failed.
    Database(Error),
    /// The database is on another server than before: the next epoch must begin before the transaction is repeated.
    OtherServer,
    /// No session was available, or the session did not respond in time.
    NoSession(String),
}

impl PgError {
    /// Whether the server rolled back the transaction because of another one: a retry can succeed.
    pub(super) fn is_conflict(&self) -> bool {
        let Self::Database(error) = self else { return matches!(self, Self::OtherServer) };
        error.code().is_some_and(|code| {
            [
                SqlState::T_R_SERIALIZATION_FAILURE,
                SqlState::T_R_DEADLOCK_DETECTED,
                // Another server inserted a record or a key that this transaction did not see.
                SqlState::UNIQUE_VIOLATION,
            ]
            .contains(code)
        })
    }

    /// Whether the session ended or was ending: uncommitted work is rolled back.
    pub(super) fn is_disconnected(&self) -> bool {
        match self {
            Self::Store(_) | Self::NoSession(_) | Self::OtherServer => false,
            Self::Database(error) => error.as_db_error().is_none_or(|error| {
                // 57P: the server stops or starts; 08: the connection; 53300: too many sessions; 25006: no longer the primary.
                let code = error.code().code();
                code.starts_with("57P") || code.starts_with("08") || ["53300", "25006"].contains(&code)
            }),
        }
    }
}

/// The error of an operation that this program aborts. Its session must not be used again.
pub(super) fn timed_out(_: Elapsed) -> PgError {
    PgError::NoSession("the operation timed out".to_owned())
}

impl From<StoreError> for PgError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for PgError {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<PoolError> for PgError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::Database(error),
            PoolError::Timeout(_) => Self::NoSession("every session is in use, or none can be made".to_owned()),
            other => Self::NoSession(other.to_string()),
        }
    }
}

impl From<PgError> for StoreError {
    fn from(error: PgError) -> Self {
        match error {
            PgError::Store(error) => error,
            PgError::Database(error) => error.into(),
            PgError::OtherServer => Self::Unavailable("the database is on another server than before".to_owned()),
            PgError::NoSession(reason) => Self::Unavailable(format!("the database does not respond: {reason}")),
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let Some(error) = error.as_db_error() else {
            // Without a code it is the connection, or an unexpected response.
            return match std::error::Error::source(&error) {
                _ if error.is_closed() => Self::Unavailable("the connection to the database is closed".to_owned()),
                Some(source) if source.is::<std::io::Error>() => {
                    Self::Unavailable(format!("the database is not reached: {source}"))
                }
                _ => Self::Internal(error.to_string()),
            };
        };
        // The message of the server can quote a value of a row; its code is enough for an operator.
        let code = error.code().code();
        let place = error.constraint().or(error.table()).map(|place| format!(" at {place}")).unwrap_or_default();
        let message = format!("the database returned {code}{place}");
        match code {
            "53100" => Self::Full(message),
            "58030" => Self::Io(message),
            "XX001" | "XX002" => Self::Damaged(message),
            "57014" => Self::Unavailable("a statement took too long and was aborted".to_owned()),
            // 08: connection; 25006: standby; 25P03 and 55P03: lock timeouts; 40: repeated conflict; 53: resources; 57P: stop or
            // start.
            _ if code == "25006" || code == "25P03" || code == "55P03" => Self::Unavailable(message),
            _ if ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class)) => Self::Unavailable(message),
            _ => Self::Internal(message),
        }
    }
}
