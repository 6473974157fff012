//! Where requests lead: slashes at the end of a path, links, and the address itself.

use callhistory_client::{CallInput, ListQuery};
use callhistory_server::Limits;
use futures_util::TryStreamExt as _;
use reqwest::{Client, Method, StatusCode, Url, redirect::Policy};

use crate::harness::{CALLS, Response, Server, WORKSPACE};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn server_at(url: &str) -> Server {
    let url = url.parse().unwrap();
    Server::with_state(Limits::default(), None, None, |app| app.with_public_url(url)).await
}

/// The target of the link to the next page.
fn next(response: &Response) -> &str {
    response.header("link").strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap()
}

#[tokio::test]
async fn a_slash_at_the_end_is_the_same_route() {
    let server = Server::start().await;
    let created = server.send(Method::POST, &format!("{CALLS}/"), &[JSON], "{}").await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    // The location is relative to the URL of the request.
    let base: Url = server.url(&format!("{CALLS}/")).parse().unwrap();
    let location = base.join(created.header("location")).unwrap();
    let id = created.json()["_id"].as_str().unwrap().to_owned();
    assert_eq!(location.path(), format!("{CALLS}/{id}"));
    for path in ["", "?limit=1", "/metrics", "/changes", "/export", &format!("/{id}"), &format!("/{id}/originals")] {
        let (path, query) =
            path.split_once('?').map_or((path, String::new()), |(path, query)| (path, format!("?{query}")));
        let [plain, slash] = ["", "/"].map(|end| format!("{CALLS}{path}{end}{query}"));
        for method in [Method::GET, Method::HEAD] {
            let plain = server.send(method.clone(), &plain, &[], "").await;
            let slash = server.send(method.clone(), &slash, &[], "").await;
            assert_eq!((slash.status, slash.body), (plain.status, plain.body), "{method} {path}");
            assert_eq!(slash.headers.get("etag"), plain.headers.get("etag"), "{method} {path}");
        }
    }
    let call = format!("{CALLS}/{id}/");
    for (method, path, status) in [
        (Method::PUT, call.as_str(), 200),
        (Method::PATCH, &call, 200),
        (Method::POST, "/v2/api/call-history/batch/", 200),
        (Method::DELETE, &call, 204),
        (Method::POST, &call, 405),
        (Method::GET, "/healthz/", 200),
        (Method::GET, "/openapi.json/", 200),
        (Method::GET, "/docs/", 200),
    ] {
        let body = match method {
            Method::DELETE | Method::GET => "",
            _ => r#"{"callId":"k"}"#,
        };
        let response = server.send(method.clone(), path, &[JSON], body).await;
        assert_eq!(response.status.as_u16(), status, "{method} {path}: {}", response.body);
    }
    let doubled =
        ["//", "/v2/api/call-history//", "//v2/api/call-history", "/v2/api/call-history//?limit=1", "/docs//"];
    for path in doubled {
        assert_eq!(server.send(Method::GET, path, &[], "").await.code(), "route_not_found", "{path}");
    }
}

#[tokio::test]
async fn a_link_resolves_with_and_without_a_public_url() {
    for (public, start) in [
        (None, "?"),
        (Some("https://calls.example.com"), "https://calls.example.com/v2/api/call-history?"),
        (Some("http://[::1]:81/a/b/"), "http://[::1]:81/a/b/v2/api/call-history?"),
    ] {
        let server = match public {
            Some(url) => server_at(url).await,
            None => Server::start().await,
        };
        for id in ["a", "b", "c"] {
            server.put(id, &[], r#"{"summary":"word"}"#).await;
        }
        let found = server.send(Method::GET, &format!("{CALLS}/search?q=word&sort=startTime&limit=1"), &[], "").await;
        let search = if public.is_some() { start.replace('?', "/search?") } else { start.to_owned() };
        assert!(next(&found).starts_with(&search), "{}", next(&found));
        for path in [CALLS.to_owned(), format!("{CALLS}/")] {
            let first = server.send(Method::GET, &format!("{path}?limit=2&status=!x"), &[], "").await;
            let query = next(&first).strip_prefix(start).unwrap_or_else(|| panic!("{}", next(&first)));
            let rest = server.send(Method::GET, &format!("{path}?{query}"), &[], "").await;
            assert_eq!((rest.status, rest.json().as_array().map(Vec::len)), (StatusCode::OK, Some(1)), "{}", rest.body);
            assert!(!rest.headers.contains_key("link"));
        }
        let created = server.post(&[], "{}").await;
        let (location, id) =
            (created.header("location").to_owned(), created.json()["_id"].as_str().unwrap().to_owned());
        let calls = public.map_or("call-history".to_owned(), |_| start.trim_end_matches('?').to_owned());
        assert_eq!(location, format!("{calls}/{id}"));
        // The SDK stays at its own base URL.
        let client = server.client();
        client.replace_call("d", &CallInput::default()).await.unwrap();
        let query = ListQuery::new().limit(2);
        let all: Vec<_> = client.stream_calls(query).try_collect().await.unwrap();
        assert_eq!(all.len(), 5);
    }
}

#[tokio::test]
async fn the_address_itself_leads_a_browser_to_the_console() {
    let server = Server::start().await;
    let plain = Server::with_state(Limits::default(), None, None, |app| app.with_console(None)).await;
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (server, target) in [(&server, "console"), (&plain, "docs/")] {
        for method in [Method::GET, Method::HEAD] {
            let response = client.request(method, server.url("/")).header("accept", browser).send().await.unwrap();
            let location = response.headers()["location"].to_str().unwrap();
            assert_eq!((response.status().as_u16(), location), (303, target));
        }
        let page = server.send_bare(Method::GET, "/", &[("accept", browser)], Vec::new()).await;
        assert!(page.status.is_success() && page.header("content-type").starts_with("text/html"), "{}", page.body);
    }
    // The links of a page are relative to its path.
    for (path, location) in [("/console/", "../console"), ("/docs", "docs/")] {
        let response = client.get(server.url(path)).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers()["location"].to_str().unwrap()), (308, location));
    }
    for accept in ["*/*", "application/json", "text/html;q=0", ""] {
        let headers = [("accept", accept), ("x-workspace-id", WORKSPACE)];
        let response = server.send_bare(Method::GET, "/", &headers, Vec::new()).await;
        assert_eq!((response.status, response.code().as_str()), (StatusCode::NOT_FOUND, "route_not_found"), "{accept}");
        assert!(response.body.contains("/docs") && response.body.contains("/openapi.json"), "{}", response.body);
    }
    assert_eq!(server.send_bare(Method::POST, "/", &[], Vec::new()).await.status, StatusCode::METHOD_NOT_ALLOWED);
}
