//! Metrics: figures, groups whose queries list exactly their calls, and groups without calls.

use callhistory_model::{CallMetrics, CallRecord, ListQuery, MetricsQuery};
use callhistory_store::{CallStore, StoreError};

use crate::conformance::{Database, put, workspace};

async fn metrics(store: &dyn CallStore, query: &str) -> CallMetrics {
    store.get_call_metrics(&workspace("w"), &MetricsQuery::from_query(query).unwrap()).await.unwrap()
}

/// The label of each group with its number of calls. The query of each lists as many.
async fn groups(store: &dyn CallStore, query: &str, key: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for group in metrics(store, query).await.groups.unwrap() {
        let list = ListQuery::from_query(&format!("{}&includeTotal=true", group.query)).unwrap();
        let page = store.list_calls(&workspace("w"), &list).await.unwrap();
        assert_eq!(page.total, Some(group.total_calls), "{query}: {}", group.query);
        found.push((group.group.get(key).cloned().unwrap_or_default(), group.total_calls));
    }
    found
}

fn id_of(body: &[u8]) -> String {
    serde_json::from_slice::<CallRecord>(body).unwrap().id.to_string()
}

fn labelled(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect()
}

pub(crate) async fn metrics_say_what_they_are_of(database: &impl Database) {
    let store = database.open().await;
    for (id, json) in [
        (
            "a",
            r#"{"status":"ENDED","startTime":100,"answeredAt":104.5,"endTime":110,"fromPhoneNumber":"+49 30 123456"}"#,
        ),
        ("b", r#"{"status":"completed","startTime":100,"endTime":105,"fromPhoneNumber":"tel:+4930123456"}"#),
        ("c", r#"{"status":"IN_PROGRESS","startTime":100,"answeredAt":101,"fromPhoneNumber":"anonymous"}"#),
        ("d", r#"{"status":"no-answer","startTime":100,"fromPhoneNumber":""}"#),
        // A time before the start is no answer, and one after the end no talk time.
        ("e", r#"{"status":"busy","startTime":100,"answeredAt":0,"endTime":100}"#),
        ("f", r#"{"status":"failed","startTime":100,"answeredAt":120,"endTime":110}"#),
        ("g", r#"{"status":"voicemail"}"#),
        ("h", r#"{"status":"parked","cost":{"customer_charge":0.1,"currency":"eur"}}"#),
        ("i", r#"{"cost":{"customer_charge":0.2,"currency":"EUR"}}"#),
    ] {
        put(&*store, "w", id, json, 1).await;
    }
    let all = metrics(&*store, "").await;
    assert_eq!((all.total_calls, all.completed_calls, all.failed_calls), (9, 2, 1));
    assert_eq!((all.calls_with_duration, all.average_duration.as_str()), (4, "6.25"));
    assert_eq!((all.calls_with_talk_time, all.average_talk_time.as_str()), (1, "5.5"));
    assert_eq!((all.answered_calls, all.distinct_callers), (5, Some(2)));
    let outcomes: Vec<_> = all.outcomes.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let expected = ["busy 1", "completed 2", "failed 1", "live 1", "no-answer 1", "unknown 2", "voicemail 1"];
    assert_eq!(outcomes, expected);
    // One currency in two spellings.
    assert_eq!((all.total_cost.as_str(), all.total_cost_by_currency), ("0.30", None));
    put(&*store, "w", "j", r#"{"cost":{"customer_charge":-1.000000001}}"#, 1).await;
    for query in ["", "agentId=!*", "groupBy=outcome", "groupBy=batchId"] {
        let all = metrics(&*store, query).await;
        let costs = all.total_cost_by_currency.unwrap();
        let costs: Vec<_> = costs.iter().map(|(name, cost)| format!("{name} {cost}")).collect();
        assert_eq!(
            (all.total_cost.as_str(), costs.join(", ").as_str()),
            ("-0.700000001", "EUR 0.30, unknown -1.000000001")
        );
        for group in all.groups.iter().flatten() {
            assert!(group.total_cost_by_currency.is_some(), "{query}: {:?}", group.group);
        }
    }
    assert_eq!(groups(&*store, "groupBy=outcome&minCost=0.15", "outcome").await, labelled(&[("unknown", 1)]));
}

/// Each figure of metrics has a filter that lists exactly its calls.
pub(crate) async fn figures_are_filters(database: &impl Database) {
    let store = database.open().await;
    let answered = r#"{"startTime":100,"answeredAt":104.5,"cost":{"customer_charge":0.1,"currency":"eur"}}"#;
    put(&*store, "w", "a", answered, 1).await;
    put(&*store, "w", "b", r#"{"status":"completed","cost":{"customer_charge":-1,"currency":"EUR"}}"#, 1).await;
    // A time before the start is no answer.
    put(&*store, "w", "c", r#"{"startTime":100,"answeredAt":99,"cost":{"customer_charge":2}}"#, 1).await;
    put(&*store, "w", "d", r#"{"status":"busy","cost":{"vendor":2,"currency":"EUR"}}"#, 1).await;
    put(&*store, "w", "e", "{}", 1).await;
    let cases = [
        ("answered=true", "a b"),
        ("answered=false", "c d e"),
        ("answered=true&outcome=completed", "b"),
        ("currency=EUR", "a b d"),
        ("currency=eur,USD", "a b d"),
        ("currency=!EUR", "c e"),
        ("currency=!*", "c e"),
        ("currency=*", "a b d"),
        ("currency=USD", ""),
        // The calls of a sum of costs have a charge.
        ("currency=eur&minCost=-1000000000", "a b"),
        ("currency=!*&minCost=-1000000000", "c"),
    ];
    for (query, expected) in cases {
        for sort in ["", "&sort=cost"] {
            let list = ListQuery::from_query(&format!("{query}{sort}&includeTotal=true")).unwrap();
            let page = store.list_calls(&workspace("w"), &list).await.unwrap();
            let mut ids: Vec<_> = page.calls.iter().map(id_of).collect();
            ids.sort();
            assert_eq!((ids.join(" ").as_str(), page.total), (expected, Some(ids.len() as u64)), "{query}{sort}");
        }
        let found = expected.split_whitespace().count() as u64;
        assert_eq!(metrics(&*store, query).await.total_calls, found, "{query}");
    }
    // A fact that changes is found by its new value.
    put(&*store, "w", "e", r#"{"answeredAt":5,"cost":{"customer_charge":0.2,"currency":"GBP"}}"#, 2).await;
    let counts = [("answered=true", 3), ("answered=false", 2), ("currency=gbp", 1), ("currency=!*", 1)];
    for (query, count) in counts {
        assert_eq!(metrics(&*store, query).await.total_calls, count, "{query}");
    }
}

pub(crate) async fn members_of_metadata_are_groups(database: &impl Database) {
    let store = database.open().await;
    let long = "x".repeat(1_025);
    let values = [
        "{}",
        r#"{"t":"gold"}"#,
        r#"{"t":5}"#,
        r#"{"t":5.00}"#,
        r#"{"t":"5"}"#,
        r#"{"t":"5.0"}"#,
        r#"{"t":true}"#,
        r#"{"t":null}"#,
        r#"{"t":""}"#,
        r#"{"t":["gold"]}"#,
        r#"{"t":["gold","iron"]}"#,
        r#"{"t":{"a":1}}"#,
        r#"{"t":"*"}"#,
        r#"{"t":"!*"}"#,
        r#"{"t":"\\"}"#,
        r#"{"t":"[]"}"#,
        r#"{"t":"=a,b"}"#,
        r#"{"t":-1e-30}"#,
        &format!(r#"{{"t":"{long}"}}"#),
    ];
    for (number, value) in values.iter().enumerate() {
        let json = format!(r#"{{"metadata":{value},"batchId":"b{}"}}"#, number % 2);
        put(&*store, "w", &format!("c{number:02}"), &json, 1).await;
    }
    let expected = [
        ("", 1),
        ("!*", 1),
        ("*", 1),
        ("-1e-30", 1),
        ("5", 3),
        ("5.0", 1),
        ("=a,b", 1),
        ("[]", 1),
        ("\\", 1),
        ("gold", 1),
        ("null", 1),
        ("true", 1),
        ("[]", 4),
        ("", 1),
    ];
    assert_eq!(groups(&*store, "groupBy=metadata.t", "metadata.t").await, labelled(&expected));
    // The clause of the filter is part of the query of each group.
    let gold = [("gold", 1), ("[]", 2)];
    assert_eq!(groups(&*store, "groupBy=metadata.t&metadata.t=gold", "metadata.t").await, labelled(&gold));
    for query in ["groupBy=metadata.t,batchId", "groupBy=metadata.t,metadata.t.a", "groupBy=hour,metadata.t"] {
        let count: u64 = groups(&*store, query, "").await.iter().map(|(_, count)| count).sum();
        assert_eq!(count, values.len() as u64, "{query}");
    }
    assert_eq!(groups(&*store, "groupBy=batchId&metadata.t=!*", "batchId").await, labelled(&[("b0", 1)]));
}

pub(crate) async fn time_groups_without_calls_are_filled(database: &impl Database) {
    let store = database.open().await;
    let fill = async |query: &str| {
        let query = MetricsQuery::from_query(&format!("{query}&fill=true")).unwrap();
        store.get_call_metrics(&workspace("w"), &query).await
    };
    assert_eq!(fill("groupBy=day").await.unwrap().groups, Some(Vec::new()));
    let week = "groupBy=day&startedAfter=2026-10-24&startedBefore=2026-10-27&timezone=Europe/Berlin";
    let expected = [("2026-10-24", 0), ("2026-10-25", 0), ("2026-10-26", 0)];
    assert_eq!(groups(&*store, &format!("{week}&fill=true"), "day").await, labelled(&expected));
    put(&*store, "w", "a", r#"{"startTime":1792879200,"status":"busy"}"#, 1).await;
    put(&*store, "w", "b", r#"{"startTime":1793048400,"status":"failed"}"#, 1).await;
    assert_eq!(
        groups(&*store, &format!("{week}&fill=true"), "day").await,
        labelled(&[expected[0], (expected[1].0, 1), ("2026-10-26", 1)])
    );
    // From the first to the last call, over a day of 25 hours.
    let hours = groups(&*store, "groupBy=hour&timezone=Europe/Berlin&fill=true", "hour").await;
    assert_eq!(
        (hours.len(), &*hours[0].0, &*hours[3].0),
        (48, "2026-10-25T00:00:00+02:00", "2026-10-25T02:00:00+01:00")
    );
    // Each status on each day.
    let both = groups(&*store, "groupBy=status,day&timezone=Europe/Berlin&fill=true", "status").await;
    assert_eq!(both, labelled(&[("busy", 1), ("busy", 0), ("failed", 0), ("failed", 1)]));
    match fill("groupBy=hour&startedAfter=1971-01-01").await {
        Err(StoreError::Refused(error)) => assert_eq!(error.parameter.as_deref(), Some("fill"), "{error}"),
        other => panic!("{other:?}"),
    }
    for (query, parameter) in
        [("groupBy=status&fill=true", "fill"), ("groupBy=metadata.a,metadata.b,metadata.c", "groupBy")]
    {
        let refused = MetricsQuery::from_query(query).unwrap_err();
        assert_eq!(refused[0].parameter.as_deref(), Some(parameter), "{query}");
    }
}
