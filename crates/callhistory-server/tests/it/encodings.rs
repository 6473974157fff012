//! Compressed bodies, of requests and of responses.

use std::{io::Write as _, time::Duration};

use callhistory_client::{CallInput, CallPatch, Client as Sdk, ListQuery};
use callhistory_server::{Limits, auth::rate_limit::MonotonicClock};
use callhistory_store::Scope;
use flate2::write::GzDecoder;
use reqwest::{Client, Method, StatusCode, header::HeaderMap};

use crate::{
    auth::create_key,
    contract::gunzip,
    harness::{CALLS, PATIENCE, Response, Server, WORKSPACE, stopped_clock},
    import_export::gzip,
};

const PATH: &str = "/v2/api/call-history/c";
const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: (&str, &str) = ("accept-encoding", "gzip");

async fn write(server: &Server, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Response {
    let headers = [&[("x-workspace-id", WORKSPACE)], headers].concat();
    server.send_bare(method, path, &headers, body).await
}

#[tokio::test]
async fn every_write_may_be_compressed() {
    let server = Server::start().await;
    let patch = ("content-type", "application/merge-patch+json");
    let lines = ("content-type", "application/jsonl");
    let targets = [
        (Method::PUT, PATH.to_owned(), JSON),
        (Method::PATCH, PATH.to_owned(), patch),
        (Method::POST, CALLS.to_owned(), JSON),
        (Method::POST, format!("{CALLS}/batch"), lines),
    ];
    for (method, path, media_type) in &targets {
        for coding in ["gzip", "GZIP", "x-gzip", "identity"] {
            let text = format!("{{\"summary\":\"{coding} {method}\",\"callId\":\"k-{coding}\"}}\r\n");
            for text in [text.clone(), format!("\u{feff}{text}")] {
                let body = if coding == "identity" { text.clone().into_bytes() } else { gzip(text.as_bytes()) };
                let headers = [*media_type, ("content-encoding", coding)];
                let response = write(&server, method.clone(), path, &headers, body).await;
                assert!(response.status.is_success(), "{method} {path} {coding}: {}", response.body);
                let is_report = path.ends_with("batch");
                assert!(is_report || response.json()["summary"] == format!("{coding} {method}"), "{}", response.body);
            }
        }
    }
    for (method, path, media_type) in &targets {
        for coding in ["br", "zstd", "deflate", "gzip, gzip", "gzip,identity", "identity, gzip", ""] {
            let headers = [*media_type, ("content-encoding", coding)];
            let response = write(&server, method.clone(), path, &headers, gzip(b"{}")).await;
            assert_eq!(
                (response.status.as_u16(), response.header("accept-encoding")),
                (415, "gzip, identity"),
                "{coding}"
            );
            assert!(response.body.contains("gzip or identity"), "{}", response.body);
        }
        let twice = [*media_type, ("content-encoding", "gzip"), ("content-encoding", "gzip")];
        let response = write(&server, method.clone(), path, &twice, gzip(b"{}")).await;
        assert_eq!((response.status.as_u16(), response.code().as_str()), (400, "invalid_header"), "{path}");
    }
    let response = write(&server, Method::PUT, PATH, &[("content-type", "text/plain")], Vec::new()).await;
    assert!(response.status == 415 && !response.headers.contains_key("accept-encoding"));
}

/// A sender that names no media type loses no call.
#[tokio::test]
async fn a_body_without_a_media_type_is_read_as_what_it_is() {
    let server = Server::start().await;
    let batch = format!("{CALLS}/batch");
    let text = "{\"_id\":\"a\",\"status\":\"busy\"}\r\n{\"_id\":\"b\"}";
    for (body, created) in
        [(text, 2), ("[{\"_id\":\"c\"}]", 1), ("_id;status\nd;busy\n", 1), ("{\"calls\":[{\"_id\":\"e\"}]}", 1)]
    {
        let response = write(&server, Method::POST, &batch, &[], body.into()).await;
        assert_eq!((response.status, response.json()["created"].clone()), (StatusCode::OK, created.into()), "{body}");
    }
    let packed = [("content-encoding", "gzip")];
    assert_eq!(write(&server, Method::PUT, PATH, &packed, gzip(b"{\"status\":\"busy\"}")).await.status, StatusCode::OK);
    assert_eq!(write(&server, Method::POST, CALLS, &[], "{}".into()).await.status, StatusCode::CREATED);
    assert_eq!(write(&server, Method::PATCH, PATH, &[], "{}".into()).await.status, StatusCode::OK);
    let form = write(&server, Method::POST, CALLS, &[], "CallSid=CA1&CallStatus=completed".into()).await;
    assert_eq!((form.status, form.code().as_str()), (StatusCode::BAD_REQUEST, "malformed_json"));
}

/// The digits of a generator, which compress to about half.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + u8::try_from((state >> 33) % 10).unwrap())
    };
    (0..bytes).map(|_| next()).collect()
}

#[tokio::test]
async fn a_compressed_record_has_the_limits_of_another_one() {
    let limits = Limits::default();
    let server = Server::with_state(limits, None, None, |app| app.with_max_record_bytes(2_000_000)).await;
    let packed = [JSON, ("content-encoding", "gzip")];
    let record = |text: &str| format!("{{\"metadata\":{{\"a\":\"{text}\"}}}}");
    let put = async |body: Vec<u8>| write(&server, Method::PUT, PATH, &packed, body).await;
    let long = noise(150_000);
    let stored = put(gzip(record(&long).as_bytes())).await;
    assert_eq!((stored.status.as_u16(), stored.json()["metadata"]["a"].as_str() == Some(&long)), (201, true));
    let plain = server.put("c", &[], &record(&long)).await;
    assert_eq!(plain.header("etag").trim_end_matches("-gzip\""), stored.header("etag").trim_end_matches("-gzip\""));
    let small = gzip(record("x").as_bytes());
    let cases = [
        (
            413,
            "body_too_large",
            gzip(record(&format!("{long}{}", "x".repeat(2_000_000))).as_bytes()),
            "max_record_bytes",
        ),
        (413, "body_too_large", gzip(record(&"x".repeat(1_900_000)).as_bytes()), "100 times"),
        (400, "invalid_request", small[..small.len() - 3].to_vec(), "ends early"),
        (400, "invalid_request", b"{}".to_vec(), "not gzip"),
        (400, "invalid_request", Vec::new(), "not gzip"),
        (400, "malformed_json", gzip(b""), ""),
        (400, "malformed_json", gzip(&gzip(b"{}")), ""),
    ];
    for (status, code, body, detail) in cases {
        let response = put(body).await;
        assert_eq!((response.status.as_u16(), response.code().as_str()), (status, code), "{}", response.body);
        assert!(response.body.contains(detail), "{}", response.body);
    }
}

/// A response as it is sent.
struct Raw {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Raw {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn is_gzip(&self) -> bool {
        self.header("content-encoding") == "gzip"
    }

    fn text(&self) -> String {
        let body = if self.is_gzip() { gunzip(&self.body).unwrap() } else { self.body.clone() };
        String::from_utf8(body).unwrap()
    }
}

async fn raw(server: &Server, method: Method, path: &str, headers: &[(&str, &str)]) -> Raw {
    let mut request = Client::builder().no_gzip().build().unwrap().request(method, server.url(path));
    for (name, value) in [&[("x-workspace-id", WORKSPACE)], headers].concat() {
        request = request.header(name, value);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Raw { status, headers, body: response.bytes().await.unwrap().into() }
}

#[tokio::test]
async fn responses_are_compressed_where_the_caller_asks() {
    let server = Server::start().await;
    let summary = "the same words again and again, ".repeat(100);
    server.put("c", &[], &format!("{{\"summary\":\"{summary}\"}}")).await;
    server.put("small", &[], "{}").await;
    let compressed = [
        PATH,
        CALLS,
        "/v2/api/call-history/changes",
        "/v2/api/call-history/export",
        "/openapi.json",
        "/docs/swagger-ui.css",
    ];
    for path in compressed.into_iter().chain(["/v2/api/call-history/export?format=csv"]) {
        let plain = raw(&server, Method::GET, path, &[]).await;
        let packed = raw(&server, Method::GET, path, &[GZIP]).await;
        assert!(packed.is_gzip() && !plain.is_gzip() && packed.body.len() * 2 < plain.body.len(), "{path}");
        assert_eq!(packed.text(), plain.text(), "{path}");
        let varies = |raw: &Raw| raw.header("vary").split(", ").any(|name| name == "accept-encoding");
        assert!(varies(&plain) && varies(&packed), "{path}");
        for more in [&[][..], &[GZIP]] {
            let (get, head) =
                (raw(&server, Method::GET, path, more).await, raw(&server, Method::HEAD, path, more).await);
            let headers = |raw: &Raw| {
                let own = ["date", "x-request-id", "transfer-encoding"];
                let names = raw.headers.keys().filter(|name| !own.contains(&name.as_str()));
                names.map(|name| format!("{name}: {}", raw.header(name.as_str()))).collect::<Vec<_>>()
            };
            assert_eq!((head.status, headers(&head), head.body.len()), (get.status, headers(&get), 0), "{path}");
        }
    }
    let forms = [
        ("gzip;q=0.1", true),
        ("br, GZIP", true),
        ("x-gzip", true),
        ("*", true),
        ("deflate, br;q=1", false),
        ("gzip;q=0", false),
        ("*;q=0", false),
        ("gzip;q=0.5, identity", false),
        ("identity", false),
        ("", false),
    ];
    for (accept, is_gzip) in forms {
        let response = raw(&server, Method::GET, PATH, &[("accept-encoding", accept)]).await;
        assert_eq!((response.status.as_u16(), response.is_gzip()), (200, is_gzip), "{accept}");
    }
    assert!(!raw(&server, Method::GET, "/v2/api/call-history/small", &[GZIP]).await.is_gzip());
    let stream = server
        .first_events(
            &format!("{CALLS}/changes"),
            &[("x-workspace-id", WORKSPACE), ("accept", "text/event-stream"), GZIP],
            1,
        )
        .await;
    assert!(!stream.headers.contains_key("content-encoding") && stream.body.contains(&summary));
}

/// Two representations do not share a strong tag, and each of them names the version.
#[tokio::test]
async fn tags_name_the_encoding_and_work_with_either() {
    let server = Server::start().await;
    let body = |word: &str| format!("{{\"summary\":\"{}\"}}", word.repeat(1000));
    server.put("c", &[], &body("a")).await;
    let get = async |headers: &[(&str, &str)]| raw(&server, Method::GET, PATH, headers).await;
    let (plain, packed) = (get(&[]).await.header("etag").to_owned(), get(&[GZIP]).await.header("etag").to_owned());
    assert_eq!(packed, format!("{}-gzip\"", plain.trim_end_matches('"')));
    let weak = format!("W/{packed}");
    for (sent, tag) in [(&plain, &plain), (&packed, &packed), (&weak, &packed)] {
        for more in [&[][..], &[GZIP]] {
            let headers = [more, &[("if-none-match", sent.as_str())]].concat();
            let response = get(&headers).await;
            assert_eq!(
                (response.status.as_u16(), response.header("etag"), response.body.len()),
                (304, tag.as_str(), 0)
            );
            assert!(
                response.header("vary").contains("accept-encoding") && response.header("content-encoding").is_empty()
            );
        }
    }
    for (word, coding) in [("b", GZIP), ("c", ("accept-encoding", "identity"))] {
        let tag = get(&[coding]).await.header("etag").to_owned();
        let headers = [JSON, ("if-match", tag.as_str())];
        let written = write(&server, Method::PUT, PATH, &headers, body(word).into()).await;
        assert_eq!(written.status, StatusCode::OK, "{tag}: {}", written.body);
        let again = write(&server, Method::PUT, PATH, &headers, body("z").into()).await;
        assert_eq!(again.status, StatusCode::PRECONDITION_FAILED, "{tag}");
    }
    let contract = raw(&server, Method::GET, "/openapi.json", &[GZIP]).await.header("etag").to_owned();
    assert!(contract.ends_with("-gzip\""));
    assert_eq!(raw(&server, Method::GET, "/openapi.json", &[GZIP, ("if-none-match", &contract)]).await.status, 304);
}

/// What has been read is sent, although the rest of the export takes its time.
#[tokio::test]
async fn a_compressed_export_is_flushed() {
    let clock: MonotonicClock = stopped_clock;
    let server = Server::with_rates(1000, 1, clock).await;
    let key = create_key(&server, None, &Scope::ALL, |_| {}).await;
    let lines: String = (0..5000).map(|at| format!("{{\"_id\":\"c{at}\"}}\n")).collect();
    let own = [("x-api-key", key.as_str()), ("content-type", "application/x-ndjson")];
    let imported = write(&server, Method::POST, &format!("{CALLS}/batch"), &own, lines.into()).await;
    assert_eq!(imported.status, StatusCode::OK, "{}", imported.body);
    let request = Client::builder().no_gzip().build().unwrap().get(server.url(&format!("{CALLS}/export")));
    let request = request.header(own[0].0, own[0].1).header("x-workspace-id", WORKSPACE).header(GZIP.0, GZIP.1);
    let mut response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let mut plain = GzDecoder::new(Vec::new());
    while !plain.get_ref().ends_with(b"}\n") {
        let chunk = tokio::time::timeout(PATIENCE, response.chunk()).await.unwrap().unwrap().unwrap();
        plain.write_all(&chunk).unwrap();
        plain.flush().unwrap();
    }
    // The clock stands still, so the rest never comes.
    let rest = tokio::time::timeout(Duration::from_millis(1), response.chunk()).await;
    assert!(rest.is_err() && plain.get_ref().iter().filter(|byte| **byte == b'\n').count() < 5000);
}

#[tokio::test]
async fn the_sdk_asks_for_compression_if_it_should() {
    let server = Server::start().await;
    for compression in [false, true] {
        let sdk = Sdk::builder(&server.url("")).workspace(WORKSPACE).compression(compression).build().unwrap();
        let call = CallInput { summary: Some("again ".repeat(1000)), ..CallInput::default() };
        sdk.replace_call("c", &call).await.unwrap();
        let record = sdk.get_call("c").await.unwrap();
        let version = record.version().unwrap().clone();
        assert_eq!(record.summary, call.summary);
        assert_eq!(sdk.list_calls(&ListQuery::default()).await.unwrap().calls, [record.call]);
        let change = CallPatch::from(CallInput { summary: Some(format!("{compression}")), ..CallInput::default() });
        sdk.if_version(&version).update_call("c", &change).await.unwrap();
        assert!(sdk.if_version(&version).update_call("c", &change).await.unwrap_err().is_precondition_failed());
        let asked = server.observer.exchanges.lock().unwrap().last().unwrap().sent.contains_key("accept-encoding");
        assert_eq!(asked, compression);
    }
}
