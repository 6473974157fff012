//! The end of a connection whose peer is still sending.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Sleep, sleep},
};

/// How much of what a peer sends is still read after the last response, in bytes, and for how long.
const MAX_BYTES: usize = 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(1);

/// Reads and discards for a while: the kernel resets a connection that is closed over unread bytes, and the last response can be
/// lost with it.
pub(crate) struct Linger {
    left: usize,
    timeout: Option<Pin<Box<Sleep>>>,
}

impl Default for Linger {
    fn default() -> Self {
        Self { left: MAX_BYTES, timeout: None }
    }
}

impl Linger {
    /// Ready when the peer has closed its side, or has had its time.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, stream: &mut (impl AsyncRead + Unpin)) -> Poll<()> {
        let timeout = self.timeout.get_or_insert_with(|| Box::pin(sleep(TIMEOUT)));
        if timeout.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while self.left > 0 {
            let mut bytes = [0; 4096];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.left = self.left.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(())
    }
}
