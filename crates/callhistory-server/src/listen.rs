//! The accept loop: every connection has time-outs for its head, its idle time and its writes, there is a cap on
//! connections, and a stop ends in bounded time.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

/// The largest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The bounds of the wire.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; further ones wait in the kernel's queue.
    pub connections: usize,
    /// From a connection's beginning, or the first byte of a later request's head, to the last byte of the head.
    pub head: Duration,
    /// Between requests of one connection.
    pub idle: Duration,
    /// How long a client may take no byte of an answer.
    pub write: Duration,
    /// How long a stop waits for requests that are under way.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            write: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

/// Serves until the token is cancelled, then lets the requests under way finish and drops what is left after the drain
/// time.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            serve_connection(stream, router, limits, &stop).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    // Each connection bounds its own drain; the wait for all of them is bounded by it.
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            // Out of file descriptors, most likely: a pause lets other connections end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, limits: Limits, stop: &CancellationToken) {
    // Answers are small and whole; waiting to fill a packet would only delay them. Failure leaves a slower connection.
    drop(stream.set_nodelay(true));
    let phase = Arc::new(Phase::default());
    let service = TowerToHyperService::new(tower::service_fn({
        let phase = Arc::clone(&phase);
        move |request: hyper::Request<Incoming>| {
            phase.set(Phase::BUSY);
            let (phase, router) = (Arc::clone(&phase), router.clone());
            async move {
                let response = router.oneshot(request).await;
                phase.set(Phase::ANSWERED);
                response
            }
        }
    }));
    let io = TokioIo::new(Timed::new(stream, phase, limits));
    let connection = http1::Builder::new()
        .max_header_size(MAX_HEAD_BYTES)
        .header_read_timeout(None)
        // Otherwise a client that sends a whole write and hangs up has it thrown away unread.
        .half_close(true)
        .serve_connection(io, service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(limits.drain, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Where a connection stands between its requests.
#[derive(Default)]
struct Phase(AtomicU8);

impl Phase {
    const IDLE: u8 = 0;
    const HEAD: u8 = 1;
    const BUSY: u8 = 2;
    const ANSWERED: u8 = 3;

    fn set(&self, phase: u8) {
        self.0.store(phase, Ordering::Relaxed);
    }

    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A timer that is only moved when it fires or must fire earlier, because moving it for each request would cost more
/// than the rest of the wrapper.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether the deadline has passed; if not, the task is woken when it does.
    fn is_due(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        loop {
            let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if sleep.deadline() > deadline {
                sleep.as_mut().reset(deadline);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return false;
            }
            if Instant::now() >= deadline {
                return true;
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

/// A stream that fails when its peer is too slow for the phase in which the connection stands.
struct Timed {
    stream: TcpStream,
    phase: Arc<Phase>,
    limits: Limits,
    /// When the head began, or else when the connection last did something.
    since: Instant,
    reading: Alarm,
    writing: Alarm,
    stalled_since: Option<Instant>,
}

impl Timed {
    fn new(stream: TcpStream, phase: Arc<Phase>, limits: Limits) -> Self {
        let (reading, writing) = (Alarm::default(), Alarm::default());
        Self { stream, phase, limits, since: Instant::now(), reading, writing, stalled_since: None }
    }

    /// Passes a write on, and fails when the peer has taken nothing for too long.
    fn write(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = write(Pin::new(&mut self.stream), cx);
        if written.is_ready() {
            self.stalled_since = None;
            self.since = Instant::now();
            return written;
        }
        let since = *self.stalled_since.get_or_insert_with(Instant::now);
        if self.writing.is_due(cx, since + self.limits.write) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncRead for Timed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let filled = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            if buffer.filled().len() > filled && matches!(this.phase.get(), Phase::IDLE | Phase::ANSWERED) {
                this.phase.set(Phase::HEAD);
                this.since = Instant::now();
            }
            return Poll::Ready(result);
        }
        let limit = match this.phase.get() {
            // A connection that never sent anything has no more time than one that sent half a head.
            Phase::IDLE | Phase::HEAD => this.limits.head,
            Phase::BUSY => return Poll::Pending,
            _ => this.limits.idle,
        };
        if this.reading.is_due(cx, this.since + limit) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncWrite for Timed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().write(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().write(cx, |stream, cx| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
