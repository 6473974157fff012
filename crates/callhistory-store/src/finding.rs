//! What an operator wants to know of a database.

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, and should be looked at.
    Doubtful,
    /// It does not work.
    Bad,
}

impl Verdict {
    /// The verdict in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Doubtful => "doubtful",
            Self::Bad => "bad",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen, and what to do about it.
    pub detail: String,
}

impl Finding {
    /// A thing that is as it should be.
    pub fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, detail: detail.into() }
    }

    /// A thing to look at.
    pub fn doubtful(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Doubtful, detail: detail.into() }
    }

    /// A thing that is broken.
    pub fn bad(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Bad, detail: detail.into() }
    }
}
