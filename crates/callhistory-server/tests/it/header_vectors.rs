//! Invalid and unusual headers, over HTTP/1 and HTTP/2: both give the same status.

use reqwest::{
    Client, Method, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use crate::harness::{CALLS, Server};

const CALL: &str = "/v2/api/call-history/absent";
const OPERATIONS: [(&str, &str, &str, u16); 5] = [
    ("GET", CALL, "", 404),
    ("GET", CALLS, "", 200),
    ("DELETE", CALL, "", 404),
    ("POST", CALLS, "{}", 201),
    ("PATCH", CALL, "{}", 404),
];

type Lines = Vec<(&'static str, Vec<u8>)>;

/// A request with these header lines, and its expected status.
struct Vector {
    operation: (&'static str, &'static str, &'static str),
    lines: Lines,
    status: u16,
}

fn vector(operation: (&'static str, &'static str, &'static str), status: u16, lines: Lines) -> Vector {
    Vector { operation, lines, status }
}

fn media_type(method: &str) -> (&'static str, Vec<u8>) {
    let name = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    ("content-type", name.into())
}

/// Values of the workspace header, single and repeated, on each kind of operation.
fn workspaces() -> Vec<Vector> {
    let long = [b"a".repeat(128), b"a".repeat(129), b"a".repeat(5000)];
    let short: [&[u8]; 17] = [
        b"", b"a b", b"a,b", b"A , B", b"a\tb", b"\xff", b"a/b", b"a%2Fb", b"*", b"'a'", b"\"a\"", b"<a>", b"a;b",
        b"a\\b", b"{a}", b"%00", b"a|b",
    ];
    let bad = [&short[..], &[b"\xc3\xa9", b"a\xe2\x80\x8b", &long[1], &long[2]]].concat();
    let good = [&b"a"[..], b"A-_9", b"-", b"_", b"null", b"..", b"a.b:c@d=e+~", &long[0]].map(<[u8]>::to_vec);
    let mut vectors = Vec::new();
    for (method, path, body, status) in OPERATIONS {
        let operation = (method, path, body);
        let with = |values: &[&[u8]]| {
            let mut lines: Lines = values.iter().map(|value| ("x-workspace-id", value.to_vec())).collect();
            lines.push(media_type(method));
            lines
        };
        vectors.extend(bad.iter().map(|value| vector(operation, 400, with(&[value]))));
        vectors.extend(good.iter().map(|value| vector(operation, status, with(&[value]))));
        let doubled: [&[&[u8]]; 6] =
            [&[], &[b"a", b"a"], &[b"a", b"b"], &[b"", b"a"], &[b"a", b""], &[b"a", b"a", b"a"]];
        vectors.extend(doubled.iter().map(|values| vector(operation, 400, with(values))));
    }
    vectors
}

/// Other headers, on an operation that reads them.
fn other_headers() -> Vec<Vector> {
    let own = || ("x-workspace-id", b"w".to_vec());
    let json = || media_type("POST");
    let mut vectors = Vec::new();
    let mut add = |operation, status, name: &'static str, values: &[&[u8]], more: &[(&'static str, Vec<u8>)]| {
        let mut lines: Lines = vec![own()];
        lines.extend(more.iter().cloned());
        lines.extend(values.iter().map(|value| (name, value.to_vec())));
        vectors.push(vector(operation, status, lines));
    };
    let (read, list, create, delete) =
        (("GET", CALL, ""), ("GET", CALLS, ""), ("POST", CALLS, "{}"), ("DELETE", CALL, ""));
    // An invalid request ID is replaced and not refused.
    for value in [&b""[..], b"a b", b"\xff", b"<script>", &b"x".repeat(200), b"good-1.a_b", b"a\tb"] {
        add(read, 404, "x-request-id", &[value], &[]);
    }
    add(read, 404, "x-request-id", &[b"a", b"b"], &[]);
    for value in [
        &b""[..],
        b"abc",
        b"\"a",
        b"a\"",
        b"\"a\" \"b\"",
        b"\xff",
        b"\"\xff\"",
        b"\"a b\"",
        b"W/",
        b"\"a\",*",
        b"''",
        b"5",
        b"\"\ta\"",
    ] {
        add(read, 400, "if-none-match", &[value], &[]);
        add(delete, 400, "if-match", &[value], &[]);
    }
    for value in [&b"*"[..], b"\"1\"", b"W/\"1\"", b"\"1\", \"2\"", b"\"\""] {
        add(read, 404, "if-none-match", &[value], &[]);
    }
    add(read, 404, "if-none-match", &[b"\"1\"", b"\"2\""], &[]);
    add(read, 400, "if-none-match", &[b"*", b"\"2\""], &[]);
    for value in [&b""[..], b"a b", b"\xff", b"a\tb", &b"k".repeat(256)] {
        add(create, 400, "idempotency-key", &[value], &[json()]);
    }
    add(create, 400, "idempotency-key", &[b"a", b"a"], &[json()]);
    add(create, 201, "idempotency-key", &[&b"k".repeat(255)], &[json()]);
    for value in [&b""[..], b"\xff", b"json"] {
        add(create, 400, "content-type", &[value], &[]);
    }
    for value in [&b"text/plain"[..], b"application/jsonx", b"application/json; charset=utf-16"] {
        add(create, 415, "content-type", &[value], &[]);
    }
    for value in [&b"application/json; charset=utf-8"[..], b"Application/JSON"] {
        add(create, 201, "content-type", &[value], &[]);
    }
    for value in [&b"br"[..], b"deflate", b"\xff", b"", b"gzip, identity", b"gzip,gzip", b"zstd"] {
        add(create, 415, "content-encoding", &[value], &[json()]);
    }
    add(create, 201, "content-encoding", &[b"Identity"], &[json()]);
    add(create, 400, "content-encoding", &[b"gzip"], &[json()]);
    add(create, 400, "content-encoding", &[b"identity", b"identity"], &[json()]);
    add(create, 400, "content-type", &[b"application/json"], &[json()]);
    add(read, 400, "origin", &[b"http://a", b"http://a"], &[]);
    for value in [&b""[..], b"*", b"gzip;q=x", b"\xff", b", ,"] {
        add(list, 200, "accept-encoding", &[value], &[]);
    }
    add(list, 200, "accept-encoding", &[b"gzip", b"br"], &[]);
    for value in [&b"text/event-stream"[..], b"*/*", b"\xff", b""] {
        add(list, 200, "accept", &[value], &[]);
    }
    vectors
}

fn headers(lines: &Lines) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

#[tokio::test]
async fn each_header_has_the_same_status_over_http1_and_http2() {
    let server = Server::start().await;
    let first = Client::builder().http1_only().build().unwrap();
    let second = Client::builder().http2_prior_knowledge().build().unwrap();
    let vectors: Vec<_> = workspaces().into_iter().chain(other_headers()).collect();
    assert!(vectors.len() >= 200, "{}", vectors.len());
    let mut wrong = Vec::new();
    for Vector { operation: (method, path, body), lines, status } in &vectors {
        for client in [&first, &second] {
            let request = client.request(Method::from_bytes(method.as_bytes()).unwrap(), server.url(path));
            let response = request.headers(headers(lines)).body(*body).send().await.unwrap();
            let shown: Vec<_> = lines.iter().map(|(name, value)| format!("{name}: {}", value.escape_ascii())).collect();
            let case = format!("{method} {path} over {:?} with {shown:?}", response.version());
            if response.status().as_u16() != *status {
                wrong.push(format!("{case}: {} instead of {status}", response.status()));
            }
            let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
            assert!((1..=128).contains(&id.len()) && !id.contains(['<', ' ']), "{case}: {id}");
            if response.status().is_client_error() {
                assert_eq!(response.headers()["content-type"], "application/problem+json", "{case}");
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The connection stays usable after a refused body.
#[tokio::test]
async fn a_refused_body_does_not_affect_the_next_request() {
    let server = Server::start().await;
    let client = Client::builder().http2_prior_knowledge().build().unwrap();
    for _ in 0..20 {
        let refused = client.post(server.url(CALLS)).body("x".repeat(2_000_000)).send().await;
        assert!(refused.is_err() || refused.unwrap().status().is_client_error());
        let next = client.get(server.url(CALL)).header("x-workspace-id", "w").send().await.unwrap();
        assert_eq!(next.status(), StatusCode::NOT_FOUND);
    }
}
