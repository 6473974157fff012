//! What was sent is kept byte for byte where it is not what is stored.

use callhistory_client::model::Handling;
use callhistory_store::Scope;
use reqwest::{Method, StatusCode};

use crate::{
    auth::create_key,
    harness::{CALLS, Response, Server, WORKSPACE},
};

/// A document that lenient handling changes, with white space and digits that the record does not keep.
const SENT: &str =
    "{ \"status\":\"completed\",\t\"startTime\" : {\"no\":1},\r\n \"duration\":\"17\",\"agent\":\"J\u{f6}rg\" }\n";
const LENIENT: (&str, &str) = ("prefer", "handling=lenient");
const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

async fn write(server: &Server, id: &str, body: &str) -> Response {
    let response = server.send(Method::PUT, &format!("{CALLS}/{id}"), &[JSON, LENIENT], body).await;
    assert!(response.status.is_success(), "{}", response.body);
    response
}

async fn originals(server: &Server, id: &str) -> Response {
    server.send(Method::GET, &format!("{CALLS}/{id}/originals"), &[], "").await
}

#[tokio::test]
async fn an_original_has_the_bytes_that_were_sent() {
    let server = Server::start().await;
    write(&server, "c", SENT).await;
    let list = originals(&server, "c").await;
    assert_eq!(list.status, StatusCode::OK, "{}", list.body);
    let list = list.json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    let info = &list[0];
    assert_eq!((&info["number"], &info["source"], &info["mediaType"]), (&1.into(), &"api".into(), &JSON.1.into()));
    assert_eq!((&info["bytes"], &info["receivedAt"]), (&SENT.len().into(), &"2026-01-01T00:00:00Z".into()));
    let codes: Vec<_> = info["warnings"].as_array().unwrap().iter().map(|w| w["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["left_out", "number_as_text"]);
    assert!(info["warnings"][0]["detail"].as_str().unwrap().len() > 5);
    let original = server.send(Method::GET, &format!("{CALLS}/c/originals/1"), &[], "").await;
    assert_eq!((original.status, original.body.as_str()), (StatusCode::OK, SENT));
    assert_eq!(original.header("content-type"), JSON.1);
    assert_eq!(original.header("x-content-type-options"), "nosniff");
    assert!(original.header("content-disposition").starts_with("attachment"));
    assert_eq!(original.header("cache-control"), "no-store");
    let head = server.send(Method::HEAD, &format!("{CALLS}/c/originals/1"), &[], "").await;
    assert_eq!((head.status, head.header("content-length")), (StatusCode::OK, SENT.len().to_string().as_str()));
    // The SDK reads both.
    let client = server.client();
    let list = client.list_originals("c").await.unwrap();
    assert_eq!((list.len(), list[0].number, list[0].warnings.len()), (1, 1, 2));
    let original = client.get_original("c", 1).await.unwrap();
    assert_eq!((&original.body[..], original.media_type.as_str()), (SENT.as_bytes(), JSON.1));
}

#[tokio::test]
async fn only_what_differs_from_the_record_is_kept_and_only_once() {
    let server = Server::start().await;
    // A warning about a value that is kept is no reason to keep the document.
    for body in [r#"{"status":"ringing"}"#, r#"{"duration":-1,"sentiment":1}"#, r#" {"agentId" : "a"} "#] {
        write(&server, "c", body).await;
        assert_eq!(originals(&server, "c").await.body, "[]", "{body}");
    }
    for (body, count) in [(SENT, 1), (SENT, 1), (&SENT.replace("17", "18"), 2), (SENT, 2)] {
        write(&server, "c", body).await;
        assert_eq!(originals(&server, "c").await.json().as_array().unwrap().len(), count);
    }
    let changes = server.send(Method::GET, &format!("{CALLS}/changes"), &[], "").await.json();
    let before = changes["changes"].as_array().unwrap().len();
    write(&server, "c", &SENT.replace("\"18\"", "\"17\"")).await;
    let changes = server.send(Method::GET, &format!("{CALLS}/changes"), &[], "").await.json();
    assert_eq!(changes["changes"].as_array().unwrap().len(), before, "an original alone is no change");
    let patch = [("content-type", "application/merge-patch+json"), LENIENT];
    let patched = server.send(Method::PATCH, &format!("{CALLS}/c"), &patch, r#"{"duration":"19"}"#).await;
    assert_eq!(patched.status, StatusCode::OK, "{}", patched.body);
    let original = server.send(Method::GET, &format!("{CALLS}/c/originals/3"), &[], "").await;
    assert_eq!((original.body.as_str(), original.header("content-type")), (r#"{"duration":"19"}"#, patch[0].1));
    // A strict write of another form is read, and kept as well.
    server.put("s", &[], r#"{"duration":"17"}"#).await;
    assert_eq!(originals(&server, "s").await.json().as_array().unwrap().len(), 1);
    let created = server.post(&[LENIENT], SENT).await.json();
    let id = created["_id"].as_str().unwrap().to_owned();
    assert_eq!(originals(&server, &id).await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bytes_that_are_not_utf8_are_kept() {
    let server = Server::start().await;
    let sent = b"\xef\xbb\xbf{\"agent\":\"J\xfcrgen\",\"duration\":NaN}".to_vec();
    let headers = [("x-workspace-id", WORKSPACE), ("content-type", "application/json"), LENIENT];
    let response = server.send_bare(Method::PUT, &format!("{CALLS}/c"), &headers, sent.clone()).await;
    assert_eq!(response.status, StatusCode::CREATED, "{}", response.body);
    assert_eq!(server.client().get_original("c", 1).await.unwrap().body[..], sent[..]);
}

#[tokio::test]
async fn originals_go_with_their_record() {
    let server = Server::start().await;
    write(&server, "c", SENT).await;
    server.send(Method::DELETE, &format!("{CALLS}/c"), &[], "").await;
    for path in ["c/originals", "c/originals/1", "none/originals", "none/originals/1"] {
        let absent = server.send(Method::GET, &format!("{CALLS}/{path}"), &[], "").await;
        assert_eq!((absent.status, absent.code().as_str()), (StatusCode::NOT_FOUND, "call_not_found"), "{path}");
    }
    server.put("c", &[], "{}").await;
    assert_eq!(originals(&server, "c").await.body, "[]");
    for number in ["1", "2", "2147483647"] {
        let absent = server.send(Method::GET, &format!("{CALLS}/c/originals/{number}"), &[], "").await;
        assert_eq!((absent.status, absent.code().as_str()), (StatusCode::NOT_FOUND, "original_not_found"), "{number}");
    }
    for number in ["0", "-1", "x", "01", "1.0", "+1", "99999999999999999999", "%20"] {
        let refused = server.send(Method::GET, &format!("{CALLS}/c/originals/{number}"), &[], "").await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (StatusCode::BAD_REQUEST, "invalid_parameter"),
            "{number}"
        );
    }
    let refused = server.send(Method::GET, &format!("{CALLS}/c/originals?limit=1"), &[], "").await;
    assert_eq!(refused.code(), "invalid_parameter");
    let refused = server.send(Method::PUT, &format!("{CALLS}/c/originals/1"), &[JSON], "{}").await;
    assert_eq!((refused.status, refused.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET,HEAD"));
}

#[tokio::test]
async fn originals_of_another_workspace_do_not_exist() {
    let server = Server::start().await;
    write(&server, "c", SENT).await;
    for path in ["c/originals", "c/originals/1"] {
        let ask = async |path: &str| {
            let path = format!("{CALLS}/{path}");
            let response = server
                .send_bare(Method::GET, &path, &[("x-workspace-id", "other"), ("x-request-id", "r")], vec![])
                .await;
            (response.status, response.body)
        };
        assert_eq!(ask(path).await, ask(&path.replace('c', "z")).await);
        assert_eq!(ask(path).await.0, StatusCode::NOT_FOUND);
    }
}

/// An original shows phone numbers as they were sent.
#[tokio::test]
async fn originals_need_the_scope_of_phone_numbers() {
    let server = Server::with_keys().await;
    let all = create_key(&server, Some(WORKSPACE), &Scope::ALL, |_| {}).await;
    let body = r#"{"fromPhoneNumber":"+15550100","duration":"17"}"#;
    let written = server.put("c", &[("x-api-key", all.as_str())], body).await;
    assert_eq!(written.status, StatusCode::CREATED, "{}", written.body);
    for missing in [Scope::CallsRead, Scope::PhoneNumbersRead] {
        let scopes: Vec<_> = Scope::ALL.into_iter().filter(|scope| *scope != missing).collect();
        let key = create_key(&server, Some(WORKSPACE), &scopes, |_| {}).await;
        for path in ["c/originals", "c/originals/1"] {
            let path = format!("{CALLS}/{path}");
            let refused = server.send(Method::GET, &path, &[("x-api-key", key.as_str())], "").await;
            assert_eq!(
                (refused.status, refused.code().as_str()),
                (StatusCode::FORBIDDEN, "insufficient_scope"),
                "{missing}"
            );
            assert!(!refused.body.contains("+1555"));
            assert_eq!(
                server.send(Method::GET, &path, &[("x-api-key", all.as_str())], "").await.status,
                StatusCode::OK
            );
        }
    }
}

#[tokio::test]
async fn ids_are_encoded_in_the_paths_of_originals() {
    let server = Server::start().await;
    let client = server.client().with(|options| options.handling(Handling::Lenient));
    for id in ["a84b@host.example", "通話", "a+b=c"] {
        let input = callhistory_client::CallInput::default();
        client.replace_call(id, &input).await.unwrap();
        assert_eq!(client.list_originals(id).await.unwrap().len(), 0);
        assert!(client.get_original(id, 1).await.unwrap_err().is_not_found());
    }
}
