//! Database URLs.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::error::StoreError;

/// Which database to open. [`Display`](fmt::Display) gives the URL without its password.
///
/// `sqlite:PATH` is the embedded engine. `postgres://USER:PASSWORD@HOST:PORT/DATABASE` is a PostgreSQL database, in the form of
/// its own clients; `sslmode` and `sslrootcert` set how far the server is trusted.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database, by its whole URL.
    Postgres(String),
}

impl FromStr for DatabaseUrl {
    type Err = StoreError;

    fn from_str(url: &str) -> Result<Self, StoreError> {
        match url.split_once(':') {
            Some(("sqlite", path)) => {
                // Both `sqlite:PATH` and `sqlite://PATH` are in common use.
                let path = path.strip_prefix("//").unwrap_or(path);
                // Other programs read these as options or as an in-memory database; here they would be file names.
                if path.is_empty() || path.starts_with(':') || path.contains('?') {
                    return Err(StoreError::Open(format!("the database URL {url:?} names no file; use sqlite:PATH")));
                }
                Ok(Self::Sqlite(path.into()))
            }
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(url.to_owned())),
            _ => {
                let scheme = url.split(':').next().unwrap_or("");
                Err(StoreError::Open(format!(
                    "no engine for a database URL that starts with {scheme:?}; use sqlite:PATH or postgres://…"
                )))
            }
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
                let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                let user = authority.rsplit_once('@').map(|(user, _)| user.split(':').next().unwrap_or_default());
                let user = user.map(|user| format!("{user}@")).unwrap_or_default();
                let named = query.split('&').find(|pair| pair.starts_with("host=")).map(|host| format!("?{host}"));
                write!(f, "{scheme}://{user}{host}{}", named.unwrap_or_default())
            }
        }
    }
}

/// Redacts the password, which must not reach a log.
impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}
