//! Slow, broken and hostile connections.

use std::time::{Duration, Instant};

use callhistory_server::{Limits, Tls};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{PATIENCE, Server, WORKSPACE, read_to_end};

/// Limits that no test reaches. A test shortens the one that it is about, so that nothing else can end a connection, and
/// how soon it ends says nothing.
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

/// Reads one answer off a connection that stays open.
async fn read_answer(stream: &mut TcpStream) -> String {
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
async fn a_half_sent_head_is_cut_off_however_it_drips() {
    let server = Server::with_limits(Limits { head: SHORT, ..LONG }).await;
    let started = Instant::now();
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    let (read, mut write) = stream.into_split();
    let dripping = tokio::spawn(async move {
        // Each byte comes well within the time; their sum does not.
        while write.write_all(b"a").await.is_ok() {
            tokio::time::sleep(SHORT / 6).await;
        }
    });
    ended(read).await;
    assert!(started.elapsed() >= SHORT, "cut off after {:?}", started.elapsed());
    dripping.abort();
}

#[tokio::test]
async fn an_idle_connection_outlives_the_head_limit_but_not_the_idle_limit() {
    let server = Server::with_limits(Limits { head: HEAD, ..LONG }).await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream.write_all(get("absent").as_bytes()).await.unwrap();
        assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 404"));
        // Longer than a head may take.
        tokio::time::sleep(HEAD + SHORT).await;
    }
    // A connection that never says anything has only the time of a head.
    ended(server.connect().await).await;

    let server = Server::with_limits(Limits { idle: SHORT, ..LONG }).await;
    let mut stream = server.connect().await;
    stream.write_all(get("absent").as_bytes()).await.unwrap();
    assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 404"));
    ended(stream).await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_dropped() {
    let server = Server::with_limits(Limits { write: SHORT, ..LONG }).await;
    let big = format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "x".repeat(1_000_000));
    server.put("big", &[], &big).await;
    let mut stream = server.connect().await;
    // More answers than the kernel's buffers hold, and then more until the connection is closed.
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
async fn many_half_heads_do_not_keep_others_out() {
    let server = Server::with_limits(Limits { head: HEAD, ..LONG }).await;
    let mut half = Vec::new();
    // Twice as many as there are places.
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
    let cases = [
        head(""),
        head("host: a\r\nhost: b\r\n"),
        head("host: a\r\nhost: a\r\n"),
        "POST /v2/api/call-history HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\
         content-length: 6\r\n\r\n{}"
            .to_owned(),
        "POST /v2/api/call-history HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: xchunked\r\n\r\n{}"
            .to_owned(),
        coded("transfer-encoding: gzip, chunked\r\n"),
        coded("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        head("host : x\r\n"),
        head("host: x\r\nfo\0o: 1\r\n"),
        head("host: x\r\nx-workspace-id: a\r\n b\r\n"),
        head("host: x\r\nx-workspace-id: a\rb\r\n"),
        "GET http://other/healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1 x\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        "POST /v2/api/call-history HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: +2\r\n\r\n{}".to_owned(),
        "POST /v2/api/call-history HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2, 2\r\n\r\n{}"
            .to_owned(),
        "POST /v2/api/call-history HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0x2\r\n\r\n{}"
            .to_owned(),
        "POST /v2/api/call-history HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        coded("transfer-encoding: \u{b}chunked\r\n"),
        coded("transfer-encoding: chunked;a=b\r\n"),
    ];
    for request in cases {
        let answer = server.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{request:?} was answered {answer:?}");
    }
    let huge = head(&format!("host: x\r\nx: {}\r\n", "y".repeat(100_000)));
    // The answer is lost where the kernel resets the connection over the bytes that nobody read.
    let answer = server.raw(huge.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

/// The HTTP library drops Content-Length beside Transfer-Encoding before anyone sees it, and closes the connection: what
/// follows is never taken for a second request.
#[tokio::test]
async fn two_framings_end_the_connection() {
    let server = Server::start().await;
    for framing in
        ["content-length: 4\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 4"]
    {
        let request = format!(
            "PUT /v2/api/call-history/c HTTP/1.1\r\nhost: x\r\nx-workspace-id: {WORKSPACE}\r\n\
             content-type: application/json\r\n{framing}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n\
             GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
        );
        let answer = server.raw(request.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(!answer.contains("alive"), "{answer}");
    }
}

/// An announced length beyond the bound is refused before it is sent.
#[tokio::test]
async fn an_announced_giant_is_refused_at_once() {
    let server = Server::start().await;
    let request = format!(
        "PUT /v2/api/call-history/c HTTP/1.1\r\nhost: x\r\nx-workspace-id: {WORKSPACE}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: 99999999999\r\n\r\n{{}}"
    );
    let mut stream = server.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = timeout(PATIENCE, read_answer(&mut stream)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_body_that_breaks_off_writes_nothing() {
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

/// A request whose body is still to come: the server has asked for it.
async fn half_sent(server: &Server) -> TcpStream {
    let mut stream = server.connect().await;
    let head = format!(
        "PUT /v2/api/call-history/late HTTP/1.1\r\nhost: x\r\nx-workspace-id: {WORKSPACE}\r\n\
         content-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight() {
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
async fn a_stop_drops_what_does_not_finish_in_time() {
    let mut server = Server::with_limits(Limits { drain: SHORT, ..LONG }).await;
    let mut in_flight = half_sent(&server).await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HT").await.unwrap();
    server.stop.cancel();
    timeout(PATIENCE, &mut server.task).await.unwrap().unwrap();
    assert_eq!(read_to_end(&mut in_flight).await, "");
}

/// The beginning of a connection of HTTP/2: the preface and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0pingpong";

/// Reads until the server ends the connection.
async fn ended(mut stream: impl AsyncRead + Unpin) {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    // A reset ends it as well.
    assert!(read.is_ok(), "the server does not end the connection");
}

#[tokio::test]
async fn a_silent_connection_of_http2_is_ended() {
    let server = Server::with_limits(Limits { head: SHORT, ..LONG }).await;
    // Half a preface, a preface without a request, and one that only ever pings.
    for start in [&PREFACE[..2], &PREFACE[..10], PREFACE] {
        let mut stream = server.connect().await;
        stream.write_all(start).await.unwrap();
        ended(stream).await;
    }
    let (read, mut write) = server.connect().await.into_split();
    write.write_all(PREFACE).await.unwrap();
    let pinging = tokio::spawn(async move {
        while write.write_all(PING).await.is_ok() {
            tokio::time::sleep(SHORT / 6).await;
        }
    });
    ended(read).await;
    pinging.abort();
}

/// Who asks for a large answer and gives no room for it is dropped; who begins requests and breaks them off, again and
/// again, does not keep others waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_stall_or_flood_harm_no_other() {
    let server = Server::with_limits(Limits { write: SHORT, ..LONG }).await;
    let big = format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "x".repeat(1_000_000));
    server.put("big", &[], &big).await;
    let uri = server.url("/v2/api/call-history/big");
    let request = || http::Request::get(&uri).header("x-workspace-id", WORKSPACE).body(()).unwrap();

    let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    let stalled = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let (answer, _) = client.send_request(request(), true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    let mut taken = 0;
    // What was taken is not given back as room for more.
    while let Some(Ok(bytes)) = timeout(PATIENCE, body.data()).await.unwrap() {
        taken += bytes.len();
    }
    assert!(taken < 1_000_000, "all of it was sent");
    stalled.abort();

    let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    let flooding = tokio::spawn(connection);
    // Until the server ends the connection, or all honest requests are answered.
    let flood = async {
        let mut sent = 0;
        loop {
            let Ok(mut ready) = client.clone().ready().await else { return sent };
            let Ok((answer, mut stream)) = ready.send_request(request(), false) else { return sent };
            stream.send_reset(h2::Reason::CANCEL);
            drop(answer);
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

/// A certificate for `localhost` in a folder, and a client that trusts it alone.
fn certify(folder: &std::path::Path) -> reqwest::ClientBuilder {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    let root = reqwest::Certificate::from_pem(cert.pem().as_bytes()).unwrap();
    reqwest::Client::builder().tls_certs_only([root])
}

#[tokio::test]
async fn a_certificate_is_replaced_without_an_end() {
    let folder = tempfile::TempDir::new().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    assert!(Tls::load(&cert, &key).is_err_and(|error| error.contains("cert.pem")));
    let old = certify(folder.path());
    let tls = Tls::load(&cert, &key).unwrap();
    let server = Server::with_tls(tls.clone()).await;
    let url = format!("https://localhost:{}/healthz", server.address.port());
    let kept = old.build().unwrap();
    let answer = kept.get(&url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
    // A client that knows only HTTP/1 is served, and one without TLS is not.
    let first = certify(folder.path()).http1_only().build().unwrap();
    assert!(first.get(&url).send().await.is_err(), "the new certificate is not in use yet");
    assert!(tls.reload().unwrap() && !tls.reload().unwrap());
    assert_eq!(first.get(&url).send().await.unwrap().version(), http::Version::HTTP_11);
    assert!(reqwest::get(url.replace("https", "http")).await.is_err());
    assert!(kept.get(&url).send().await.is_ok(), "a connection that was open was cut off");
    // What cannot be read leaves the good one.
    std::fs::write(&key, "no key").unwrap();
    assert!(tls.reload().is_err_and(|error| error.contains("key.pem: has no private key")));
    assert!(first.get(&url).send().await.is_ok());
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    assert!(tls.reload().is_err(), "a key of another certificate was taken");
}

/// Who opens a connection to a service with TLS and says nothing, or half of what it has to, is cut off.
#[tokio::test]
async fn a_half_open_handshake_is_cut_off() {
    let folder = tempfile::TempDir::new().unwrap();
    drop(certify(folder.path()));
    let tls = Tls::load(&folder.path().join("cert.pem"), &folder.path().join("key.pem")).unwrap();
    let server = Server::of(Limits { head: SHORT, ..LONG }, None, Some(tls)).await;
    for start in [&b""[..], b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut stream = server.connect().await;
        stream.write_all(start).await.unwrap();
        ended(stream).await;
    }
}
