//! Counts, sums, distinct callers and percentiles of some records.

use std::collections::BTreeMap;

use callhistory_model::{CallMetrics, CallOutcome, CallStatus, ExactDecimal};

/// The number of known outcomes.
pub(crate) const OUTCOMES: usize = CallOutcome::KNOWN.len();

/// The values of a record that metrics read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct MetricsRow<'a> {
    pub(crate) sort_time: i64,
    pub(crate) duration: Option<i64>,
    pub(crate) cost: Option<i64>,
    pub(crate) talk_time: Option<i64>,
    /// A digest of the number of the caller in its normalised form.
    pub(crate) caller: Option<i64>,
    pub(crate) is_answered: bool,
    /// In upper or lower case.
    pub(crate) currency: Option<&'a str>,
    pub(crate) outcome: &'a str,
    pub(crate) status: Option<&'a str>,
    pub(crate) agent_id: Option<&'a str>,
    pub(crate) call_flow_id: Option<&'a str>,
    pub(crate) direction: Option<&'a str>,
    pub(crate) call_type: Option<&'a str>,
    pub(crate) batch_id: Option<&'a str>,
}

/// The outcome of a status.
pub(crate) fn outcome_of(status: Option<&str>) -> &'static str {
    let outcome = status.map_or(CallOutcome::Unknown, |status| CallStatus::from(status).outcome());
    CallOutcome::KNOWN[outcome_index(outcome.as_str())]
}

/// The index of an outcome among the known ones. The last one is `unknown`.
pub(crate) fn outcome_index(outcome: &str) -> usize {
    CallOutcome::KNOWN.iter().position(|known| *known == outcome).unwrap_or(OUTCOMES - 1)
}

/// The properties that the records of one class share.
pub(crate) struct RowClass {
    pub(crate) outcome: usize,
    pub(crate) is_answered: bool,
    /// The index of the currency.
    pub(crate) currency: usize,
    /// The index of their group values without the time.
    pub(crate) parts: usize,
}

/// The numbers of one record.
#[derive(Clone, Copy)]
pub(crate) struct RowNumbers {
    pub(crate) duration: Option<i64>,
    pub(crate) cost: Option<i64>,
    pub(crate) talk_time: Option<i64>,
    pub(crate) caller: Option<i64>,
}

/// The number and the sum of known values.
#[derive(Clone, Copy, Default)]
pub(crate) struct KnownSum {
    pub(crate) count: u64,
    pub(crate) sum: i128,
}

impl KnownSum {
    fn add(&mut self, value: Option<i64>) {
        if let Some(value) = value {
            self.count += 1;
            self.sum += i128::from(value);
        }
    }

    fn add_all(&mut self, other: Self) {
        self.count += other.count;
        self.sum += other.sum;
    }

    /// The mean, half up; 0 of no values.
    fn mean(self) -> ExactDecimal {
        let count = i128::from(self.count.max(1));
        ExactDecimal::from_nanos((2 * self.sum + count) / (2 * count), 0)
    }
}

/// Distinct digests, in at most twice the memory of the distinct ones, or that of [`MIN_LIMIT`](Self::MIN_LIMIT).
#[derive(Default)]
pub(crate) struct DistinctCallers {
    digests: Vec<i64>,
    /// The number of digests from which repeated ones are removed.
    limit: usize,
}

impl DistinctCallers {
    /// Sorting a million once takes half the time of sorting parts of them again and again.
    const MIN_LIMIT: usize = 1 << 20;

    pub(crate) fn add_all(&mut self, digests: &[i64]) {
        self.digests.extend_from_slice(digests);
        if self.digests.len() > self.limit.max(Self::MIN_LIMIT) {
            self.deduplicate();
            self.limit = 2 * self.digests.len();
        }
    }

    fn deduplicate(&mut self) {
        self.digests.sort_unstable();
        self.digests.dedup();
    }

    fn count(&mut self) -> u64 {
        self.deduplicate();
        self.digests.len() as u64
    }
}

/// Counts and sums of some records.
#[derive(Default)]
pub(crate) struct Aggregate {
    pub(crate) calls: u64,
    pub(crate) answered: u64,
    /// The number of records of each known outcome.
    pub(crate) outcomes: [u64; OUTCOMES],
    pub(crate) duration: KnownSum,
    pub(crate) talk_time: KnownSum,
    /// The sum of the costs of each currency that occurs, by its index.
    pub(crate) costs: Vec<Option<i128>>,
    pub(crate) callers: DistinctCallers,
    /// Each duration, for percentiles.
    pub(crate) durations: Vec<i64>,
}

impl Aggregate {
    pub(crate) fn add(&mut self, class: &RowClass, numbers: RowNumbers) {
        self.calls += 1;
        self.answered += u64::from(class.is_answered);
        self.outcomes[class.outcome] += 1;
        self.duration.add(numbers.duration);
        self.talk_time.add(numbers.talk_time);
        if let Some(cost) = numbers.cost {
            self.add_cost(class.currency, cost.into());
        }
        if let Some(caller) = numbers.caller {
            self.callers.add_all(&[caller]);
        }
    }

    pub(crate) fn add_cost(&mut self, currency: usize, cost: i128) {
        if self.costs.len() <= currency {
            self.costs.resize(currency + 1, None);
        }
        *self.costs[currency].get_or_insert(0) += cost;
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        self.calls += other.calls;
        self.answered += other.answered;
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(count, other)| *count += other);
        self.duration.add_all(other.duration);
        self.talk_time.add_all(other.talk_time);
        for (currency, cost) in other.costs.iter().enumerate() {
            if let Some(cost) = cost {
                self.add_cost(currency, *cost);
            }
        }
        self.callers.add_all(&other.callers.digests);
    }

    /// The figures, with the costs by currency if there are names of more than one.
    pub(crate) fn figures(&mut self, currencies: Option<&[String]>) -> CallMetrics {
        let total = self.costs.iter().flatten().sum();
        let by_currency = currencies.map(|names| {
            let costs = names.iter().zip(&self.costs);
            let costs = costs.filter_map(|(name, cost)| Some((name.clone(), ExactDecimal::from_nanos((*cost)?, 2))));
            costs.collect::<BTreeMap<_, _>>()
        });
        let outcomes = CallOutcome::KNOWN.iter().zip(self.outcomes).filter(|(_, count)| *count > 0);
        CallMetrics {
            total_calls: self.calls,
            completed_calls: self.outcomes[outcome_index(CallOutcome::Completed.as_str())],
            failed_calls: self.outcomes[outcome_index(CallOutcome::Failed.as_str())],
            average_duration: self.duration.mean(),
            total_cost: ExactDecimal::from_nanos(total, 2),
            calls_with_duration: self.duration.count,
            answered_calls: self.answered,
            average_talk_time: self.talk_time.mean(),
            calls_with_talk_time: self.talk_time.count,
            distinct_callers: Some(self.callers.count()),
            outcomes: outcomes.map(|(name, count)| ((*name).to_owned(), count)).collect(),
            total_cost_by_currency: by_currency,
            groups: None,
            extra: Vec::new(),
        }
    }

    /// The duration at a rank.
    fn percentile(durations: &mut [i64], rank: usize) -> Option<ExactDecimal> {
        let (_, length, _) = durations.get(rank).is_some().then(|| durations.select_nth_unstable(rank))?;
        Some(ExactDecimal::from_nanos(i128::from(*length), 0))
    }

    pub(crate) fn percentiles(&mut self) -> [Option<ExactDecimal>; 2] {
        let durations = &mut self.durations[..];
        let rank = |percent: usize| (durations.len() * percent).div_ceil(100).wrapping_sub(1);
        let [low, high] = [rank(50), rank(95)];
        let of_high = Self::percentile(durations, high);
        // Selecting the higher rank moved all lower durations before it.
        let below = high.wrapping_add(1).min(durations.len());
        [Self::percentile(&mut durations[..below], low), of_high]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_callers_are_counted_in_bounded_memory() {
        let mut callers = DistinctCallers::default();
        for round in 0..40_i64 {
            let digests: Vec<i64> = (0..100_000).map(|number| number % 1_000 + round / 20).collect();
            callers.add_all(&digests);
            assert!(callers.digests.len() <= DistinctCallers::MIN_LIMIT, "{round}");
        }
        assert_eq!(callers.count(), 1_001);
    }
}
