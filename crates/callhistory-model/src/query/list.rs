//! The query of a list: filters, order, and page.

use super::{
    filter::CallFilter,
    query_string::{QueryString, integer, read_parameters, set},
};
use crate::{
    CallRecord, FieldError, FieldErrorCode, FieldErrors,
    spelling::{by_name, unknown_value},
};

/// The parameters of a list.
///
/// ```
/// use callhistory_model::{CallStatus, ListQuery, OneOf, Sort, SortKey};
///
/// let missed = OneOf::any([CallStatus::Busy, CallStatus::NoAnswer]);
/// let query = ListQuery::new().status(missed).sort(Sort::descending(SortKey::Duration)).limit(50);
/// assert_eq!(query.to_query(), "status=busy%2Cno-answer&sort=-duration&limit=50");
/// assert_eq!(serde_json::to_value(&query).unwrap()["status"], "busy,no-answer");
///
/// let query = ListQuery::from_query("status=completed,failed&startedAfter=2026-01-01&limit=50")?;
/// assert_eq!(query.to_query(), "status=completed%2Cfailed&startedAfter=2026-01-01T00:00:00Z&limit=50");
/// assert!(ListQuery::from_query("statu=busy").unwrap_err()[0].detail.contains("did you mean \"status\"?"));
/// # Ok::<(), callhistory_model::FieldErrors>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ListQuery {
    /// The filter.
    pub filter: CallFilter,
    /// The order; newest first by default.
    pub sort: Sort,
    /// Page size, 1 to 1000; 10 by default.
    pub limit: Option<u16>,
    /// The cursor of the previous page.
    pub cursor: Option<String>,
    /// Page number, within the first 100,000 records; use cursors beyond that.
    pub page: Option<u32>,
    /// The members to return; empty for whole records.
    pub fields: Vec<String>,
    /// Whether to count all matching records.
    pub include_total: bool,
}

filter_setters! {
    ListQuery filter {
        value filter => filter: CallFilter,
        value sort => sort: Sort,
        some limit => limit: u16,
        text cursor => cursor,
        some page => page: u32,
        list fields => fields: String,
        value include_total => include_total: bool,
    }
}

impl ListQuery {
    /// The default of `limit`.
    pub const DEFAULT_LIMIT: u16 = 10;
    /// The maximum of `limit`.
    pub const MAX_LIMIT: u16 = 1000;
    /// The number of records that page numbers reach.
    pub const MAX_PAGED_RECORDS: u32 = 100_000;
    /// The names of the parameters, except those of the filter.
    pub const PARAMETERS: &'static [&'static str] = &["limit", "cursor", "page", "sort", "fields", "includeTotal"];

    /// The page size.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.limit.unwrap_or(Self::DEFAULT_LIMIT).into()
    }

    /// The number of records before a numbered page.
    #[must_use]
    pub fn offset(&self) -> usize {
        let pages_before = self.page.unwrap_or(1).saturating_sub(1) as usize;
        pages_before.saturating_mul(self.page_size())
    }

    /// Parses a query string.
    ///
    /// # Errors
    ///
    /// All errors at once: unknown and repeated parameters, invalid values, ranges that no record can match.
    pub fn from_query(query: &str) -> Result<Self, FieldErrors> {
        let mut list = Self::default();
        read_parameters(query, &[Self::PARAMETERS, CallFilter::PARAMETERS], |name, value| {
            Some(match name {
                "limit" => set(&mut list.limit, integer(value, 1, Self::MAX_LIMIT)),
                "cursor" => set(&mut list.cursor, Ok(value.to_owned())),
                "page" => set(&mut list.page, integer(value, 1, Self::MAX_PAGED_RECORDS)),
                "sort" => value.parse().map(|sort| list.sort = sort),
                "fields" => fields_of(value, CallRecord::MEMBERS).map(|fields| list.fields = fields),
                "includeTotal" => {
                    by_name(value, &[("true", true), ("false", false)]).map(|total| list.include_total = total)
                }
                _ => return list.filter.read(name, value),
            })
        })?;
        let mut errors = list.filter.contradictions();
        if list.page.is_some() && list.cursor.is_some() {
            let detail = "and cursor both define where the page starts; use one of them";
            errors.push(FieldError::new(FieldErrorCode::Conflict, detail).in_parameter("page"));
        }
        if list.page.is_some() && list.offset() + list.page_size() > Self::MAX_PAGED_RECORDS as usize {
            let detail = format!(
                "exceeds the first {} records; follow the cursor in the Link header instead",
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

/// Reads a list of known names, each at most once.
pub(super) fn fields_of(text: &str, known: &[&str]) -> Result<Vec<String>, FieldError> {
    let mut fields: Vec<String> = Vec::new();
    for name in text.split(',') {
        if !known.contains(&name) {
            return Err(unknown_value(name, known));
        }
        if fields.iter().any(|known| known == name) {
            return Err(FieldError::new(FieldErrorCode::Repeated, format!("contains {name} more than once")));
        }
        fields.push(name.to_owned());
    }
    Ok(fields)
}

/// The order of a list. A record without the value sorts as less than all others; `_id` breaks ties, in the
/// same direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sort {
    /// The member.
    pub key: SortKey,
    /// Whether the order is ascending.
    pub ascending: bool,
}

/// A sort key of lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum SortKey {
    /// `startTime`, or `createdAt` if it is absent.
    #[default]
    StartTime,
    /// `createdAt`.
    CreatedAt,
    /// `updatedAt`.
    UpdatedAt,
    /// The call duration: `duration`, or `endTime` minus `startTime`.
    Duration,
    /// `cost.customer_charge`.
    Cost,
}

impl Sort {
    /// From the least to the greatest.
    #[must_use]
    pub fn ascending(key: SortKey) -> Self {
        Self { key, ascending: true }
    }

    /// From the greatest to the least.
    #[must_use]
    pub fn descending(key: SortKey) -> Self {
        Self { key, ascending: false }
    }

    /// All sort keys with their names.
    pub const KEYS: [(&'static str, SortKey); 5] = [
        ("startTime", SortKey::StartTime),
        ("createdAt", SortKey::CreatedAt),
        ("updatedAt", SortKey::UpdatedAt),
        ("duration", SortKey::Duration),
        ("cost", SortKey::Cost),
    ];
}

impl std::str::FromStr for Sort {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let (ascending, name) = text.strip_prefix('-').map_or((true, text), |name| (false, name));
        Ok(Self { key: by_name(name, &Self::KEYS)?, ascending })
    }
}

impl std::fmt::Display for Sort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Self::KEYS.iter().find(|(_, key)| *key == self.key).map_or("", |(name, _)| name);
        write!(f, "{}{name}", if self.ascending { "" } else { "-" })
    }
}
