//! The error of the crate.

use std::{error::Error, fmt};

/// What failed underneath.
pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// Why the server could not start, or a key or a record could not be written.
#[derive(Debug)]
pub struct TestServerError {
    action: &'static str,
    source: Cause,
}

impl TestServerError {
    /// The error of an action, for `map_err`.
    pub(crate) fn of(action: &'static str) -> impl Fn(Cause) -> Self {
        move |source| Self { action, source }
    }
}

impl fmt::Display for TestServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the test server cannot {}: {}", self.action, self.source)
    }
}

impl Error for TestServerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}
