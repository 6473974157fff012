//! The routes of the console: the page, its files, its policy, and how long browsers keep them.

use reqwest::{Method, StatusCode, redirect::Policy};
use tempfile::TempDir;

use crate::{
    binary::Running,
    harness::{Response, Server},
};

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Response {
    server.send_bare(Method::GET, path, headers, Vec::new()).await
}

/// The URLs of the files that the page names, as a browser resolves them.
fn files(page: &str) -> Vec<String> {
    let names = page.split('"').filter(|text| text.starts_with("console/"));
    names.map(|name| format!("/{name}")).collect()
}

#[tokio::test]
async fn the_page_needs_neither_key_nor_workspace() {
    let server = Server::with_keys().await;
    let page = get(&server, "/console", &[]).await;
    assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("cache-control"), "public, no-cache");
    let varies = |name: &str| page.headers.get("vary").is_some_and(|vary| vary.to_str().unwrap().contains(name));
    assert!(!["x-workspace-id", "x-api-key", "authorization"].into_iter().any(varies), "{:?}", page.headers);
    let config = get(&server, "/console/config.json", &[]).await.json();
    assert_eq!(config["requireKeys"], true);
    assert_eq!(config["recordingHosts"], serde_json::json!([]));
    assert!(config["workspace"].is_null());
    // Links may have parameters of those who share them.
    assert_eq!(get(&server, "/console?utm_source=mail", &[]).await.body, page.body);
    let plain = Server::start().await;
    assert_eq!(get(&plain, "/console/config.json", &[]).await.json()["requireKeys"], false);
}

#[tokio::test]
async fn the_policy_permits_nothing_but_the_server() {
    let server = Server::start().await;
    for path in ["/console", "/console/app.js"] {
        let policy = get(&server, path, &[]).await.header("content-security-policy").to_owned();
        let directives: Vec<_> = policy.split("; ").collect();
        for directive in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "media-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types lit-html",
        ] {
            assert!(directives.contains(&directive), "{path}: {directive} is not in {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{policy}");
    }
}

#[tokio::test]
async fn browsers_keep_the_files_of_a_build() {
    let server = Server::start().await;
    let page = get(&server, "/console", &[]).await;
    let names = files(&page.body);
    assert!(names.len() >= 5, "{}", page.body);
    for name in &names {
        let file = get(&server, name, &[]).await;
        assert_eq!(file.status, StatusCode::OK, "{name}");
        assert_eq!(file.header("cache-control"), "public, max-age=31536000, immutable", "{name}");
        // The same file without the digest, or with that of another build, must be asked for again.
        let (build, rest) = name.strip_prefix("/console/build-").unwrap().split_once('/').unwrap();
        let other: String = build.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect();
        for path in [format!("/console/{rest}"), format!("/console/build-{other}/{rest}")] {
            let again = get(&server, &path, &[]).await;
            assert_eq!((again.header("cache-control"), &*again.body), ("public, no-cache", &*file.body), "{path}");
        }
    }
}

#[tokio::test]
async fn an_unchanged_file_is_not_sent_again() {
    let server = Server::start().await;
    // Without compression, a response has a length.
    let plain = ("accept-encoding", "identity");
    for path in ["/console", "/console/app.js"] {
        let file = get(&server, path, &[plain]).await;
        let tag = file.header("etag").to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}")] {
            let again = get(&server, path, &[plain, ("if-none-match", &known)]).await;
            assert_eq!((again.status, again.body.as_str()), (StatusCode::NOT_MODIFIED, ""), "{path} {known}");
            assert_eq!((again.header("etag"), again.header("cache-control")), (tag.as_str(), "public, no-cache"));
        }
        assert_eq!(get(&server, path, &[plain, ("if-none-match", "\"other\"")]).await.body, file.body);
        let head = server.send_bare(Method::HEAD, path, &[plain], Vec::new()).await;
        assert_eq!((head.status, head.header("etag"), head.body.as_str()), (StatusCode::OK, tag.as_str(), ""));
        assert_eq!(head.header("content-length"), file.body.len().to_string());
    }
}

#[tokio::test]
async fn what_is_not_of_the_console_is_a_problem() {
    let server = Server::start().await;
    for path in ["/console/none.js", "/console/vendor/LOCK.toml", "/console/..%2fapp.js", "/console/build-0/app.js"] {
        let response = get(&server, path, &[]).await;
        assert_eq!((response.status, response.code().as_str()), (StatusCode::NOT_FOUND, "route_not_found"), "{path}");
        assert_eq!(response.header("content-type"), "application/problem+json");
    }
    let response = server.send_bare(Method::POST, "/console", &[], Vec::new()).await;
    assert_eq!((response.status, response.code().as_str()), (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"));
    // Relative, because a proxy may have added a prefix.
    let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    let redirect = client.get(server.url("/console/")).send().await.unwrap();
    let outside = reqwest::Url::parse("https://example.com/voice/console/").unwrap();
    assert_eq!(outside.join(redirect.headers()["location"].to_str().unwrap()).unwrap().path(), "/voice/console");
}

#[tokio::test]
async fn settings_open_recordings_and_switch_the_console_off() {
    let directory = TempDir::new().unwrap();
    let hosts = ["--recording-hosts", "Recordings.example.com, *.example.org:8443"];
    let server = Running::start(directory.path(), &hosts);
    assert!(server.welcome.contains(&format!("Console: {}/console", server.base)), "{}", server.welcome);
    let base = server.base.clone();
    let fetch = async |path: &str| reqwest::get(format!("{base}{path}")).await.unwrap();
    let page = fetch("/console").await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("; media-src 'self' recordings.example.com *.example.org:8443; "), "{policy}");
    let config = fetch("/console/config.json").await.text().await.unwrap();
    assert!(config.contains(r#""recordingHosts":["recordings.example.com","*.example.org:8443"]"#), "{config}");
    drop(server);

    let server = Running::start(directory.path(), &["--console", "false"]);
    assert!(!server.welcome.contains("Console"), "{}", server.welcome);
    for path in ["/console", "/console/app.js", "/console/config.json"] {
        let status = reqwest::get(format!("{}{path}", server.base)).await.unwrap().status();
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
}
