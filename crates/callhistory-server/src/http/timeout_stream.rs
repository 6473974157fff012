//! Connections whose peers have only so much time.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep_until},
};

use super::limits::Limits;

/// The largest part of a body that is handed to a shared connection at a time, in bytes. hyper buffers each part whole and
/// drops a body once it has the last one: a request whose body is one large part would be over before the peer takes any of it.
const SHARED_PART_BYTES: usize = 16 * 1024;

/// In a crowd, a connection that sends nothing has this part of the time that it has otherwise.
const PATIENCE_STEPS: u32 = 10;

/// The semaphore of all connections.
#[derive(Clone)]
pub(crate) struct ConnectionLimiter {
    semaphore: Arc<Semaphore>,
    total: usize,
}

impl ConnectionLimiter {
    pub(crate) fn new(total: usize) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(total)), total }
    }

    pub(crate) async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.semaphore).acquire_owned().await.ok()
    }

    /// Whether there are few semaphore left.
    fn is_crowded(&self) -> bool {
        self.semaphore.available_permits() < self.total / 4
    }

    /// Waits for a client that has so much time, and less of it in a crowd; `None` where it was too slow.
    pub(crate) async fn wait_for<T>(&self, limit: Duration, client: impl Future<Output = T>) -> Option<T> {
        let is_over = async {
            for _ in 0..PATIENCE_STEPS {
                tokio::time::sleep(limit / PATIENCE_STEPS).await;
                if self.is_crowded() {
                    break;
                }
            }
        };
        tokio::select! {
            done = client => Some(done),
            () = is_over => None,
        }
    }
}

/// What is going on on a connection.
pub(crate) struct ConnectionState {
    began: Instant,
    phase: AtomicU8,
    /// Several requests share the connection: bytes between them need not be the head of one.
    is_shared: AtomicBool,
    /// Requests in flight, and those of them that wait for the peer.
    in_flight_count: AtomicUsize,
    waiting_for_peer: AtomicUsize,
    /// When something last went on, in milliseconds since the beginning.
    last: AtomicU64,
}

impl ConnectionState {
    const IDLE: u8 = 0;
    const HEAD: u8 = 1;
    const ANSWERED: u8 = 2;

    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            phase: AtomicU8::new(Self::IDLE),
            is_shared: AtomicBool::new(false),
            in_flight_count: AtomicUsize::new(0),
            waiting_for_peer: AtomicUsize::new(0),
            last: AtomicU64::new(0),
        })
    }

    pub(crate) fn share(&self) {
        self.is_shared.store(true, Ordering::Relaxed);
    }

    fn touch(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// Ends when the peer of a shared connection has taken nothing of what it asked for in this time.
    pub(crate) async fn stalled(&self, limit: Duration) {
        loop {
            tokio::time::sleep(limit / 4).await;
            let waiting = self.waiting_for_peer.load(Ordering::Relaxed);
            let all = waiting > 0 && waiting == self.in_flight_count.load(Ordering::Relaxed);
            if all && self.last().elapsed() >= limit {
                return;
            }
        }
    }
}

/// One request in flight, from its head to the last byte of its response.
pub(crate) struct InFlightRequest {
    connection_state: Arc<ConnectionState>,
    waits_for_peer: bool,
}

impl InFlightRequest {
    pub(crate) fn begin(connection_state: &Arc<ConnectionState>) -> Self {
        connection_state.in_flight_count.fetch_add(1, Ordering::Relaxed);
        Self { connection_state: Arc::clone(connection_state), waits_for_peer: false }
    }

    fn set_waiting_for_peer(&mut self, waits: bool) {
        if waits != self.waits_for_peer {
            self.waits_for_peer = waits;
            let waiting = &self.connection_state.waiting_for_peer;
            if waits {
                waiting.fetch_add(1, Ordering::Relaxed)
            } else {
                waiting.fetch_sub(1, Ordering::Relaxed)
            };
        }
        if waits {
            self.connection_state.touch();
        }
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        self.set_waiting_for_peer(false);
        self.connection_state.touch();
        if self.connection_state.in_flight_count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.connection_state.phase.store(ConnectionState::ANSWERED, Ordering::Relaxed);
        }
    }
}

/// The body of a response, which counts for its request.
pub(crate) struct TrackedBody {
    body: Body,
    in_flight: InFlightRequest,
    /// What is left of a part that was too large.
    rest: Bytes,
}

impl TrackedBody {
    pub(crate) fn new(body: Body, mut in_flight: InFlightRequest) -> Self {
        in_flight.set_waiting_for_peer(true);
        Self { body, in_flight, rest: Bytes::new() }
    }
}

impl hyper::body::Body for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            let frame = Pin::new(&mut this.body).poll_frame(cx);
            this.in_flight.set_waiting_for_peer(frame.is_ready());
            let is_shared = this.in_flight.connection_state.is_shared.load(Ordering::Relaxed);
            match frame {
                Poll::Ready(Some(Ok(frame))) if is_shared && frame.is_data() => {
                    this.rest = frame.into_data().unwrap_or_default();
                }
                frame => return frame,
            }
        }
        this.in_flight.set_waiting_for_peer(true);
        let part = this.rest.split_to(this.rest.len().min(SHARED_PART_BYTES));
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

/// A timer that is only moved when it fires or must fire earlier, because moving it for each request would cost more
/// than the rest of the wrapper.
#[derive(Default)]
struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
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

/// A stream that fails when its peer is too slow for what the connection is doing.
pub(crate) struct TimeoutStream {
    stream: TcpStream,
    connection_state: Arc<ConnectionState>,
    crowd: ConnectionLimiter,
    limits: Limits,
    /// When the head began, or else when the connection last did something.
    since: Instant,
    reading: LazyTimer,
    writing: LazyTimer,
    stalled_since: Option<Instant>,
}

impl TimeoutStream {
    pub(crate) fn new(
        stream: TcpStream,
        connection_state: Arc<ConnectionState>,
        crowd: ConnectionLimiter,
        limits: Limits,
    ) -> Self {
        let (reading, writing) = (LazyTimer::default(), LazyTimer::default());
        Self { stream, connection_state, crowd, limits, since: Instant::now(), reading, writing, stalled_since: None }
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
            // Pings do not keep a shared connection alive.
            if !self.connection_state.is_shared.load(Ordering::Relaxed) {
                self.since = Instant::now();
            }
            return written;
        }
        let since = *self.stalled_since.get_or_insert_with(Instant::now);
        if self.writing.is_due(cx, since + self.limits.write) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncRead for TimeoutStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let filled = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            let connection_state = &this.connection_state;
            let is_head = match connection_state.phase.load(Ordering::Relaxed) {
                ConnectionState::IDLE => true,
                ConnectionState::ANSWERED => !connection_state.is_shared.load(Ordering::Relaxed),
                _ => false,
            };
            if buffer.filled().len() > filled
                && is_head
                && connection_state.in_flight_count.load(Ordering::Relaxed) == 0
            {
                connection_state.phase.store(ConnectionState::HEAD, Ordering::Relaxed);
                this.since = Instant::now();
            }
            return Poll::Ready(result);
        }
        if this.connection_state.in_flight_count.load(Ordering::Relaxed) > 0 {
            return Poll::Pending;
        }
        let (since, limit) = match this.connection_state.phase.load(Ordering::Relaxed) {
            // A connection that never sent anything has no more time than one that sent half a head.
            ConnectionState::IDLE | ConnectionState::HEAD => (this.since, this.limits.head),
            // What keeps a shared connection alive is requests, not bytes.
            _ if this.connection_state.is_shared.load(Ordering::Relaxed) => {
                (this.connection_state.last(), this.limits.idle)
            }
            _ => (this.since, this.limits.idle),
        };
        let mut deadline = since + limit / PATIENCE_STEPS;
        while this.reading.is_due(cx, deadline) {
            if deadline >= since + limit || this.crowd.is_crowded() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            deadline += limit / PATIENCE_STEPS;
        }
        Poll::Pending
    }
}

impl AsyncWrite for TimeoutStream {
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
