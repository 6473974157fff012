//! Requests that a proxy and the server could interpret differently.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::binary::Running;

/// Each request is sent directly and through nginx. The server never responds to the smuggled request, and later requests
/// through nginx get their own responses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx"]
async fn no_request_is_smuggled_through_nginx() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &["--allowed-hosts", "x,backend"]);
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let backend = server.base.trim_start_matches("http://");
    let configuration = format!(
        "daemon off; pid nginx.pid; error_log stderr; events {{}}\nhttp {{ access_log off; client_body_temp_path body; \
         proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
         upstream backend {{ server {backend}; keepalive 8; }}\nserver {{ listen 127.0.0.1:{port};\n\
         location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}"
    );
    std::fs::write(directory.path().join("nginx.conf"), configuration).unwrap();
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(directory.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
    let mut nginx = nginx.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let connect = || async { TcpStream::connect(("127.0.0.1", port)).await };
    for _ in 0..100 {
        if connect().await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let smuggled = "GET /v2/api/call-history/smuggled HTTP/1.1\r\nhost: x\r\nx-workspace-id: w\r\n\r\n";
    let start =
        "POST /v2/api/call-history HTTP/1.1\r\nhost: x\r\nx-workspace-id: w\r\ncontent-type: application/json\r\n";
    let length = smuggled.len();
    let vectors = [
        format!("{start}content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{start}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{start}transfer-encoding: xchunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{start}transfer-encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{start}transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{start}content-length: 0\r\ncontent-length: {length}\r\n\r\n{smuggled}"),
        format!("{start}content-length: +0\r\n\r\n{smuggled}"),
        format!("{start}content-length: {length}\r\nx-workspace-id: other\r\n\r\n{smuggled}"),
        format!("{start}x: a\r\n transfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n{smuggled}"),
        format!("{start}x: a\rtransfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n{smuggled}"),
        "GET /v2/api/call-history/a%20HTTP/1.1%0d%0ahost:%20x%0d%0a%0d%0a HTTP/1.1\r\nhost: x\r\nx-workspace-id: w\r\n\r\n".to_owned(),
        "GET /v2/api/call-history/..%2f..%2fhealthz HTTP/1.1\r\nhost: x\r\nx-workspace-id: w\r\n\r\n".to_owned(),
    ];
    let proxied = reqwest::Client::new();
    for vector in &vectors {
        for direct in [false, true] {
            let mut stream = if direct { TcpStream::connect(backend).await.unwrap() } else { connect().await.unwrap() };
            stream.write_all(vector.as_bytes()).await.unwrap();
            let mut response = Vec::new();
            drop(tokio::time::timeout(Duration::from_millis(700), stream.read_to_end(&mut response)).await);
            let response = String::from_utf8_lossy(&response);
            // Only the smuggled request asks for a record that does not exist.
            assert!(!response.contains("call_not_found"), "{vector:?}, directly: {direct}: {response}");
            assert!(response.matches("HTTP/1.1 ").count() <= 2, "{response}");
        }
        // Nothing is left on the connections between nginx and the server.
        for _ in 0..4 {
            let next = proxied.get(format!("http://127.0.0.1:{port}/healthz")).send().await.unwrap();
            assert_eq!(next.text().await.unwrap(), r#"{"status":"alive"}"#, "{vector:?}");
        }
    }
    println!("{} vectors, directly and through nginx", vectors.len());
    drop(nginx.kill());
    drop(nginx.wait());
}
