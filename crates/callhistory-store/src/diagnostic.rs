//! The results of the checks of a database.

/// How serious a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing to do.
    Ok,
    /// It works, and needs attention.
    Warning,
    /// It does not work.
    Error,
}

impl Severity {
    /// The severity as one word: `ok`, `warning` or `error`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What was checked.
    pub name: &'static str,
    /// How serious the result is.
    pub severity: Severity,
    /// What was found, and what to do about it.
    pub detail: String,
}

impl Diagnostic {
    /// A check that passed.
    pub fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, severity: Severity::Ok, detail: detail.into() }
    }

    /// A check that needs attention.
    pub fn warning(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, severity: Severity::Warning, detail: detail.into() }
    }

    /// A check that failed.
    pub fn error(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, severity: Severity::Error, detail: detail.into() }
    }
}
