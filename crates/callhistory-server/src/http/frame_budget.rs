//! A budget of control frames for each HTTP/2 connection. hyper answers every PING and SETTINGS, and reads any number of other
//! frames that carry nothing.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{linger::Linger, timeout_stream::ConnectionState};

/// Control frames that a connection may send at once, and in each second. Requests and responses earn more.
const BURST: u64 = 1000;
const PER_SECOND: u64 = 100;
/// The bytes of the client preface before its first frame.
const PREFACE_BYTES: usize = 24;
const FRAME_HEAD_BYTES: usize = 9;
/// The type of a frame, and the flag of padding.
const DATA: u8 = 0;
const PADDED: u8 = 0x8;
/// DATA with padding counts up to this length: it can be all padding, which is at most 256 bytes.
const MAX_PADDING: usize = 256;
/// The head of a header block that does not end, and of one of its continuations. h2 ends a connection that sends too many of
/// these by itself, with GOAWAY and ENHANCE_YOUR_CALM.
const ENDLESS_HEADERS: [u8; FRAME_HEAD_BYTES] = [0, 0, 0, 1, 0, 0x7f, 0xff, 0xff, 0xff];
const CONTINUATION: [u8; FRAME_HEAD_BYTES] = [0, 0, 0, 9, 0, 0x7f, 0xff, 0xff, 0xff];
/// More continuations than h2 accepts.
const CONTINUATIONS: usize = 1024;

/// The plain bytes of an HTTP/2 connection. When the peer has spent its budget, the rest of what it sends is replaced by a
/// violation to which h2 responds with GOAWAY: only h2 knows where between its own frames that can be written.
pub(crate) struct FrameBudgetStream<S> {
    stream: S,
    state: Arc<ConnectionState>,
    frames: FrameReader,
    left: u64,
    refilled: Instant,
    /// Frames of the violation that were read, after the budget is spent.
    violation: Option<usize>,
    linger: Linger,
}

/// Finds the frames in the bytes of a client.
struct FrameReader {
    head: [u8; FRAME_HEAD_BYTES],
    head_bytes: usize,
    /// Bytes until the next head.
    payload_left: usize,
}

impl FrameReader {
    /// Counts the frames that are not DATA with a payload, up to a number of them. Returns how many there are, and the bytes up to
    /// the end of the last one.
    fn count_control_frames(&mut self, bytes: &[u8], limit: u64) -> (u64, usize) {
        let (mut at, mut count) = (0, 0);
        while at < bytes.len() {
            if self.payload_left > 0 {
                let skipped = self.payload_left.min(bytes.len() - at);
                (at, self.payload_left) = (at + skipped, self.payload_left - skipped);
                continue;
            }
            if count >= limit && self.head_bytes == 0 {
                break;
            }
            self.head[self.head_bytes] = bytes[at];
            (at, self.head_bytes) = (at + 1, self.head_bytes + 1);
            if self.head_bytes == FRAME_HEAD_BYTES {
                self.head_bytes = 0;
                let [high, middle, low, kind, flags, ..] = self.head;
                self.payload_left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                let smallest = if flags & PADDED == 0 { 1 } else { MAX_PADDING + 1 };
                count += u64::from(kind != DATA || self.payload_left < smallest);
            }
        }
        (count, at)
    }
}

impl<S> FrameBudgetStream<S> {
    pub(crate) fn new(stream: S, state: Arc<ConnectionState>) -> Self {
        let frames = FrameReader { head: [0; FRAME_HEAD_BYTES], head_bytes: 0, payload_left: PREFACE_BYTES };
        let (left, refilled, linger) = (BURST, Instant::now(), Linger::default());
        Self { stream, state, frames, left, refilled, violation: None, linger }
    }

    fn refill(&mut self) {
        self.left += self.state.take_earned_frames();
        let seconds = self.refilled.elapsed().as_secs();
        if seconds > 0 && self.left < BURST {
            self.left = BURST.min(self.left + seconds.saturating_mul(PER_SECOND));
        }
        if seconds > 0 {
            self.refilled = Instant::now();
        }
    }

    /// Charges the frames of the bytes that were just read.
    fn charge(&mut self, buffer: &mut ReadBuf<'_>, start: usize) {
        self.refill();
        let (count, end) = self.frames.count_control_frames(&buffer.filled()[start..], self.left);
        self.left = self.left.saturating_sub(count);
        if start + end < buffer.filled().len() {
            // The frame that is over the budget is cut off where it begins.
            buffer.set_filled(start + end);
            self.violation = Some(0);
            metrics::counter!("callhistory_connections_cut_total", "reason" => "control_frames").increment(1);
            tracing::info!("a connection is closed: it sends too many HTTP/2 control frames");
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameBudgetStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.violation.is_none() {
            let start = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            this.charge(buffer, start);
            if buffer.filled().len() > start || this.violation.is_none() {
                return Poll::Ready(Ok(()));
            }
        }
        let sent = this.violation.get_or_insert(0);
        while buffer.remaining() >= FRAME_HEAD_BYTES && *sent < CONTINUATIONS {
            buffer.put_slice(if *sent == 0 { &ENDLESS_HEADERS } else { &CONTINUATION });
            *sent += 1;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FrameBudgetStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        if this.violation.is_some() {
            ready!(this.linger.poll(cx, &mut this.stream));
        }
        Poll::Ready(Ok(()))
    }
}
