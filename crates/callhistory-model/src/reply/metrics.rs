//! The metrics of calls.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ExactDecimal;

/// Declares a struct with the figures of some calls, between other members. A flattened struct would lose the digits of decimals,
/// and generators have no word for it.
macro_rules! with_figures {
    ($(#[$meta:meta])* $name:ident { $($before:tt)* } figures { $($after:tt)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            $($before)*
            /// Number of calls.
            pub total_calls: u64,
            /// Number of calls with the outcome `completed`.
            pub completed_calls: u64,
            /// Number of calls with the outcome `failed`.
            pub failed_calls: u64,
            /// Mean duration, in seconds, of calls with a known duration, rounded half up to nine decimals; 0 if no duration
            /// is known.
            pub average_duration: ExactDecimal,
            /// Sum of `cost.customer_charge`, in the currency of the workspace; of all currencies, if there are several.
            pub total_cost: ExactDecimal,
            /// Number of calls with a known duration.
            pub calls_with_duration: u64,
            /// Number of calls that were answered: `answeredAt` is known and not before `startTime`, or the outcome is
            /// `completed` or `voicemail`.
            pub answered_calls: u64,
            /// Mean talk time, in seconds, of calls with a known talk time, rounded half up to nine decimals; 0 if no talk
            /// time is known.
            pub average_talk_time: ExactDecimal,
            /// Number of calls with a known talk time: from `answeredAt` to `endTime`, where both are known and in order.
            pub calls_with_talk_time: u64,
            /// Number of distinct callers of these calls: values of `fromPhoneNumber` in their normalised form. It is exact.
            /// Absent for a key without the scope `phone-numbers:read`, which could compare numbers by it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub distinct_callers: Option<u64>,
            /// Number of calls of each outcome that occurs: the class of the status, by the table of synonyms.
            pub outcomes: BTreeMap<String, u64>,
            /// Sum of `cost.customer_charge` for each currency, in upper case, and under `unknown` of costs without one. Present
            /// if the calls of the query have more than one.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub total_cost_by_currency: Option<BTreeMap<String, ExactDecimal>>,
            $($after)*
        }
    };
}

with_figures! {
    /// Metrics of the matching calls. Counts and sums are exact.
    CallMetrics {} figures {
        /// Metrics per group, ordered by group key; present if `groupBy` is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schemars(length(max = MetricsGroup::MAX_GROUPS)))]
        pub groups: Option<Vec<MetricsGroup>>,
    }
}

with_figures! {
    /// Metrics of one group of calls.
    MetricsGroup {
        /// Group key: one string per `groupBy` dimension. Hours are RFC 3339 with the offset of the time zone, days
        /// `YYYY-MM-DD`, weeks the date of their Monday, months `YYYY-MM`. A dimension is absent if the calls of the group
        /// have no such member.
        pub group: BTreeMap<String, String>,
    } figures {
        /// Median duration in seconds (nearest rank); absent if no duration is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub p50_duration: Option<ExactDecimal>,
        /// 95th-percentile duration in seconds (nearest rank); absent if no duration is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub p95_duration: Option<ExactDecimal>,
        /// Query string that lists exactly the calls of this group.
        pub query: String,
    }
}

impl CallMetrics {
    /// The key of [`total_cost_by_currency`](Self::total_cost_by_currency) for costs without a currency.
    pub const UNKNOWN_CURRENCY: &'static str = "unknown";

    /// The same metrics without what compares phone numbers.
    #[must_use]
    pub fn without_callers(mut self) -> Self {
        self.distinct_callers = None;
        self.groups.iter_mut().flatten().for_each(|group| group.distinct_callers = None);
        self
    }
}

impl MetricsGroup {
    /// Maximum number of groups; a query with more is refused.
    pub const MAX_GROUPS: usize = 10_000;
}
