//! How an import treats records that exist.

/// What an import does with a record that exists already. Records that do not exist are created in every mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ImportMode {
    /// Replaces it, unless that would take a final status back to a live one.
    #[default]
    Replace,
    /// Merges the sent members into it: [`CallInput::merge_into`](crate::CallInput::merge_into).
    Merge,
    /// Refuses a record that differs from it.
    Create,
}

impl ImportMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Replace, Self::Merge, Self::Create];

    /// The value of the parameter `mode`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Merge => "merge",
            Self::Create => "create",
        }
    }
}
