//! The accept loop: every connection has timeouts for its head, its idle time and its writes, the number of connections is
//! limited, and a shutdown ends in bounded time.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::OriginalUri, http::Uri};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::{
    frame_budget::FrameBudgetStream,
    limits::Limits,
    problem_stream::{ProblemStream, RefusedHead},
    timeout_stream::{ConnectionLimiter, ConnectionState, InFlightRequest, TimeoutStream, TrackedBody},
    tls::Tls,
};

/// The largest head of a request, in bytes.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// Requests at a time on one connection of HTTP/2.
const MAX_STREAMS: u32 = 100;
/// The flow-control windows of HTTP/2 for all requests of a connection and for one, in bytes.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const STREAM_WINDOW: u32 = 256 * 1024;

/// Serves until the token is cancelled, then waits for the requests in flight, each connection for the drain time at most.
///
/// With TLS, ALPN selects the protocol; without, a client may begin with HTTP/2 at once.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, tls: Option<Tls>, stop: CancellationToken) {
    let limiter = ConnectionLimiter::new(limits.connections);
    let server = Arc::new(Server { router, limits, tls, limiter, stop });
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = server.stop.cancelled() => break,
            accepted = server.accept(&listener) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let server = Arc::clone(&server);
        connections.spawn(async move {
            metrics::gauge!("callhistory_connections").increment(1.0);
            server.serve_client(stream).await;
            metrics::gauge!("callhistory_connections").decrement(1.0);
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// What all connections share.
struct Server {
    router: Router,
    limits: Limits,
    tls: Option<Tls>,
    limiter: ConnectionLimiter,
    stop: CancellationToken,
}

impl Server {
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let permit = self.limiter.acquire().await?;
        match listener.accept().await {
            Ok((stream, _)) => Some((stream, permit)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Most likely there is no free file descriptor. The pause lets other connections end.
                tokio::time::sleep(Duration::from_millis(100)).await;
                None
            }
        }
    }

    /// Detects the protocol of a client, and serves it.
    async fn serve_client(&self, stream: TcpStream) {
        // Without Nagle's delay. Where this fails, the connection is only slower.
        drop(stream.set_nodelay(true));
        let state = ConnectionState::new();
        let mut stream = TimeoutStream::new(stream, Arc::clone(&state), self.limiter.clone(), self.limits);
        let is_http2 = match &self.tls {
            Some(_) => false,
            None => match self.limiter.wait_for(self.limits.head, stream.starts_with_preface()).await {
                Some(Ok(is_http2)) => is_http2,
                Some(Err(_)) | None => return,
            },
        };
        // Boxed, so that a connection takes the memory of its own protocol and not of the largest.
        match &self.tls {
            None => Box::pin(self.serve_connection(stream, is_http2, state)).await,
            Some(tls) => Box::pin(self.serve_tls(stream, tls, state)).await,
        }
    }

    async fn serve_tls(&self, stream: TimeoutStream, tls: &Tls, state: Arc<ConnectionState>) {
        match self.limiter.wait_for(self.limits.head, tls.accept(stream)).await {
            Some(Ok(stream)) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.serve_connection(stream, is_http2, state).await;
            }
            Some(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            None => tracing::debug!("a TLS handshake timed out"),
        }
    }

    async fn serve_connection(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        is_http2: bool,
        state: Arc<ConnectionState>,
    ) {
        let service = TowerToHyperService::new(tower::service_fn({
            let (router, state) = (self.router.clone(), Arc::clone(&state));
            move |mut request: hyper::Request<Incoming>| {
                if is_http2 && head_bytes(&request) > MAX_HEAD_BYTES as usize {
                    request.extensions_mut().insert(RefusedHead::TooLarge);
                }
                trim_slash(&mut request);
                let (in_flight, router) = (InFlightRequest::begin(&state), router.clone());
                async move {
                    let response = router.oneshot(request).await?;
                    Ok::<_, std::convert::Infallible>(response.map(|body| TrackedBody::new(body, in_flight)))
                }
            }
        }));
        // The connections of both protocols have the same methods, but no common trait.
        macro_rules! run {
            ($connection:expr) => {{
                let mut connection = Box::pin($connection);
                tokio::select! {
                    result = &mut connection => result,
                    () = self.stop.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        timeout(self.limits.drain, connection).await.unwrap_or(Ok(()))
                    }
                    () = state.stalled(self.limits.write), if is_http2 => Ok(()),
                }
            }};
        }
        let result = if is_http2 {
            state.share();
            let io = TokioIo::new(FrameBudgetStream::new(stream, Arc::clone(&state)));
            run!(
                http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    // Beyond this size, h2 refuses a head itself, without a body.
                    .max_header_list_size(4 * MAX_HEAD_BYTES)
                    .max_concurrent_streams(MAX_STREAMS)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .initial_stream_window_size(STREAM_WINDOW)
                    // No pings: with a slow reader they wait behind the response in the buffers, and would time out. The limits
                    // of idle time and of writes end the connection of a peer that has gone.
                    .serve_connection(io, service)
            )
        } else {
            let io = TokioIo::new(ProblemStream::new(stream, self.router.clone()));
            run!(
                http1::Builder::new()
                    .max_header_size(MAX_HEAD_BYTES as usize)
                    .header_read_timeout(None)
                    // Otherwise hyper discards the write of a client that sends it and closes its side at once.
                    .half_close(true)
                    .serve_connection(io, service)
            )
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Pages that need the slash at the end of their path, as the base of their links, or do without it.
const PAGES: [&str; 2] = ["/docs/", "/console/"];

/// Removes a slash at the end of the path: it is the same route.
fn trim_slash<B>(request: &mut hyper::Request<B>) {
    let path = request.uri().path();
    let Some(trimmed) = path.strip_suffix('/').filter(|path| !path.is_empty() && !path.ends_with('/')) else { return };
    if PAGES.contains(&path) {
        return;
    }
    let target = match request.uri().query() {
        Some(query) => format!("{trimmed}?{query}"),
        None => trimmed.to_owned(),
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = target.parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        // What is relative in a response is relative to the URL that was sent.
        let original = std::mem::replace(request.uri_mut(), uri);
        request.extensions_mut().insert(OriginalUri(original));
    }
}

/// The size of a head as HTTP/2 counts it: 32 bytes for each field besides its name and its value.
fn head_bytes(request: &hyper::Request<Incoming>) -> usize {
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
    fields.sum::<usize>() + request.uri().path_and_query().map_or(0, |target| target.as_str().len())
}
