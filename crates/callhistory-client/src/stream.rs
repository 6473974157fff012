//! Streams with a name.

#[cfg(not(target_arch = "wasm32"))]
use std::marker::Send as MaybeSend;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};

use crate::error::Error;

#[cfg(not(target_arch = "wasm32"))]
use futures_util::{future::BoxFuture as AnyFuture, stream::BoxStream as AnyStream};
#[cfg(target_arch = "wasm32")]
use futures_util::{future::LocalBoxFuture as AnyFuture, stream::LocalBoxStream as AnyStream};

pub(crate) type BoxFuture<T> = AnyFuture<'static, T>;

/// What may move between threads. In a browser there is one.
#[cfg(target_arch = "wasm32")]
pub(crate) trait MaybeSend {}
#[cfg(target_arch = "wasm32")]
impl<T> MaybeSend for T {}

/// A stream of what an operation returns: pages, records, hits, or parts of a file. Each request is sent when its items are
/// needed. An error ends the stream.
///
/// [`next`](Self::next) and [`try_next`](Self::try_next) need no other crate; the combinators of `futures` work as well.
///
/// ```no_run
/// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
/// use callhistory_client::{CallRecord, ItemStream, ListQuery};
///
/// struct Reader {
///     calls: ItemStream<CallRecord>,
/// }
///
/// let mut reader = Reader { calls: client.stream_calls(ListQuery::default()) };
/// while let Some(call) = reader.calls.try_next().await? {
///     println!("{}", call.id);
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a stream does nothing until it is polled"]
pub struct ItemStream<T>(AnyStream<'static, Result<T, Error>>);

impl<T> ItemStream<T> {
    pub(crate) fn new(stream: impl Stream<Item = Result<T, Error>> + MaybeSend + 'static) -> Self {
        Self(Box::pin(stream.fuse()))
    }

    /// The next item; `None` at the end. A future that is dropped loses nothing: the next one goes on with the same request.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        self.0.next().await
    }

    /// The next item; `None` at the end. A future that is dropped loses nothing.
    ///
    /// # Errors
    ///
    /// That of the request. The stream has ended then.
    pub async fn try_next(&mut self) -> Result<Option<T>, Error> {
        self.0.try_next().await
    }

    /// All items.
    ///
    /// # Errors
    ///
    /// That of the first request that fails.
    pub async fn collect(self) -> Result<Vec<T>, Error> {
        self.0.try_collect().await
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl ItemStream<bytes::Bytes> {
    /// Writes all parts, and returns their number of bytes.
    ///
    /// # Errors
    ///
    /// That of the writer, or an [`Error`] inside of an I/O error.
    pub async fn write_to(mut self, writer: &mut (impl tokio::io::AsyncWrite + Unpin)) -> std::io::Result<u64> {
        use tokio::io::AsyncWriteExt as _;

        let mut written = 0;
        while let Some(part) = self.try_next().await.map_err(std::io::Error::other)? {
            writer.write_all(&part).await?;
            written += part.len() as u64;
        }
        writer.flush().await?;
        Ok(written)
    }
}

impl<T> Stream for ItemStream<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

impl<T> fmt::Debug for ItemStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemStream").finish_non_exhaustive()
    }
}
