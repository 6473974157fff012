//! Lists, metrics and their parameters over HTTP and through the SDK. The tests of the store check the meaning of filters.

use callhistory_client::{CallFilter, CallInput, GroupKey, ListQuery, MetricsQuery, OneOf};
use futures_util::TryStreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::harness::{CALLS, PATIENCE, Response, Server};

async fn list(server: &Server, query: &str) -> Response {
    server.send(Method::GET, &format!("{CALLS}?{query}"), &[], "").await
}

fn ids(response: &Response) -> Vec<String> {
    response.json().as_array().unwrap().iter().map(|call| call["_id"].as_str().unwrap().to_owned()).collect()
}

async fn fill(server: &Server, count: u32) {
    let calls = (0..count).map(|number| CallInput {
        id: Some(format!("c{number:03}").parse().unwrap()),
        agent_id: Some(["a", "b"][number as usize % 2].to_owned()),
        start_time: Some(i64::from(1_767_225_600 + number * 3600).try_into().unwrap()),
        duration: Some(i64::from(number % 10).try_into().unwrap()),
        cost: Some(callhistory_client::CallCost::new([("customer_charge", "0.10".parse().unwrap())]).unwrap()),
        ..CallInput::default()
    });
    let report = server.client().import_calls(calls).await.unwrap();
    assert_eq!((report.created, report.rejected), (count.into(), 0));
}

#[tokio::test]
async fn an_empty_workspace_has_an_empty_list() {
    let server = Server::start().await;
    let response = list(&server, "includeTotal=true").await;
    assert_eq!(
        (response.status, response.body.as_str(), response.header("x-total-count")),
        (StatusCode::OK, "[]", "0")
    );
    assert!(!response.headers.contains_key("link") && !response.headers.contains_key("x-next-cursor"));
    let metrics = server.send(Method::GET, &format!("{CALLS}/metrics"), &[], "").await;
    let expected = r#"{"totalCalls":0,"completedCalls":0,"failedCalls":0,"averageDuration":0,"totalCost":0.00,"callsWithDuration":0,"answeredCalls":0,"averageTalkTime":0,"callsWithTalkTime":0,"distinctCallers":0,"outcomes":{}}"#;
    assert_eq!(metrics.body, expected);
    assert_eq!(server.send(Method::GET, &format!("{CALLS}/export"), &[], "").await.body, "");
}

#[tokio::test]
async fn a_list_returns_the_stored_bytes() {
    let server = Server::start().await;
    let written = server
        .put(
            "c1",
            &[],
            callhistory_client::model::examples::COMPLETE_EXAMPLE.replace("67375a0f2b8c4e001f3d9a11", "c1").as_str(),
        )
        .await;
    assert_eq!(list(&server, "").await.body, format!("[{}]", written.body));
    let some = list(&server, "fields=cost,_id,summary,callId").await;
    let expected = r#"[{"_id":"c1","cost":{"customer_charge":0.10,"telephony":0.0125,"llm":0.0300,"currency":"USD"},"summary":"The caller returns an order and asks for a refund.","callId":"CA0123456789abcdef"}]"#;
    assert_eq!(some.body, expected);
    assert_eq!(server.send(Method::HEAD, CALLS, &[], "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn pages_are_reached_by_link_and_by_number() {
    let server = Server::start().await;
    fill(&server, 25).await;
    let mut seen = Vec::new();
    let mut query = "limit=10&agentId=a,b&dateRange=%7B%22from%22%3A%222026-01-01%22%7D&includeTotal=true".to_owned();
    loop {
        let response = list(&server, &query).await;
        assert_eq!((response.status, response.header("x-total-count")), (StatusCode::OK, "25"));
        seen.extend(ids(&response));
        let Some(link) = response.headers.get("link") else { break };
        let link = link.to_str().unwrap();
        assert!(link.ends_with(&format!("cursor={}>; rel=\"next\"", response.header("x-next-cursor"))), "{link}");
        query = link.strip_prefix("<?").unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    }
    let expected: Vec<_> = (0..25).rev().map(|number| format!("c{number:03}")).collect();
    assert_eq!(seen, expected);
    assert_eq!(ids(&list(&server, "page=3").await), expected[20..]);
    assert_eq!(ids(&list(&server, "page=2&limit=10").await), expected[10..20]);
    assert_eq!(list(&server, "page=4").await.body, "[]");
    for deep in ["page=201&limit=50", "page=100&limit=1000", "page=100000&limit=1&sort=cost&status=!failed"] {
        let response = list(&server, deep).await;
        assert_eq!((response.status, response.body.as_str()), (StatusCode::OK, "[]"), "{deep}");
    }
    let deep = list(&server, "page=101&limit=1000").await;
    assert_eq!(deep.status, StatusCode::BAD_REQUEST);
    assert!(deep.json()["detail"].as_str().unwrap().contains("cursor"), "{}", deep.body);
}

#[tokio::test]
async fn documented_filter_forms_are_accepted() {
    let server = Server::start().await;
    fill(&server, 5).await;
    server
        .put("x1", &[], r#"{"callFlowId":"flow-1","fromPhoneNumber":"+14155550123","callId":"CA,1","startTime":1767225600,"analyzedData":{"score":7}}"#)
        .await;
    for query in [
        "pathwayId=flow-1",
        "callFlowId=flow-1",
        "callIds=%5B%22x1%22%5D",
        "callIds=x1,nothing",
        "callIds=%5B%22CA%2C1%22%5D",
        "postAnalysis=%7B%22score%22%3A7%7D",
        "postAnalysis=%7B%22score%22%3A%7B%22gte%22%3A7.0%7D%7D",
        "phoneNumber=+1415555*&callFlowId=flow-1",
        "fromPhoneNumber=nothing,+14155550123",
        "startedAfter=2026-01-01T01:00:00+01:00&callFlowId=flow-1",
        "dateRange=%7B%22startDate%22%3A%222026-01-01%22%2C%22endDate%22%3A%222026-01-01%22%7D&minDuration=0&maxDuration=0&agentId=!*",
    ] {
        let expected: &[&str] = if query.starts_with("dateRange") { &[] } else { &["x1"] };
        assert_eq!(ids(&list(&server, query).await), expected, "{query}");
    }
    assert_eq!(
        ids(&list(&server, "dateRange=%7B%22from%22%3A1767225600%2C%22to%22%3A1767229200%7D&sort=startTime").await),
        ["c000", "x1", "c001"]
    );
}

/// What forms, spreadsheets and telephones make of a filter.
#[tokio::test]
async fn filters_understand_the_spellings_of_a_value() {
    let server = Server::start().await;
    let calls = [
        (
            "a",
            r#"{"status":"IN_PROGRESS","fromPhoneNumber":"+49 30 123456","callId":"1+2@host","startTime":1792879200}"#,
        ),
        (
            "b+c",
            r#"{"cost":{"customer_charge":1,"currency":"EUR"},"status":"ended","toPhoneNumber":"tel:+4930123456;npdi","startTime":1792879199}"#,
        ),
        ("d", r#"{"direction":"Inbound","fromPhoneNumber":"Anonymous","startTime":1792969200}"#),
    ];
    for (id, json) in calls {
        assert_eq!(server.put(id, &[], json).await.status, StatusCode::CREATED, "{id}");
    }
    for (query, expected) in [
        (
            "agentId=&status=&search=&startedAfter=&limit=&callIds=&metadata.x=&timezone=+&page=&cursor=",
            &["d", "a", "b+c"] as &[&str],
        ),
        ("status=in-progress", &["a"]),
        ("status=In+Progress,nothing", &["a"]),
        ("direction=INBOUND", &["d"]),
        ("outcome=live,completed", &["a", "b+c"]),
        ("outcome=unknown", &["d"]),
        ("answered=true", &["b+c"]),
        ("answered=false&outcome=live", &["a"]),
        ("currency=usd,eur", &["b+c"]),
        ("currency=!*", &["d", "a"]),
        ("phoneNumber=004930123456", &["a", "b+c"]),
        ("phoneNumber=+4930*", &["a", "b+c"]),
        ("phoneNumber=!sip:%2B4930123456@host;user=phone", &["d"]),
        ("phoneNumber=anonymous", &["d"]),
        ("callIds=1+2@host,b+c", &["a", "b+c"]),
        ("callIds=%5B%22b%2Bc%22%5D", &["b+c"]),
        // A day of 25 hours.
        ("startedAfter=2026-10-25&startedBefore=2026-10-26&timezone=Europe/Berlin", &["a"]),
        ("startedAfter=2026-10-26T00:00&timezone=Europe/Berlin", &["d"]),
        ("startedBefore=2026-10-24T22:00:00", &["b+c"]),
        ("startedBefore=2026-10-25T00:00:00+0200", &["b+c"]),
        ("page=201&limit=50", &[]),
    ] {
        assert_eq!(ids(&list(&server, query).await), expected, "{query}");
    }
}

#[tokio::test]
async fn invalid_list_parameters_are_named() {
    let server = Server::start().await;
    let cases = [
        ("statu=busy", "statu unknown", "did you mean \"status\"?"),
        ("limit=0", "limit out_of_range", "from 1 to 1000"),
        ("limit=1001", "limit out_of_range", "from 1 to 1000"),
        ("limit=ten", "limit out_of_range", "from 1 to 1000"),
        ("limit=%2B5", "limit out_of_range", ""),
        ("page=0", "page out_of_range", ""),
        ("page=1&cursor=abc", "page conflict", "cursor"),
        ("cursor=abc", "cursor invalid_cursor", "start again"),
        ("sort=startTme", "sort malformed", "did you mean \"startTime\"?"),
        ("sort=-", "sort malformed", "createdAt"),
        ("fields=_id,statsu", "fields malformed", "did you mean \"status\"?"),
        ("fields=_id,_id", "fields repeated", "contains _id more than once"),
        ("includeTotal=yes", "includeTotal malformed", "true, false"),
        ("answered=1", "answered malformed", "true, false"),
        ("currency=EU", "currency malformed", "three letters"),
        ("status=a&status=b", "status repeated", "commas"),
        ("status=a,,b", "status malformed", "empty"),
        ("status=a*", "status malformed", "prefix"),
        ("fromPhoneNumber=%2B1*5", "fromPhoneNumber malformed", "end of a value"),
        ("agentId=a%5C", "agentId malformed", "backslash"),
        ("agentId=%00", "agentId nul_character", ""),
        ("agentId=%FF", "agentId invalid_string", "UTF-8"),
        ("startedAfter=01/02/2026", "startedAfter invalid_time", "RFC 3339"),
        ("startedAfter=2026-02-30", "startedAfter invalid_time", ""),
        ("startedAfter=20260131", "startedAfter invalid_time", "without its dashes"),
        ("startedAfter=2026", "startedAfter invalid_time", "2026-01-31"),
        ("startedAfter=2026-01-01&startedBefore=2026-01-01", "startedAfter end_before_start", ""),
        (
            "dateRange=%7B%22from%22%3A%222026-01-02%22%2C%22to%22%3A%222026-01-01%22%7D",
            "dateRange end_before_start",
            "",
        ),
        ("startedAfter=1767225600000", "startedAfter wrong_unit", "seconds"),
        ("startedAfter=2026-01-02&startedBefore=2026-01-01", "startedAfter end_before_start", "startedBefore"),
        ("updatedAfter=2026-01-02&updatedBefore=2026-01-01", "updatedAfter end_before_start", ""),
        ("minDuration=5&maxDuration=4", "minDuration end_before_start", ""),
        ("minCost=0.2&maxCost=0.1", "minCost end_before_start", ""),
        ("minCost=0.1234567891", "minCost too_many_decimals", ""),
        ("minDuration=abc", "minDuration wrong_type", ""),
        ("dateRange=2026", "dateRange malformed", "JSON object"),
        ("dateRange=%7B%7D", "dateRange malformed", "JSON object"),
        ("dateRange=%7B%22form%22%3A%222026-01-01%22%7D", "dateRange malformed", "did you mean \"from\"?"),
        ("dateRange=%7B%22from%22%3A%222026-01-01%22%7D&startedAfter=2026-01-01", "startedAfter conflict", "dateRange"),
        ("callFlowId=a&pathwayId=a", "pathwayId conflict", "one parameter"),
        ("callIds=[]", "callIds too_short", ""),
        ("callIds=a,%20b", "callIds malformed", "white space"),
        ("status=!", "status malformed", "!*"),
        ("direction=a,%20-,b", "direction malformed", "empty"),
        ("status=%25&agentId=%zz", "agentId invalid_string", "hexadecimal"),
        ("=x", " malformed", "has no name"),
        ("dateRange=%7B%22tz%22%3A%22UTC%22%7D", "dateRange malformed", "startDate"),
        ("callIds=%5B1%5D", "callIds malformed", "JSON array"),
        ("postAnalysis=%7B%22a%22%3A%7B%22gtt%22%3A1%7D%7D", "postAnalysis malformed", "did you mean \"gt\"?"),
        ("postAnalysis=%7B%22a%22%3A%5B1%5D%7D", "postAnalysis wrong_type", "an array"),
        ("postAnalysis=%7B%22a%22%3A%7B%22gt%22%3Atrue%7D%7D", "postAnalysis wrong_type", "a boolean"),
        ("postAnalysis=x", "postAnalysis wrong_type", ""),
        ("search=%22%20*%20%22", "search too_short", "no word"),
        ("groupBy=day", "groupBy unknown", ""),
    ];
    for (query, expected, detail) in cases {
        let response = list(&server, query).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{query}: {}", response.body);
        assert_eq!(response.code(), "invalid_parameter", "{query}");
        let error = &response.json()["errors"][0];
        let text = |name: &str| error[name].as_str().unwrap().to_owned();
        assert_eq!(format!("{} {}", text("parameter"), text("code")), expected, "{query}");
        assert!(text("detail").contains(detail), "{query}: {}", text("detail"));
    }
}

#[tokio::test]
async fn all_parameter_errors_are_reported_together() {
    let server = Server::start().await;
    let long = format!("metadata.{}=1", "x".repeat(1025));
    assert_eq!(list(&server, &long).await.json()["errors"][0]["code"], "too_long");
    let elsewhere = server.send(Method::GET, &format!("{CALLS}/changes?statu=busy"), &[], "").await;
    assert!(!elsewhere.body.contains("did you mean"), "{}", elsewhere.body);
    assert_eq!(list(&server, "limit=0&sort=x&nothing=1").await.json()["errors"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn invalid_metrics_parameters_are_named() {
    let server = Server::start().await;
    for (query, detail) in [
        ("groupBy=dya", "did you mean \"day\"?"),
        ("groupBy=day,hour", "use one of them"),
        ("groupBy=day,day", "more than once"),
        ("groupBy=day&timezone=Europe/Berln", "did you mean \"Europe/Berlin\"?"),
        ("limit=1", "is unknown"),
    ] {
        let response = server.send(Method::GET, &format!("{CALLS}/metrics?{query}"), &[], "").await;
        assert!(
            response.status == StatusCode::BAD_REQUEST && response.body.replace('\\', "").contains(detail),
            "{query}: {}",
            response.body
        );
    }
}

/// No text of a user is part of a full-text query or a pattern.
#[tokio::test]
async fn search_treats_any_text_as_words() {
    let server = Server::start().await;
    server.put("c1", &[], r#"{"summary":"A 100% refund OR nothing: \"order\" NEAR(a b) AND col:x*","fromPhoneNumber":"+14155550123"}"#).await;
    for text in [
        "refund",
        "100%",
        "OR",
        "\"order\"",
        "NEAR(a",
        "col:x*",
        "x*",
        "AND NOR",
        "refund\"",
        "5550",
        "415-555",
        "')--",
        "{a b}",
    ] {
        let response = list(&server, &format!("search={}", encode(text))).await;
        let expected = if matches!(text, "AND NOR" | "')--") { vec![] } else { vec!["c1".to_owned()] };
        if text == "')--" {
            assert_eq!(response.status, StatusCode::BAD_REQUEST);
            continue;
        }
        assert_eq!(ids(&response), expected, "{text}: {}", response.body);
    }
    // The maximum number of the most expensive values.
    let many: Vec<_> = (0..1000).map(|number| format!("1234567890{number}*")).collect();
    for mark in ["", "!"] {
        for route in ["", "/metrics", "/export"] {
            let path = format!("{CALLS}{route}?phoneNumber={mark}{}&updatedAfter=2020-01-01", many.join(","));
            assert_eq!(server.send(Method::GET, &path, &[], "").await.status, StatusCode::OK, "{mark} {route}");
        }
    }
    for value in ["%25", "_", "+1415%25", "\\_*", "'%20OR%201=1%20--"] {
        assert_eq!(list(&server, &format!("phoneNumber={value}")).await.body, "[]", "{value}");
    }
}

pub(crate) fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn the_sdk_reads_all_pages() {
    let server = Server::start().await;
    fill(&server, 60).await;
    let client = server.client();
    // The commas must survive in the link to the next page.
    let filter = CallFilter::new().agent_id(OneOf::any(["a", "nobody"]));
    let query = ListQuery::new().filter(filter.clone()).limit(7).include_total(true);
    let page = client.list_calls(&query).await.unwrap();
    assert_eq!((page.calls.len(), page.total), (7, Some(30)));
    let second = client.list_calls(&query.clone().page(2)).await.unwrap();
    let by_cursor = client.list_calls(&query.clone().cursor(page.next.unwrap())).await.unwrap();
    assert_eq!(second.calls, by_cursor.calls);
    let all: Vec<_> = client.stream_calls(query).try_collect().await.unwrap();
    let exported: Vec<_> = client.export_calls(filter.clone()).await.unwrap().try_collect().await.unwrap();
    assert_eq!((all.len(), &all), (30, &exported));
    let by = MetricsQuery::new()
        .filter(filter.time_zone("Asia/Tokyo".parse().unwrap()))
        .group_by([GroupKey::Day, GroupKey::AgentId])
        .fill(false);
    let metrics = client.get_call_metrics(&by).await.unwrap();
    assert_eq!((metrics.total_calls, metrics.total_cost.as_str()), (30, "3.00"));
    let groups = metrics.groups.unwrap();
    assert_eq!(groups.iter().map(|group| group.total_calls).sum::<u64>(), 30);
    for group in groups {
        let query = ListQuery::from_query(&group.query).unwrap().include_total(true);
        assert_eq!(client.list_calls(&query).await.unwrap().total, Some(group.total_calls), "{}", group.query);
    }
    let fields = ListQuery::new().fields(["_id"]);
    assert!(client.list_calls(&fields).await.unwrap_err().is_invalid_request());
    let parts = client.list_calls_as::<Value>(&fields).await.unwrap();
    assert_eq!(parts.calls[0].to_string(), r#"{"_id":"c059"}"#);
}

#[tokio::test]
async fn sums_of_costs_are_exact() {
    let server = Server::start().await;
    let cents = |charge: &str| format!(r#"{{"cost":{{"customer_charge":{charge}}},"duration":0.1}}"#);
    // 0.1 has no exact binary representation.
    let calls = (0..1000).map(|number| {
        let mut input = CallInput::from_json(cents("0.10").as_bytes()).unwrap();
        input.id = Some(format!("d{number}").parse().unwrap());
        input
    });
    server.client().import_calls(calls).await.unwrap();
    server.put("big1", &[], &cents("999999999.999999999")).await;
    server.put("big2", &[], &cents("999999999.999999999")).await;
    server.put("less", &[], &cents("-0.000000001")).await;
    let metrics = server.send(Method::GET, &format!("{CALLS}/metrics"), &[], "").await;
    let expected = r#"{"totalCalls":1003,"completedCalls":0,"failedCalls":0,"averageDuration":0.1,"totalCost":2000000099.999999997,"callsWithDuration":1003,"answeredCalls":0,"averageTalkTime":0,"callsWithTalkTime":0,"distinctCallers":0,"outcomes":{"unknown":1003}}"#;
    assert_eq!(metrics.body, expected);
    let dimes = server.send(Method::GET, &format!("{CALLS}/metrics?minCost=0.1&maxCost=0.1"), &[], "").await;
    assert!(dimes.body.contains(r#""totalCost":100.00"#), "{}", dimes.body);
}

/// A cursor continues after a page that large records ended early; a page number cannot.
#[tokio::test]
async fn a_page_of_large_records_ends_early() {
    let server = Server::start().await;
    let large = "x".repeat(1_000_000);
    for number in 0..20 {
        let record = format!(r#"{{"startTime":{},"metadata":{{"x":"{large}"}}}}"#, 1_767_225_600 + number);
        assert_eq!(server.put(&format!("c{number:02}"), &[], &record).await.status, StatusCode::CREATED);
    }
    let client = server.client();
    let all: Vec<_> = client.stream_calls(ListQuery::new().limit(1000)).try_collect().await.unwrap();
    assert_eq!(all.len(), 20);
    let first = client.list_calls(&ListQuery::new().limit(1000)).await.unwrap();
    assert!((3..20).contains(&first.calls.len()) && first.next.is_some(), "{}", first.calls.len());
    let refused = list(&server, "page=1&limit=20").await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::BAD_REQUEST, "invalid_parameter"));
    let feed = client.list_call_changes(&callhistory_client::ChangesQuery::new().limit(1000)).await.unwrap();
    assert!((3..20).contains(&feed.changes.len()) && feed.has_more, "{}", feed.changes.len());
}

/// Indexing a valid record must not delay the writes of others.
#[tokio::test]
async fn a_record_with_a_long_path_is_indexed_in_linear_time() {
    let server = Server::start().await;
    let items = vec!["1"; 200_000].join(",");
    let record = format!(r#"{{"metadata":{{"{}":[{items}],"short":2}}}}"#, "x".repeat(500_000));
    let begun = std::time::Instant::now();
    assert_eq!(server.put("c1", &[], &record).await.status, StatusCode::CREATED);
    // Half a second; quadratic time would be hours.
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(ids(&list(&server, "metadata.short=2").await), ["c1"]);
}
