//! Timeouts and limits of connections.

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
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep_until},
};

use super::limits::Limits;

/// The largest part of a body that a shared connection gets at a time, in bytes. hyper buffers whole parts, and drops a body once
/// it has the last one: with one large part, the request would count as finished before the peer takes any of it.
const SHARED_PART_BYTES: usize = 16 * 1024;

/// HTTP/2 control frames that a client may send for a request, such as its head and its reset, and for a part of a response: updates
/// of both windows, and pings that measure the bandwidth.
const FRAMES_PER_REQUEST: u64 = 10;
const FRAMES_PER_PART: u64 = 4;

/// The first bytes of the HTTP/2 preface. HTTP/1 has no such method.
const PREFACE: &[u8] = b"PRI ";

/// The slowest that a client may take a response that waits for it, in bytes in a second, on average over the time limit of writes.
const MIN_RATE: u64 = 8 * 1024;

fn min_bytes(time: Duration) -> u64 {
    MIN_RATE * u64::try_from(time.as_millis()).unwrap_or(u64::MAX / MIN_RATE) / 1000
}

fn count_slow_reader() {
    metrics::counter!("callhistory_connections_cut_total", "reason" => "slow_reader").increment(1);
}

/// The steps of a time limit. At each of them, an inactive connection ends early if few connections are free.
const LIMIT_STEPS: u32 = 10;

/// Limits the number of connections.
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

    /// Whether less than a quarter of the connections is free.
    fn is_nearly_full(&self) -> bool {
        self.semaphore.available_permits() < self.total / 4
    }

    /// Waits for a client until the time limit, which is shorter when few connections are free; `None` after a timeout.
    pub(crate) async fn wait_for<T>(&self, limit: Duration, client: impl Future<Output = T>) -> Option<T> {
        let timed_out = async {
            for _ in 0..LIMIT_STEPS {
                tokio::time::sleep(limit / LIMIT_STEPS).await;
                if self.is_nearly_full() {
                    break;
                }
            }
        };
        tokio::select! {
            result = client => Some(result),
            () = timed_out => None,
        }
    }
}

/// The activity of a connection.
pub(crate) struct ConnectionState {
    opened: Instant,
    phase: AtomicU8,
    /// HTTP/2: requests share the connection, so not all bytes between them are a head.
    is_shared: AtomicBool,
    /// Requests in flight, and how many of them wait for the peer.
    in_flight_count: AtomicUsize,
    waiting_for_peer: AtomicUsize,
    /// The last activity, in milliseconds after `opened`.
    last_activity: AtomicU64,
    /// Bytes of responses that a shared connection has taken since they were last counted.
    taken_bytes: AtomicU64,
    /// The HTTP/2 control frames that requests and parts of responses permit, and that were not taken yet.
    earned_frames: AtomicU64,
}

impl ConnectionState {
    const IDLE: u8 = 0;
    const HEAD: u8 = 1;
    const ANSWERED: u8 = 2;

    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            phase: AtomicU8::new(Self::IDLE),
            is_shared: AtomicBool::new(false),
            in_flight_count: AtomicUsize::new(0),
            waiting_for_peer: AtomicUsize::new(0),
            last_activity: AtomicU64::new(0),
            taken_bytes: AtomicU64::new(0),
            earned_frames: AtomicU64::new(0),
        })
    }

    pub(crate) fn share(&self) {
        self.is_shared.store(true, Ordering::Relaxed);
    }

    pub(crate) fn take_earned_frames(&self) -> u64 {
        self.earned_frames.swap(0, Ordering::Relaxed)
    }

    fn touch(&self) {
        let millis = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_activity.store(millis, Ordering::Relaxed);
    }

    fn last_activity(&self) -> Instant {
        self.opened + Duration::from_millis(self.last_activity.load(Ordering::Relaxed))
    }

    /// Ends when responses of a shared connection have waited for the peer for this long, while it took too little of them.
    pub(crate) async fn stalled(&self, limit: Duration) {
        let (mut since, mut taken) = (Instant::now(), 0);
        loop {
            tokio::time::sleep(limit / 4).await;
            taken += self.taken_bytes.swap(0, Ordering::Relaxed);
            if self.waiting_for_peer.load(Ordering::Relaxed) == 0 || taken >= min_bytes(limit) {
                (since, taken) = (Instant::now(), 0);
            } else if since.elapsed() >= limit {
                return count_slow_reader();
            }
        }
    }
}

/// One request in flight, from its head to the last byte of its response.
pub(crate) struct InFlightRequest {
    state: Arc<ConnectionState>,
    waits_for_peer: bool,
}

impl InFlightRequest {
    pub(crate) fn begin(state: &Arc<ConnectionState>) -> Self {
        state.in_flight_count.fetch_add(1, Ordering::Relaxed);
        state.earned_frames.fetch_add(FRAMES_PER_REQUEST, Ordering::Relaxed);
        Self { state: Arc::clone(state), waits_for_peer: false }
    }

    fn set_waiting_for_peer(&mut self, waits: bool) {
        let waiting = &self.state.waiting_for_peer;
        match (self.waits_for_peer, waits) {
            (false, true) => drop(waiting.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(waiting.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        self.waits_for_peer = waits;
        if waits {
            self.state.touch();
        }
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        self.set_waiting_for_peer(false);
        self.state.touch();
        if self.state.in_flight_count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.state.phase.store(ConnectionState::ANSWERED, Ordering::Relaxed);
        }
    }
}

/// The body of a response, whose request is in flight until its end.
pub(crate) struct TrackedBody {
    body: Body,
    in_flight: InFlightRequest,
    /// The rest of a part that was too large.
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
            let is_shared = this.in_flight.state.is_shared.load(Ordering::Relaxed);
            match frame {
                Poll::Ready(Some(Ok(frame))) if is_shared && frame.is_data() => {
                    this.rest = frame.into_data().unwrap_or_default();
                }
                frame => return frame,
            }
        }
        this.in_flight.set_waiting_for_peer(true);
        let part = this.rest.split_to(this.rest.len().min(SHARED_PART_BYTES));
        let state = &this.in_flight.state;
        state.earned_frames.fetch_add(FRAMES_PER_PART, Ordering::Relaxed);
        state.taken_bytes.fetch_add(part.len() as u64, Ordering::Relaxed);
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

/// A timer that is only reset when it fires or must fire earlier: resetting it for each request would cost more than the rest of
/// the stream.
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

/// A stream that fails with [`io::ErrorKind::TimedOut`] when its peer is too slow.
pub(crate) struct TimeoutStream {
    stream: TcpStream,
    /// The first bytes of the connection that were read to detect the protocol, and not by `poll_read` yet.
    start: Bytes,
    state: Arc<ConnectionState>,
    limiter: ConnectionLimiter,
    limits: Limits,
    /// The start of the head, or else the last activity.
    since: Instant,
    reading: LazyTimer,
    writing: LazyTimer,
    /// Since when written bytes wait for the peer, and how many it has taken since.
    stalled: Option<(Instant, u64)>,
}

impl TimeoutStream {
    pub(crate) fn new(
        stream: TcpStream,
        state: Arc<ConnectionState>,
        limiter: ConnectionLimiter,
        limits: Limits,
    ) -> Self {
        let (reading, writing) = (LazyTimer::default(), LazyTimer::default());
        let since = Instant::now();
        Self { stream, start: Bytes::new(), state, limiter, limits, since, reading, writing, stalled: None }
    }

    /// Whether the client begins with HTTP/2. Waits until its first bytes tell; they are read again afterwards.
    pub(crate) async fn starts_with_preface(&mut self) -> io::Result<bool> {
        let (mut start, mut count) = ([0; PREFACE.len()], 0);
        // A peek would not wait for further bytes, because the socket stays readable.
        while count < PREFACE.len() && PREFACE.starts_with(&start[..count]) {
            match self.stream.read(&mut start[count..]).await? {
                0 => break,
                read => count += read,
            }
        }
        self.start = Bytes::copy_from_slice(&start[..count]);
        Ok(start == *PREFACE)
    }

    fn poll_start_or_stream(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.start.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        buffer.put_slice(&self.start.split_to(self.start.len().min(buffer.remaining())));
        Poll::Ready(Ok(()))
    }

    /// Writes, and fails when the peer has taken too little for too long.
    fn write(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = write(Pin::new(&mut self.stream), cx);
        if let Poll::Ready(result) = &written {
            if let (Some((_, taken)), Ok(bytes)) = (&mut self.stalled, result) {
                *taken += *bytes as u64;
            }
            // A shared connection also writes responses to pings, which must not keep it alive.
            if !self.state.is_shared.load(Ordering::Relaxed) {
                self.since = Instant::now();
            }
            return written;
        }
        let limit = self.limits.write;
        let (mut since, taken) = *self.stalled.get_or_insert_with(|| (Instant::now(), 0));
        while self.writing.is_due(cx, since + limit) {
            if taken < min_bytes(limit) {
                count_slow_reader();
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            since = Instant::now();
            self.stalled = Some((since, 0));
        }
        Poll::Pending
    }
}

impl AsyncRead for TimeoutStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let filled = buffer.filled().len();
        if let Poll::Ready(result) = this.poll_start_or_stream(cx, buffer) {
            let state = &this.state;
            let is_head = match state.phase.load(Ordering::Relaxed) {
                ConnectionState::IDLE => true,
                ConnectionState::ANSWERED => !state.is_shared.load(Ordering::Relaxed),
                _ => false,
            };
            if buffer.filled().len() > filled && is_head && state.in_flight_count.load(Ordering::Relaxed) == 0 {
                state.phase.store(ConnectionState::HEAD, Ordering::Relaxed);
                this.since = Instant::now();
            }
            return Poll::Ready(result);
        }
        if this.state.in_flight_count.load(Ordering::Relaxed) > 0 {
            return Poll::Pending;
        }
        let (since, limit) = match this.state.phase.load(Ordering::Relaxed) {
            ConnectionState::IDLE | ConnectionState::HEAD => (this.since, this.limits.head),
            // Requests keep a shared connection alive, bytes do not.
            _ if this.state.is_shared.load(Ordering::Relaxed) => (this.state.last_activity(), this.limits.idle),
            _ => (this.since, this.limits.idle),
        };
        let mut deadline = since + limit / LIMIT_STEPS;
        while this.reading.is_due(cx, deadline) {
            if deadline >= since + limit || this.limiter.is_nearly_full() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            deadline += limit / LIMIT_STEPS;
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
        // All that was to be written is in the buffers of the kernel.
        let this = self.get_mut();
        this.stalled = None;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
