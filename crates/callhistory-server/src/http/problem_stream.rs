//! Responses to heads that hyper refuses before there is a request. It sends them without a body, a request ID and a line in the
//! log.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, Response, StatusCode, header},
};
use bytes::{Buf as _, Bytes};
use callhistory_model::ProblemCode;
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::ServiceExt as _;

use super::linger::Linger;
use crate::error::ApiError;

/// The length that no response of hyper itself exceeds, in bytes.
const MAX_BARE_BYTES: usize = 256;

/// An extension of a request whose head is refused: the middleware sends its error instead of calling the handler.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RefusedHead {
    TooLarge,
    Malformed,
}

impl RefusedHead {
    pub(crate) fn error(self) -> ApiError {
        match self {
            Self::TooLarge => ApiError::head_too_large(),
            Self::Malformed => ApiError::new(ProblemCode::InvalidRequest, "The head of the request is not valid HTTP."),
        }
    }
}

/// The plain bytes of an HTTP/1 connection. A response that hyper makes itself, which is the last one of its connection, is replaced
/// by one of the service.
pub(crate) struct ProblemStream<S> {
    stream: S,
    router: Router,
    replacement: Option<Bytes>,
    linger: Linger,
}

impl<S> ProblemStream<S> {
    pub(crate) fn new(stream: S, router: Router) -> Self {
        Self { stream, router, replacement: None, linger: Linger::default() }
    }
}

/// A response without a body that hyper has made. Those of the service have a request ID.
struct BareResponse<'a> {
    /// Where it starts.
    at: usize,
    status: StatusCode,
    date: &'a str,
}

impl<'a> BareResponse<'a> {
    /// Finds it at the end of the bytes of a write.
    fn find(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_suffix(b"\r\n\r\n")?;
        let start = rest.len().saturating_sub(MAX_BARE_BYTES);
        let mark = b"HTTP/1.";
        let at = start + rest[start..].windows(mark.len()).rposition(|window| window == mark)?;
        let mut lines = std::str::from_utf8(&rest[at..]).ok()?.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse::<StatusCode>().ok().filter(StatusCode::is_client_error)?;
        let mut date = "";
        for line in lines {
            match line.split_once(": ")? {
                ("date", value) => date = value,
                ("connection", "close") | ("content-length", "0") => {}
                _ => return None,
            }
        }
        Some(Self { at, status, date })
    }

    /// The response of the service for the same fault, if it has one at once.
    fn replace(&self, router: Router) -> Option<Bytes> {
        let refused = match self.status {
            StatusCode::BAD_REQUEST => RefusedHead::Malformed,
            _ => RefusedHead::TooLarge,
        };
        // The method and the target are unknown; no route has these.
        let method = Method::from_bytes(b"-").ok()?;
        let request = Request::builder().method(method).uri("/-").extension(refused).body(Body::empty()).ok()?;
        let (head, body) = router.oneshot(request).now_or_never()?.ok()?.into_parts();
        let body = body.collect().now_or_never()?.ok()?.to_bytes();
        Some(render(&Response::from_parts(head, ()), self.date, &body))
    }
}

fn render(head: &Response<()>, date: &str, body: &[u8]) -> Bytes {
    let mut bytes = format!("HTTP/1.1 {}\r\n", head.status()).into_bytes();
    // hyper would add these, which a peer must not get twice.
    let own = [header::CONTENT_LENGTH, header::CONNECTION, header::DATE];
    for (name, value) in head.headers().iter().filter(|(name, _)| !own.contains(name)) {
        bytes.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    let end = format!("connection: close\r\ncontent-length: {}\r\ndate: {date}\r\n\r\n", body.len());
    bytes.extend_from_slice(end.as_bytes());
    bytes.extend_from_slice(body);
    bytes.into()
}

impl<S: AsyncWrite + Unpin> ProblemStream<S> {
    /// Writes what replaces the response of hyper.
    fn poll_replacement(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(replacement) = self.replacement.as_mut().filter(|bytes| !bytes.is_empty()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, replacement))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            replacement.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ProblemStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ProblemStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let before = match BareResponse::find(bytes) {
            // First the responses before it.
            Some(BareResponse { at: at @ 1.., .. }) => &bytes[..at],
            Some(bare) => match bare.replace(this.router.clone()) {
                Some(replacement) => {
                    this.replacement = Some(replacement);
                    return Poll::Ready(Ok(bytes.len()));
                }
                None => bytes,
            },
            None => bytes,
        };
        Pin::new(&mut this.stream).poll_write(cx, before)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        match (filled.next(), filled.next()) {
            (Some(only), None) => self.poll_write(cx, only),
            _ => Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_replacement(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_replacement(cx))?;
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        if this.replacement.is_some() {
            ready!(this.linger.poll(cx, &mut this.stream));
        }
        Poll::Ready(Ok(()))
    }
}
