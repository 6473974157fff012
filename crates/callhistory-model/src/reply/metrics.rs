//! The metrics of calls.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ExactDecimal;

/// Metrics of the matching calls. Counts and sums are exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CallMetrics {
    /// Number of calls.
    pub total_calls: u64,
    /// Number of calls with the status `completed`.
    pub completed_calls: u64,
    /// Number of calls with the status `failed`.
    pub failed_calls: u64,
    /// Mean duration, in seconds, of calls with a known duration, rounded half up to nine decimals; 0 if no duration is
    /// known.
    pub average_duration: ExactDecimal,
    /// Sum of `cost.customer_charge`, in the currency of the workspace.
    pub total_cost: ExactDecimal,
    /// Metrics per group, ordered by group key; present if `groupBy` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = MetricsGroup::MAX_GROUPS)))]
    pub groups: Option<Vec<MetricsGroup>>,
}

/// Metrics of one group of calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct MetricsGroup {
    /// Group key: one string per `groupBy` dimension. Hours are RFC 3339 with the offset of the time zone, days
    /// `YYYY-MM-DD`, weeks the date of their Monday, months `YYYY-MM`. A dimension is absent if the calls of the group
    /// have no such member.
    pub group: BTreeMap<String, String>,
    /// Number of calls.
    pub total_calls: u64,
    /// Number of calls with the status `completed`.
    pub completed_calls: u64,
    /// Number of calls with the status `failed`.
    pub failed_calls: u64,
    /// Mean duration, in seconds, of calls with a known duration, rounded half up to nine decimals; 0 if no duration is
    /// known.
    pub average_duration: ExactDecimal,
    /// Sum of `cost.customer_charge`, in the currency of the workspace.
    pub total_cost: ExactDecimal,
    /// Median duration in seconds (nearest rank); absent if no duration is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_duration: Option<ExactDecimal>,
    /// 95th-percentile duration in seconds (nearest rank); absent if no duration is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_duration: Option<ExactDecimal>,
    /// Query string that lists exactly the calls of this group.
    pub query: String,
}

impl MetricsGroup {
    /// Maximum number of groups; a query with more is refused.
    pub const MAX_GROUPS: usize = 10_000;
}
