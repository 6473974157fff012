//! The query of a search: words, filters, order, and page.

use super::{
    filter::CallFilter,
    list::{ListQuery, Sort, SortKey, fields_of},
    query_string::{QueryString, integer, read_parameters, set},
};
use crate::{CallRecord, FieldError, FieldErrorCode, FieldErrors, spelling::by_name};

/// The parameters of a search.
///
/// ```
/// use callhistory_model::SearchQuery;
///
/// let query = SearchQuery::from_query("q=\"refund order\"&status=completed&limit=5")?;
/// assert_eq!(query.filter.search.as_deref(), Some("\"refund order\""));
/// assert!(SearchQuery::from_query("status=completed").unwrap_err()[0].detail.contains("is missing"));
/// # Ok::<(), callhistory_model::FieldErrors>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SearchQuery {
    /// The filter. Its [`search`](CallFilter::search) has the words, and is required.
    pub filter: CallFilter,
    /// The order; by relevance by default.
    pub sort: SearchSort,
    /// Number of hits, 1 to 100; 10 by default.
    pub limit: Option<u16>,
    /// The cursor of the previous page, in the order of time only.
    pub cursor: Option<String>,
    /// The members of each record to return; empty for whole records.
    pub fields: Vec<String>,
    /// Whether to count all matching records.
    pub include_total: bool,
}

/// The order of hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum SearchSort {
    /// The best first, among the newest [`SearchQuery::MAX_RANKED`] matching calls: first those with most of the words in one text,
    /// then those with the most matches, then the newest. There is no further page.
    #[default]
    Relevance,
    /// Newest first: by `startTime`, or `createdAt` if it is absent.
    NewestFirst,
    /// Oldest first.
    OldestFirst,
}

impl SearchSort {
    /// All orders with their names.
    pub const NAMES: [(&'static str, Self); 3] =
        [("relevance", Self::Relevance), ("-startTime", Self::NewestFirst), ("startTime", Self::OldestFirst)];
}

filter_setters! {
    SearchQuery filter {
        value filter => filter: CallFilter,
        value sort => sort: SearchSort,
        some limit => limit: u16,
        text cursor => cursor,
        list fields => fields: String,
        value include_total => include_total: bool,
    }
}

impl SearchQuery {
    /// The default of `limit`.
    pub const DEFAULT_LIMIT: u16 = 10;
    /// The maximum of `limit`.
    pub const MAX_LIMIT: u16 = 100;
    /// The number of calls that an order by relevance compares: the newest that match, or fewer if they have more than 4 MiB.
    pub const MAX_RANKED: u16 = 200;
    /// The names of the parameters, except those of the filter.
    pub const PARAMETERS: &'static [&'static str] = &["q", "sort", "limit", "cursor", "fields", "includeTotal"];

    /// The names of the filters: those of a list without `search`, whose words are in `q`.
    pub fn filters() -> impl Iterator<Item = &'static str> {
        CallFilter::PARAMETERS.iter().copied().filter(|name| *name != "search")
    }

    /// The number of hits of a page.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.limit.unwrap_or(Self::DEFAULT_LIMIT).into()
    }

    /// The list of the matching records, in the order of time.
    #[must_use]
    pub fn list_query(&self) -> ListQuery {
        let is_ranked = self.sort == SearchSort::Relevance;
        ListQuery {
            filter: self.filter.clone(),
            sort: Sort { key: SortKey::StartTime, ascending: self.sort == SearchSort::OldestFirst },
            limit: Some(if is_ranked { Self::MAX_RANKED } else { self.limit.unwrap_or(Self::DEFAULT_LIMIT) }),
            cursor: self.cursor.clone().filter(|_| !is_ranked),
            include_total: self.include_total,
            ..ListQuery::default()
        }
    }

    /// Parses a query string.
    ///
    /// # Errors
    ///
    /// All errors at once: a missing `q`, unknown and repeated parameters, invalid values, ranges that no record can match, a cursor
    /// in an order by relevance.
    pub fn from_query(query: &str) -> Result<Self, FieldErrors> {
        let mut search = Self::default();
        let names: Vec<_> = Self::filters().collect();
        read_parameters(query, &[Self::PARAMETERS, &names], |name, value| {
            Some(match name {
                "q" => search.filter.read("search", value)?,
                "search" => Err(FieldError::new(FieldErrorCode::Unknown, "is unknown; write the words in q")),
                "sort" => by_name(value, &SearchSort::NAMES).map(|sort| search.sort = sort),
                "limit" => set(&mut search.limit, integer(value, 1, Self::MAX_LIMIT)),
                "cursor" => set(&mut search.cursor, Ok(value.to_owned())),
                "fields" => fields_of(value, CallRecord::MEMBERS).map(|fields| search.fields = fields),
                "includeTotal" => {
                    by_name(value, &[("true", true), ("false", false)]).map(|total| search.include_total = total)
                }
                _ => return search.filter.read(name, value),
            })
        })?;
        let mut errors = search.filter.contradictions();
        if search.filter.search.is_none() {
            let detail = "is missing; write the words to find, such as q=refund";
            errors.push(FieldError::new(FieldErrorCode::Missing, detail).in_parameter("q"));
        }
        if search.cursor.is_some() && search.sort == SearchSort::Relevance {
            let detail = "needs the order of time: add sort=-startTime or sort=startTime";
            errors.push(FieldError::new(FieldErrorCode::Conflict, detail).in_parameter("cursor"));
        }
        if errors.is_empty() { Ok(search) } else { Err(FieldErrors(errors)) }
    }

    /// The query string.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = QueryString::new();
        query.push_some("q", self.filter.search.as_ref());
        CallFilter { search: None, ..self.filter.clone() }.write(&mut query);
        if self.sort != SearchSort::default() {
            let name = SearchSort::NAMES.iter().find(|(_, sort)| *sort == self.sort).map_or("", |(name, _)| name);
            query.push("sort", name);
        }
        query.push_some("limit", self.limit);
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
