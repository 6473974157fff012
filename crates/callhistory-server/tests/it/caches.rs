//! Caches: no cache that follows RFC 9111, and none that ignores `Vary`, shows a caller what it kept for another one.

use std::collections::{HashMap, HashSet};

use callhistory_client::ChangesQuery;
use callhistory_store::Scope;
use reqwest::{Method, StatusCode, header::HeaderMap};
use tempfile::TempDir;

use crate::{
    auth::create_key,
    binary::{Running, run},
    harness::{CALLS, Response, Server, WORKSPACE},
};

const NUMBER: &str = "+4915112345678";

/// The headers of a request besides those of its caller.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// The headers of a caller.
type Caller = Vec<(&'static str, String)>;

/// Two workspaces, each with an operator's key and with one that gets masked numbers.
async fn callers(server: &Server) -> Vec<Caller> {
    let masked = [Scope::CallsRead, Scope::CallsWrite];
    let keys = [create_key(server, None, &Scope::ALL, |_| {}).await, create_key(server, None, &masked, |_| {}).await];
    let caller = |workspace: &str, number: usize| {
        let name = ["x-api-key", "authorization"][number];
        let scheme = ["", "Bearer "][number];
        vec![("x-workspace-id", workspace.to_owned()), (name, format!("{scheme}{}", keys[number].as_str()))]
    };
    ["a", "b"].into_iter().flat_map(|workspace| [caller(workspace, 0), caller(workspace, 1)]).collect()
}

async fn send(server: &Server, method: Method, path: &str, caller: &Caller, more: Headers<'_>, body: &str) -> Response {
    let mut headers: Vec<_> = caller.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.extend(more);
    server.send_bare(method, path, &headers, body.as_bytes().to_vec()).await
}

/// Writes a record in each workspace, so that their versions are equal. It is large enough to be compressed.
async fn write(server: &Server, callers: &[Caller], id: &str) {
    for caller in callers.iter().step_by(2) {
        let filler = "x".repeat(2000);
        let body = format!(r#"{{"fromPhoneNumber":"{NUMBER}","summary":"of {} {filler}"}}"#, caller[0].1);
        let json = [("content-type", "application/json")];
        let written = send(server, Method::PUT, &format!("{CALLS}/{id}"), caller, &json, &body).await;
        assert!(written.status.is_success(), "{}", written.body);
    }
}

#[tokio::test]
async fn a_tag_names_one_representation_of_one_workspace() {
    let server = Server::with_keys().await;
    let callers = callers(&server).await;
    write(&server, &callers, "c").await;
    let path = format!("{CALLS}/c");
    let get = async |caller: &Caller, more: &[(&str, &str)]| send(&server, Method::GET, &path, caller, more, "").await;
    let mut tags = Vec::new();
    for caller in &callers {
        tags.push(get(caller, &[]).await.header("etag").to_owned());
    }
    assert_eq!(tags.iter().collect::<HashSet<_>>().len(), 4, "one version of two workspaces, masked or not: {tags:?}");
    for (caller, own) in callers.iter().zip(&tags) {
        let fresh = get(caller, &[]).await.body;
        for tag in &tags {
            let read = get(caller, &[("if-none-match", tag)]).await;
            let expected = if tag == own { (StatusCode::NOT_MODIFIED, "") } else { (StatusCode::OK, fresh.as_str()) };
            assert_eq!((read.status, read.body.as_str()), expected, "{tag} as {caller:?}, who has {own}");
            assert_eq!((read.header("etag"), read.header("cache-control")), (own.as_str(), "private, no-cache"));
        }
        assert!(fresh.contains(&format!("of {}", caller[0].1)));
    }
    // A write accepts the tags of both representations of its workspace, which name the same version.
    let json = [("content-type", "application/json"), ("if-match", tags[0].as_str())];
    let other = send(&server, Method::PUT, &path, &callers[2], &json, "{}").await;
    assert_eq!((other.status, other.code().as_str()), (StatusCode::PRECONDITION_FAILED, "precondition_failed"));
    let written = send(&server, Method::PUT, &path, &callers[1], &json, "{}").await;
    assert_eq!(written.status, StatusCode::OK, "{}", written.body);
    assert_eq!(written.header("etag"), get(&callers[1], &[]).await.header("etag"));
}

/// No tag and no cursor of a database has a meaning in a new or a restored one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_and_cursors_of_another_database_mean_nothing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let put = async |base: &str, id: &str, condition: Option<&str>| {
        let mut request = reqwest::Client::new().put(format!("{base}{CALLS}/{id}")).header("x-workspace-id", WORKSPACE);
        if let Some(tag) = condition {
            request = request.header("if-match", tag);
        }
        let written = request.header("content-type", "application/json").body("{}").send().await.unwrap();
        let tag = written.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        (written.status().as_u16(), tag.unwrap_or_default())
    };
    let server = Running::start(path, &[]);
    let (_, old) = put(&server.base, "c", None).await;
    put(&server.base, "d", None).await;
    assert_eq!(run(path, &["backup", "copy.db"]).0, 0);
    let client = server.client(WORKSPACE);
    let cursor = client.list_call_changes(&ChangesQuery::default()).await.unwrap().cursor;
    assert_eq!(run(path, &["restore", "copy.db", "--data-dir", "restored"]).0, 0);
    for other in ["restored", "new"] {
        let server = Running::start(path, &["--data-dir", other]);
        put(&server.base, "c", None).await;
        let get = reqwest::Client::new().get(format!("{}{CALLS}/c", server.base)).header("x-workspace-id", WORKSPACE);
        let read = get.header("if-none-match", &old).send().await.unwrap();
        assert_eq!(read.status().as_u16(), 200, "{other}: the version {old} is another one");
        assert_eq!(put(&server.base, "c", Some(&old)).await.0, 412, "{other}");
        // A follower gets one stable sign, and then everything that exists.
        let client = server.client(WORKSPACE);
        let query = ChangesQuery::new().cursor(cursor.clone());
        for query in [query.clone(), query.wait(1)] {
            let expired = client.list_call_changes(&query).await.unwrap_err();
            assert!(expired.is_cursor_expired() && !expired.is_retryable(), "{other}: {expired:?}");
        }
        let stream = reqwest::Client::new().get(format!("{}{CALLS}/changes", server.base));
        let stream = stream.header("x-workspace-id", WORKSPACE).header("accept", "text/event-stream");
        assert_eq!(stream.header("last-event-id", &cursor).send().await.unwrap().status().as_u16(), 410);
        let count = if other == "new" { 1 } else { 2 };
        for limit in [count, 100] {
            let query = ChangesQuery::new().limit(limit);
            let all = client.list_call_changes(&query).await.unwrap();
            assert!(!all.has_more && all.changes.len() == usize::from(count), "{all:?}");
        }
    }
}

/// A private cache as RFC 9111 describes it, and one that ignores `Vary`.
struct PrivateCache<'a> {
    server: &'a Server,
    honours_vary: bool,
    kept: Vec<Kept>,
    hits: usize,
}

/// A response that the cache keeps, with the headers of its request.
struct Kept {
    path: String,
    request: HashMap<String, String>,
    headers: HeaderMap,
    body: String,
}

impl PrivateCache<'_> {
    /// What a caller sees through the cache. Each use is validated: the service allows no other one.
    async fn get(&mut self, path: &str, caller: &Caller, asks: bool) -> String {
        let sent: HashMap<String, String> =
            caller.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        // RFC 9111, 4.3.1: a cache may send the tags of every response that it keeps for the URL, selected or not.
        let tags: Vec<_> = self
            .kept
            .iter()
            .filter(|kept| kept.path == path)
            .map(|kept| kept.headers["etag"].to_str().unwrap())
            .collect();
        let tags = tags.join(", ");
        let mut more = if asks { vec![("cache-control", "no-cache")] } else { Vec::new() };
        if !tags.is_empty() {
            more.push(("if-none-match", tags.as_str()));
        }
        let response = send(self.server, Method::GET, path, caller, &more, "").await;
        if response.status == StatusCode::NOT_MODIFIED {
            self.hits += 1;
            let named = |kept: &&Kept| kept.path == path && kept.headers["etag"] == response.headers["etag"];
            return self.kept.iter().find(named).unwrap().body.clone();
        }
        let control = response.header("cache-control").to_owned();
        if control.contains("no-store") || !response.headers.contains_key("etag") {
            return response.body;
        }
        assert_eq!(control, "private, no-cache", "the cache could use the response without validation");
        let vary: Vec<_> = response
            .headers
            .get("vary")
            .map_or("", |vary| vary.to_str().unwrap())
            .split(", ")
            .map(str::to_owned)
            .collect();
        let request: HashMap<_, _> = if self.honours_vary {
            vary.iter().map(|name| (name.clone(), sent.get(name).cloned().unwrap_or_default())).collect()
        } else {
            HashMap::new()
        };
        // A response replaces the one that would be selected for the same request.
        self.kept.retain(|kept| kept.path != path || kept.request != request);
        let (headers, body) = (response.headers, response.body.clone());
        self.kept.push(Kept { path: path.to_owned(), request, headers, body });
        response.body
    }
}

#[tokio::test]
async fn no_cache_shows_a_caller_what_it_kept_for_another_one() {
    let server = Server::with_keys().await;
    let callers = callers(&server).await;
    write(&server, &callers, "c").await;
    let path = format!("{CALLS}/c");
    for honours_vary in [true, false] {
        let mut cache = PrivateCache { server: &server, honours_vary, kept: Vec::new(), hits: 0 };
        for asks in [false, true, true] {
            for caller in callers.iter().chain(callers.iter().rev()) {
                let seen = cache.get(&path, caller, asks).await;
                let truth = send(&server, Method::GET, &path, caller, &[], "").await.body;
                assert_eq!(seen, truth, "as {caller:?}");
                assert_eq!(seen.contains(NUMBER), caller[1].0 == "x-api-key", "as {caller:?}");
            }
            if !asks {
                assert!(cache.kept.is_empty(), "nobody asked for a response to keep");
            }
        }
        // One copy for each caller, or one for all.
        assert_eq!(cache.hits, if honours_vary { 12 } else { 3 }, "the cache is useless");
    }
}

/// Data, errors and 304 depend on the caller, and only a version of a record may be kept by a cache that asks.
#[tokio::test]
async fn every_response_says_what_caches_may_keep() {
    let server = Server::with_keys().await;
    let callers = callers(&server).await;
    write(&server, &callers, "c").await;
    let (own, nobody) = (&callers[0], vec![("x-workspace-id", "a".to_owned())]);
    let tag = send(&server, Method::GET, &format!("{CALLS}/c"), own, &[], "").await.header("etag").to_owned();
    let keep = "private, no-cache";
    let cases: [(&str, &Caller, Headers, u16, &str); 16] = [
        ("/c", own, &[], 200, "no-store"),
        ("/c", own, &[("cache-control", "no-cache")], 200, keep),
        ("/c", own, &[("cache-control", "max-stale, Max-Age=0")], 200, keep),
        ("/c", own, &[("cache-control", "max-age=60")], 200, "no-store"),
        ("/c", own, &[("cache-control", "no-cache, no-store")], 200, "no-store"),
        ("/c", own, &[("if-none-match", "\"old\"")], 200, keep),
        ("/c", own, &[("if-none-match", &tag)], 304, keep),
        ("/c", own, &[("if-none-match", &tag), ("cache-control", "no-store")], 304, "no-store"),
        ("/none", own, &[("cache-control", "no-cache")], 404, "no-store"),
        ("/c?x=1", own, &[("cache-control", "no-cache")], 400, "no-store"),
        ("/c", &nobody, &[("cache-control", "no-cache")], 401, "no-store"),
        ("", own, &[("cache-control", "no-cache")], 200, "no-store"),
        ("/changes", own, &[("cache-control", "no-cache")], 200, "no-store"),
        ("/metrics", own, &[("cache-control", "no-cache")], 200, "no-store"),
        ("/export", own, &[("cache-control", "no-cache")], 200, "no-store"),
        ("/batch/none", own, &[], 404, "no-store"),
    ];
    let vary = "x-workspace-id, x-api-key, authorization, accept-encoding";
    for (path, caller, more, status, control) in cases {
        let response = send(&server, Method::GET, &format!("{CALLS}{path}"), caller, more, "").await;
        assert_eq!(response.status.as_u16(), status, "{path} {more:?}: {}", response.body);
        assert_eq!((response.header("cache-control"), response.header("vary")), (control, vary), "{path} {more:?}");
    }
    let mut headers: Vec<_> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.push(("accept", "text/event-stream"));
    let stream = server.first_events(&format!("{CALLS}/changes"), &headers, 1).await;
    assert_eq!((stream.header("cache-control"), stream.header("vary")), ("no-store", vary));
    let json = [("content-type", "application/json")];
    let written = send(&server, Method::PUT, &format!("{CALLS}/c"), own, &json, "{}").await;
    assert_eq!(written.header("cache-control"), "no-store");
    // What is the same for every caller has its own rules.
    for path in ["/openapi.json", "/docs/"] {
        let page = server.send_bare(Method::GET, path, &[], Vec::new()).await;
        assert_eq!(
            (page.header("cache-control"), page.header("vary")),
            ("public, no-cache", "accept-encoding"),
            "{path}"
        );
    }
}
