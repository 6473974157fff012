//! Isolation of workspaces: a matrix of operations and parameters from the contract, so that it includes new ones.

use callhistory_client::model::examples;
use reqwest::Method;
use serde_json::Value;

use crate::{
    contract::operations,
    harness::{Response, Server, WORKSPACE},
};

const ID: &str = "67375a0f2b8c4e001f3d9a11";

/// A value for each parameter and header of the contract that finds the record of the owner.
async fn values(server: &Server) -> impl Fn(&str, &str) -> Option<String> {
    let list = server.send(Method::GET, "/v2/api/call-history?limit=1", &[], "").await;
    let link = list.header("link").to_owned();
    let list_cursor = link.split("cursor=").nth(1).unwrap().split('>').next().unwrap().to_owned();
    let changes = server.send(Method::GET, "/v2/api/call-history/changes?limit=1", &[], "").await;
    let feed_cursor = changes.json()["cursor"].as_str().unwrap().to_owned();
    let etag = server.get(ID, &[]).await.header("etag").to_owned();
    move |operation: &str, name: &str| {
        let value = match name {
            "cursor" if operation == "list_call_changes" => feed_cursor.clone(),
            "Last-Event-ID" => feed_cursor.clone(),
            "cursor" => list_cursor.clone(),
            "If-Match" | "If-None-Match" => etag.clone(),
            "Idempotency-Key" => "the-owners-key".to_owned(),
            "agentId" => "agent-support-en".to_owned(),
            "callFlowId" | "pathwayId" => "flow-returns".to_owned(),
            "batchId" => "batch-7".to_owned(),
            "status" => "completed".to_owned(),
            "direction" => "inbound".to_owned(),
            "callType" => "sip".to_owned(),
            "fromPhoneNumber" => "sip:*".to_owned(),
            "toPhoneNumber" | "phoneNumber" => "%2B1800*".to_owned(),
            "callIds" => format!("{ID},CA0123456789abcdef"),
            "dateRange" => "%7B%22from%22%3A%222025-01-16%22%2C%22to%22%3A%222025-01-16%22%7D".to_owned(),
            "startedAfter" | "updatedAfter" => "2025-01-01".to_owned(),
            "startedBefore" | "updatedBefore" => "2026-01-02".to_owned(),
            "minDuration" | "minCost" => "0".to_owned(),
            "maxDuration" | "maxCost" => "1000".to_owned(),
            "postAnalysis" => "%7B%22sentiment%22%3A%22positive%22%7D".to_owned(),
            "metadata" => "vip".to_owned(),
            "outcome" => "completed".to_owned(),
            "currency" => "USD".to_owned(),
            "answered" | "fill" => "true".to_owned(),
            "search" => "refund".to_owned(),
            "limit" | "page" | "wait" => "1".to_owned(),
            "sort" => "-updatedAt".to_owned(),
            "fields" => "_id,summary".to_owned(),
            "includeTotal" => "true".to_owned(),
            "groupBy" => "day,agentId".to_owned(),
            "timezone" => "Asia/Tokyo".to_owned(),
            "format" => "csv".to_owned(),
            "bom" => "false".to_owned(),
            "Prefer" => "handling=lenient".to_owned(),
            "upsert" | "atomic" | "restoreDeleted" => "true".to_owned(),
            "mode" => "merge".to_owned(),
            "source" => "generic".to_owned(),
            "q" | "x-workspace-id" | "callHistoryId" | "originalNumber" | "Content-Encoding" => return None,
            other => panic!("the matrix has no value for the parameter {other}"),
        };
        Some(value)
    }
}

/// A request of an operation with one parameter, or without any.
struct Probe {
    /// Each probe has its own workspace, so that no request reads what another one wrote.
    workspace: String,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

async fn probes(server: &Server, id: &str, workspace: &str) -> Vec<Probe> {
    let value = values(server).await;
    let mut probes = Vec::new();
    for (path, method, operation) in operations() {
        // The server responses HEAD wherever it responses GET.
        let head = (method == Method::GET).then_some(Method::HEAD);
        for method in [method].into_iter().chain(head) {
            let name = operation["operationId"].as_str().unwrap();
            let mut path = path.replace("{callHistoryId}", id).replace("{originalNumber}", "1");
            if name == "search_calls" {
                path.push_str("?q=returns");
            }
            let (media_type, body) = body(operation, id);
            let mut headers = vec![("x-request-id".to_owned(), "same".to_owned())];
            headers.extend(media_type.map(|media_type| ("content-type".to_owned(), media_type)));
            let mut probe = |path: String, mut headers: Vec<(String, String)>| {
                let workspace = format!("{workspace}{}", probes.len());
                headers.push(("x-workspace-id".to_owned(), workspace.clone()));
                probes.push(Probe { workspace, method: method.clone(), path, headers, body: body.clone() });
            };
            probe(path.clone(), headers.clone());
            for parameter in operation["parameters"].as_array().unwrap() {
                let parameter_name = parameter["name"].as_str().unwrap();
                let Some(value) = value(name, parameter_name) else { continue };
                let (mut path, mut headers) = (path.clone(), headers.clone());
                match parameter["in"].as_str().unwrap() {
                    "query" => {
                        let shown = if parameter_name == "metadata" { "metadata[tags]" } else { parameter_name };
                        path = format!("{path}{}{shown}={value}", if path.contains('?') { '&' } else { '?' });
                        if (name, parameter_name) == ("search_calls", "cursor") {
                            path.push_str("&sort=-startTime");
                        }
                        if parameter_name == "timezone" {
                            path.push_str("&groupBy=day");
                        }
                    }
                    _ => {
                        headers.push((parameter_name.to_owned(), value));
                        if parameter_name == "Last-Event-ID" {
                            headers.push(("accept".to_owned(), "text/event-stream".to_owned()));
                        }
                    }
                }
                if matches!(parameter_name, "If-Match" | "If-None-Match") {
                    let mut any = headers.clone();
                    any.last_mut().unwrap().1 = "*".to_owned();
                    probe(path.clone(), any);
                }
                probe(path, headers);
            }
        }
    }
    probes
}

fn body(operation: &Value, id: &str) -> (Option<String>, Vec<u8>) {
    let Some(content) = operation["requestBody"]["content"].as_object() else { return (None, Vec::new()) };
    let (media_type, content) = content.iter().next().unwrap();
    let mut example = content["example"].clone();
    let strip = |record: &mut Value| {
        if let Some(members) = record.as_object_mut() {
            members.remove("workspaceId");
            if members.contains_key("_id") {
                members.insert("_id".to_owned(), id.into());
            }
        }
    };
    match &mut example {
        Value::Array(records) => records.iter_mut().for_each(strip),
        record => strip(record),
    }
    (Some(media_type.clone()), example.to_string().into_bytes())
}

async fn send(server: &Server, probe: &Probe) -> Response {
    let headers: Vec<_> = probe.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    server.send_bare(probe.method.clone(), &probe.path, &headers, probe.body.clone()).await
}

/// The parts of a response that must not differ, without the IDs of workspaces and records.
fn shape(response: &Response, id: &str, workspace: &str) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<_> = response
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "date" | "location"))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    // Apart from the version, a tag names the database and the workspace.
    for (_, tag) in headers.iter_mut().filter(|(name, _)| name == "etag") {
        tag.truncate(tag.find('-').unwrap());
    }
    let mut body = response.body.replace(id, "ID").replace(workspace, "WORKSPACE");
    if response.status == 201 && response.headers.contains_key("location") {
        let made = response.header("location").rsplit('/').next().unwrap();
        body = body.replace(made, "ID");
    }
    if let Some(at) = body.find("\"cursor\":\"") {
        let end = at + 10 + body[at + 10..].find('"').unwrap();
        body.replace_range(at + 10..end, "CURSOR");
    }
    (response.status.as_u16(), headers, body)
}

#[tokio::test]
async fn a_foreign_workspace_looks_empty() {
    let (full, empty) = (Server::start().await, Server::start().await);
    for server in [&full, &empty] {
        server.put(ID, &[], examples::COMPLETE_EXAMPLE).await;
        // Its document is kept as an original.
        server
            .put(
                ID,
                &[("prefer", "handling=lenient")],
                &examples::COMPLETE_EXAMPLE.replace("126.5245764", "\"126.5245764\""),
            )
            .await;
        server.put("second", &[], "{}").await;
        let key = [("idempotency-key", "the-owners-key")];
        server.post(&key, r#"{"summary":"The owner's own refund."}"#).await;
    }
    let before = full.send(Method::GET, "/v2/api/call-history/export", &[], "").await.body;
    let (foreign, absent) = ("intruder", "stranger");
    // The same requests, with the ID of the owner and with an ID that does not exist.
    let probes_foreign = probes(&full, ID, foreign).await;
    let nobody = "00000000000000000000dead";
    let probes_absent = probes(&empty, nobody, absent).await;
    assert!(probes_foreign.len() >= 100, "only {} requests were made from the contract", probes_foreign.len());
    for (one, other) in probes_foreign.iter().zip(&probes_absent) {
        let (seen, unseen) = (send(&full, one).await, send(&empty, other).await);
        assert!(
            !seen.body.contains("refund") || one.body.windows(6).any(|w| w == b"refund"),
            "{} {}: {}",
            one.method,
            one.path,
            seen.body
        );
        assert_eq!(
            shape(&seen, ID, &one.workspace),
            shape(&unseen, nobody, &other.workspace),
            "{} {}",
            one.method,
            one.path
        );
    }
    let after = full.send(Method::GET, "/v2/api/call-history/export", &[], "").await.body;
    assert_eq!(before, after, "the intruder changed something");
    assert!(before.contains(WORKSPACE));
}
