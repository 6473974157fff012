//! Every example of the contract is sent, raw and by the SDK; the response equals the example.

use std::collections::{BTreeSet, HashMap};

use callhistory_client::{
    CallInput, CallPatch, ChangesQuery, Client, ExportQuery, GroupKey, Handling, ImportMode, ImportQuery, ListQuery,
    MetricsQuery, SearchQuery, SearchSort, model::examples,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use reqwest::Method;
use serde_json::{Value, json, value::RawValue};

use crate::{
    contract::{CONTRACT, CONTRACT_TEXT, Exchange, operations, template},
    harness::{Response, Server},
    samples,
};

fn id_of(operation: &Value) -> &str {
    operation["operationId"].as_str().unwrap()
}

/// The optional parameters in the example of an operation; it has all required ones.
const OPTIONAL: [(&str, &[&str]); 5] = [
    ("list_calls", &["status", "startedAfter", "limit"]),
    ("create_call", &["Idempotency-Key"]),
    ("get_call_metrics", &["status", "groupBy", "timezone"]),
    ("list_call_changes", &["limit"]),
    ("export_calls", &["agentId"]),
];

/// The parameters in the example of an operation: location, name and text.
fn examples_of(operation: &Value) -> Vec<(&str, &str, String)> {
    let id = id_of(operation);
    let is_sent = |parameter: &&Value| {
        let name = parameter["name"].as_str().unwrap();
        parameter["required"] == true || OPTIONAL.iter().any(|(of, names)| *of == id && names.contains(&name))
    };
    let parameters = operation["parameters"].as_array().unwrap().iter().filter(is_sent);
    let text = |example: &Value| match example {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    parameters
        .filter_map(|parameter| {
            let text = text(parameter.get("example")?);
            Some((parameter["in"].as_str().unwrap(), parameter["name"].as_str().unwrap(), text))
        })
        .collect()
}

/// The example of a body on one line, in the order and with the digits of the contract, which a parsed value loses.
fn text_of(path: &str, method: &Method, body: &[&str], media_type: &str) -> String {
    let method = method.as_str().to_lowercase();
    let keys =
        ["paths", path, &method].into_iter().chain(body.iter().copied()).chain(["content", media_type, "example"]);
    let text = keys.fold(CONTRACT_TEXT.as_str(), |object, key| {
        serde_json::from_str::<HashMap<&str, &RawValue>>(object).unwrap()[key].get()
    });
    match serde_json::from_str(text) {
        Ok(Value::String(text)) => text,
        _ => text.lines().map(|line| line.trim_start().replacen("\": ", "\":", 1)).collect(),
    }
}

const ORIGINAL_PATH: &str = "/v2/api/call-history/{callHistoryId}/originals/{originalNumber}";

/// A server that has the documented example, unless the operation creates it.
async fn server_for(operation: &str, status: &str) -> Server {
    let server = Server::start().await;
    if !matches!((operation, status), ("replace_call" | "update_call", "201")) {
        server.put("1234567890abcdef", &[], examples::SOURCE_EXAMPLE).await;
    }
    if operation.ends_with("_originals") || operation.ends_with("_original") {
        let content = &CONTRACT["paths"][ORIGINAL_PATH]["get"]["responses"]["200"]["content"]["*/*"];
        server.put("1234567890abcdef", &[], content["example"].as_str().unwrap()).await;
    }
    server
}

/// Sends the example request of an operation, for one media type of its body and one of its response.
async fn send(
    server: &Server,
    template: &str,
    method: &Method,
    operation: &Value,
    sent: Option<&str>,
    (status, wanted): (&str, Option<&str>),
) -> Response {
    let mut headers: Vec<(String, String)> = Vec::new();
    let (mut path, mut query) = (template.to_owned(), Vec::new());
    for (location, name, text) in examples_of(operation) {
        match location {
            "path" => path = path.replace(&format!("{{{name}}}"), &text),
            "query" => query.push(format!("{name}={text}")),
            _ => headers.push((name.to_owned(), text)),
        }
    }
    let mut body = String::new();
    if let Some(media_type) = sent {
        body = text_of(template, method, &["requestBody"], media_type);
        headers.push(("content-type".to_owned(), media_type.to_owned()));
    }
    if id_of(operation) == "update_call" && status == "201" {
        query.push("upsert=true".to_owned());
    }
    match wanted {
        Some("text/event-stream") => {
            query.retain(|pair| !pair.starts_with("limit"));
            headers.push(("accept".to_owned(), "text/event-stream".to_owned()));
        }
        Some("text/csv") => query.push("format=csv".to_owned()),
        Some(binary) if binary.starts_with("application/vnd.") => query.push("format=xlsx".to_owned()),
        _ => {}
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    if wanted == Some("text/event-stream") {
        return server.first_events(&path, &headers, 1).await;
    }
    server.send_bare(method.clone(), &path, &headers, body.into_bytes()).await
}

/// A body without values that differ each time: cursors, what entity tags name besides versions, and the ID of a creation.
fn without_random_values(operation: &str, body: &str) -> String {
    let body = &match body.split_once("\"etag\":\"\\\"1-") {
        Some((before, rest)) => format!("{before}{}", rest.split_once('\\').unwrap().1),
        None => body.to_owned(),
    };
    let name = match operation {
        "list_call_changes" if body.starts_with('{') => "\"cursor\":\"",
        "list_call_changes" => {
            return body.lines().filter(|line| !line.starts_with("id: ")).collect::<Vec<_>>().join("\n");
        }
        "create_call" => "\"_id\":\"",
        _ => return body.to_owned(),
    };
    let (before, rest) = body.split_once(name).unwrap();
    format!("{before}{}", rest.split_once('"').unwrap().1)
}

/// The media types of a body; `None` if it has no body.
fn media_types(body: &Value) -> Vec<Option<&str>> {
    match body["content"].as_object() {
        Some(content) => content.keys().map(|name| Some(name.as_str())).collect(),
        None => vec![None],
    }
}

#[tokio::test]
async fn every_example_request_returns_its_example_response() {
    let mut bodies = 0;
    for (path, method, operation) in operations() {
        let id = id_of(operation);
        let successes =
            operation["responses"].as_object().unwrap().iter().filter(|(status, _)| status.starts_with('2'));
        for (status, response) in successes {
            for sent in media_types(&operation["requestBody"]) {
                for wanted in media_types(response) {
                    let server = server_for(id, status).await;
                    let response = send(&server, path, &method, operation, sent, (status, wanted)).await;
                    assert_eq!(response.status.as_str(), status, "{id}: {}", response.body);
                    let Some(wanted) = wanted.filter(|wanted| !wanted.starts_with("application/vnd.")) else {
                        continue;
                    };
                    let example = text_of(path, &method, &["responses", status], wanted);
                    assert_eq!(
                        without_random_values(id, &response.body),
                        without_random_values(id, &example),
                        "{id} {status} {wanted}"
                    );
                    bodies += 1;
                }
            }
        }
    }
    assert!(bodies >= 13, "only {bodies} examples were found");
}

/// The other problems mean that the service is slow, full or faulty.
#[tokio::test]
async fn every_problem_that_a_request_can_cause_equals_its_example() {
    let server = server_for("get_call", "200").await;
    let (json, one) = (("content-type", "application/json"), "/v2/api/call-history/1234567890abcdef");
    // The cursor of the examples is one of another database.
    let page =
        &CONTRACT["paths"]["/v2/api/call-history/changes"]["get"]["responses"]["200"]["content"]["application/json"];
    let expired = format!("/v2/api/call-history/changes?cursor={}", page["example"]["cursor"].as_str().unwrap());
    let cases = [
        ("BadRequest", Method::GET, "/v2/api/call-history?limit=0", vec![], String::new()),
        ("NotFound", Method::GET, "/v2/api/call-history/none", vec![], String::new()),
        ("Conflict", Method::PATCH, one, vec![json], r#"{"status":"ongoing"}"#.to_owned()),
        ("Gone", Method::GET, expired.as_str(), vec![], String::new()),
        ("PreconditionFailed", Method::DELETE, one, vec![("if-match", "\"9\"")], String::new()),
        ("PayloadTooLarge", Method::PUT, one, vec![json], " ".repeat(16 * 1024 * 1024 + 1)),
        ("UnsupportedMediaType", Method::PUT, one, vec![("content-type", "text/plain")], "{}".to_owned()),
        ("UnprocessableContent", Method::PUT, one, vec![json], r#"{"startTime": 1680000000000}"#.to_owned()),
    ];
    for (name, method, path, headers, body) in cases {
        let response = server.send(method, path, &headers, &body).await;
        let example = &CONTRACT["components"]["responses"][name]["content"]["application/problem+json"]["example"];
        let mut problem = response.json();
        problem["requestId"] = example["requestId"].clone();
        assert_eq!(&problem, example, "{name}");
        assert_eq!(response.status.as_u16(), example["status"], "{name}");
    }
}

/// Runs the code sample of an operation; returns its result as JSON.
async fn run_sample(id: &str, client: &Client) -> Value {
    let read = match id {
        "list_calls" => serde_json::to_value(samples::list_calls(client).await.unwrap()),
        "search_calls" => serde_json::to_value(samples::search_calls(client).await.unwrap()),
        "create_call" => serde_json::to_value(samples::create_call(client).await.unwrap()),
        "import_calls" => serde_json::to_value(samples::import_calls(client).await.unwrap()),
        "list_call_changes" => serde_json::to_value(samples::list_call_changes(client).await.unwrap()),
        "export_calls" => serde_json::to_value(samples::export_calls(client).await.unwrap()),
        "get_call_metrics" => serde_json::to_value(samples::get_call_metrics(client).await.unwrap()),
        "get_call" => serde_json::to_value(samples::get_call(client).await.unwrap()),
        "replace_call" => serde_json::to_value(samples::replace_call(client).await.unwrap()),
        "update_call" => serde_json::to_value(samples::update_call(client).await.unwrap()),
        "list_originals" => serde_json::to_value(samples::list_originals(client).await.unwrap()),
        "get_original" => {
            let original = samples::get_original(client).await.unwrap();
            Ok(String::from_utf8(original.body).unwrap().into())
        }
        "delete_call" => {
            samples::delete_call(client).await.unwrap();
            Ok(Value::Null)
        }
        _ => panic!("{id} has no arm here; write its function in samples/operations.rs"),
    };
    read.unwrap()
}

/// The SDK sends the method, path, parameters and body of the example, and reads its response.
#[tokio::test]
async fn every_code_sample_sends_its_example() {
    for (path, method, operation) in operations() {
        let id = id_of(operation);
        let server = server_for(id, "200").await;
        server.observer.exchanges.lock().unwrap().clear();
        let mut read = run_sample(id, &server.client()).await;
        let exchanges = server.observer.exchanges.lock().unwrap().clone();
        let [exchange] = exchanges.as_slice() else { panic!("{id}: {} requests", exchanges.len()) };

        let examples = examples_of(operation);
        let mut expected_path = path.to_owned();
        for (_, name, text) in examples.iter().filter(|(location, ..)| *location == "path") {
            expected_path = expected_path.replace(&format!("{{{name}}}"), text);
        }
        assert_eq!(exchange.method, method, "{id}");
        assert_eq!(exchange.uri.path(), expected_path, "{id}");
        let at_location = |wanted: &str| {
            let pairs = examples.iter().filter(|(location, ..)| *location == wanted);
            let mut pairs: Vec<_> = pairs.map(|(_, name, text)| ((*name).to_owned(), text.clone())).collect();
            pairs.sort();
            pairs
        };
        assert_eq!(query_of(exchange.uri.query()), at_location("query"), "{id}");
        for (name, text) in at_location("header") {
            let sent = exchange.sent.get(&name).unwrap_or_else(|| panic!("{id} does not send {name}"));
            // Idempotency keys are random.
            assert!(sent == text.as_str() || name == "Idempotency-Key", "{id}: {name} is {sent:?}");
        }
        let body = exchange.body.lock().unwrap().clone();
        if let Some(media_type) = exchange.sent.get("content-type") {
            let content = &operation["requestBody"]["content"][media_type.to_str().unwrap()];
            let example = &content["example"];
            match example.as_str() {
                Some(text) => assert_eq!(String::from_utf8(body).unwrap(), text, "{id}"),
                None => assert_eq!(&serde_json::from_slice::<Value>(&body).unwrap(), example, "{id}"),
            }
        } else {
            assert!(operation.get("requestBody").is_none() && body.is_empty(), "{id} sends no body");
        }
        let content = &operation["responses"].as_object().unwrap().values().next().unwrap()["content"];
        let mut response = content["application/json"]["example"].clone();
        match id {
            "list_call_changes" => {
                response = response["changes"].clone();
                read[0]["etag"] = response[0]["etag"].clone();
            }
            "export_calls" => {
                response = json!([serde_json::from_str::<Value>(
                    content["application/x-ndjson"]["example"].as_str().unwrap()
                )
                .unwrap()]);
            }
            "get_original" => response = content["*/*"]["example"].clone(),
            "create_call" => read["_id"] = response["_id"].clone(),
            _ => {}
        }
        assert_eq!(read, response, "{id}");
    }
}

fn query_of(query: Option<&str>) -> Vec<(String, String)> {
    let url = reqwest::Url::parse(&format!("http://host/?{}", query.unwrap_or_default())).unwrap();
    let mut pairs: Vec<_> = url.query_pairs().map(|(name, text)| (name.into_owned(), text.into_owned())).collect();
    pairs.sort();
    pairs
}

/// Parameters that the SDK does not send, each with its reason.
const NOT_SENT: [(&str, &[&str]); 6] = [
    ("its records have the names of this API", &["source"]),
    ("another name of callFlowId", &["pathwayId"]),
    ("startedAfter and startedBefore say it", &["dateRange"]),
    ("requests of 500 records go as they are", &["Content-Encoding"]),
    ("it polls and does not stream", &["Last-Event-ID"]),
    (
        "it keeps no copies, and changes only what it has seen",
        &["get_call If-None-Match", "update_call If-None-Match", "delete_call If-None-Match"],
    ),
];

/// The SDK sends no other parameter.
#[tokio::test]
async fn the_sdk_sends_every_parameter_of_the_contract() {
    let server = server_for("get_call", "200").await;
    use_everything(&server.client()).await;
    let exchanges = server.observer.exchanges.lock().unwrap().clone();
    for (path, method, operation) in operations() {
        let id = id_of(operation);
        let is_mine = |exchange: &&Exchange| template(exchange.uri.path()) == Some(path) && exchange.method == method;
        let mine: Vec<_> = exchanges.iter().filter(is_mine).collect();
        assert!(!mine.is_empty(), "{id} was not used");
        let parameters = operation["parameters"].as_array().unwrap();
        let at_location = |location: &'static str| {
            let parameters = parameters.iter().filter(move |parameter| parameter["in"] == location);
            parameters.map(|parameter| match parameter["name"].as_str().unwrap() {
                "metadata" => "metadata.campaign".to_owned(),
                name => name.to_owned(),
            })
        };
        let sent: BTreeSet<_> =
            mine.iter().flat_map(|exchange| query_of(exchange.uri.query())).map(|(name, _)| name).collect();
        let known: BTreeSet<_> = at_location("query").collect();
        assert!(sent.is_subset(&known), "{id} sends {sent:?}");
        for name in at_location("query").chain(at_location("header")) {
            let is_sent = sent.contains(&name) || mine.iter().any(|exchange| exchange.sent.contains_key(&name));
            let full = format!("{id} {name}");
            let is_absent =
                NOT_SENT.iter().any(|(_, names)| names.contains(&name.as_str()) || names.contains(&full.as_str()));
            assert_ne!(is_sent, is_absent, "{full} is sent: {is_sent}");
        }
    }
}

/// Calls every operation with all of its parameters.
async fn use_everything(client: &Client) {
    let query = "agentId=a&callFlowId=b&batchId=c&status=busy&outcome=busy&answered=false&timezone=Asia/Tokyo&direction=inbound&callType=sip&fromPhoneNumber=1&toPhoneNumber=2\
        &phoneNumber=3&callIds=x&startedAfter=2026-01-01&startedBefore=2026-01-02&updatedAfter=2026-01-01\
        &updatedBefore=2026-01-02&minDuration=1&maxDuration=2&minCost=1&maxCost=2&currency=eur&postAnalysis=%7B%22a%22:1%7D\
        &metadata.campaign=spring&search=word&sort=cost&limit=5&page=1&includeTotal=true";
    let list = ListQuery::from_query(query).unwrap();
    client.list_calls(&list).await.unwrap();
    let fields = vec!["_id".to_owned()];
    let search = SearchQuery::new().filter(list.filter.clone()).sort(SearchSort::NewestFirst);
    let mut search = search.fields(fields.clone()).limit(5).include_total(true);
    client.search_calls_as::<Value>(&search).await.unwrap();
    search.cursor = Some("none".to_owned());
    assert!(client.search_calls_as::<Value>(&search).await.unwrap_err().is_invalid_request());
    client.list_calls_as::<Value>(&ListQuery::new().fields(fields)).await.unwrap();
    client.replace_call("another", &CallInput::default()).await.unwrap();
    let pages = client.stream_pages(ListQuery::new().limit(1));
    assert_eq!(pages.try_collect::<Vec<_>>().await.unwrap().len(), 2);
    let metrics = MetricsQuery::new().filter(list.filter.clone()).group_by([GroupKey::Hour]).fill(true);
    client.get_call_metrics(&metrics).await.unwrap();
    let table = ExportQuery::from_query("format=csv&fields=_id&sort=cost&bom=true").unwrap();
    let table: Vec<_> = client.export_file(&table).await.unwrap().try_collect().await.unwrap();
    assert!(table.concat().starts_with("\u{feff}_id\r\n\"".as_bytes()));
    assert_eq!(client.export_calls(list.filter).await.unwrap().count().await, 0);
    let changes = ChangesQuery::new().cursor("latest").limit(1).wait(0);
    client.list_call_changes(&changes).await.unwrap();
    let lenient = client.with(|options| options.handling(Handling::Lenient));
    lenient.create_call(&CallInput::default()).await.unwrap();
    lenient.replace_call("lenient", &CallInput::default()).await.unwrap();
    lenient.upsert_call("upsert", &CallPatch::default()).await.unwrap();
    assert_eq!(client.list_originals("lenient").await.unwrap().len(), 0);
    assert!(client.get_original("lenient", 1).await.unwrap_err().is_not_found());
    let imported = [CallInput { id: Some("b1".parse().unwrap()), ..CallInput::default() }];
    let query = ImportQuery::new().mode(ImportMode::Merge).atomic(true).restore_deleted(true);
    lenient.import(query).calls(imported).await.unwrap();
    let read = client.get_call("another").await.unwrap();
    let version = read.version().unwrap();
    client.if_version(version).replace_call("another", &CallInput::default()).await.unwrap();
    client.if_version(version).update_call("another", &CallPatch::default().without("roomName")).await.unwrap();
    client.if_version(version).delete_call("another").await.unwrap();
    client.if_absent().replace_call("another", &CallInput::default()).await.unwrap();
}
