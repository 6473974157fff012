//! What lists and exports are asked for.

use crate::{
    problem::{FieldError, FieldErrorCode, FieldErrors},
    query::{CallFilter, QueryString, Sort, read_parameters, set, unknown_value},
    record::CallRecord,
};

/// Which page of which list.
///
/// ```
/// use callhistory_model::{CallFilter, ListQuery};
///
/// let query = ListQuery::from_query("status=completed,failed&startedAfter=2026-01-01&limit=50")?;
/// assert_eq!(query.to_query(), "status=completed%2Cfailed&startedAfter=2026-01-01T00:00:00Z&limit=50");
/// assert!(ListQuery::from_query("statu=busy").unwrap_err()[0].detail.contains("did you mean \"status\"?"));
/// # Ok::<(), callhistory_model::FieldErrors>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListQuery {
    /// Which calls.
    pub filter: CallFilter,
    /// In which order; newest first by default.
    pub sort: Sort,
    /// Records of one page, 1 to 1000; 10 by default.
    pub limit: Option<u16>,
    /// Where the page starts: the cursor of the page before it.
    pub cursor: Option<String>,
    /// The number of the page, as deep as 10,000 records; beyond it, follow the cursor.
    pub page: Option<u32>,
    /// The members to answer; empty for whole records.
    pub fields: Vec<String>,
    /// Whether to count all records of the filter.
    pub include_total: bool,
}

impl ListQuery {
    /// Records of a page where no `limit` is given.
    pub const DEFAULT_LIMIT: u16 = 10;
    /// Most records of a page.
    pub const MAX_LIMIT: u16 = 1000;
    /// Most records that numbered pages reach.
    pub const MAX_PAGED_RECORDS: u32 = 10_000;
    /// The names of the parameters besides those of the filter.
    pub const PARAMETERS: &'static [&'static str] = &["limit", "cursor", "page", "sort", "fields", "includeTotal"];

    /// Records of this page.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.limit.unwrap_or(Self::DEFAULT_LIMIT).into()
    }

    /// How many records come before a numbered page.
    #[must_use]
    pub fn offset(&self) -> usize {
        let pages_before = self.page.unwrap_or(1).saturating_sub(1) as usize;
        pages_before.saturating_mul(self.page_size())
    }

    /// Reads a query string.
    ///
    /// # Errors
    ///
    /// Every error at once: unknown and repeated parameters, bad values, ranges that no record can be in.
    pub fn from_query(query: &str) -> Result<Self, FieldErrors> {
        let mut list = Self::default();
        read_parameters(query, &[Self::PARAMETERS, CallFilter::PARAMETERS], |name, value| {
            Some(match name {
                "limit" => set(&mut list.limit, whole(value, 1, Self::MAX_LIMIT.into()).map(|limit| limit as u16)),
                "cursor" => set(&mut list.cursor, cursor(value)),
                "page" => set(&mut list.page, whole(value, 1, Self::MAX_PAGED_RECORDS)),
                "sort" => value.parse().map(|sort| list.sort = sort),
                "fields" => fields(value).map(|fields| list.fields = fields),
                "includeTotal" => match value {
                    "true" | "false" => {
                        list.include_total = value == "true";
                        Ok(())
                    }
                    other => Err(unknown_value(other, &["true", "false"])),
                },
                _ => return list.filter.read(name, value),
            })
        })?;
        let mut errors = list.filter.contradictions();
        if list.page.is_some() && list.cursor.is_some() {
            let detail = "and cursor both say where the page starts; give one of them";
            errors.push(FieldError::new(FieldErrorCode::Conflict, detail).in_parameter("page"));
        }
        if list.page.is_some() && list.offset() + list.page_size() > Self::MAX_PAGED_RECORDS as usize {
            let detail = format!(
                "reaches beyond the first {} records; follow the cursor of the header Link instead",
                Self::MAX_PAGED_RECORDS
            );
            errors.push(FieldError::new(FieldErrorCode::OutOfRange, detail).in_parameter("page"));
        }
        if errors.is_empty() { Ok(list) } else { Err(FieldErrors(errors)) }
    }

    /// The query string.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = QueryString::new();
        self.filter.write(&mut query);
        if self.sort != Sort::default() {
            query.push("sort", self.sort);
        }
        query.push_some("limit", self.limit);
        query.push_some("page", self.page);
        if !self.fields.is_empty() {
            query.push("fields", self.fields.join(","));
        }
        if self.include_total {
            query.push("includeTotal", true);
        }
        query.push_some("cursor", self.cursor.as_ref());
        query.finish()
    }
}

/// A whole number within bounds.
pub(crate) fn whole(text: &str, least: u32, most: u32) -> Result<u32, FieldError> {
    let number = text.parse::<u32>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        let detail = format!("{text:?} is not a whole number from {least} to {most}");
        FieldError::new(FieldErrorCode::OutOfRange, detail)
    })
}

pub(crate) fn cursor(text: &str) -> Result<String, FieldError> {
    if text.is_empty() {
        return Err(FieldError::new(FieldErrorCode::TooShort, "is empty; leave it out to start at the beginning"));
    }
    Ok(text.to_owned())
}

fn fields(text: &str) -> Result<Vec<String>, FieldError> {
    let mut fields: Vec<String> = Vec::new();
    for name in text.split(',') {
        if !CallRecord::MEMBERS.contains(&name) {
            return Err(unknown_value(name, CallRecord::MEMBERS));
        }
        if fields.iter().any(|known| known == name) {
            return Err(FieldError::new(FieldErrorCode::Repeated, format!("names {name} more than once")));
        }
        fields.push(name.to_owned());
    }
    Ok(fields)
}

/// Which calls to export, and how to write them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExportQuery {
    /// Which calls.
    pub filter: CallFilter,
    /// How they are written.
    pub format: ExportFormat,
}

/// How an export is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportFormat {
    /// One record as JSON on each line.
    #[default]
    Ndjson,
    /// A table with a header line.
    Csv,
}

fn format(text: &str) -> Result<ExportFormat, FieldError> {
    match text {
        "ndjson" => Ok(ExportFormat::Ndjson),
        "csv" => Ok(ExportFormat::Csv),
        other => Err(unknown_value(other, &["ndjson", "csv"])),
    }
}

impl ExportQuery {
    /// The names of the parameters besides those of the filter.
    pub const PARAMETERS: &'static [&'static str] = &["format"];

    /// Reads a query string.
    ///
    /// # Errors
    ///
    /// Every error at once.
    pub fn from_query(query: &str) -> Result<Self, FieldErrors> {
        let mut export = Self::default();
        read_parameters(query, &[Self::PARAMETERS, CallFilter::PARAMETERS], |name, value| match (name, value) {
            ("format", text) => Some(format(text).map(|format| export.format = format)),
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
