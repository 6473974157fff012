//! Web pages of other origins: what a browser is allowed to send and to read for them.

use callhistory_server::Limits;
use callhistory_store::Scope;
use reqwest::{Client, Method, StatusCode};

use crate::{
    auth::create_key,
    harness::{CALLS, Response, Server, WORKSPACE, stopped_clock},
};

const ORIGIN: &str = "https://app.example.com";
const ORIGINS: &str = "HTTPS://App.Example.com:443, http://localhost:5173,app://-";
/// The headers of a request.
type Headers<'a> = &'a [(&'a str, &'a str)];

const PREFLIGHT: (&str, &str) = ("access-control-request-method", "PUT");

async fn server_with_origins(requests: Option<u32>) -> Server {
    let rates = requests.map(|requests| {
        let rates = callhistory_server::auth::rate_limit::Rates {
            requests: std::num::NonZeroU32::new(requests),
            records: None,
        };
        (rates, stopped_clock as _)
    });
    let settings = |app: callhistory_server::AppState| app.with_cors_origins(ORIGINS.parse().unwrap());
    Server::with_state(Limits::default(), rates, None, settings).await
}

/// The names of the headers of a response that allow something.
fn allowed(response: &Response) -> Vec<&str> {
    response.headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("access-control-")).collect()
}

fn assert_readable(response: &Response, status: u16, case: &str) {
    assert_eq!(response.status.as_u16(), status, "{case}: {}", response.body);
    assert_eq!(response.header("access-control-allow-origin"), ORIGIN, "{case}");
    let exposed = response.header("access-control-expose-headers").to_ascii_lowercase();
    let names = "link x-next-cursor etag x-total-count location retry-after x-request-id x-callhistory-warnings preference-applied \
                 content-disposition ratelimit ratelimit-policy";
    for name in names.split(' ') {
        assert!(exposed.split(", ").any(|exposed| exposed == name), "{case}: {name} is not exposed");
    }
    assert!(response.header("vary").ends_with(", origin"), "{case}");
    assert!(!response.headers.contains_key("access-control-allow-credentials"), "{case}");
}

#[tokio::test]
async fn without_the_setting_no_page_may_do_anything() {
    let server = Server::start().await;
    for method in [Method::OPTIONS, Method::GET] {
        let response = server.send(method, CALLS, &[("origin", ORIGIN), PREFLIGHT], "").await;
        assert_eq!(allowed(&response), [""; 0], "{}", response.status);
        assert!(!response.header("vary").contains("origin"));
    }
}

#[tokio::test]
async fn a_preflight_is_answered_before_keys_and_limits() {
    let server = server_with_origins(Some(1)).await;
    let key = create_key(&server, None, &Scope::ALL, |_| {}).await;
    let own: [(&str, &str); 3] = [("origin", ORIGIN), ("x-workspace-id", WORKSPACE), ("x-api-key", key.as_str())];
    let list = server.send_bare(Method::GET, CALLS, &own, Vec::new()).await;
    assert_readable(&list, 200, "list");
    let wrong = ("x-api-key", "wrong");
    for path in [CALLS, "/v2/api/call-history/c", "/v2/api/call-history/batch/", "/none", "/openapi.json", "/"] {
        for more in [&[][..], &[wrong], &[wrong, wrong], &own[2..]] {
            let asked = ("access-control-request-headers", "x-workspace-id,x-api-key,content-type");
            let headers = [&[("origin", ORIGIN), PREFLIGHT, asked], more].concat();
            let response = server.send_bare(Method::OPTIONS, path, &headers, Vec::new()).await;
            assert_readable(&response, 204, path);
            assert_eq!(response.header("access-control-allow-methods"), "GET, HEAD, POST, PUT, PATCH, DELETE");
            let headers: Vec<_> = response.header("access-control-allow-headers").split(", ").collect();
            let names = "x-workspace-id x-api-key authorization content-type content-encoding if-match if-none-match \
                         idempotency-key prefer accept last-event-id x-request-id";
            assert!(names.split(' ').all(|name| headers.contains(&name)), "{headers:?}");
            assert_eq!((response.header("access-control-max-age"), response.body.as_str()), ("7200", ""));
            assert!(response.headers.contains_key("x-request-id"));
        }
    }
    // The bucket of the key is empty since the first request.
    assert_readable(&server.send_bare(Method::GET, CALLS, &own, Vec::new()).await, 429, "limit");
}

#[tokio::test]
async fn errors_can_be_read_too() {
    let server = server_with_origins(Some(1000)).await;
    let key = create_key(&server, None, &Scope::ALL, |_| {}).await;
    let (origin, workspace, key) = (("origin", ORIGIN), ("x-workspace-id", WORKSPACE), ("x-api-key", key.as_str()));
    let (own, json) = ([origin, workspace, key], [origin, workspace, key, ("content-type", "application/json")]);
    let brotli = [&json[..], &[("content-encoding", "br")]].concat();
    let large = "x".repeat(17 * 1024 * 1024);
    let call = "/v2/api/call-history/c";
    let cases: [(u16, Method, &str, Headers<'_>, &str); 9] = [
        (401, Method::GET, call, &[origin, workspace], ""),
        (400, Method::GET, call, &[origin, key], ""),
        (404, Method::GET, call, &own, ""),
        (404, Method::GET, "/v2/none", &own, ""),
        (405, Method::OPTIONS, call, &own, ""),
        (400, Method::PUT, call, &json, "{"),
        (422, Method::PUT, call, &json, "{\"a\":1}"),
        (415, Method::PUT, call, &brotli, "{}"),
        (413, Method::PUT, call, &json, &large),
    ];
    for (status, method, path, headers, body) in cases {
        let case = format!("{method} {path} {status}");
        assert_readable(&server.send_bare(method, path, headers, body.into()).await, status, &case);
    }
    let http2 = Client::builder().http2_prior_knowledge().build().unwrap();
    let long = http2.get(server.url(call)).header("origin", ORIGIN).header("x-long", "x".repeat(70_000));
    let response = long.send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["access-control-allow-origin"].as_bytes()),
        (431, ORIGIN.as_bytes())
    );
}

#[tokio::test]
async fn other_origins_get_nothing() {
    let server = server_with_origins(None).await;
    let others = [
        "null",
        "",
        "*",
        "http://app.example.com",
        "https://app.example.com:444",
        "https://app.example.com.evil.example",
        "https://evil.example/https://app.example.com",
        "https://APP.example.com",
        "https://app.example.com, https://app.example.com",
        "http://localhost",
    ];
    for origin in others {
        for method in [Method::OPTIONS, Method::GET] {
            let response = server.send(method.clone(), CALLS, &[("origin", origin), PREFLIGHT], "").await;
            assert_eq!(allowed(&response), [""; 0], "{origin}: {}", response.status);
            // A cache must not give them what an allowed origin got.
            assert!(response.header("vary").ends_with(", origin"), "{origin}");
            assert_eq!(response.status == StatusCode::OK, method == Method::GET, "{origin}: {}", response.status);
        }
    }
    for origin in ["http://localhost:5173", "app://-"] {
        let response = server.send(Method::GET, CALLS, &[("origin", origin)], "").await;
        assert_eq!(response.header("access-control-allow-origin"), origin);
    }
    let twice = server.send(Method::GET, CALLS, &[("origin", ORIGIN), ("origin", "http://evil.example")], "").await;
    assert_eq!((twice.status, twice.code().as_str()), (StatusCode::BAD_REQUEST, "invalid_request"));
    // Only a request of a page is one of another origin.
    assert_eq!(allowed(&server.send(Method::GET, CALLS, &[], "").await), [""; 0]);
}
