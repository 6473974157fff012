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

use crate::listen::Limits;

/// The largest part of a body that is handed to a shared connection at a time, in bytes. hyper buffers each part whole and
/// drops a body once it has the last one: a request whose body is one large part would be over before the peer takes any of it.
const SHARED_PART_BYTES: usize = 16 * 1024;

/// In a crowd, a connection that sends nothing has this part of the time that it has otherwise.
const PATIENCE_STEPS: u32 = 10;

/// The places of all connections.
#[derive(Clone)]
pub(crate) struct Crowd {
    places: Arc<Semaphore>,
    total: usize,
}

impl Crowd {
    pub(crate) fn new(total: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(total)), total }
    }

    pub(crate) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Whether there are few places left.
    fn is_dense(&self) -> bool {
        self.places.available_permits() < self.total / 4
    }

    /// Waits for a client that has so much time, and less of it in a crowd; `None` where it was too slow.
    pub(crate) async fn wait_for<T>(&self, limit: Duration, client: impl Future<Output = T>) -> Option<T> {
        let is_over = async {
            for _ in 0..PATIENCE_STEPS {
                tokio::time::sleep(limit / PATIENCE_STEPS).await;
                if self.is_dense() {
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
pub(crate) struct Activity {
    began: Instant,
    phase: AtomicU8,
    /// Several requests share the connection: bytes between them need not be the head of one.
    is_shared: AtomicBool,
    /// Requests that are not answered to the end, and those of them for which the peer has to do something.
    under_way: AtomicUsize,
    waiting_for_peer: AtomicUsize,
    /// When something last went on, in milliseconds since the beginning.
    last: AtomicU64,
}

impl Activity {
    const IDLE: u8 = 0;
    const HEAD: u8 = 1;
    const ANSWERED: u8 = 2;

    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            phase: AtomicU8::new(Self::IDLE),
            is_shared: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
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
            let all = waiting > 0 && waiting == self.under_way.load(Ordering::Relaxed);
            if all && self.last().elapsed() >= limit {
                return;
            }
        }
    }
}

/// One request under way, from its head to the last byte of its answer.
pub(crate) struct Flight {
    activity: Arc<Activity>,
    waits_for_peer: bool,
}

impl Flight {
    pub(crate) fn begin(activity: &Arc<Activity>) -> Self {
        activity.under_way.fetch_add(1, Ordering::Relaxed);
        Self { activity: Arc::clone(activity), waits_for_peer: false }
    }

    fn wait_for_peer(&mut self, waits: bool) {
        if waits != self.waits_for_peer {
            self.waits_for_peer = waits;
            let waiting = &self.activity.waiting_for_peer;
            if waits {
                waiting.fetch_add(1, Ordering::Relaxed)
            } else {
                waiting.fetch_sub(1, Ordering::Relaxed)
            };
        }
        if waits {
            self.activity.touch();
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.wait_for_peer(false);
        self.activity.touch();
        if self.activity.under_way.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.activity.phase.store(Activity::ANSWERED, Ordering::Relaxed);
        }
    }
}

/// The body of an answer, which belongs to its request.
pub(crate) struct Answer {
    body: Body,
    flight: Flight,
    /// What is left of a part that was too large.
    rest: Bytes,
}

impl Answer {
    pub(crate) fn new(body: Body, mut flight: Flight) -> Self {
        flight.wait_for_peer(true);
        Self { body, flight, rest: Bytes::new() }
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            let frame = Pin::new(&mut this.body).poll_frame(cx);
            this.flight.wait_for_peer(frame.is_ready());
            let is_shared = this.flight.activity.is_shared.load(Ordering::Relaxed);
            match frame {
                Poll::Ready(Some(Ok(frame))) if is_shared && frame.is_data() => {
                    this.rest = frame.into_data().unwrap_or_default();
                }
                frame => return frame,
            }
        }
        this.flight.wait_for_peer(true);
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

/// A stream that fails when its peer is too slow for what the connection is doing.
pub(crate) struct Timed {
    stream: TcpStream,
    activity: Arc<Activity>,
    crowd: Crowd,
    limits: Limits,
    /// When the head began, or else when the connection last did something.
    since: Instant,
    reading: Alarm,
    writing: Alarm,
    stalled_since: Option<Instant>,
}

impl Timed {
    pub(crate) fn new(stream: TcpStream, activity: Arc<Activity>, crowd: Crowd, limits: Limits) -> Self {
        let (reading, writing) = (Alarm::default(), Alarm::default());
        Self { stream, activity, crowd, limits, since: Instant::now(), reading, writing, stalled_since: None }
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
            // The answers to pings are no reason to keep a shared connection.
            if !self.activity.is_shared.load(Ordering::Relaxed) {
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

impl AsyncRead for Timed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let filled = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            let activity = &this.activity;
            let is_head = match activity.phase.load(Ordering::Relaxed) {
                Activity::IDLE => true,
                Activity::ANSWERED => !activity.is_shared.load(Ordering::Relaxed),
                _ => false,
            };
            if buffer.filled().len() > filled && is_head && activity.under_way.load(Ordering::Relaxed) == 0 {
                activity.phase.store(Activity::HEAD, Ordering::Relaxed);
                this.since = Instant::now();
            }
            return Poll::Ready(result);
        }
        if this.activity.under_way.load(Ordering::Relaxed) > 0 {
            return Poll::Pending;
        }
        let (since, limit) = match this.activity.phase.load(Ordering::Relaxed) {
            // A connection that never sent anything has no more time than one that sent half a head.
            Activity::IDLE | Activity::HEAD => (this.since, this.limits.head),
            // What keeps a shared connection alive is requests, not bytes.
            _ if this.activity.is_shared.load(Ordering::Relaxed) => (this.activity.last(), this.limits.idle),
            _ => (this.since, this.limits.idle),
        };
        let mut deadline = since + limit / PATIENCE_STEPS;
        while this.reading.is_due(cx, deadline) {
            if deadline >= since + limit || this.crowd.is_dense() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            deadline += limit / PATIENCE_STEPS;
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
