//! The metrics of calls.

use std::collections::BTreeMap;

use crate::{ExactDecimal, reply_struct::reply_struct};

/// Declares an answer with the figures of some calls, between other members: generators have no word for a flattened struct.
macro_rules! with_figures {
    ($(#[$meta:meta])* $name:ident { $($before:tt)* } figures { $($after:tt)* }) => {
        reply_struct! {
            $(#[$meta])*
            #[derive(Clone, Debug, Default, PartialEq, Eq)]
            $name {
                $($before)*
                /// Number of calls.
                "totalCalls" always total_calls: u64,
                /// Number of calls with the outcome `completed`.
                "completedCalls" always completed_calls: u64,
                /// Number of calls with the outcome `failed`.
                "failedCalls" always failed_calls: u64,
                /// Mean duration, in seconds, of calls with a known duration, rounded half up to nine decimals; 0 if no
                /// duration is known.
                "averageDuration" always average_duration: ExactDecimal,
                /// Sum of `cost.customer_charge`, in the currency of the workspace; of all currencies, if there are several.
                "totalCost" always total_cost: ExactDecimal,
                /// Number of calls with a known duration.
                "callsWithDuration" always calls_with_duration: u64,
                /// Number of calls that were answered: `answeredAt` is known and not before `startTime`, or the outcome is
                /// `completed` or `voicemail`.
                "answeredCalls" always answered_calls: u64,
                /// Mean talk time, in seconds, of calls with a known talk time, rounded half up to nine decimals; 0 if no talk
                /// time is known.
                "averageTalkTime" always average_talk_time: ExactDecimal,
                /// Number of calls with a known talk time: from `answeredAt` to `endTime`, where both are known and in order.
                "callsWithTalkTime" always calls_with_talk_time: u64,
                /// Number of distinct callers of these calls: values of `fromPhoneNumber` in their normalised form. It is
                /// exact. Absent for a key without the scope `phone-numbers:read`, which could compare numbers by it.
                "distinctCallers" optional distinct_callers: Option<u64>,
                /// Number of calls of each outcome that occurs: the class of the status, by the table of synonyms.
                "outcomes" always outcomes: BTreeMap<String, u64>,
                /// Sum of `cost.customer_charge` for each currency, in upper case, and under `unknown` of costs without one.
                /// Present if the calls of the query have more than one.
                "totalCostByCurrency" optional total_cost_by_currency: Option<BTreeMap<String, ExactDecimal>>,
                $($after)*
            }
        }
    };
}

with_figures! {
    /// Metrics of the matching calls. Counts and sums are exact.
    CallMetrics {} figures {
        /// Metrics per group, ordered by group key; present if `groupBy` is given.
        #[cfg_attr(feature = "schema", schemars(length(max = MetricsGroup::MAX_GROUPS)))]
        "groups" optional groups: Option<Vec<MetricsGroup>>,
    }
}

with_figures! {
    /// Metrics of one group of calls.
    MetricsGroup {
        /// Group key: one string per `groupBy` dimension. Hours are RFC 3339 with the offset of the time zone, days
        /// `YYYY-MM-DD`, weeks the date of their Monday, months `YYYY-MM`. A dimension is absent if the calls of the group
        /// have no such member.
        "group" always group: BTreeMap<String, String>,
    } figures {
        /// Median duration in seconds (nearest rank); absent if no duration is known.
        "p50Duration" optional p50_duration: Option<ExactDecimal>,
        /// 95th-percentile duration in seconds (nearest rank); absent if no duration is known.
        "p95Duration" optional p95_duration: Option<ExactDecimal>,
        /// Query string that lists exactly the calls of this group.
        "query" always query: String,
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
