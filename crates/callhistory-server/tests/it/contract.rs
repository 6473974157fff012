//! Every response in these tests is checked against the committed contract.

use std::{
    collections::HashMap,
    io::Read as _,
    path::Path,
    pin::Pin,
    sync::{Arc, LazyLock, Mutex},
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody as _},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use hyper::body::{Frame, SizeHint};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::{harness::Server, log_redaction};

/// The contract, with the components of parameters and headers in the place of their references.
pub(crate) static CONTRACT: LazyLock<Value> = LazyLock::new(|| {
    let contract: Value = serde_json::from_str(&CONTRACT_TEXT).unwrap();
    let mut resolved = contract.clone();
    resolve(&mut resolved, &contract["components"]);
    resolved
});
pub(crate) static CONTRACT_TEXT: LazyLock<String> = LazyLock::new(|| {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi/callhistory.json");
    std::fs::read_to_string(file).unwrap()
});

fn resolve(value: &mut Value, components: &Value) {
    let component = |kind: &str| {
        let key = value["$ref"].as_str()?.strip_prefix(&format!("#/components/{kind}/"))?;
        Some(components[kind][key].clone())
    };
    if let Some(component) = component("parameters").or_else(|| component("headers")) {
        *value = component;
    }
    match value {
        Value::Object(members) => members.values_mut().for_each(|below| resolve(below, components)),
        Value::Array(items) => items.iter_mut().for_each(|below| resolve(below, components)),
        _ => {}
    }
}

/// Headers of HTTP itself and of the whole service, which the contract need not describe.
const GENERAL_HEADERS: [&str; 9] = [
    "access-control-allow-origin",
    "access-control-expose-headers",
    "allow",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "vary",
    "x-content-type-options",
];

/// Every operation of the contract with its path and method.
pub(crate) fn operations() -> impl Iterator<Item = (&'static str, Method, &'static Value)> {
    CONTRACT["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(method, operation)| {
            (path.as_str(), Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(), operation)
        })
    })
}

/// Compiled validators by the JSON of their schemas.
static SCHEMAS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

fn validator(schema: &Value, is_partial: bool) -> Arc<Validator> {
    let build = || {
        let mut root = json!({ "allOf": [schema], "components": CONTRACT["components"] });
        if is_partial {
            root["components"]["schemas"]["CallRecord"]["required"] = json!([]);
        }
        Arc::new(jsonschema::options().should_validate_formats(true).build(&root).unwrap())
    };
    Arc::clone(SCHEMAS.lock().unwrap().entry(format!("{is_partial} {schema}")).or_insert_with(build))
}

fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    fits_whole_or_partial(schema, value, false)
}

/// With `fields`, records have some of their members.
fn fits_whole_or_partial(schema: &Value, value: &Value, is_partial: bool) -> Result<(), String> {
    validator(schema, is_partial).validate(value).map_err(|error| format!("{error} in {value}"))
}

/// Panics if a JSON text does not fit the schema of a component.
pub(crate) fn check_schema(name: &str, json: &str) {
    let body = serde_json::from_str(json).unwrap();
    fits(&json!({ "$ref": format!("#/components/schemas/{name}") }), &body).unwrap();
}

/// An observed request.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) sent: HeaderMap,
    /// The part of the body that the service read.
    pub(crate) body: Arc<Mutex<Vec<u8>>>,
}

/// The requests of a server, and the responses that violate the contract.
#[derive(Debug, Default)]
pub(crate) struct ContractObserver {
    pub(crate) exchanges: Mutex<Vec<Exchange>>,
    pub(crate) violations: Mutex<Vec<String>>,
}

/// Receives the bytes of a body.
type OnBody = Box<dyn Fn(&[u8]) + Send>;

/// A body that passes its bytes to a function at its end; an endless body does so at each chunk.
struct ObservedBody {
    inner: Body,
    read: Vec<u8>,
    is_endless: bool,
    on_body: Option<OnBody>,
}

impl ObservedBody {
    fn body(inner: Body, is_endless: bool, on_body: impl Fn(&[u8]) + Send + 'static) -> Body {
        let observed = Self { inner, read: Vec::new(), is_endless, on_body: Some(Box::new(on_body)) };
        if observed.inner.is_end_stream() {
            observed.report();
        }
        Body::new(observed)
    }

    fn report(&self) {
        if let Some(on_body) = &self.on_body {
            on_body(&self.read);
        }
    }
}

impl hyper::body::Body for ObservedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => self.read.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            // An aborted body is not checked.
            Some(Err(_)) => self.on_body = None,
            None => {}
        }
        if frame.is_none() || self.is_endless || self.inner.is_end_stream() {
            self.report();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The middleware that checks each response against the contract.
pub(crate) async fn observe(State(observer): State<Arc<ContractObserver>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let (method, uri, sent) = (parts.method.clone(), parts.uri.clone(), parts.headers.clone());
    let exchange = Exchange { method: method.clone(), uri: uri.clone(), sent, body: Arc::default() };
    let read = Arc::clone(&exchange.body);
    log_redaction::add_canaries(uri.to_string().as_bytes());
    // Request and trace IDs are logged on purpose, and the host is that of the server.
    let names =
        parts.headers.iter().filter(|(name, _)| !["x-request-id", "host", "traceparent"].contains(&name.as_str()));
    names.for_each(|(_, value)| log_redaction::add_canaries(value.as_bytes()));
    let body = ObservedBody::body(body, false, move |sent| {
        log_redaction::add_canaries(sent);
        *read.lock().unwrap() = sent.to_vec();
    });
    observer.exchanges.lock().unwrap().push(exchange);
    let (parts, body) = next.run(Request::from_parts(parts, body)).await.into_parts();
    let (status, headers) = (parts.status, parts.headers.clone());
    let is_endless = headers.get("content-type").is_some_and(|media_type| media_type == "text/event-stream");
    let is_record = template(uri.path()).is_some();
    let body = ObservedBody::body(body, is_endless, move |read| {
        // The text of an error is not data of a caller.
        if is_record && status.is_success() {
            log_redaction::add_canaries(read);
        }
        if let Err(violation) = check(&method, &uri, status, &headers, read) {
            let uri: String = uri.to_string().chars().take(200).collect();
            observer.violations.lock().unwrap().push(format!("{method} {uri} returned {status}: {violation}"));
        }
    });
    Response::from_parts(parts, body)
}

/// The path template of the contract for a path.
pub(crate) fn template(path: &str) -> Option<&'static str> {
    let paths = CONTRACT["paths"].as_object().unwrap();
    let below = path.strip_prefix("/v2/api/call-history/").map(|path| path.split('/').collect::<Vec<_>>());
    let by_id = match below.as_deref() {
        Some([_]) => Some("/v2/api/call-history/{callHistoryId}"),
        Some([_, "originals"]) => Some("/v2/api/call-history/{callHistoryId}/originals"),
        Some([_, "originals", _]) => Some("/v2/api/call-history/{callHistoryId}/originals/{originalNumber}"),
        _ => None,
    };
    paths.get_key_value(path).map(|(path, _)| path.as_str()).or(by_id)
}

/// Checks the status, media type, headers and body of a response against the contract.
fn check(method: &Method, uri: &Uri, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), String> {
    let (path, is_partial) = (uri.path(), uri.query().is_some_and(|query| query.contains("fields=")));
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("not ASCII"));
    let plain;
    let body = match text("content-encoding") {
        Some("gzip") if method != Method::HEAD => {
            plain = gunzip(body).map_err(|error| format!("the body is not gzip: {error}"))?;
            &plain
        }
        _ => body,
    };
    text("x-request-id").ok_or("there is no x-request-id")?;
    let is_error = status.is_client_error() || status.is_server_error();
    let media_type = text("content-type").map(|value| value.split(';').next().unwrap_or_default());
    // An import of which nothing was taken has the report of any other.
    let is_report = path.ends_with("/batch") && status == StatusCode::UNPROCESSABLE_ENTITY;
    if is_error && !is_report && media_type != Some("application/problem+json") {
        return Err(format!("an error is {media_type:?}"));
    }
    let key = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
    let operation = template(path).map(|path| &CONTRACT["paths"][path][key]).filter(|operation| operation.is_object());
    let Some(operation) = operation else { return Ok(()) };
    let mut response = &operation["responses"][status.as_str()];
    if let Some(reference) = response["$ref"].as_str() {
        response = CONTRACT.pointer(reference.trim_start_matches('#')).ok_or("a reference leads nowhere")?;
    }
    if !response.is_object() {
        return Err("the contract does not know this status".to_owned());
    }
    check_headers(response, headers)?;
    let Some(content) = response["content"].as_object() else {
        return if body.is_empty() { Ok(()) } else { Err("the contract has no body here".to_owned()) };
    };
    let media_type = media_type.unwrap_or("no media type");
    // An original has the media type that it was sent with, and any bytes.
    if content.contains_key("*/*") {
        return Ok(());
    }
    let content = content.get(media_type).ok_or_else(|| format!("the contract does not know {media_type}"))?;
    if method == Method::HEAD {
        return if body.is_empty() { Ok(()) } else { Err("HEAD has a body".to_owned()) };
    }
    // The test of the encoding compares what is in it.
    if headers.contains_key("content-encoding") || media_type.starts_with("application/vnd.") {
        return Ok(());
    }
    check_body(media_type, &content["schema"], body, is_partial)
}

fn check_headers(response: &Value, headers: &HeaderMap) -> Result<(), String> {
    let described = response["headers"].as_object();
    for (name, header) in described.into_iter().flatten() {
        match headers.get(name) {
            Some(value) => {
                let text = value.to_str().map_err(|_| format!("{name} is not ASCII"))?;
                let number = text.parse::<i64>().map(Value::from);
                let is_number = header["schema"]["type"] == "integer";
                let value = if is_number { number.map_err(|_| format!("{name} is no number"))? } else { text.into() };
                fits(&header["schema"], &value).map_err(|error| format!("{name}: {error}"))?;
            }
            None if header["required"] == true => return Err(format!("{name} is missing")),
            None => {}
        }
    }
    let is_described = |name: &str| described.is_some_and(|all| all.keys().any(|key| key.eq_ignore_ascii_case(name)));
    let known = |name: &str| GENERAL_HEADERS.contains(&name) || is_described(name);
    match headers.keys().find(|name| !known(name.as_str())) {
        Some(name) => Err(format!("the contract does not know the header {name}")),
        None => Ok(()),
    }
}

fn check_body(media_type: &str, schema: &Value, body: &[u8], is_partial: bool) -> Result<(), String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
    let json = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| format!("{error} in {text}"));
    match media_type {
        "application/x-ndjson" => {
            let fits = |line| fits_whole_or_partial(&component("CallRecord"), &json(line)?, is_partial);
            text.lines().try_for_each(fits)
        }
        "text/event-stream" => {
            // The last event may be incomplete.
            let events = text.rfind("\n\n").map_or("", |end| &text[..end]);
            let mut data = events.lines().filter_map(|line| line.strip_prefix("data: "));
            data.try_for_each(|data| fits(&component("CallChange"), &json(data)?))
        }
        "text/csv" => {
            let header = text.lines().next().unwrap_or_default();
            let is_known = |name: &str| callhistory_client::model::ExportQuery::COLUMNS.contains(&name);
            if header.trim_start_matches('\u{feff}').split(',').all(is_known) {
                Ok(())
            } else {
                Err(format!("a table begins with {header}"))
            }
        }
        _ => fits_whole_or_partial(schema, &json(text)?, is_partial),
    }
}

pub(crate) fn gunzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut plain)?;
    Ok(plain)
}

fn component(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

#[test]
fn the_observer_reports_each_violation() {
    let (get, path) = (Method::GET, Uri::from_static("/v2/api/call-history/1234567890abcdef"));
    let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    };
    let (id, json, tag) =
        (("x-request-id", "r"), ("content-type", "application/json"), ("etag", "\"1-9f86d081884c7d65\""));
    let problem = ("content-type", "application/problem+json");
    let record = callhistory_client::model::examples::SOURCE_EXAMPLE;
    let judge = |status: u16, pairs: &[(&'static str, &'static str)], body: &str| {
        check(&get, &path, StatusCode::from_u16(status).unwrap(), &headers(pairs), body.as_bytes())
    };
    assert_eq!(judge(200, &[id, json, tag], record), Ok(()));
    let cases = [
        (judge(200, &[json, tag], record), "x-request-id"),
        (judge(200, &[("x-request-id", "r r"), json, tag], record), "X-Request-Id: "),
        (judge(200, &[id, json], record), "ETag is missing"),
        (judge(200, &[id, json, tag, ("x-extra", "1")], record), "the header x-extra"),
        (judge(200, &[id, ("content-type", "text/html"), tag], record), "text/html"),
        (judge(200, &[id, json, tag], "{}"), "is a required property"),
        (judge(200, &[id, json, tag], &record.replace("1680000300", "\"late\"")), "\"late\""),
        (judge(202, &[id, json, tag], record), "does not know this status"),
        (judge(404, &[id, json], "{}"), "an error is"),
        (judge(404, &[id, problem], "{}"), "is a required property"),
        (judge(304, &[id, tag], "{}"), "no body here"),
        (judge(503, &[id, problem], "{}"), "Retry-After is missing"),
    ];
    let bodies = [
        (
            check_body("text/event-stream", &Value::Null, b"id: 1\ndata: {}\n\ndata: {\"_i", false),
            "is a required property",
        ),
        (
            check_body("application/x-ndjson", &Value::Null, b"{\"updatedAt\":\"2026-01-01T00:00:00Z\"}\n", false),
            "is a required property",
        ),
        (check_body("application/x-ndjson", &Value::Null, b"{\"updatedAt\":1}\n", true), "1 is not of type"),
        (check_body("text/csv", &Value::Null, b"_id,statu\n", false), "a table begins with"),
    ];
    for (severity, expected) in cases.into_iter().chain(bodies) {
        assert!(severity.as_ref().is_err_and(|violation| violation.contains(expected)), "{severity:?}, not {expected}");
    }
}

/// The test reads the text: a parsed number would lose the zero.
#[test]
fn the_examples_keep_their_digits() {
    let amounts =
        CONTRACT_TEXT.lines().filter(|line| line.contains("\"customer_charge\": ") || line.contains("\"totalCost\": "));
    let amounts: Vec<_> = amounts.filter(|line| !line.ends_with('{')).collect();
    assert!(amounts.len() >= 8 && amounts.iter().all(|line| line.contains(": 0.10")), "{amounts:?}");
}

/// Nothing in the document depends on the order of a hash map.
#[test]
fn generation_is_deterministic() {
    let first = callhistory_server::contract_document();
    for _ in 0..20 {
        assert_eq!(callhistory_server::contract_document(), first);
    }
}

#[test]
fn the_committed_files_are_the_generated_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi");
    let files = callhistory_server::contract_files();
    for (name, text) in &files {
        assert_eq!(&std::fs::read_to_string(folder.join(name)).unwrap(), text, "run cargo xtask openapi generate");
    }
    // The contract of the last release is not generated.
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), files.len() + 1);
}

#[tokio::test]
async fn the_served_contract_is_the_committed_one() {
    let server = Server::start().await;
    let response = server.send(Method::GET, "/openapi.json", &[], "").await;
    assert_eq!(response.body, *CONTRACT_TEXT, "run cargo xtask openapi generate");
    let tag = response.header("etag").to_owned();
    let again = server.send(Method::GET, "/openapi.json", &[("if-none-match", &tag)], "").await;
    assert_eq!((again.status, again.body.as_str(), again.header("etag")), (StatusCode::NOT_MODIFIED, "", tag.as_str()));
    let changed = server.send(Method::GET, "/openapi.json", &[("if-none-match", "\"other\"")], "").await;
    assert_eq!((changed.status, changed.body.len()), (StatusCode::OK, response.body.len()));
}

/// The reference page works without a network: the server has every file that it refers to, and its policy forbids others.
#[tokio::test]
async fn the_reference_page_is_complete() {
    let server = Server::start().await;
    assert_eq!(server.send(Method::GET, "/docs/none.js", &[], "").await.code(), "route_not_found");
    let page = server.send(Method::GET, "/docs", &[], "").await;
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "), "{policy}");
    assert!(!policy.contains("unsafe") && !page.body.contains("style=\""), "{policy}");
    assert!(!page.body.contains("http://") && !page.body.contains("https://"), "the page refers to another host");
    let references = page.body.split(['"', '\'']).filter_map(|text| text.strip_prefix("./"));
    let mut files = 0;
    for file in references {
        files += 1;
        let response = server.send(Method::GET, &format!("/docs/{file}"), &[], "").await;
        assert!(response.status.is_success(), "{file} is missing");
    }
    assert!(files >= 3, "the page was expected to need its script and style files");
    assert!(!page.body.contains("<script>"), "the policy forbids scripts inside the page");
    let start = server.send(Method::GET, "/docs/swagger-initializer.js", &[], "").await;
    let problems = server.send(Method::GET, "/docs/problems", &[], "").await;
    assert!(problems.header("content-type").starts_with("text/html"), "{}", problems.body);
    assert!(problems.body.contains("<h2 id=\"cursor_expired\">"), "{}", problems.body);
    assert!(start.body.contains("\"../openapi.json\"") && start.body.contains("x-codeSamples"), "{}", start.body);
}
