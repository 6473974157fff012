//! The query of a partial update.

use super::query_string::{QueryString, read_parameters};
use crate::{FieldErrors, spelling::by_name};

/// The parameters of a partial update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpdateQuery {
    /// Whether a record that does not exist is created from the patch.
    pub is_upsert: bool,
}

setters! {
    UpdateQuery {
        value upsert => is_upsert: bool,
    }
}

impl UpdateQuery {
    /// The names of the parameters.
    pub const PARAMETERS: &'static [&'static str] = &["upsert"];

    /// Parses a query string.
    ///
    /// # Errors
    ///
    /// All errors at once.
    pub fn from_query(query: &str) -> Result<Self, FieldErrors> {
        let mut update = Self::default();
        read_parameters(query, &[Self::PARAMETERS], |name, value| match name {
            "upsert" => {
                Some(by_name(value, &[("true", true), ("false", false)]).map(|is_upsert| update.is_upsert = is_upsert))
            }
            _ => None,
        })?;
        Ok(update)
    }

    /// The query string.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = QueryString::new();
        query.push_some("upsert", self.is_upsert.then_some("true"));
        query.finish()
    }
}
