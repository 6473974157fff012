//! The query of an export.

use super::{
    filter::CallFilter,
    list::{Sort, fields_of},
    query_string::{QueryString, read_parameters},
};
use crate::{CallRecord, FieldError, FieldErrorCode, FieldErrors, spelling::by_name};

/// The parameters of an export.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ExportQuery {
    /// The filter.
    pub filter: CallFilter,
    /// The order; newest first by default.
    pub sort: Sort,
    /// The output format.
    pub format: ExportFormat,
    /// The members of each record, or the [columns](Self::COLUMNS) of a table in their order; empty for those of the format.
    pub fields: Vec<String>,
    /// Whether CSV begins with a byte order mark, by which some spreadsheet programs know UTF-8.
    pub has_bom: bool,
}

/// The output format of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum ExportFormat {
    /// One JSON record per line.
    #[default]
    Ndjson,
    /// CSV with a header line, for programs.
    Csv,
    /// A workbook of spreadsheet programs (Office Open XML), for people.
    Xlsx,
    /// Apache Parquet.
    Parquet,
}

impl ExportFormat {
    /// All formats with their names.
    pub const NAMES: [(&'static str, Self); 4] =
        [("ndjson", Self::Ndjson), ("csv", Self::Csv), ("xlsx", Self::Xlsx), ("parquet", Self::Parquet)];

    /// The name of the format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }

    /// The media type, without parameters.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

impl std::str::FromStr for ExportFormat {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        by_name(text, &Self::NAMES)
    }
}

impl From<CallFilter> for ExportQuery {
    /// The export of all records of a filter.
    fn from(filter: CallFilter) -> Self {
        Self { filter, ..Self::default() }
    }
}

filter_setters! {
    ExportQuery filter {
        value filter => filter: CallFilter,
        value sort => sort: Sort,
        value format => format: ExportFormat,
        list fields => fields: String,
        value has_bom => has_bom: bool,
    }
}

impl ExportQuery {
    /// The names of the parameters, except those of the filter.
    pub const PARAMETERS: &'static [&'static str] = &["format", "fields", "sort", "bom"];

    /// The columns of tables: the members in the order of the record, each followed by the columns that are derived from it, and the
    /// rest of the record.
    pub const COLUMNS: &'static [&'static str] = &[
        "_id",
        "workspaceId",
        "agentId",
        "callFlowId",
        "roomName",
        "direction",
        "fromPhoneNumber",
        "toPhoneNumber",
        "status",
        "startTime",
        "startTimeIso",
        "endTime",
        "endTimeIso",
        "cost",
        "cost.customer_charge",
        "cost.currency",
        "metadata",
        "functionCalls",
        "summary",
        "analyzedData",
        "createdAt",
        "updatedAt",
        "callId",
        "batchId",
        "callType",
        "agent",
        "callFlowName",
        "duration",
        "answeredAt",
        "answeredAtIso",
        "recordingUrl",
        "variables",
        "transcript",
        "extra",
    ];

    /// Parses a query string.
    ///
    /// # Errors
    ///
    /// All errors at once.
    pub fn from_query(query: &str) -> Result<Self, FieldErrors> {
        let mut export = Self::default();
        let mut fields = None;
        read_parameters(query, &[Self::PARAMETERS, CallFilter::PARAMETERS], |name, value| {
            Some(match name {
                "format" => value.parse().map(|format| export.format = format),
                "sort" => value.parse().map(|sort| export.sort = sort),
                // The format decides which fields there are.
                "fields" => {
                    fields = Some(value.to_owned());
                    Ok(())
                }
                "bom" => by_name(value, &[("true", true), ("false", false)]).map(|bom| export.has_bom = bom),
                _ => return export.filter.read(name, value),
            })
        })?;
        let mut errors = export.filter.contradictions();
        if let Some(fields) = fields {
            let fields = export.set_fields(&fields);
            errors.extend(fields.err().map(|error| error.in_parameter("fields")));
        }
        if export.has_bom && export.format != ExportFormat::Csv {
            let detail = "is only for format=csv; leave it out";
            errors.push(FieldError::new(FieldErrorCode::Conflict, detail).in_parameter("bom"));
        }
        if errors.is_empty() { Ok(export) } else { Err(FieldErrors(errors)) }
    }

    /// Sets the fields from a comma-separated list. The format must be set before.
    ///
    /// # Errors
    ///
    /// A name that the format does not have, or that occurs more than once.
    pub fn set_fields(&mut self, text: &str) -> Result<(), FieldError> {
        let known = if self.format == ExportFormat::Ndjson { CallRecord::MEMBERS } else { Self::COLUMNS };
        self.fields = fields_of(text, known)?;
        Ok(())
    }

    /// Whether the export reads transcripts.
    #[must_use]
    pub fn has_transcripts(&self) -> bool {
        self.fields.is_empty() || self.fields.iter().any(|name| matches!(name.as_str(), "transcript" | "extra"))
    }

    /// The query string.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = QueryString::new();
        self.filter.write(&mut query);
        if self.format != ExportFormat::default() {
            query.push("format", self.format.as_str());
        }
        if !self.fields.is_empty() {
            query.push("fields", self.fields.join(","));
        }
        if self.sort != Sort::default() {
            query.push("sort", self.sort);
        }
        if self.has_bom {
            query.push("bom", true);
        }
        query.finish()
    }
}
