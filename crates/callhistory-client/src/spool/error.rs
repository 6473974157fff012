//! Errors of a spool.

use std::{error::Error as StdError, fmt, io, path::Path};

use crate::error::Error;

/// An error of a [`SpoolingWriter`](super::SpoolingWriter): the write was not taken.
#[derive(Debug)]
pub struct SpoolError(Box<Kind>);

#[derive(Debug)]
enum Kind {
    Full { bytes: u64, max_bytes: u64 },
    Locked(String),
    Foreign(String),
    Closed,
    Invalid(Error),
    Io(io::Error),
}

impl SpoolError {
    pub(super) fn full(bytes: u64, max_bytes: u64) -> Self {
        Self(Box::new(Kind::Full { bytes, max_bytes }))
    }

    pub(super) fn locked(directory: &Path) -> Self {
        Self(Box::new(Kind::Locked(directory.display().to_string())))
    }

    pub(super) fn foreign(directory: &Path) -> Self {
        Self(Box::new(Kind::Foreign(directory.display().to_string())))
    }

    pub(super) fn closed() -> Self {
        Self(Box::new(Kind::Closed))
    }

    /// The spool has no room: its oldest writes could not be sent for too long, or the write alone is larger than the spool.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(*self.0, Kind::Full { .. })
    }

    /// Another process has opened the spool.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(*self.0, Kind::Locked(_))
    }

    /// The spool was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(*self.0, Kind::Closed)
    }

    /// The write is invalid in itself, such as one with an ID that cannot be one.
    #[must_use]
    pub fn is_invalid_request(&self) -> bool {
        matches!(*self.0, Kind::Invalid(_))
    }
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Full { bytes, max_bytes } => {
                write!(f, "the spool is full: it has {bytes} of at most {max_bytes} bytes")
            }
            Kind::Locked(directory) => write!(f, "another process has opened the spool {directory}"),
            Kind::Foreign(directory) => {
                write!(f, "the spool {directory} belongs to another workspace, or has the format of another version")
            }
            Kind::Closed => f.write_str("the spool is closed"),
            Kind::Invalid(error) => error.fmt(f),
            Kind::Io(error) => write!(f, "the spool cannot be written or read: {error}"),
        }
    }
}

impl StdError for SpoolError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.0 {
            Kind::Io(error) => Some(error),
            Kind::Invalid(error) => error.source(),
            _ => None,
        }
    }
}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> Self {
        Self(Box::new(Kind::Io(error)))
    }
}

impl From<Error> for SpoolError {
    fn from(error: Error) -> Self {
        Self(Box::new(Kind::Invalid(error)))
    }
}
