//! Slow, broken and hostile connections.

use std::time::{Duration, Instant};

use callhistory_server::{Limits, Tls};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{PATIENCE, Server, WORKSPACE, read_to_end};

/// Limits that no test reaches. A test shortens the one that it tests, so that nothing else can close a connection.
const LONG: Limits = Limits {
    connections: 64,
    head: Duration::from_secs(3600),
    idle: Duration::from_secs(3600),
    write: Duration::from_secs(3600),
    drain: Duration::from_secs(3600),
};
const SHORT: Duration = Duration::from_millis(300);
/// The head limit of tests that also send complete heads, which must arrive within it.
const HEAD: Duration = Duration::from_secs(2);

fn get(id: &str) -> String {
    format!("GET /v2/api/call-history/{id} HTTP/1.1\r\nhost: x\r\nx-workspace-id: {WORKSPACE}\r\n\r\n")
}

/// Reads one response from a connection that stays open.
async fn read_response(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        seen.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&seen);
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse().ok());
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
        if count == 0 || (body.is_some() && body >= length.or(Some(0))) {
            return text.into_owned();
        }
    }
}

#[tokio::test]
async fn a_slowly_sent_head_times_out() {
    let server = Server::with_limits(Limits { head: SHORT, ..LONG }).await;
    let started = Instant::now();
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    let (read, mut write) = stream.into_split();
    let dripping = tokio::spawn(async move {
        // Each byte arrives well within the limit; the whole head does not.
        while write.write_all(b"a").await.is_ok() {
            tokio::time::sleep(SHORT / 6).await;
        }
    });
    assert_closed(read).await;
    assert!(started.elapsed() >= SHORT, "cut off after {:?}", started.elapsed());
    dripping.abort();
}

#[tokio::test]
async fn an_idle_connection_outlives_the_head_limit_but_not_the_idle_limit() {
    let server = Server::with_limits(Limits { head: HEAD, ..LONG }).await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream.write_all(get("absent").as_bytes()).await.unwrap();
        assert!(read_response(&mut stream).await.starts_with("HTTP/1.1 404"));
        // Longer than the limit of a head.
        tokio::time::sleep(HEAD + SHORT).await;
    }
    // A connection without any request has only the time of a head.
    assert_closed(server.connect().await).await;

    let server = Server::with_limits(Limits { idle: SHORT, ..LONG }).await;
    let mut stream = server.connect().await;
    stream.write_all(get("absent").as_bytes()).await.unwrap();
    assert!(read_response(&mut stream).await.starts_with("HTTP/1.1 404"));
    assert_closed(stream).await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_dropped() {
    let server = Server::with_limits(Limits { write: SHORT, ..LONG }).await;
    let big = format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "x".repeat(1_000_000));
    server.put("big", &[], &big).await;
    let mut stream = server.connect().await;
    // More responses than the buffers of the kernel hold, and then more until the connection is closed.
    for _ in 0..40 {
        stream.write_all(get("big").as_bytes()).await.unwrap();
    }
    let dropped = async {
        while stream.write_all(get("big").as_bytes()).await.is_ok() {
            tokio::time::sleep(SHORT).await;
        }
    };
    timeout(PATIENCE, dropped).await.unwrap();
    let received = read_to_end(&mut stream).await.len();
    assert!(received < 40_000_000, "everything was sent to a client that did not read");
}

#[tokio::test]
async fn incomplete_heads_do_not_block_other_connections() {
    let server = Server::with_limits(Limits { head: HEAD, ..LONG }).await;
    let mut half = Vec::new();
    // Twice the limit of connections.
    for _ in 0..128 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        half.push(stream);
    }
    let honest = timeout(PATIENCE, server.get("absent", &[])).await.unwrap();
    assert_eq!(honest.status.as_u16(), 404);
}

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let server = Server::start().await;
    let head = |lines: &str| format!("GET /healthz HTTP/1.1\r\n{lines}connection: close\r\n\r\n");
    let coded = |lines: &str| {
        let head = format!("PUT /v2/api/call-history/c HTTP/1.1\r\nhost: x\r\nx-workspace-id: {WORKSPACE}\r\n");
        format!("{head}content-type: application/json\r\nconnection: close\r\n{lines}\r\n2\r\n{{}}\r\n0\r\n\r\n")
    };
    let post = |lines: &str| {
        format!("POST /v2/api/call-history HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n\r\n{{}}")
    };
    let cases = [
        head(""),
        head("host: a\r\nhost: b\r\n"),
        head("host: a\r\nhost: a\r\n"),
        head("host : x\r\n"),
        head("host: x\r\nfo\0o: 1\r\n"),
        head("host: x\r\nx-workspace-id: a\r\n b\r\n"),
        head("host: x\r\nx-workspace-id: a\rb\r\n"),
        post("content-length: 5\r\ncontent-length: 6"),
        post("transfer-encoding: xchunked"),
        post("content-length: +2"),
        post("content-length: 2, 2"),
        post("content-length: 0x2"),
        coded("transfer-encoding: gzip, chunked\r\n"),
        coded("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        coded("transfer-encoding: \u{b}chunked\r\n"),
        coded("transfer-encoding: chunked;a=b\r\n"),
        "GET http://other/healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1 x\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        "POST /v2/api/call-history HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
    ];
    for request in cases {
        let response = server.raw(request.as_bytes()).await;
        assert!(response.starts_with("HTTP/1.1 400"), "{request:?} returned {response:?}");
    }
    let huge = head(&format!("host: x\r\nx: {}\r\n", "y".repeat(100_000)));
    let response = server.raw(huge.as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 431"), "{response}");
}

/// Health checks of load balancers send HTTP/1.0 without a Host header, which that version does not have.
#[tokio::test]
async fn http_1_0_needs_no_host() {
    let server = Server::start().await;
    for (lines, status) in [("", "200"), ("host: localhost\r\n", "200"), ("host: a\r\nhost: a\r\n", "400")] {
        for path in ["/readyz", "/healthz"] {
            let response = server.raw(format!("GET {path} HTTP/1.0\r\n{lines}\r\n").as_bytes()).await;
            assert_eq!(response.split(' ').nth(1), Some(status), "{lines:?}: {response}");
        }
    }
}

/// A web page whose name is made to resolve to this machine (DNS rebinding) cannot read records that need no key.
#[tokio::test]
async fn a_server_without_keys_answers_only_to_its_own_names() {
    let (open, closed) = (Server::start().await, Server::with_keys().await);
    let ask = async |server: &Server, host: &str, request: &str| {
        let request = format!("{request} HTTP/1.1\r\nhost: {host}\r\nx-workspace-id: w\r\nconnection: close\r\n\r\n");
        let response = server.raw(request.as_bytes()).await;
        let status = response.split(' ').nth(1).unwrap().to_owned();
        (status, response)
    };
    let list = "GET /v2/api/call-history";
    for host in
        ["rebind.evil.example", "rebind.evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", ""]
    {
        for request in [list, "GET /docs/", "GET /readyz", "DELETE /v2/api/call-history/a"] {
            let (status, response) = ask(&open, host, request).await;
            assert_eq!(status, "400", "{host} {request}");
            assert!(response.contains("allowed_hosts") && !response.contains("evil"), "{response}");
        }
        // A page knows no key.
        assert_eq!(ask(&closed, host, list).await.0, "401", "{host}");
    }
    let absolute = format!("{} http://evil.example/v2/api/call-history", "GET");
    assert_eq!(ask(&open, "evil.example", &absolute).await.0, "400");
    // The harness allows the name x.
    for host in [
        "localhost",
        "LOCALHOST:80",
        "localhost.",
        "127.0.0.1:8080",
        "127.1.2.3",
        "192.0.2.7",
        "[::1]:8080",
        "x",
        "X:1",
    ] {
        assert_eq!(ask(&open, host, list).await.0, "200", "{host}");
    }
    let http2 =
        reqwest::Client::builder().http2_prior_knowledge().resolve("evil.example", open.address).build().unwrap();
    let url = format!("http://evil.example:{}/v2/api/call-history", open.address.port());
    let response = http2.get(url).header("x-workspace-id", "w").send().await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (http::Version::HTTP_2, 400));
}

/// hyper drops Content-Length next to Transfer-Encoding and closes the connection, so that the bytes after the body are never
/// a second request.
#[tokio::test]
async fn two_framings_close_the_connection() {
    let server = Server::start().await;
    for framing in
        ["content-length: 4\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 4"]
    {
        let request = format!(
            "PUT /v2/api/call-history/c HTTP/1.1\r\nhost: x\r\nx-workspace-id: {WORKSPACE}\r\n\
             content-type: application/json\r\n{framing}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n\
             GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
        );
        let response = server.raw(request.as_bytes()).await;
        assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{response}");
        assert!(!response.contains("alive"), "{response}");
    }
}

#[tokio::test]
async fn a_too_large_content_length_is_refused_before_the_body() {
    let server = Server::start().await;
    let request = format!(
        "PUT /v2/api/call-history/c HTTP/1.1\r\nhost: x\r\nx-workspace-id: {WORKSPACE}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: 99999999999\r\n\r\n{{}}"
    );
    let mut stream = server.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let response = timeout(PATIENCE, read_response(&mut stream)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 413"), "{response}");
}

#[tokio::test]
async fn an_incomplete_body_writes_nothing() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let head = format!(
        "PUT /v2/api/call-history/half HTTP/1.1\r\nhost: x\r\nx-workspace-id: {WORKSPACE}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{}}"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    drop(read_to_end(&mut stream).await);
    assert_eq!(server.get("half", &[]).await.status.as_u16(), 404);
}

/// Sends a head; returns when the server asks for the body.
async fn half_sent(server: &Server) -> TcpStream {
    let mut stream = server.connect().await;
    let head = format!(
        "PUT /v2/api/call-history/late HTTP/1.1\r\nhost: x\r\nx-workspace-id: {WORKSPACE}\r\n\
         content-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = [0; 25];
    stream.read_exact(&mut response).await.unwrap();
    assert_eq!(&response, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test]
async fn a_shutdown_completes_requests_in_flight() {
    let mut server = Server::with_limits(Limits { head: HEAD, ..LONG }).await;
    let mut in_flight = half_sent(&server).await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HT").await.unwrap();
    let _idle = server.connect().await;
    server.stop.cancel();
    tokio::time::sleep(SHORT).await;
    in_flight.write_all(b"{}").await.unwrap();
    assert!(read_to_end(&mut in_flight).await.starts_with("HTTP/1.1 201"));
    timeout(PATIENCE, &mut server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "the port is still open");
}

#[tokio::test]
async fn a_shutdown_drops_requests_after_its_time_limit() {
    let mut server = Server::with_limits(Limits { drain: SHORT, ..LONG }).await;
    let mut in_flight = half_sent(&server).await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HT").await.unwrap();
    server.stop.cancel();
    timeout(PATIENCE, &mut server.task).await.unwrap().unwrap();
    assert_eq!(read_to_end(&mut in_flight).await, "");
}

/// The preface of HTTP/2 with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0pingpong";

/// Reads until the server closes the connection.
async fn assert_closed(mut stream: impl AsyncRead + Unpin) {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    // A reset closes it as well.
    assert!(read.is_ok(), "the server does not close the connection");
}

#[tokio::test]
async fn a_silent_http2_connection_is_closed() {
    let server = Server::with_limits(Limits { head: SHORT, ..LONG }).await;
    // An incomplete preface, a preface without a request, and a connection that only pings.
    for start in [&PREFACE[..2], &PREFACE[..10], PREFACE] {
        let mut stream = server.connect().await;
        stream.write_all(start).await.unwrap();
        assert_closed(stream).await;
    }
    let (read, mut write) = server.connect().await.into_split();
    write.write_all(PREFACE).await.unwrap();
    let pinging = tokio::spawn(async move {
        while write.write_all(PING).await.is_ok() {
            tokio::time::sleep(SHORT / 6).await;
        }
    });
    assert_closed(read).await;
    pinging.abort();
}

/// A client that requests a large response and does not open its window is dropped. A client that starts and cancels requests
/// in a loop does not delay others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_or_flooding_http2_streams_do_not_block_others() {
    let server = Server::with_limits(Limits { write: SHORT, ..LONG }).await;
    let big = format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "x".repeat(1_000_000));
    server.put("big", &[], &big).await;
    let uri = server.url("/v2/api/call-history/big");
    let request = || http::Request::get(&uri).header("x-workspace-id", WORKSPACE).body(()).unwrap();

    let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    let stalled = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let (response, _) = client.send_request(request(), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let mut taken = 0;
    // The window is never enlarged.
    while let Some(Ok(bytes)) = timeout(PATIENCE, body.data()).await.unwrap() {
        taken += bytes.len();
    }
    assert!(taken < 1_000_000, "all of it was sent");
    stalled.abort();

    let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    let flooding = tokio::spawn(connection);
    // Until the server closes the connection, or all other requests have succeeded.
    let flood = async {
        let mut sent = 0;
        loop {
            let Ok(mut ready) = client.clone().ready().await else { return sent };
            let Ok((response, mut stream)) = ready.send_request(request(), false) else { return sent };
            stream.send_reset(h2::Reason::CANCEL);
            drop(response);
            sent += 1;
        }
    };
    let honest = async {
        for _ in 0..50 {
            assert_eq!(server.get("absent", &[]).await.status.as_u16(), 404);
        }
    };
    let mut honest = std::pin::pin!(timeout(PATIENCE, honest));
    tokio::select! {
        sent = flood => {
            assert!(sent > 0);
            honest.await.unwrap();
        }
        honest = &mut honest => honest.unwrap(),
    }
    flooding.abort();
}

/// A client that takes a part of its response now and then is not silent, but too slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_too_slowly_is_dropped() {
    const PART: usize = 16 * 1024;
    let server = Server::with_limits(Limits { write: Duration::from_secs(4), ..LONG }).await;
    let big = format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "x".repeat(1_000_000));
    server.put("big", &[], &big).await;
    let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = http::Request::get(server.url("/v2/api/call-history/big")).header("x-workspace-id", WORKSPACE);
    let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let slowly = async {
        let (mut taken, mut released) = (0, 0);
        while let Some(Ok(bytes)) = body.data().await {
            taken += bytes.len();
            if taken - released >= PART {
                // Half of the slowest rate, and never silent for the whole limit.
                tokio::time::sleep(Duration::from_millis(3600)).await;
                drop(body.flow_control().release_capacity(PART));
                released += PART;
            }
        }
        taken
    };
    let taken = timeout(PATIENCE, slowly).await.expect("the client is not dropped");
    assert!(taken < 1_000_000, "all of it was sent");
    connection.abort();
}

/// Writes a certificate for `localhost` into a folder; returns a client that trusts only this certificate.
fn certify(folder: &std::path::Path) -> reqwest::ClientBuilder {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    let root = reqwest::Certificate::from_pem(cert.pem().as_bytes()).unwrap();
    reqwest::Client::builder().tls_certs_only([root])
}

#[tokio::test]
async fn a_certificate_is_replaced_without_a_restart() {
    let folder = tempfile::TempDir::new().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    assert!(Tls::load(&cert, &key).is_err_and(|error| error.contains("cert.pem")));
    let old = certify(folder.path());
    let tls = Tls::load(&cert, &key).unwrap();
    let server = Server::with_tls(tls.clone()).await;
    let url = format!("https://localhost:{}/healthz", server.address.port());
    let connected = old.build().unwrap();
    let response = connected.get(&url).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    // An HTTP/1 client is served, and one without TLS is not.
    let first = certify(folder.path()).http1_only().build().unwrap();
    assert!(first.get(&url).send().await.is_err(), "the new certificate is not in use yet");
    assert!(tls.reload().unwrap() && !tls.reload().unwrap());
    assert_eq!(first.get(&url).send().await.unwrap().version(), http::Version::HTTP_11);
    assert!(reqwest::get(url.replace("https", "http")).await.is_err());
    assert!(connected.get(&url).send().await.is_ok(), "a connection that was open was cut off");
    // An invalid key leaves the old pair in use.
    std::fs::write(&key, "no key").unwrap();
    assert!(tls.reload().is_err_and(|error| error.contains("key.pem: has no private key")));
    assert!(first.get(&url).send().await.is_ok());
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    assert!(tls.reload().is_err(), "a key of another certificate was taken");
}

#[tokio::test]
async fn an_incomplete_tls_handshake_times_out() {
    let folder = tempfile::TempDir::new().unwrap();
    drop(certify(folder.path()));
    let tls = Tls::load(&folder.path().join("cert.pem"), &folder.path().join("key.pem")).unwrap();
    let server = Server::of(Limits { head: SHORT, ..LONG }, None, Some(tls)).await;
    for start in [&b""[..], b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut stream = server.connect().await;
        stream.write_all(start).await.unwrap();
        assert_closed(stream).await;
    }
}
