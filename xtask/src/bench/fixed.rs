//! The other side of the reads: answers that never change, behind the very accept loop of the service.

use std::{collections::HashMap, net::SocketAddr, path::Path, process::Command};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use callhistory_server::{Limits, serve as serve_router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Failure,
    load::{Connection, Peer},
};

/// An answer as the service gave it.
#[derive(Clone)]
struct Fixed {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

/// Headers that the HTTP library writes itself.
const OWN: [&str; 3] = ["date", "content-length", "connection"];

impl Fixed {
    /// Reads an answer as it was on the wire.
    fn parse(text: &[u8]) -> Result<Self, Failure> {
        let end = text.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no head")?;
        let head = std::str::from_utf8(&text[..end])?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or("no status")?.parse()?;
        let mut headers = HashMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")).filter(|(name, _)| !OWN.contains(name)) {
            headers.insert(name.parse()?, value.parse()?);
        }
        Ok(Self { status, headers: headers.into_iter().collect(), body: Bytes::copy_from_slice(&text[end + 4..]) })
    }
}

async fn answer(State(fixed): State<Fixed>) -> Response {
    let mut response = (fixed.status, fixed.body).into_response();
    response.headers_mut().extend(fixed.headers);
    response
}

/// Answers every request below the route of the calls with one file, until the process is ended.
///
/// # Errors
///
/// Fails when the file is no answer, or the address cannot be listened on.
pub fn serve(address: SocketAddr, file: &Path) -> Result<(), Failure> {
    let fixed = Fixed::parse(&std::fs::read(file)?)?;
    let route = "/v2/api/call-history";
    let router = Router::new().route(route, get(answer)).route(&format!("{route}/{{id}}"), get(answer));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(address).await?;
        serve_router(listener, router.with_state(fixed), Limits::default(), None, CancellationToken::new()).await;
        Ok(())
    })
}

/// Starts a process that answers always what the service answers to this request.
pub(super) async fn like(
    xtask: &Path,
    folder: &Path,
    service: &Peer,
    request: &[u8],
    status: &str,
) -> Result<Peer, Failure> {
    let mut connection = Connection::open(service.address).await?;
    connection.exchange(request, status).await?;
    let file = folder.join("answer");
    std::fs::write(&file, [connection.head().as_bytes(), connection.body()].concat())?;
    Peer::start(Command::new(xtask).arg("bench-static").arg("--answer").arg(file)).await
}
