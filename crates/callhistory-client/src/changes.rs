//! The change feed: one page, or an endless stream.

use callhistory_model::{CallChangePage, ChangesQuery};
use futures_util::{Stream, StreamExt as _, stream};
use reqwest::{Method, Request};

use crate::{
    client::{Client, ClientBuilder},
    error::Error,
};

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
        let request = Request::new(Method::GET, self.url("/changes", &query.to_query()));
        self.send(&request, ClientBuilder::MAX_PAGE_BYTES).await?.json()
    }

    /// Follows the changes after a cursor indefinitely. Each item has at least one change, and the cursor to store once
    /// they are processed.
    ///
    /// An error is an item as well. After a [transient error](Error::is_retryable) the stream resumes at the same cursor
    /// when it is polled again; any other error ends it.
    ///
    /// After [`Error::is_cursor_expired`], follow again without a cursor. The feed then has every record that exists, and
    /// no event for what was lost: delete what it does not name up to a page without [`CallChangePage::has_more`].
    ///
    /// ```no_run
    /// # use callhistory_client::{Client, Error};
    /// # async fn example(client: Client, stored: Option<String>) -> Result<(), Error> {
    /// use futures_util::TryStreamExt as _;
    ///
    /// let mut pages = std::pin::pin!(client.follow_changes(stored));
    /// while let Some(page) = pages.try_next().await? {
    ///     for change in &page.changes {
    ///         println!("{} {}", change.kind, change.id);
    ///     }
    ///     println!("store {}", page.cursor);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow_changes(
        &self,
        cursor: Option<String>,
    ) -> impl Stream<Item = Result<CallChangePage, Error>> + Send + use<> {
        let client = self.clone();
        let mut query = ChangesQuery::new().wait(self.shared.max_wait_seconds);
        query.cursor = cursor;
        let pages = stream::unfold(Some(query), move |query| {
            let client = client.clone();
            async move {
                let query = query?;
                match client.list_call_changes(&query).await {
                    Ok(page) => {
                        let rest = query.cursor(page.cursor.clone());
                        Some((Ok(page), Some(rest)))
                    }
                    Err(error) => {
                        let rest = error.is_retryable().then_some(query);
                        Some((Err(error), rest))
                    }
                }
            }
        });
        // A long poll that ended without a change is not an item.
        pages.filter(|page| std::future::ready(page.as_ref().map_or(true, |page| !page.changes.is_empty())))
    }
}
