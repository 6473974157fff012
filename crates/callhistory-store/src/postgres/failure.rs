//! What can go wrong with a database server: what may be tried again, and what is told to callers.

use deadpool_postgres::PoolError;
use tokio_postgres::{Error, error::SqlState};

use crate::StoreError;

/// Why a transaction did not come about.
#[derive(Debug)]
pub(super) enum Failure {
    /// The work itself found it.
    Store(StoreError),
    /// The server or the way to it.
    Database(Error),
    /// No session could be had.
    NoSession(String),
}

impl Failure {
    /// Whether the server undid the transaction because of another one: the same work may succeed now.
    pub(super) fn is_conflict(&self) -> bool {
        let Self::Database(error) = self else { return false };
        error.code().is_some_and(|code| {
            [
                SqlState::T_R_SERIALIZATION_FAILURE,
                SqlState::T_R_DEADLOCK_DETECTED,
                // Another server wrote a record or a key that was not there when this one looked.
                SqlState::UNIQUE_VIOLATION,
            ]
            .contains(code)
        })
    }

    /// Whether the session ended or was about to: what was not committed is undone.
    pub(super) fn is_disconnected(&self) -> bool {
        match self {
            Self::Store(_) | Self::NoSession(_) => false,
            Self::Database(error) => error.as_db_error().is_none_or(|error| {
                // 57P: the server is stopped or starts; 08: the way; 53300: too many sessions; 25006: no longer the primary.
                let code = error.code().code();
                code.starts_with("57P") || code.starts_with("08") || ["53300", "25006"].contains(&code)
            }),
        }
    }
}

/// Nothing has come within the time there was, which was long enough for one attempt.
pub(super) fn late() -> Failure {
    Failure::NoSession("it takes too long".to_owned())
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::Database(error),
            PoolError::Timeout(_) => Self::NoSession("every session is in use, or none can be made".to_owned()),
            other => Self::NoSession(other.to_string()),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error,
            Failure::Database(error) => error.into(),
            Failure::NoSession(reason) => Self::Unavailable(format!("the database does not answer: {reason}")),
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let Some(error) = error.as_db_error() else {
            // Without a code it is the way to the server, or an answer that this program did not expect.
            return match std::error::Error::source(&error) {
                _ if error.is_closed() => Self::Unavailable("the connection to the database is closed".to_owned()),
                Some(source) if source.is::<std::io::Error>() => {
                    Self::Unavailable(format!("the database is not reached: {source}"))
                }
                _ => Self::Internal(error.to_string()),
            };
        };
        // The server's message may quote a value of the row; its code says all that an operator needs.
        let code = error.code().code();
        let place = error.constraint().or(error.table()).map(|place| format!(" at {place}")).unwrap_or_default();
        let message = format!("the database answered {code}{place}");
        match code {
            "53100" => Self::Full(message),
            "58030" | "XX001" | "XX002" => Self::Io(message),
            "57014" => Self::Unavailable("a statement took too long and was broken off".to_owned()),
            // 08 the way, 25006 a standby, 25P03 and 55P03 somebody waits too long, 40 a conflict that stayed one, 53 too
            // little of something, 57P a stop or a start.
            _ if code == "25006" || code == "25P03" || code == "55P03" => Self::Unavailable(message),
            _ if ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class)) => Self::Unavailable(message),
            _ => Self::Internal(message),
        }
    }
}
