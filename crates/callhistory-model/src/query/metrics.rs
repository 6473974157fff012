//! The query of metrics: filters and groups.

use super::{
    filter::CallFilter,
    query_string::{QueryString, read_parameters},
};
use crate::{FieldError, FieldErrorCode, FieldErrors, spelling::by_name};

/// The parameters of metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsQuery {
    /// The filter.
    pub filter: CallFilter,
    /// The dimensions: one group per combination of values. Empty for totals only. At most one of `hour`, `day`,
    /// `week` and `month`, in the time zone of the filter.
    pub group_by: Vec<GroupKey>,
}

/// A dimension of metrics. The time of a call is `startTime`, or `createdAt` if it is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GroupKey {
    /// `agentId`.
    AgentId,
    /// `callFlowId`.
    CallFlowId,
    /// `direction`.
    Direction,
    /// `status`.
    Status,
    /// `callType`.
    CallType,
    /// The hour in the time zone.
    Hour,
    /// The day in the time zone.
    Day,
    /// The week in the time zone, starting on Monday.
    Week,
    /// The month in the time zone.
    Month,
}

impl GroupKey {
    /// All dimensions with their names.
    pub const KEYS: [(&'static str, Self); 9] = [
        ("agentId", Self::AgentId),
        ("callFlowId", Self::CallFlowId),
        ("direction", Self::Direction),
        ("status", Self::Status),
        ("callType", Self::CallType),
        ("hour", Self::Hour),
        ("day", Self::Day),
        ("week", Self::Week),
        ("month", Self::Month),
    ];

    /// The name of the dimension.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::KEYS.iter().find(|(_, key)| *key == self).map_or("", |(name, _)| name)
    }

    /// Whether the dimension is a time bucket.
    #[must_use]
    pub fn is_time(self) -> bool {
        matches!(self, Self::Hour | Self::Day | Self::Week | Self::Month)
    }
}

impl MetricsQuery {
    /// The names of the parameters, except those of the filter.
    pub const PARAMETERS: &'static [&'static str] = &["groupBy"];

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
                _ => return metrics.filter.read(name, value),
            })
        })?;
        let errors = metrics.filter.contradictions();
        if errors.is_empty() { Ok(metrics) } else { Err(FieldErrors(errors)) }
    }

    /// The query string.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = QueryString::new();
        self.filter.write(&mut query);
        if !self.group_by.is_empty() {
            query.push("groupBy", self.group_by.iter().map(|key| key.as_str()).collect::<Vec<_>>().join(","));
        }
        query.finish()
    }
}

fn group_by(value: &str) -> Result<Vec<GroupKey>, FieldError> {
    let mut keys = Vec::new();
    for name in value.split(',') {
        let key = by_name(name, &GroupKey::KEYS)?;
        if keys.contains(&key) {
            return Err(FieldError::new(FieldErrorCode::Repeated, format!("contains {name} more than once")));
        }
        keys.push(key);
    }
    if keys.iter().filter(|key| key.is_time()).count() > 1 {
        return Err(FieldError::new(
            FieldErrorCode::Conflict,
            "contains more than one of hour, day, week and month; use one of them",
        ));
    }
    Ok(keys)
}
