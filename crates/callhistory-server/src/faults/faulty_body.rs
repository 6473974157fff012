//! A response body that does not arrive as it should.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// What follows the first half of the first part of a body. A response that is not streamed has one part.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AfterHalf {
    /// The connection is closed.
    Abort,
    /// The body ends.
    End,
    /// The rest, after this time.
    Pause(Duration),
}

enum State {
    Start,
    /// The first half was returned; this is the rest.
    Half(Bytes),
    /// The connection writes the first half before it is closed.
    Flushing,
    Pausing(Pin<Box<Sleep>>, Bytes),
    Rest,
}

pub(crate) struct FaultyBody {
    inner: Body,
    then: AfterHalf,
    state: State,
}

impl FaultyBody {
    pub(crate) fn new(inner: Body, then: AfterHalf) -> Self {
        Self { inner, then, state: State::Start }
    }

    /// A body that fails before its first byte: the connection is closed before the head of the response is written.
    pub(crate) fn failing() -> Self {
        Self { inner: Body::empty(), then: AfterHalf::Abort, state: State::Flushing }
    }
}

impl hyper::body::Body for FaultyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Start => {
                    let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
                    return Poll::Ready(match frame.map(|frame| frame.map(Frame::into_data)) {
                        Some(Ok(Ok(mut rest))) => {
                            let half = rest.split_to(rest.len().div_ceil(2));
                            this.state = State::Half(rest);
                            Some(Ok(Frame::data(half)))
                        }
                        Some(Ok(Err(frame))) => Some(Ok(frame)),
                        Some(Err(error)) => Some(Err(error)),
                        None => None,
                    });
                }
                State::Half(rest) => match this.then {
                    AfterHalf::End => return Poll::Ready(None),
                    AfterHalf::Pause(delay) => {
                        this.state = State::Pausing(Box::pin(sleep(delay)), std::mem::take(rest))
                    }
                    AfterHalf::Abort => {
                        this.state = State::Flushing;
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                },
                State::Flushing => return Poll::Ready(Some(Err(axum::Error::new("a scripted fault")))),
                State::Pausing(sleep, rest) => {
                    ready!(sleep.as_mut().poll(cx));
                    let rest = std::mem::take(rest);
                    this.state = State::Rest;
                    if !rest.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(rest))));
                    }
                }
                State::Rest => return Pin::new(&mut this.inner).poll_frame(cx),
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.state, self.then) {
            (State::Start, AfterHalf::Abort | AfterHalf::Pause(_)) => self.inner.size_hint(),
            _ => SizeHint::default(),
        }
    }
}
