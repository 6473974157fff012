//! The query of metrics: filters and groups.

use super::{
    filter::CallFilter,
    query_string::{QueryString, read_parameters},
};
use crate::{
    FieldError, FieldErrorCode, FieldErrors,
    spelling::{by_name, unknown_value},
    value::scalar::check_path,
};

/// The parameters of metrics.
///
/// ```
/// use callhistory_model::{GroupKey, MetricsQuery};
///
/// let query = MetricsQuery::new().group_by([GroupKey::Day]).time_zone("Europe/Berlin".parse()?).fill(true);
/// assert_eq!(query.to_query(), "timezone=Europe/Berlin&groupBy=day&fill=true");
/// # Ok::<(), callhistory_model::FieldError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct MetricsQuery {
    /// The filter.
    pub filter: CallFilter,
    /// The dimensions: one group per combination of values. Empty for totals only. At most one of `hour`, `day`,
    /// `week` and `month`, in the time zone of the filter.
    pub group_by: Vec<GroupKey>,
    /// Whether there are groups without calls: one for each hour, day, week or month between the bounds of the filter, or else
    /// from the first to the last call. Requires one of these in `group_by`.
    pub fill: bool,
}

/// A dimension of metrics. The time of a call is `startTime`, or `createdAt` if it is absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum GroupKey {
    /// `agentId`.
    AgentId,
    /// `callFlowId`.
    CallFlowId,
    /// `direction`.
    Direction,
    /// `status`.
    Status,
    /// The outcome of the call: the class of its status.
    Outcome,
    /// `callType`.
    CallType,
    /// `batchId`.
    BatchId,
    /// The hour in the time zone.
    Hour,
    /// The day in the time zone.
    Day,
    /// The week in the time zone, starting on Monday.
    Week,
    /// The month in the time zone.
    Month,
    /// The member of `metadata` at this path; the names of nested members are joined by dots.
    Metadata(String),
}

impl GroupKey {
    /// The dimensions with their names, except members of `metadata`.
    pub const KEYS: [(&'static str, Self); 11] = [
        ("agentId", Self::AgentId),
        ("callFlowId", Self::CallFlowId),
        ("direction", Self::Direction),
        ("status", Self::Status),
        ("outcome", Self::Outcome),
        ("callType", Self::CallType),
        ("batchId", Self::BatchId),
        ("hour", Self::Hour),
        ("day", Self::Day),
        ("week", Self::Week),
        ("month", Self::Month),
    ];

    /// Maximum number of members of `metadata` in one query.
    pub const MAX_METADATA_KEYS: usize = 2;

    /// Whether the dimension is a time bucket.
    #[must_use]
    pub fn is_time(&self) -> bool {
        matches!(self, Self::Hour | Self::Day | Self::Week | Self::Month)
    }
}

impl std::fmt::Display for GroupKey {
    /// The name of the dimension.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Metadata(path) => write!(f, "metadata.{path}"),
            key => f.write_str(Self::KEYS.iter().find(|(_, known)| known == key).map_or("", |(name, _)| name)),
        }
    }
}

filter_setters! {
    MetricsQuery filter {
        value filter => filter: CallFilter,
        list group_by => group_by: GroupKey,
        value fill => fill: bool,
    }
}

impl MetricsQuery {
    /// The names of the parameters, except those of the filter.
    pub const PARAMETERS: &'static [&'static str] = &["groupBy", "fill"];

    /// Parses a query string.
    ///
    /// # Errors
    ///
    /// All errors at once.
    pub fn from_query(query: &str) -> Result<Self, FieldErrors> {
        let mut metrics = Self::default();
        read_parameters(query, &[Self::PARAMETERS, CallFilter::PARAMETERS], |name, value| {
            Some(match name {
                "groupBy" => group_by(value).map(|keys| metrics.group_by = keys),
                "fill" => by_name(value, &[("true", true), ("false", false)]).map(|is_filled| metrics.fill = is_filled),
                _ => return metrics.filter.read(name, value),
            })
        })?;
        let mut errors = metrics.filter.contradictions();
        if metrics.fill && !metrics.group_by.iter().any(GroupKey::is_time) {
            let detail = "needs a groupBy of hour, day, week or month, whose empty groups it adds";
            errors.push(FieldError::new(FieldErrorCode::Conflict, detail).in_parameter("fill"));
        }
        let is_new = |key: &GroupKey| matches!(key, GroupKey::Metadata(path) if !metrics.filter.metadata.iter().any(|(name, _)| name == path));
        // The query of a group has them all.
        if metrics.filter.metadata.len() + metrics.group_by.iter().filter(|key| is_new(key)).count()
            > CallFilter::MAX_METADATA
        {
            let detail = format!(
                "exceeds, with the metadata filters, the limit of {} members of metadata",
                CallFilter::MAX_METADATA
            );
            errors.push(FieldError::new(FieldErrorCode::TooManyMembers, detail).in_parameter("groupBy"));
        }
        if errors.is_empty() { Ok(metrics) } else { Err(FieldErrors(errors)) }
    }

    /// The query string.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = QueryString::new();
        self.filter.write(&mut query);
        if !self.group_by.is_empty() {
            query.push("groupBy", self.group_by.iter().map(GroupKey::to_string).collect::<Vec<_>>().join(","));
        }
        query.push_some("fill", self.fill.then_some(true));
        query.finish()
    }
}

fn group_by(value: &str) -> Result<Vec<GroupKey>, FieldError> {
    let mut keys = Vec::new();
    for name in value.split(',') {
        let key = group_key(name)?;
        if keys.contains(&key) {
            return Err(FieldError::new(FieldErrorCode::Repeated, format!("contains {name} more than once")));
        }
        keys.push(key);
    }
    if keys.iter().filter(|key| matches!(key, GroupKey::Metadata(_))).count() > GroupKey::MAX_METADATA_KEYS {
        let detail = format!("contains more than {} members of metadata", GroupKey::MAX_METADATA_KEYS);
        return Err(FieldError::new(FieldErrorCode::TooManyMembers, detail));
    }
    if keys.iter().filter(|key| key.is_time()).count() > 1 {
        return Err(FieldError::new(
            FieldErrorCode::Conflict,
            "contains more than one of hour, day, week and month; use one of them",
        ));
    }
    Ok(keys)
}

fn group_key(name: &str) -> Result<GroupKey, FieldError> {
    let Some(path) = name.strip_prefix("metadata.") else {
        let known = |_| {
            let names: Vec<_> = GroupKey::KEYS.iter().map(|(name, _)| *name).chain(["metadata.NAME"]).collect();
            unknown_value(name, &names)
        };
        return by_name(name, &GroupKey::KEYS).map_err(known);
    };
    if path.is_empty() {
        return Err(FieldError::new(FieldErrorCode::Malformed, "has no member name; write metadata.NAME"));
    }
    check_path(path)?;
    Ok(GroupKey::Metadata(path.to_owned()))
}
