//! The baseline of the reads: plain axum that serves one recorded response.

use std::{collections::HashMap, net::SocketAddr, path::Path, process::Command};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{
    bench::Bench,
    error::BoxError,
    load::{Connection, Requests, ServerProcess},
};

/// A response as the server gave it.
#[derive(Clone)]
struct Recorded {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

/// Headers that the HTTP library writes itself.
const WRITTEN_BY_LIBRARY: [&str; 3] = ["date", "content-length", "connection"];

impl Recorded {
    /// Parses a response as it was on the wire.
    fn parse(text: &[u8]) -> Result<Self, BoxError> {
        let end = text.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no head")?;
        let head = std::str::from_utf8(&text[..end])?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or("no status")?.parse()?;
        let mut headers = HashMap::new();
        let named = lines.filter_map(|line| line.split_once(": "));
        for (name, value) in named.filter(|(name, _)| !WRITTEN_BY_LIBRARY.contains(name)) {
            headers.insert(name.parse()?, value.parse()?);
        }
        Ok(Self { status, headers: headers.into_iter().collect(), body: Bytes::copy_from_slice(&text[end + 4..]) })
    }
}

async fn respond(State(recorded): State<Recorded>) -> Response {
    let mut response = (recorded.status, recorded.body).into_response();
    response.headers_mut().extend(recorded.headers);
    response
}

/// Serves a recorded response on the routes of calls until the process is ended.
pub(crate) fn serve(address: SocketAddr, file: &Path) -> Result<(), BoxError> {
    let recorded = Recorded::parse(&std::fs::read(file)?)?;
    let route = "/v2/api/call-history";
    let router = Router::new().route(route, get(respond)).route(&format!("{route}/{{id}}"), get(respond));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(address).await?;
        Ok(axum::serve(listener, router.with_state(recorded)).await?)
    })
}

/// Starts a process that gives the server's response to one of these requests, the one whose body is nearest to their mean,
/// and compares the two.
pub(crate) async fn record(
    bench: &Bench,
    server: &ServerProcess,
    requests: &Requests,
) -> Result<ServerProcess, BoxError> {
    let status = requests.status;
    let mut connection = Connection::open(server.address).await?;
    let mut lengths = Vec::new();
    for request in requests.all.iter().step_by(requests.all.len().div_ceil(1000)) {
        connection.exchange(request, status).await?;
        lengths.push((connection.body().len(), request));
    }
    let mean = lengths.iter().map(|(length, _)| length).sum::<usize>() / lengths.len().max(1);
    let nearest = lengths.iter().min_by_key(|(length, _)| length.abs_diff(mean));
    let (_, request) = nearest.ok_or("there are no requests")?;
    connection.exchange(request, status).await?;
    let file = bench.scratch.path().join("response");
    std::fs::write(&file, [connection.head().as_bytes(), connection.body()].concat())?;
    let process = ServerProcess::start(Command::new(&bench.program).arg("static").arg("--response").arg(file)).await?;
    let mut other = Connection::open(process.address).await?;
    other.exchange(request, status).await?;
    if other.body() != connection.body() {
        return Err("the baseline serves another body".into());
    }
    Ok(process)
}
