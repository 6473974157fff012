//! API keys: scopes, rate limits, revocation and redaction.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use callhistory_client::{CallInput, Client, model::examples};
use callhistory_server::{
    Limits,
    auth::{rate_limit::Rates, token::Token},
};
use callhistory_store::{ApiKey, Scope};
use callhistory_test_support::PATIENCE;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    binary::{Running, run},
    contract::operations,
    harness::{ID, Response, Server, WORKSPACE, fixed_clock, stopped_clock},
};

/// A document that is kept as an original.
const ORIGINAL: &[u8] = br#"{"duration":"17"}"#;

/// Creates a key.
pub(crate) async fn create_key(
    server: &Server,
    workspace: Option<&str>,
    scopes: &[Scope],
    change: impl FnOnce(&mut ApiKey),
) -> Token {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let token = Token::new(&[NEXT.fetch_add(1, Ordering::Relaxed); Token::RANDOM_BYTES]);
    let mut key = ApiKey {
        id: token.id().to_owned(),
        digest: token.digest(),
        name: "test".to_owned(),
        workspace: workspace.map(|workspace| workspace.parse().unwrap()),
        scopes: scopes.to_vec(),
        created_at: fixed_clock().into(),
        expires_at: None,
        revoked_at: None,
        used_at: None,
    };
    change(&mut key);
    server.keys.as_ref().unwrap().create_key(key, None).await.unwrap();
    token
}

/// Sends a valid request of an operation.
async fn send(server: &Server, operation: &str, method: &Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let body = match operation {
        "create_call" | "replace_call" | "update_call" => "{}",
        "import_calls" => "{\"_id\":\"imported\"}\n",
        _ => "",
    };
    let media_type = match operation {
        "import_calls" => "application/x-ndjson",
        "update_call" => "application/merge-patch+json",
        _ => "application/json",
    };
    let mut all = vec![("x-workspace-id", WORKSPACE)];
    all.extend(headers);
    let query = if operation == "search_calls" { "?q=x" } else { "" };
    if !body.is_empty() {
        all.push(("content-type", media_type));
    }
    server
        .send_bare(
            method.clone(),
            &format!("{}{query}", path.replace("{callHistoryId}", ID).replace("{originalNumber}", "1")),
            &all,
            body.as_bytes().to_vec(),
        )
        .await
}

#[tokio::test]
async fn permissions_follow_the_scopes_of_the_contract() {
    let server = Server::with_keys().await;
    let all = &Scope::ALL[..];
    let past = || Some(fixed_clock().into());
    let operator = create_key(&server, None, all, |_| {}).await;
    let expired = create_key(&server, None, all, |key| key.expires_at = past()).await;
    let revoked = create_key(&server, None, all, |key| key.revoked_at = past()).await;
    let other = create_key(&server, Some("other"), all, |_| {}).await;
    let own = create_key(&server, Some(WORKSPACE), all, |_| {}).await;
    let unknown = Token::new(&[99; Token::RANDOM_BYTES]);
    let mut secret = own.as_str().to_owned();
    secret.replace_range(30..31, if &secret[30..31] == "0" { "1" } else { "0" });
    let refusals = [
        (None, 401, "key_missing"),
        (Some(("x-api-key", unknown.as_str())), 401, "key_invalid"),
        (Some(("x-api-key", secret.as_str())), 401, "key_invalid"),
        (Some(("x-api-key", "nonsense")), 401, "key_invalid"),
        (Some(("authorization", "Basic dXNlcjpwYXNz")), 401, "key_invalid"),
        (Some(("x-api-key", expired.as_str())), 401, "key_expired"),
        (Some(("x-api-key", revoked.as_str())), 401, "key_revoked"),
        (Some(("x-api-key", other.as_str())), 403, "workspace_forbidden"),
    ];
    for (path, method, operation) in operations() {
        let scopes = operation["security"][1]["apiKey"].as_array().unwrap().iter();
        let needs: Vec<Scope> = scopes.map(|scope| scope.as_str().unwrap().parse().unwrap()).collect();
        let operation = operation["operationId"].as_str().unwrap();
        for (header, status, code) in &refusals {
            let headers: Vec<_> = header.iter().copied().collect();
            let response = send(&server, operation, &method, path, &headers).await;
            assert_eq!((response.status.as_u16(), response.code().as_str()), (*status, *code), "{operation}");
        }
        // Each of its scopes is necessary, and no other scope is.
        for missing in &needs {
            let scopes: Vec<_> = Scope::ALL.into_iter().filter(|scope| scope != missing).collect();
            let key = create_key(&server, Some(WORKSPACE), &scopes, |_| {}).await;
            let response = send(&server, operation, &method, path, &[("x-api-key", key.as_str())]).await;
            assert_eq!(
                (response.status.as_u16(), response.code().as_str()),
                (403, "insufficient_scope"),
                "{operation}"
            );
            assert!(response.body.contains(missing.as_str()), "{}", response.body);
        }
        let exact = create_key(&server, Some(WORKSPACE), &needs, |_| {}).await;
        let bearer = format!("Bearer {}", operator.as_str());
        for header in [("x-api-key", exact.as_str()), ("x-api-key", own.as_str()), ("authorization", &bearer)] {
            let seed =
                [("x-api-key", operator.as_str()), ("content-type", "application/json"), ("x-workspace-id", WORKSPACE)];
            let seeded =
                server.send_bare(Method::PUT, &format!("/v2/api/call-history/{ID}"), &seed, ORIGINAL.to_vec()).await;
            assert!(seeded.status.is_success());
            let response = send(&server, operation, &method, path, &[header]).await;
            assert!(response.status.is_success(), "{operation}: {}", response.body);
        }
    }
}

/// The response to a key of another workspace does not depend on whether the workspace exists.
#[tokio::test]
async fn a_foreign_workspace_looks_absent() {
    let server = Server::with_keys().await;
    let own = create_key(&server, Some(WORKSPACE), &Scope::ALL, |_| {}).await;
    let other = create_key(&server, Some("other"), &Scope::ALL, |_| {}).await;
    let path = format!("/v2/api/call-history/{ID}");
    let written = server.put(ID, &[("x-api-key", own.as_str())], examples::SOURCE_EXAMPLE).await;
    assert_eq!(written.status, StatusCode::CREATED);
    let mut responses = Vec::new();
    for workspace in [WORKSPACE, "absent"] {
        let headers = [("x-workspace-id", workspace), ("x-api-key", other.as_str()), ("x-request-id", "same")];
        let response = server.send_bare(Method::GET, &path, &headers, vec![]).await;
        responses.push((response.status, response.body, response.headers.get("content-length").cloned()));
    }
    assert_eq!(responses[0], responses[1]);
}

/// The refusal names the parameter and does not repeat the key.
#[tokio::test]
async fn a_key_in_the_query_string_is_refused() {
    let server = Server::with_keys().await;
    let own = create_key(&server, Some(WORKSPACE), &Scope::ALL, |_| {}).await;
    for name in ["apiKey", "x-api-key", "api_key", "access_token", "search"] {
        let path = format!("/v2/api/call-history?{name}={}", own.as_str());
        for headers in [&[][..], &[("x-api-key", own.as_str())]] {
            let response = server.send(Method::GET, &path, headers, "").await;
            assert_eq!(
                (response.status.as_u16(), response.json()["errors"][0]["parameter"].as_str()),
                (400, Some(name))
            );
            assert!(response.body.contains("x-api-key") && !response.body.contains(own.as_str()), "{}", response.body);
        }
    }
}

/// A key over its rate limit learns when to retry, and does not slow down another key.
#[tokio::test]
async fn each_key_has_its_own_rate_limit() {
    static SECONDS: AtomicU64 = AtomicU64::new(1);
    let server = Server::with_rates(10, 1, || Duration::from_secs(SECONDS.load(Ordering::Relaxed))).await;
    let greedy = create_key(&server, Some(WORKSPACE), &Scope::ALL, |_| {}).await;
    let modest = create_key(&server, Some(WORKSPACE), &Scope::ALL, |_| {}).await;
    let headers = [("x-api-key", greedy.as_str())];
    let lines: String = (0..1100).map(|number| format!("{{\"_id\":\"c{number}\"}}\n")).collect();
    let import = [("x-api-key", greedy.as_str()), ("content-type", "application/x-ndjson")];
    let response = server.send(Method::POST, "/v2/api/call-history/batch", &import, &lines).await;
    assert_eq!(response.header("ratelimit-policy"), "\"requests\";q=10;w=1, \"records\";q=1;w=1");
    assert_eq!(response.header("ratelimit"), "\"requests\";r=9;t=1");
    // A page costs its limit in records, whatever it returns, and the bucket holds one page of the largest limit.
    let page = "/v2/api/call-history?limit=1000";
    assert_eq!(server.send(Method::GET, page, &headers, "").await.status, StatusCode::OK);
    let refused = server.send(Method::GET, page, &headers, "").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (429, "rate_limited"));
    assert_eq!(refused.header("retry-after"), "1001");
    SECONDS.fetch_add(1000, Ordering::Relaxed);
    for _ in 0..10 {
        assert_eq!(server.get("absent", &headers).await.status, StatusCode::NOT_FOUND);
    }
    let refused = server.get("absent", &headers).await;
    assert!(refused.body.contains("10 requests"), "{}", refused.body);
    assert_eq!((refused.header("retry-after"), refused.header("ratelimit")), ("1", "\"requests\";r=0;t=1"));
    let other = [("x-api-key", modest.as_str())];
    assert_eq!(server.send(Method::GET, page, &other, "").await.status, StatusCode::OK);
}

/// An export is delayed and not aborted.
#[tokio::test]
async fn an_export_is_throttled_to_its_rate_limit() {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let server = Server::with_rates(1000, 2000, || START.elapsed()).await;
    let key = create_key(&server, Some(WORKSPACE), &Scope::ALL, |_| {}).await;
    let lines: String = (0..5000).map(|number| format!("{{\"_id\":\"c{number}\"}}\n")).collect();
    let import = [("x-api-key", key.as_str()), ("content-type", "application/x-ndjson")];
    server.send(Method::POST, "/v2/api/call-history/batch", &import, &lines).await;
    let started = Instant::now();
    let export = server.send(Method::GET, "/v2/api/call-history/export", &[import[0]], "").await;
    assert_eq!(export.body.lines().count(), 5000);
    // The first 2,000 records are sent immediately, the others within 1.5 seconds.
    assert!(started.elapsed().as_secs_f64() > 1.2, "it took {:?}", started.elapsed());
}

#[tokio::test]
async fn a_revoked_key_ends_a_wait() {
    let server = Server::with_keys().await;
    let key = create_key(&server, Some(WORKSPACE), &Scope::ALL, |_| {}).await;
    let header = [("x-api-key", key.as_str())];
    assert_eq!(server.get("none", &header).await.status, StatusCode::NOT_FOUND);
    let started = Instant::now();
    let wait = server.send(Method::GET, "/v2/api/call-history/changes?wait=60", &header, "");
    let revoke = async {
        server.wait_for_request("wait=60").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(server.keys.as_ref().unwrap().revoke_key(key.id(), fixed_clock().into()).await.unwrap());
    };
    let (response, ()) = tokio::join!(wait, revoke);
    assert_eq!(response.status, StatusCode::OK);
    // About half a second; a busy machine needs less than the minute of the wait.
    assert!(started.elapsed() < Duration::from_secs(40), "the wait went on for {:?}", started.elapsed());
    assert_eq!(server.get("none", &header).await.code(), "key_revoked");
}

/// What was sent before stays.
#[tokio::test]
async fn a_revoked_key_ends_an_import() {
    let server = Server::with_keys().await;
    let key = create_key(&server, Some(WORKSPACE), &Scope::ALL, |_| {}).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /v2/api/call-history/batch HTTP/1.1\r\nhost: x\r\nx-workspace-id: {WORKSPACE}\r\nx-api-key: {}\r\n\
         content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\nd\r\n{{\"_id\":\"a1\"}}\n\r\n",
        key.as_str()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    server.wait_for_request("/batch").await;
    assert!(server.keys.as_ref().unwrap().revoke_key(key.id(), fixed_clock().into()).await.unwrap());
    let mut status = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut status)).await.unwrap().unwrap();
    assert_eq!(&status, b"HTTP/1.1 401");
}

/// Without `phone-numbers:read` no response contains a phone number, and no filter reveals one.
#[tokio::test]
async fn phone_numbers_are_redacted_without_the_scope() {
    let server = Server::with_keys().await;
    let full = create_key(&server, Some(WORKSPACE), &Scope::ALL, |_| {}).await;
    let blind = create_key(&server, Some(WORKSPACE), &Scope::ALL[..4], |_| {}).await;
    let input = r#"{"fromPhoneNumber":"+14155550123","toPhoneNumber":"98765","status":"ongoing"}"#;
    server.put(ID, &[("x-api-key", full.as_str())], input).await;
    let header = ("x-api-key", blind.as_str());
    let base = "/v2/api/call-history";
    let mut shown = Vec::new();
    for path in [format!("{base}/{ID}"), base.to_owned(), format!("{base}?fields=fromPhoneNumber,toPhoneNumber")] {
        shown.push(server.send(Method::GET, &path, &[header], "").await);
    }
    for path in ["export", "export?format=csv", "changes"] {
        shown.push(server.send(Method::GET, &format!("{base}/{path}"), &[header], "").await);
    }
    let stream = [("x-workspace-id", WORKSPACE), header, ("accept", "text/event-stream")];
    shown.push(server.first_events(&format!("{base}/changes"), &stream, 1).await);
    let patch = [header, ("content-type", "application/merge-patch+json")];
    shown.push(server.send(Method::PATCH, &format!("{base}/{ID}"), &patch, r#"{"roomName":"r"}"#).await);
    for response in &shown {
        assert!(response.status.is_success(), "{}", response.body);
        assert!(!response.body.contains("4155550") && !response.body.contains("98765"), "{}", response.body);
        assert!(response.body.contains("********23") && response.body.contains("********"), "{}", response.body);
    }
    let masked: Value = shown[0].json();
    assert_eq!((&masked["fromPhoneNumber"], &masked["toPhoneNumber"]), (&"********23".into(), &"********".into()));
    for query in ["fromPhoneNumber=%2B1*", "toPhoneNumber=1", "phoneNumber=1", "search=555"] {
        for route in ["", "/metrics", "/export"] {
            let response = server.send(Method::GET, &format!("{base}{route}?{query}"), &[header], "").await;
            assert_eq!(response.code(), "insufficient_scope", "{route} {query}");
        }
    }
    let search = server.send(Method::GET, &format!("{base}/search?q=5550"), &[header], "").await;
    assert_eq!(search.code(), "insufficient_scope", "{}", search.body);
    // A count of distinct numbers compares them: a caller that imports a guess learns whether it is right.
    for (key, has_callers) in [(&full, true), (&blind, false)] {
        let path = format!("{base}/metrics?groupBy=status");
        let metrics = server.send(Method::GET, &path, &[("x-api-key", key.as_str())], "").await;
        assert_eq!(
            metrics.body.matches("distinctCallers").count(),
            if has_callers { 2 } else { 0 },
            "{}",
            metrics.body
        );
    }
    // A redacted value must not overwrite the number.
    let put = server.put(ID, &[header], &shown[0].body).await;
    assert_eq!((put.status.as_u16(), put.body.contains("/fromPhoneNumber")), (422, true), "{}", put.body);
    let number = r#"{"toPhoneNumber":"********"}"#;
    assert_eq!(server.send(Method::PATCH, &format!("{base}/{ID}"), &patch, number).await.status.as_u16(), 422);
    let lines = [header, ("content-type", "application/x-ndjson")];
    let report = server.send(Method::POST, &format!("{base}/batch"), &lines, &shown[3].body).await;
    assert_eq!(report.json()["rejected"], 1, "{}", report.body);
    let whole = server.get(ID, &[("x-api-key", full.as_str())]).await;
    assert!(whole.body.contains("+14155550123"), "{}", whole.body);
}

/// Exactly the two members that the contract names are masked.
#[tokio::test]
async fn the_contract_says_which_members_are_masked() {
    let server = Server::with_keys().await;
    let full = create_key(&server, None, &Scope::ALL, |_| {}).await;
    let masked = create_key(&server, None, &[Scope::CallsRead], |_| {}).await;
    let number = "+14155550123";
    let body = format!(
        r#"{{"fromPhoneNumber":"{number}","toPhoneNumber":"{number}","summary":"{number}","metadata":{{"n":"{number}"}},
            "variables":{{"n":"{number}"}},"transcript":[{{"role":"user","content":"{number}"}}],"agent":"{number}"}}"#
    );
    assert_eq!(server.put(ID, &[("x-api-key", full.as_str())], &body).await.status, StatusCode::CREATED);
    let record = server.get(ID, &[("x-api-key", masked.as_str())]).await.json();
    let shows = |value: &Value| value.to_string().contains(number);
    let is_masked = |(name, value): (&'_ String, &Value)| value.to_string().contains("***").then(|| name.clone());
    let hidden: Vec<_> = record.as_object().unwrap().iter().filter_map(is_masked).collect();
    assert_eq!(hidden, ["fromPhoneNumber", "toPhoneNumber"]);
    let contract = server.send_bare(Method::GET, "/openapi.json", &[], vec![]).await.json();
    let description = contract["components"]["securitySchemes"]["apiKey"]["description"].to_string();
    let (masks, shown) = description.split_once("are masked").unwrap();
    assert!(hidden.iter().all(|name| masks.contains(name.as_str())));
    for name in ["summary", "metadata", "variables", "transcript"] {
        assert!(shows(&record[name]) && shown.contains(name), "{name}: {description}");
    }
}

/// Revocation and rotation take effect on a running server.
#[tokio::test]
async fn keys_are_created_and_revoked_while_a_server_runs() {
    let directory = TempDir::new().unwrap();
    let keys = |arguments: &[&str]| {
        let (code, printed, errors) = run(directory.path(), &[&["keys"], arguments].concat());
        (code == 0, printed.trim_end().to_owned(), errors)
    };
    let all = "calls:read,calls:write,calls:delete,calls:export,phone-numbers:read";
    assert_eq!(run(directory.path(), &["migrate"]).0, 0);
    let (good, first, errors) = keys(&["create", "--workspace", "w", "--scopes", all, "--name", "first"]);
    assert!(good && first.starts_with("ch_live_") && first.len() == 8 + 12 + 1 + 64 + 1 + 8, "{first} {errors}");
    let server = Running::start(directory.path(), &["--require-keys"]);
    let client = |key: &str| Client::builder(&server.base).workspace("w").api_key(key).max_retries(0).build().unwrap();
    client(&first).replace_call("a", &CallInput::default()).await.unwrap();
    let none = Client::builder(&server.base).workspace("w").max_retries(0).build().unwrap();
    assert_eq!(none.get_call("a").await.unwrap_err().status().unwrap(), 401);
    let id = &first[8..20];
    let (good, second, _) = keys(&["rotate", id, "--overlap", "1h"]);
    assert!(good && second != first);
    for key in [&first, &second] {
        client(key).get_call("a").await.unwrap();
    }
    let (_, listed, _) = keys(&["list"]);
    assert!(listed.lines().count() == 3 && listed.contains(id) && listed.contains("first"), "{listed}");
    assert!(!listed.contains(&first[21..85]) && !listed.contains(&second[21..85]), "a secret is shown once");
    assert!(keys(&["revoke", &first]).0);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let refused = client(&first).get_call("a").await.unwrap_err();
    assert_eq!(refused.problem().unwrap().code.as_str(), "key_revoked");
    client(&second).get_call("a").await.unwrap();
    for (arguments, reason) in [
        (&["revoke", "none"][..], "there is no key none"),
        (&["rotate", id], "has expired or is revoked"),
        (&["create", "--workspace", "w", "--scopes", "calls:reed"], "the scopes are calls:read"),
        (&["create", "--scopes", "calls:read"], "--workspace"),
        (&["create", "--operator", "--workspace", "w", "--scopes", "calls:read"], "cannot be used with"),
        (
            &["create", "--operator", "--scopes", "calls:read", "--expires-in", "soon"],
            "write a time such as 30m, 24h or 90d",
        ),
    ] {
        let (good, _, errors) = keys(arguments);
        assert!(!good && errors.contains(reason), "{errors}");
    }
}

/// A workspace and a key each have half of the connections for streams and waits.
#[tokio::test]
async fn followers_are_bounded_by_workspace_and_by_key() {
    let limits = Limits { connections: 16, ..Limits::default() };
    let server = Server::of(limits, Some((Rates::default(), stopped_clock)), None).await;
    let operator = create_key(&server, None, &[Scope::CallsRead], |_| {}).await.as_str().to_owned();
    let other = create_key(&server, None, &[Scope::CallsRead], |_| {}).await.as_str().to_owned();
    let path = server.url("/v2/api/call-history/changes");
    let http = reqwest::Client::new();
    let follow = |key: &str, workspace: &str| {
        let request = http.get(&path).header("accept", "text/event-stream");
        request.header("x-workspace-id", workspace).header("x-api-key", key).send()
    };
    let mut held = Vec::new();
    for number in 0..8 {
        let workspace = if number < 6 { "a" } else { "b" };
        held.push(follow(&operator, workspace).await.unwrap());
    }
    assert!(held.iter().all(|response| response.status() == StatusCode::OK));
    let refused = follow(&operator, "c").await.unwrap();
    assert_eq!(
        (refused.status(), refused.headers().contains_key("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, true)
    );
    assert!(refused.text().await.unwrap().contains("This key has 8 streams"));
    held.push(follow(&other, "a").await.unwrap());
    held.push(follow(&other, "a").await.unwrap());
    let refused = follow(&other, "a").await.unwrap();
    assert!(refused.text().await.unwrap().contains("This workspace has 8 streams"));
    assert_eq!(follow(&other, "c").await.unwrap().status(), StatusCode::OK);
    // A wait counts as well, a page does not.
    let page = |wait: &str| {
        let request = http.get(format!("{path}?cursor=latest{wait}"));
        request.header("x-workspace-id", "a").header("x-api-key", other.as_str()).send()
    };
    assert_eq!(page("").await.unwrap().status(), StatusCode::OK);
    assert_eq!(page("&wait=60").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(held);
    let freed = async {
        while follow(&operator, "a").await.unwrap().status() != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, freed).await.unwrap();
}
