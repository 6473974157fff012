//! A stub server: it sends scripted responses, one for each request, and records the requests.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The bytes of a response, and how long the connection then stays open.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    bytes: Vec<u8>,
    delay: Duration,
    hold: Duration,
}

impl Reply {
    pub(crate) fn new(status: u16, headers: &[&str], body: &str) -> Self {
        let length = format!("content-length: {}", body.len());
        Self::raw(status, &[headers, &[&length]].concat(), body)
    }

    /// A response without Content-Length: the body ends with the connection.
    pub(crate) fn raw(status: u16, headers: &[&str], body: &str) -> Self {
        let head = format!("HTTP/1.1 {status} Scripted\r\nconnection: close\r\nx-request-id: req-{status}\r\n");
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        Self { bytes: format!("{head}{headers}\r\n{body}").into_bytes(), delay: Duration::ZERO, hold: Duration::ZERO }
    }

    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::new(status, &["content-type: application/json"], body)
    }

    pub(crate) fn problem(status: u16, body: &str) -> Self {
        Self::new(status, &["content-type: application/problem+json"], body)
    }

    /// No bytes: the connection is closed, or stays open with [`Reply::hold`].
    pub(crate) fn nothing() -> Self {
        Self { bytes: Vec::new(), delay: Duration::ZERO, hold: Duration::ZERO }
    }

    pub(crate) fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    pub(crate) fn hold(mut self) -> Self {
        self.hold = Duration::from_secs(60);
        self
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    /// Method and path.
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

pub(crate) struct Stub {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Stub {
    pub(crate) async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut script: std::collections::VecDeque<Reply> = script.into_iter().collect();
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let reply = script.pop_front().unwrap_or_else(|| Reply::new(418, &[], "the script has ended"));
                tokio::spawn(serve(stream, reply, Arc::clone(&log)));
            }
        });
        Self { url, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, reply: Reply, log: Arc<Mutex<Vec<Seen>>>) {
    let mut bytes = Vec::new();
    let seen = loop {
        if let Some(seen) = parse(&bytes) {
            break seen;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    log.lock().unwrap().push(seen);
    tokio::time::sleep(reply.delay).await;
    // A client that rejects a response disconnects before its end.
    let _ = stream.write_all(&reply.bytes).await;
    tokio::time::sleep(reply.hold).await;
}

/// The request, once it is complete.
fn parse(bytes: &[u8]) -> Option<Seen> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    let headers = headers.into_iter().map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let seen = Seen { at: Instant::now(), line, headers, body: body.to_owned() };
    let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    (seen.body.len() >= length).then_some(seen)
}
