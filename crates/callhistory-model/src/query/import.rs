//! The query of an import.

use super::query_string::{QueryString, read_parameters};
use crate::{FieldErrors, spelling::by_name};

/// The parameters of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportQuery {
    /// What happens to records that exist already.
    pub mode: ImportMode,
    /// Whether nothing is written if a record is rejected.
    pub is_atomic: bool,
    /// Whether records are created again that were deleted.
    pub restores_deleted: bool,
    /// Where the records come from; without it they are records of this API, each with its `_id` or `callId`.
    pub source: Option<ImportSource>,
}

/// What an import does with a record that exists already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum ImportMode {
    /// Replaces it, unless its status is final and that of the import is not.
    #[default]
    Replace,
    /// Merges both. The order of imports does not matter.
    Merge,
    /// Rejects the new one, unless both are identical.
    Create,
}

/// Where the records of an import come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum ImportSource {
    /// Any platform: a record without an `_id` gets one from the member in which platforms send it, or from its content.
    Generic,
}

impl ImportMode {
    const NAMES: [(&'static str, Self); 3] =
        [("replace", Self::Replace), ("merge", Self::Merge), ("create", Self::Create)];

    /// Parses the value of the parameter `mode`.
    ///
    /// # Errors
    ///
    /// The text is not a mode; the error names the known ones.
    pub fn parse(text: &str) -> Result<Self, crate::FieldError> {
        by_name(text, &Self::NAMES)
    }

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

impl ImportSource {
    const NAMES: [(&'static str, Self); 1] = [("generic", Self::Generic)];

    /// Parses the value of the parameter `source`.
    ///
    /// # Errors
    ///
    /// The text is not a source; the error names the known ones.
    pub fn parse(text: &str) -> Result<Self, crate::FieldError> {
        by_name(text, &Self::NAMES)
    }

    /// The value of the parameter `source`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Generic => "generic",
        }
    }
}

setters! {
    ImportQuery {
        value mode => mode: ImportMode,
        value atomic => is_atomic: bool,
        value restore_deleted => restores_deleted: bool,
        some source => source: ImportSource,
    }
}

impl ImportQuery {
    /// The names of the parameters.
    pub const PARAMETERS: &'static [&'static str] = &["mode", "atomic", "restoreDeleted", "source"];
    /// Maximum number of records of an atomic import.
    pub const MAX_ATOMIC_RECORDS: usize = 10_000;
    /// Maximum size of an atomic import, in bytes.
    pub const MAX_ATOMIC_BYTES: usize = 32 * 1024 * 1024;

    /// Parses a query string.
    ///
    /// # Errors
    ///
    /// All errors at once.
    pub fn from_query(query: &str) -> Result<Self, FieldErrors> {
        const SWITCH: [(&str, bool); 2] = [("true", true), ("false", false)];
        let mut import = Self::default();
        read_parameters(query, &[Self::PARAMETERS], |name, value| match name {
            // A form sends a field that was left blank without a value.
            _ if value.is_empty() && Self::PARAMETERS.contains(&name) => Some(Ok(())),
            "mode" => Some(ImportMode::parse(value).map(|mode| import.mode = mode)),
            "atomic" => Some(by_name(value, &SWITCH).map(|is_set| import.is_atomic = is_set)),
            "restoreDeleted" => Some(by_name(value, &SWITCH).map(|is_set| import.restores_deleted = is_set)),
            "source" => Some(ImportSource::parse(value).map(|source| import.source = Some(source))),
            _ => None,
        })?;
        Ok(import)
    }

    /// The query string.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = QueryString::new();
        if self.mode != ImportMode::default() {
            query.push("mode", self.mode.as_str());
        }
        if self.is_atomic {
            query.push("atomic", true);
        }
        if self.restores_deleted {
            query.push("restoreDeleted", true);
        }
        if let Some(source) = self.source {
            query.push("source", source.as_str());
        }
        query.finish()
    }
}
