//! Compares a store with the model.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use callhistory_model::{
    CallId, CallInput, CallMetrics, CallPatch, ExactDecimal, Handling, ImportMode, ListQuery, MetricsGroup,
    MetricsQuery, Timestamp, WorkspaceId,
};
use callhistory_store::{
    CallStore, ImportOptions, ImportOutcome, Precondition, StoreError, StoreOptions, Thresholds, VersionSet,
    WriteOutcome,
};
use callhistory_test_support::loop_count;
use fastrand::Rng;
use serde_json::{Value, json};

use super::{ModelCall, SECOND, TEXTS, clauses, clauses::at_path, pick, query_string, random_call, sentence};
use crate::conformance::{Database, if_match};

/// A store, and the model of its records.
struct Comparison {
    store: Arc<dyn CallStore>,
    workspace: WorkspaceId,
    calls: BTreeMap<String, ModelCall>,
    /// The time of the last write, in nanoseconds since 1970.
    now: i64,
    comparisons: usize,
    /// The strategies that found pages.
    strategies: BTreeSet<&'static str>,
}

impl Comparison {
    async fn write(&mut self, rng: &mut Rng) {
        let id = format!("c{}", rng.u16(0..300));
        let call: CallId = id.parse().unwrap();
        let any = Precondition::default();
        // Two changes at one time would not have the same `updatedAt`.
        self.now += SECOND;
        let now = Timestamp::from_unix_nanos(self.now);
        match rng.u8(0..10) {
            0 | 1 => {
                self.calls.remove(&id);
                self.store.delete_call(&self.workspace, &call, any, now).await.unwrap();
            }
            2 if self.calls.contains_key(&id) => {
                let model = self.calls.get_mut(&id).unwrap();
                let summary = sentence(rng);
                let patch = CallPatch::parse(
                    json!({"summary": summary, "agentId": null}).to_string().as_bytes(),
                    Handling::Strict,
                );
                let written = self
                    .store
                    .update_call(&self.workspace, &call, patch.unwrap().into(), any, now)
                    .await
                    .unwrap()
                    .unwrap();
                model.summary = summary;
                model.texts.remove("agentId");
                if written.outcome != WriteOutcome::Unchanged {
                    model.updated = self.now;
                }
            }
            3 => self.merge(rng, &id, now).await,
            _ => self.replace(rng, &id, now).await,
        }
    }

    /// A replacement. One that would undo a final status is refused, or stale in an import, unless the caller has seen the version.
    async fn replace(&mut self, rng: &mut Rng, id: &str, now: Timestamp) {
        let (call, written): (CallId, _) = (id.parse().unwrap(), random_call(rng, id.to_owned()));
        let mut precondition = Precondition::default();
        if self.calls.get(id).is_some_and(|before| before.is_final() && written.is_live()) {
            let refused = self
                .store
                .replace_call(&self.workspace, &call, written.input().into(), precondition, now.clone())
                .await;
            assert!(matches!(refused, Err(StoreError::FinalStatus)), "{id}: {refused:?}");
            let outcome = self.import(id, written.input(), ImportMode::Replace, now.clone()).await;
            assert_eq!(outcome, ImportOutcome::Stale, "{id}");
            if rng.bool() {
                return;
            }
            let seen = self.store.get_call(&self.workspace, &call).await.unwrap().unwrap().sequence;
            precondition = if_match(VersionSet::OneOf(vec![seen]));
        }
        self.store.replace_call(&self.workspace, &call, written.input().into(), precondition, now).await.unwrap();
        self.calls.insert(id.to_owned(), written);
    }

    /// A late fact: a live status, and a member that the record may lack.
    async fn merge(&mut self, rng: &mut Rng, id: &str, now: Timestamp) {
        let Some(model) = self.calls.get_mut(id) else { return };
        let flow = model.text("callFlowId").is_none().then(|| pick(rng, &["f1", "f2"]).to_owned());
        let status = (model.is_final() || model.value("status").is_none()).then_some("ongoing");
        let input = CallInput::from_json(json!({"callFlowId": flow, "status": status}).to_string().as_bytes()).unwrap();
        let is_changed = flow.is_some() || status.is_some() && !model.is_final();
        if let Some(flow) = flow {
            model.texts.insert("callFlowId", flow);
        }
        if !model.is_final()
            && let Some(status) = status
        {
            model.texts.insert("status", status.to_owned());
        }
        if is_changed {
            model.updated = self.now;
        }
        let expected = if is_changed { ImportOutcome::Merged } else { ImportOutcome::Unchanged };
        assert_eq!(self.import(id, input, ImportMode::Merge, now).await, expected, "{id}");
    }

    async fn import(&self, id: &str, input: CallInput, mode: ImportMode, now: Timestamp) -> ImportOutcome {
        let options = ImportOptions { mode, ..ImportOptions::default() };
        let calls = vec![(id.parse().unwrap(), input.into())];
        let batch = self.store.import_calls(&self.workspace, calls, options, now).await.unwrap();
        batch.outcomes[0].as_ref().unwrap().outcome
    }

    async fn compare(&mut self, rng: &mut Rng) {
        let clauses = clauses(rng);
        let query = query_string(&clauses);
        let (sort, key): (&str, fn(&ModelCall) -> i64) = match rng.u8(0..8) {
            0 => ("createdAt", |call| call.created),
            1 => ("updatedAt", |call| call.updated),
            2 => ("duration", |call| call.duration.unwrap_or(-1)),
            3 => ("cost", |call| call.cost.unwrap_or(i64::MIN)),
            _ => ("startTime", ModelCall::sort_time),
        };
        let ascending = rng.bool();
        let limit = rng.usize(1..40);
        let text = format!("{query}&sort={}{sort}&limit={limit}&includeTotal=true", if ascending { "" } else { "-" });
        let mut list = match ListQuery::from_query(&text) {
            Ok(list) => list,
            // Two clauses can form an inverted range.
            Err(errors) if errors.iter().all(|error| error.code.as_str() == "end_before_start") => return,
            Err(errors) => panic!("{text}: {errors}"),
        };
        assert_eq!(
            ListQuery::from_query(&list.to_query()).as_ref(),
            Ok(&list),
            "a query changes when it is written and parsed"
        );
        let mut expected: Vec<&ModelCall> =
            self.calls.values().filter(|call| clauses.iter().all(|clause| (clause.test)(call))).collect();
        expected.sort_by(|one, other| (key(one), &one.id).cmp(&(key(other), &other.id)));
        if !ascending {
            expected.reverse();
        }
        let described = || clauses.iter().map(|clause| format!("{}={}", clause.name, clause.value)).collect::<Vec<_>>();
        let (ids, total, strategies) = self.pages(&mut list, rng).await;
        self.strategies.extend(strategies);
        let expected_ids: Vec<_> = expected.iter().take(ids.len().max(limit * 3)).map(|call| call.id.clone()).collect();
        assert_eq!(ids, expected_ids, "{:?} sort={sort} ascending={ascending} limit={limit}", described());
        assert_eq!(total, Some(expected.len() as u64), "the total of {:?}", described());
        self.comparisons += 2;
        if rng.u8(0..3) == 0 {
            let compared = self.compare_metrics(rng, &query, &expected, &described()).await;
            self.comparisons += compared;
        }
    }

    /// Reads up to three pages, by cursor or by number; returns their IDs, the total and the strategies.
    async fn pages(&self, list: &mut ListQuery, rng: &mut Rng) -> (Vec<String>, Option<u64>, Vec<&'static str>) {
        let numbered = rng.u8(0..4) == 0;
        let (mut ids, mut total, mut strategies) = (Vec::new(), None, Vec::new());
        for number in 1..=3 {
            if numbered {
                list.page = Some(number);
            }
            let page = self.store.list_calls(&self.workspace, list).await.unwrap();
            ids.extend(page.calls.iter().map(|body| {
                let record: Value = serde_json::from_slice(body).unwrap();
                record["_id"].as_str().unwrap().to_owned()
            }));
            total = page.total;
            strategies.push(page.strategy);
            let Some(next) = page.next else { break };
            if !numbered {
                list.cursor = Some(next);
            }
        }
        (ids, total, strategies)
    }

    async fn compare_metrics(
        &self,
        rng: &mut Rng,
        query: &str,
        expected: &[&ModelCall],
        described: &[String],
    ) -> usize {
        let (names, zone, fill): (&[&str], &str, bool) = match rng.u8(0..12) {
            0 => (&["agentId"], "UTC", false),
            1 => (&["status", "direction"], "UTC", false),
            2 => (&["day"], "America/New_York", true),
            3 => (&["hour", "callFlowId"], "Asia/Kolkata", false),
            4 => (&["week", "callType"], "UTC", true),
            5 => (&["batchId"], "UTC", false),
            6 => (&["metadata.tag"], "UTC", false),
            7 => (&["metadata.list", "status"], "UTC", false),
            8 => (&["day", "metadata.crm.tag"], "Europe/Berlin", false),
            9 => (&["metadata.score", "metadata.a.b"], "UTC", false),
            10 => (&["outcome", "month"], "Pacific/Apia", false),
            _ => (&[], "UTC", false),
        };
        let by = if names.is_empty() { String::new() } else { format!("&groupBy={}", names.join(",")) };
        let mut request =
            MetricsQuery::from_query(&format!("{query}{by}{}", if fill { "&fill=true" } else { "" })).unwrap();
        // Afterwards: the clauses of the model have their dates in UTC.
        request.filter.time_zone = Some(zone.parse().unwrap());
        assert_eq!(MetricsQuery::from_query(&request.to_query()).as_ref(), Ok(&request));
        let metrics = self.store.get_call_metrics(&self.workspace, &request).await.unwrap();
        check_figures(&metrics, expected, described);
        let groups = metrics.groups.clone().unwrap_or_default();
        assert!(request.fill || groups.is_empty() == (names.is_empty() || expected.is_empty()), "{described:?}");
        let mut comparisons = 1;
        // The query of each group lists exactly its records, and the groups together have all records.
        let (mut calls, mut cost) = (0, 0);
        for group in &groups {
            calls += group.total_calls;
            cost += nanos(&group.total_cost);
            if rng.u8(0..4) > 0 {
                continue;
            }
            let text = format!("{}&includeTotal=true&limit=1000", group.query);
            let list = ListQuery::from_query(&text).unwrap();
            let page = self.store.list_calls(&self.workspace, &list).await.unwrap();
            assert_eq!(page.total, Some(group.total_calls), "{text} of {described:?}");
            let mut listed = Vec::new();
            for body in page.calls.iter() {
                let record: Value = serde_json::from_slice(body).unwrap();
                let call = &self.calls[record["_id"].as_str().unwrap()];
                assert!(expected.iter().any(|known| known.id == call.id), "{text} lists what {described:?} does not");
                for name in names {
                    check_label(name, group.group.get(*name).map(String::as_str), call, &text);
                }
                listed.push(call);
            }
            check_group(group, &listed, &text);
            comparisons += 1;
        }
        if !names.is_empty() {
            let costs: i64 = expected.iter().filter_map(|call| call.cost).sum();
            assert_eq!((calls, cost), (expected.len() as u64, costs), "the groups of {described:?} are incomplete");
        }
        comparisons
    }
}

fn nanos(decimal: &ExactDecimal) -> i64 {
    decimal.nanos().unwrap()
}

/// Half up, in billionths.
fn mean(values: &[i64]) -> i64 {
    let count = values.len().max(1) as i64;
    (2 * values.iter().sum::<i64>() + count) / (2 * count)
}

/// Compares metrics with those of the expected records.
fn check_figures(metrics: &CallMetrics, expected: &[&ModelCall], described: &[String]) {
    let count = |test: &dyn Fn(&ModelCall) -> bool| expected.iter().filter(|call| test(call)).count() as u64;
    let durations: Vec<i64> = expected.iter().filter_map(|call| call.duration).collect();
    let talk_times: Vec<i64> = expected.iter().filter_map(|call| call.talk_time()).collect();
    let callers: BTreeSet<_> = expected.iter().filter_map(|call| call.value("fromPhoneNumber")).collect();
    let (mut outcomes, mut costs) = (BTreeMap::new(), BTreeMap::new());
    for call in expected {
        *outcomes.entry(call.outcome().to_owned()).or_insert(0) += 1;
        if let Some(cost) = call.cost {
            let currency = call.currency.map_or("unknown".to_owned(), str::to_uppercase);
            *costs.entry(currency).or_insert(0) += cost;
        }
    }
    let counts = (metrics.total_calls, metrics.completed_calls, metrics.failed_calls, metrics.answered_calls);
    let (completed, failed) = (count(&|call| call.outcome() == "completed"), count(&|call| call.outcome() == "failed"));
    let answered = count(&ModelCall::is_answered);
    assert_eq!(counts, (expected.len() as u64, completed, failed, answered), "{described:?}");
    assert_eq!(metrics.outcomes, outcomes, "{described:?}");
    assert_eq!(metrics.distinct_callers, Some(callers.len() as u64), "{described:?}");
    let known = (metrics.calls_with_duration, metrics.calls_with_talk_time);
    assert_eq!(known, (durations.len() as u64, talk_times.len() as u64), "{described:?}");
    let means = (nanos(&metrics.average_duration), nanos(&metrics.average_talk_time));
    assert_eq!(means, (mean(&durations), mean(&talk_times)), "{described:?}");
    assert_eq!(nanos(&metrics.total_cost), costs.values().sum::<i64>(), "{described:?}");
    let by_currency = metrics.total_cost_by_currency.as_ref();
    let by_currency = by_currency.map(|costs| costs.iter().map(|(name, cost)| (name.clone(), nanos(cost))).collect());
    assert_eq!(by_currency, (costs.len() > 1).then_some(costs), "{described:?}");
}

/// Compares the figures of a group with those of the records that its query lists.
fn check_group(group: &MetricsGroup, listed: &[&ModelCall], text: &str) {
    let mut durations: Vec<i64> = listed.iter().filter_map(|call| call.duration).collect();
    durations.sort_unstable();
    let rank = |percent: usize| durations.get((durations.len() * percent).div_ceil(100).max(1) - 1).copied();
    assert_eq!(group.p50_duration.as_ref().map(nanos), rank(50), "{text}");
    assert_eq!(group.p95_duration.as_ref().map(nanos), rank(95), "{text}");
    let callers: BTreeSet<_> = listed.iter().filter_map(|call| call.value("fromPhoneNumber")).collect();
    let answered = listed.iter().filter(|call| call.is_answered()).count();
    let counts = (group.distinct_callers, group.answered_calls);
    assert_eq!(counts, (Some(callers.len() as u64), answered as u64), "{text}");
}

/// Compares the label of a group with a record of it.
fn check_label(name: &str, label: Option<&str>, call: &ModelCall, text: &str) {
    if name == "outcome" {
        assert_eq!(label, Some(call.outcome()), "{text}");
    }
    let Some(path) = name.strip_prefix("metadata.") else {
        if TEXTS.iter().any(|(known, _)| *known == name) {
            assert_eq!(label, call.value(name).as_deref(), "{text}");
        }
        return;
    };
    let mut found = Vec::new();
    at_path(&call.metadata, path, &mut found);
    match (found.as_slice(), label) {
        ([], None) => {}
        ([Value::String(value)], Some(label)) => assert_eq!(label, value, "{text}"),
        ([Value::Number(value)], Some(label)) => assert_eq!(label.parse().ok(), value.as_f64(), "{text}"),
        ([value @ (Value::Bool(_) | Value::Null)], Some(label)) => assert_eq!(label, value.to_string(), "{text}"),
        (_, label) => assert_eq!(label, Some("[]"), "{text}: {found:?}"),
    }
}

/// The number of comparisons of a test; `CALLHISTORY_QUERY_COMPARISONS` sets another one.
fn comparisons() -> usize {
    loop_count("CALLHISTORY_QUERY_COMPARISONS", 10_500).unwrap()
}

/// Compares random queries; returns the strategies that found their pages.
async fn compare<D: Database>(database: &D, seed: u64, thresholds: Thresholds) -> BTreeSet<&'static str> {
    let mut rng = Rng::with_seed(seed);
    let mut comparison = Comparison {
        store: database.open_with(StoreOptions { thresholds, ..StoreOptions::default() }).await,
        workspace: "w".parse().unwrap(),
        calls: BTreeMap::new(),
        now: 1_780_272_000 * SECOND,
        comparisons: 0,
        strategies: BTreeSet::new(),
    };
    // The records of another workspace must not be found.
    for n in 0..100 {
        let foreign = random_call(&mut rng, format!("c{n}"));
        let (id, other) = (foreign.id.parse().unwrap(), "v".parse().unwrap());
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        comparison.store.replace_call(&other, &id, foreign.input().into(), Precondition::default(), now).await.unwrap();
    }
    for _ in 0..250 {
        comparison.write(&mut rng).await;
    }
    while comparison.comparisons < comparisons() {
        for _ in 0..3 {
            comparison.write(&mut rng).await;
        }
        for _ in 0..60 {
            comparison.compare(&mut rng).await;
        }
    }
    comparison.strategies
}

pub(crate) async fn queries_equal_the_reference_model<D: Database>(database: &D) {
    let strategies = compare(database, 1, Thresholds::SMALL).await;
    assert_eq!(strategies, D::STRATEGIES.iter().copied().collect(), "small thresholds reach every strategy");
}

pub(crate) async fn queries_with_the_default_thresholds_equal_the_reference_model(database: &impl Database) {
    compare(database, 2, Thresholds::default()).await;
}
