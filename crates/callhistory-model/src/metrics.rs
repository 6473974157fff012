//! Numbers about many calls.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    number::ExactDecimal,
    problem::{FieldError, FieldErrorCode, FieldErrors},
    query::{CallFilter, MAX_TIME_ZONE_CHARS, QueryString, at_most, read_parameters, unknown_value},
};

/// Which calls to count, and how to group them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsQuery {
    /// Which calls.
    pub filter: CallFilter,
    /// One group for each combination of these; none for the numbers of all calls alone. At most one of `hour`, `day`,
    /// `week` and `month`.
    pub group_by: Vec<GroupKey>,
    /// The IANA time zone of hours, days, weeks and months; UTC by default.
    pub time_zone: Option<String>,
}

/// What calls are grouped by. Times are those of the list: `startTime`, or `createdAt` where it has none.
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
    /// The hour of the zone.
    Hour,
    /// The day of the zone.
    Day,
    /// The week of the zone, from Monday on.
    Week,
    /// The month of the zone.
    Month,
}

impl GroupKey {
    /// Every key with its name.
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

    /// The name of the key.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::KEYS.iter().find(|(_, key)| *key == self).map_or("", |(name, _)| name)
    }

    /// Whether it groups by time.
    #[must_use]
    pub fn is_time(self) -> bool {
        matches!(self, Self::Hour | Self::Day | Self::Week | Self::Month)
    }
}

impl MetricsQuery {
    /// The names of the parameters besides those of the filter.
    pub const PARAMETERS: &'static [&'static str] = &["groupBy", "timezone"];

    /// Reads a query string.
    ///
    /// # Errors
    ///
    /// Every error at once.
    pub fn from_query(query: &str) -> Result<Self, FieldErrors> {
        let mut metrics = Self::default();
        read_parameters(query, &[Self::PARAMETERS, CallFilter::PARAMETERS], |name, value| {
            Some(match name {
                "groupBy" => group_by(value).map(|keys| metrics.group_by = keys),
                "timezone" => zone(value).map(|zone| metrics.time_zone = Some(zone)),
                _ => return metrics.filter.read(name, value),
            })
        })?;
        let mut errors = metrics.filter.contradictions();
        if metrics.time_zone.is_some() && !metrics.group_by.iter().any(|key| key.is_time()) {
            let detail = "has no effect without a groupBy of hour, day, week or month";
            errors.push(FieldError::new(FieldErrorCode::Conflict, detail).in_parameter("timezone"));
        }
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
        query.push_some("timezone", self.time_zone.as_ref());
        query.finish()
    }
}

fn zone(value: &str) -> Result<String, FieldError> {
    if value.is_empty() {
        return Err(FieldError::new(FieldErrorCode::TooShort, "is empty; leave it out for UTC"));
    }
    at_most(value, MAX_TIME_ZONE_CHARS)?;
    Ok(value.to_owned())
}

fn group_by(value: &str) -> Result<Vec<GroupKey>, FieldError> {
    let mut keys = Vec::new();
    for name in value.split(',') {
        let known: Vec<_> = GroupKey::KEYS.iter().map(|(name, _)| *name).collect();
        let key = GroupKey::KEYS.iter().find(|(known, _)| *known == name).map(|(_, key)| *key);
        let key = key.ok_or_else(|| unknown_value(name, &known))?;
        if keys.contains(&key) {
            return Err(FieldError::new(FieldErrorCode::Repeated, format!("names {name} more than once")));
        }
        keys.push(key);
    }
    if keys.iter().filter(|key| key.is_time()).count() > 1 {
        return Err(FieldError::new(
            FieldErrorCode::Conflict,
            "has more than one of hour, day, week and month; give one of them",
        ));
    }
    Ok(keys)
}

/// The numbers of some calls, each one exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CallMetrics {
    /// How many calls there are.
    pub total_calls: u64,
    /// How many calls have the status `completed`.
    pub completed_calls: u64,
    /// How many calls have the status `failed`.
    pub failed_calls: u64,
    /// The mean length of those calls whose length is known, in seconds, rounded half up to nine decimals; 0 where there
    /// is none.
    pub average_duration: ExactDecimal,
    /// The exact sum of `cost.customer_charge`, in the currency of the records.
    pub total_cost: ExactDecimal,
    /// The same numbers for each group, in the order of the groups, where `groupBy` was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = MetricsGroup::MAX_GROUPS)))]
    pub groups: Option<Vec<MetricsGroup>>,
}

/// The numbers of one group of calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct MetricsGroup {
    /// What the calls of the group have in common: a text for each name of `groupBy`. A name is missing where the calls
    /// have no such member. An hour is its beginning with the offset of the zone, a day a date, a week the date of its
    /// Monday, a month a year and a month.
    pub group: BTreeMap<String, String>,
    /// How many calls there are.
    pub total_calls: u64,
    /// How many calls have the status `completed`.
    pub completed_calls: u64,
    /// How many calls have the status `failed`.
    pub failed_calls: u64,
    /// The mean length of those calls whose length is known, in seconds, rounded half up to nine decimals; 0 where there
    /// is none.
    pub average_duration: ExactDecimal,
    /// The exact sum of `cost.customer_charge`, in the currency of the records.
    pub total_cost: ExactDecimal,
    /// The length that half of the calls do not exceed, in seconds (nearest rank); missing where none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_duration: Option<ExactDecimal>,
    /// The length that 95 of 100 calls do not exceed, in seconds (nearest rank); missing where none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_duration: Option<ExactDecimal>,
    /// The query string with which the list answers exactly the calls of this group.
    pub query: String,
}

impl MetricsGroup {
    /// Most groups of one answer; more are refused.
    pub const MAX_GROUPS: usize = 10_000;
}
