//! The change feed: one page, or an endless stream.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use backon::BackoffBuilder as _;
use callhistory_model::{CallChangePage, ChangesQuery};
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use reqwest::Method;

use crate::{
    builder::ClientBuilder,
    client::Client,
    error::Error,
    stream::{BoxFuture, ItemStream},
    time::sleep,
    trace,
    transport::{MAX_RETRY_AFTER, backoff},
};

/// How long a follower lets the service wait for a change, in seconds: less than the minute after which many proxies end a request.
const FOLLOW_WAIT_SECONDS: u16 = 55;
/// Failures in a row after which the backoff has its maximum.
const MAX_BACKOFF_STEPS: usize = 8;

impl Client {
    /// Lists the changes after a cursor: one page. [`follow_changes`](Self::follow_changes) follows the feed.
    ///
    /// # Errors
    ///
    /// [`Error::is_cursor_expired`] if the database was restored or lost commits; otherwise as in the
    /// [crate](crate#errors).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::ChangesQuery;
    ///
    /// let page = client.list_call_changes(&ChangesQuery::default()).await?;
    /// for change in &page.changes {
    ///     println!("{} {}", change.kind, change.id);
    /// }
    /// println!("next cursor: {}", page.cursor);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_call_changes(&self, query: &ChangesQuery) -> Result<CallChangePage, Error> {
        let operation = self.operation("list_call_changes", Method::GET, self.url("/changes", &query.to_query()));
        let operation = operation.with_wait(Duration::from_secs(query.wait.unwrap_or(0).into()));
        self.send(&operation, ClientBuilder::MAX_PAGE_BYTES).await?.json()
    }

    /// Follows the changes after a cursor; without one, from the first. Each page has at least one change, and the cursor to store
    /// once they are processed.
    ///
    /// The stream does not end by itself. After a [transient error](Error::is_retryable) it retries without end: with the backoff of
    /// the [retries](crate#retries), or after the delay that the service requests, at most 60 s.
    /// Any other error is an item; polled again, the stream then repeats the request.
    ///
    /// After [`Error::is_cursor_expired`], follow again without a cursor. The feed then has every record that exists, and
    /// no event for what was lost: delete what it does not name up to a page without [`CallChangePage::has_more`].
    ///
    /// ```no_run
    /// # use callhistory_client::{Client, Error};
    /// # async fn example(client: Client, stored: Option<String>) -> Result<(), Error> {
    /// let pages = client.follow_changes(stored).on_outage(|error| eprintln!("waiting: {error}"));
    /// let mut pages = pages.stop_on(async { drop(tokio::signal::ctrl_c().await) });
    /// while let Some(page) = pages.try_next().await? {
    ///     for change in &page.changes {
    ///         println!("{} {}", change.kind, change.id);
    ///     }
    ///     println!("store {}", page.cursor);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow_changes(&self, cursor: Option<String>) -> Changes {
        let mut query = ChangesQuery::new().wait(FOLLOW_WAIT_SECONDS);
        query.cursor = cursor;
        let client = self.with(|options| options.max_retries(0));
        let follower = Follower { client, query, failures: 0, delay: None };
        let events = stream::unfold(follower, |mut follower| async move { Some((follower.next().await, follower)) });
        Changes { events: ItemStream::new(events.map(Ok)), on_outage: None, stop: None }
    }
}

/// The changes of a workspace as they come; returned by [`Client::follow_changes`].
///
/// A future of [`next`](Self::next) may be dropped, for example by `tokio::select!`: no page is lost.
#[must_use = "a stream does nothing until it is polled"]
pub struct Changes {
    events: ItemStream<Event>,
    on_outage: Option<OnOutage>,
    stop: Option<BoxFuture<()>>,
}

#[cfg(not(target_arch = "wasm32"))]
type OnOutage = Box<dyn FnMut(&Error) + Send>;
#[cfg(target_arch = "wasm32")]
type OnOutage = Box<dyn FnMut(&Error)>;

/// What happens to a follower.
enum Event {
    Page(CallChangePage),
    /// An attempt has failed, and another one follows.
    Outage(Error),
    /// A retry does not help.
    Failed(Error),
}

impl Changes {
    /// Calls a function after each attempt that has failed, before the next one. [`Error::attempts`] counts the failures in a row.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn on_outage(mut self, report: impl FnMut(&Error) + Send + 'static) -> Self {
        self.on_outage = Some(Box::new(report));
        self
    }

    /// Calls a function after each attempt that has failed, before the next one. [`Error::attempts`] counts the failures in a row.
    #[cfg(target_arch = "wasm32")]
    pub fn on_outage(mut self, report: impl FnMut(&Error) + 'static) -> Self {
        self.on_outage = Some(Box::new(report));
        self
    }

    /// Ends the stream when a future completes: a signal, a channel, or `cancelled_owned()` of a `CancellationToken`. A page that
    /// was returned before is the last one, so its cursor is where to resume.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn stop_on(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.stop = Some(Box::pin(stop));
        self
    }

    /// Ends the stream when a future completes. A page that was returned before is the last one, so its cursor is where to resume.
    #[cfg(target_arch = "wasm32")]
    pub fn stop_on(mut self, stop: impl Future<Output = ()> + 'static) -> Self {
        self.stop = Some(Box::pin(stop));
        self
    }

    /// The next page; `None` once the stream was stopped.
    pub async fn next(&mut self) -> Option<Result<CallChangePage, Error>> {
        futures_util::StreamExt::next(self).await
    }

    /// The next page; `None` once the stream was stopped.
    ///
    /// # Errors
    ///
    /// An error that is not transient. The next call repeats the request.
    pub async fn try_next(&mut self) -> Result<Option<CallChangePage>, Error> {
        self.next().await.transpose()
    }
}

impl Stream for Changes {
    type Item = Result<CallChangePage, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.stop.as_mut().is_some_and(|stop| stop.poll_unpin(context).is_ready()) {
                // A future is not polled after its end.
                self.stop = Some(Box::pin(std::future::ready(())));
                return Poll::Ready(None);
            }
            match std::task::ready!(self.events.poll_next_unpin(context)) {
                None => return Poll::Ready(None),
                Some(Ok(Event::Page(page))) => return Poll::Ready(Some(Ok(page))),
                Some(Ok(Event::Failed(error)) | Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(Event::Outage(error))) => {
                    if let Some(report) = &mut self.on_outage {
                        report(&error);
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

/// The requests of a follower.
struct Follower {
    client: Client,
    query: ChangesQuery,
    /// Failed attempts since the last response.
    failures: u32,
    /// The delay before the next attempt.
    delay: Option<Duration>,
}

impl Follower {
    async fn next(&mut self) -> Event {
        loop {
            if let Some(delay) = self.delay.take() {
                sleep(delay).await;
            }
            match self.client.list_call_changes(&self.query).await {
                Ok(page) => {
                    self.failures = 0;
                    self.query.cursor = Some(page.cursor.clone());
                    // A long poll that ended without a change is not an event.
                    if !page.changes.is_empty() {
                        return Event::Page(page);
                    }
                }
                Err(error) => {
                    self.failures = self.failures.saturating_add(1);
                    let error = error.after(self.failures);
                    if !error.is_retryable() {
                        return Event::Failed(error);
                    }
                    let delay = delay(self.failures, error.retry_after());
                    trace::retry(&error, delay);
                    self.delay = Some(delay);
                    return Event::Outage(error);
                }
            }
        }
    }
}

/// The delay after this number of failures in a row, and `Retry-After`: a wrong one must not stop a follower for good.
fn delay(failures: u32, asked: Option<Duration>) -> Duration {
    let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX).min(MAX_BACKOFF_STEPS - 1);
    let backoff = backoff().with_max_times(MAX_BACKOFF_STEPS).build().nth(index).unwrap_or_default();
    backoff + asked.unwrap_or_default().min(MAX_RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_waits_as_asked_but_not_for_ever() {
        let seconds = Duration::from_secs;
        assert!(delay(1, None) < seconds(1));
        assert!(delay(1, Some(seconds(30))) >= seconds(30));
        assert!(delay(u32::MAX, Some(Duration::MAX)) <= seconds(75));
    }
}
