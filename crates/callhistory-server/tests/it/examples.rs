//! Every example of the contract is sent, and answered as it says.

use reqwest::Method;
use serde_json::Value;

use crate::{
    contract::CONTRACT,
    harness::{Answer, Server},
};

/// The request that the examples of an operation make, for one media type of its body and one of its answer.
async fn send(
    server: &Server,
    path: &str,
    method: &str,
    operation: &Value,
    sent: Option<&str>,
    wanted: Option<&str>,
) -> Answer {
    let mut headers: Vec<(String, String)> = Vec::new();
    let (mut path, mut query) = (path.to_owned(), Vec::new());
    for parameter in operation["parameters"].as_array().unwrap() {
        let Some(example) = parameter.get("example") else { continue };
        let name = parameter["name"].as_str().unwrap();
        let text = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
        match parameter["in"].as_str().unwrap() {
            "path" => path = path.replace(&format!("{{{name}}}"), &text),
            "query" => query.push(format!("{name}={text}")),
            _ => headers.push((name.to_owned(), text)),
        }
    }
    let mut body = String::new();
    if let Some(media_type) = sent {
        let example = &operation["requestBody"]["content"][media_type]["example"];
        // The contract has the digits of the source; a parsed value has not.
        let json = || example.to_string().replace(r#""customer_charge":0.1}"#, r#""customer_charge":0.10}"#);
        body = example.as_str().map_or_else(json, str::to_owned);
        headers.push(("content-type".to_owned(), media_type.to_owned()));
    }
    match wanted {
        Some("text/event-stream") => {
            query.retain(|pair| !pair.starts_with("limit"));
            headers.push(("accept".to_owned(), "text/event-stream".to_owned()));
        }
        Some("text/csv") => query.push("format=csv".to_owned()),
        _ => {}
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    if wanted == Some("text/event-stream") {
        return server.first_events(&path, &headers, 1).await;
    }
    server.send_bare(method, &path, &headers, body.into_bytes()).await
}

/// What is different each time: cursors, and the id and times of a creation.
fn settle(operation: &str, answer: &mut Value, example: &Value) {
    let names: &[&str] = match operation {
        "call_changes" => &["cursor"],
        "create_call" => &["_id", "createdAt", "updatedAt"],
        _ => &[],
    };
    for name in names {
        assert!(answer[name].is_string());
        answer[name] = example[name].clone();
    }
}

#[tokio::test]
async fn every_example_is_answered_as_it_says() {
    let mut bodies = 0;
    for (path, operations) in CONTRACT["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            let sent = operation["requestBody"]["content"].as_object().map(|content| content.keys().cloned().collect());
            let sent: Vec<Option<String>> =
                sent.map_or_else(|| vec![None], |names: Vec<String>| names.into_iter().map(Some).collect());
            for sent in sent {
                // The first good status is that of a request to a workspace that holds the source's example.
                let responses = operation["responses"].as_object().unwrap();
                let (status, response) = responses.iter().find(|(status, _)| status.starts_with('2')).unwrap();
                let content = response["content"].as_object();
                let wanted = content.into_iter().flat_map(|content| content.keys().map(Some)).collect::<Vec<_>>();
                let wanted = if wanted.is_empty() { vec![None] } else { wanted };
                for wanted in wanted {
                    let server = Server::start().await;
                    server.put("1234567890abcdef", &[], callhistory_client::model::sample::SOURCE_EXAMPLE).await;
                    let wanted = wanted.map(String::as_str);
                    let answer = send(&server, path, method, operation, sent.as_deref(), wanted).await;
                    assert_eq!(answer.status.as_str(), status, "{id}: {}", answer.body);
                    let Some(wanted) = wanted else { continue };
                    let example = &response["content"][wanted]["example"];
                    if let Some(text) = example.as_str() {
                        let without_id = |text: &str| {
                            text.lines().filter(|line| !line.starts_with("id: ")).collect::<Vec<_>>().join("\n")
                        };
                        assert_eq!(without_id(&answer.body), without_id(text), "{id} {wanted}");
                    } else {
                        let mut body = answer.json();
                        settle(id, &mut body, example);
                        assert_eq!(&body, example, "{id} {wanted}");
                    }
                    bodies += 1;
                }
            }
        }
    }
    assert!(bodies >= 12, "only {bodies} examples were found");
}
