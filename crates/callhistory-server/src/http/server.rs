//! The accept loop: every connection has time-outs for its head, its idle time and its writes, there is a cap on
//! connections, and a stop ends in bounded time.

use std::{sync::Arc, time::Duration};

use axum::Router;
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
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::{
    limits::Limits,
    timeout_stream::{ConnectionLimiter, ConnectionState, InFlightRequest, TimeoutStream, TrackedBody},
    tls::Tls,
};

/// The largest head of a request, in bytes.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// Requests at a time on one connection of HTTP/2.
const MAX_STREAMS: u32 = 100;
/// What may be on its way to the service on one connection of HTTP/2, for all requests and for one, in bytes.
const WINDOW: u32 = 1024 * 1024;
const STREAM_WINDOW: u32 = 256 * 1024;
/// What a connection that begins with this wants to be is HTTP/2; no method of HTTP/1 is called so.
const PREFACE: &[u8] = b"PRI ";

/// Serves until the token is cancelled, then lets the requests in flight finish and drops what is left after the drain
/// time.
///
/// With TLS, the protocol is what both sides know best; without, a client may begin with HTTP/2 at once.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, tls: Option<Tls>, stop: CancellationToken) {
    let limiter = ConnectionLimiter::new(limits.connections);
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &limiter) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let (router, tls, limiter, stop) = (router.clone(), tls.clone(), limiter.clone(), stop.clone());
        connections.spawn(async move {
            metrics::gauge!("callhistory_connections").increment(1.0);
            accept_protocol(stream, router, limits, (tls, limiter), &stop).await;
            metrics::gauge!("callhistory_connections").decrement(1.0);
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    // Each connection bounds its own drain; the wait for all of them is bounded by it.
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    limiter: &ConnectionLimiter,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = limiter.acquire().await?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            // Out of file descriptors, most likely: a pause lets other connections end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// Finds out how a client speaks, and serves it.
async fn accept_protocol(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    (tls, limiter): (Option<Tls>, ConnectionLimiter),
    stop: &CancellationToken,
) {
    // Responses are written at once; waiting to fill a packet would only delay them. Failure leaves a slower connection.
    drop(stream.set_nodelay(true));
    let connection_state = ConnectionState::new();
    let is_http2 = match &tls {
        Some(_) => false,
        None => match limiter.wait_for(limits.head, starts_with_preface(&stream)).await {
            Some(Ok(is_http2)) => is_http2,
            Some(Err(_)) | None => return,
        },
    };
    let stream = TimeoutStream::new(stream, Arc::clone(&connection_state), limiter.clone(), limits);
    // Boxed, so that each connection has the memory of the protocol that it speaks and not of the largest.
    match tls {
        None => Box::pin(serve_connection(stream, is_http2, router, limits, connection_state, stop)).await,
        Some(tls) => Box::pin(accept_tls(stream, router, limits, connection_state, (tls, limiter), stop)).await,
    }
}

async fn accept_tls(
    stream: TimeoutStream,
    router: Router,
    limits: Limits,
    connection_state: Arc<ConnectionState>,
    (tls, limiter): (Tls, ConnectionLimiter),
    stop: &CancellationToken,
) {
    match limiter.wait_for(limits.head, tls.accept(stream)).await {
        Some(Ok(stream)) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            serve_connection(stream, is_http2, router, limits, connection_state, stop).await;
        }
        Some(Err(error)) => tracing::debug!(%error, "a client could not agree on TLS"),
        None => tracing::debug!("a client was too slow to agree on TLS"),
    }
}

/// Looks at the first bytes of a client, and leaves them where they are.
async fn starts_with_preface(stream: &TcpStream) -> std::io::Result<bool> {
    let mut start = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut start).await?;
        if count == PREFACE.len() || count == 0 || !PREFACE.starts_with(&start[..count]) {
            return Ok(start[..count] == *PREFACE);
        }
        // There is nothing to wait on for the bytes behind those that are left where they are.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    is_http2: bool,
    router: Router,
    limits: Limits,
    connection_state: Arc<ConnectionState>,
    stop: &CancellationToken,
) {
    let service = TowerToHyperService::new(tower::service_fn({
        let connection_state = Arc::clone(&connection_state);
        move |request: hyper::Request<Incoming>| {
            let (in_flight, router) = (InFlightRequest::begin(&connection_state), router.clone());
            async move { router.oneshot(request).await.map(|answer| answer.map(|body| TrackedBody::new(body, in_flight))) }
        }
    }));
    let io = TokioIo::new(stream);
    // Both ways to serve have the same methods and no trait for them.
    macro_rules! run {
        ($connection:expr) => {{
            let mut connection = Box::pin($connection);
            tokio::select! {
                result = &mut connection => result,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    timeout(limits.drain, connection).await.unwrap_or(Ok(()))
                }
                () = connection_state.stalled(limits.write), if is_http2 => Ok(()),
            }
        }};
    }
    let result = if is_http2 {
        connection_state.share();
        run!(
            http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(MAX_HEAD_BYTES)
                .max_concurrent_streams(MAX_STREAMS)
                .initial_connection_window_size(WINDOW)
                .initial_stream_window_size(STREAM_WINDOW)
                // No pings: they wait behind the response in the buffers of a slow reader, who would be cut off. A peer that
                // has gone meets the limits of idle time and of writes.
                .serve_connection(io, service)
        )
    } else {
        run!(
            http1::Builder::new()
                .max_header_size(MAX_HEAD_BYTES as usize)
                .header_read_timeout(None)
                // Otherwise a client that sends a whole write and hangs up has it thrown away unread.
                .half_close(true)
                .serve_connection(io, service)
        )
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
