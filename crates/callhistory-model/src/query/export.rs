//! The query of an export.

use super::{
    filter::CallFilter,
    query_string::{QueryString, read_parameters},
};
use crate::{FieldErrors, spelling::by_name};

/// The parameters of an export.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExportQuery {
    /// The filter.
    pub filter: CallFilter,
    /// The output format.
    pub format: ExportFormat,
}

/// The output format of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportFormat {
    /// One JSON record per line.
    #[default]
    Ndjson,
    /// CSV with a header line.
    Csv,
}

impl ExportFormat {
    const NAMES: [(&'static str, Self); 2] = [("ndjson", Self::Ndjson), ("csv", Self::Csv)];
}

impl ExportQuery {
    /// The names of the parameters, except those of the filter.
    pub const PARAMETERS: &'static [&'static str] = &["format"];

    /// Parses a query string.
    ///
    /// # Errors
    ///
    /// All errors at once.
    pub fn from_query(query: &str) -> Result<Self, FieldErrors> {
        let mut export = Self::default();
        read_parameters(query, &[Self::PARAMETERS, CallFilter::PARAMETERS], |name, value| match name {
            "format" => Some(by_name(value, &ExportFormat::NAMES).map(|format| export.format = format)),
            _ => export.filter.read(name, value),
        })?;
        let errors = export.filter.contradictions();
        if errors.is_empty() { Ok(export) } else { Err(FieldErrors(errors)) }
    }

    /// The query string.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = QueryString::new();
        self.filter.write(&mut query);
        if self.format == ExportFormat::Csv {
            query.push("format", "csv");
        }
        query.finish()
    }
}
