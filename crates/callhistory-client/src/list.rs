//! Lists: one page, or a stream of all pages.

use callhistory_model::{CallRecord, ListQuery};
use futures_util::{TryStreamExt as _, stream};
use reqwest::Method;
use serde::de::DeserializeOwned;

use crate::{builder::ClientBuilder, client::Client, error::Error, stream::ItemStream};

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CallPage<T = CallRecord> {
    /// The records, in the order of the list.
    pub calls: Vec<T>,
    /// The cursor of the next page; `None` on the last one.
    pub next: Option<String>,
    /// The number of records on all pages, if [`ListQuery::include_total`] is set.
    pub total: Option<u64>,
}

impl Client {
    /// Lists call records: one page. [`stream_calls`](Self::stream_calls) reads all pages.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_request`] if the query is invalid, or selects [`ListQuery::fields`]: partial records need
    /// [`list_calls_as`](Self::list_calls_as); [`Error::is_cursor_expired`] if the database was restored or lost commits.
    /// Otherwise as in the [crate](crate#errors).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::{CallFilter, ListQuery, OneOf};
    ///
    /// let filter = CallFilter { status: Some(OneOf::any(["failed", "busy"])), ..CallFilter::default() };
    /// let page = client.list_calls(&ListQuery { filter, limit: Some(50), ..ListQuery::default() }).await?;
    /// println!("{} calls, more at {:?}", page.calls.len(), page.next);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_calls(&self, query: &ListQuery) -> Result<CallPage, Error> {
        if !query.fields.is_empty() {
            return Err(Error::invalid("list_calls returns whole records; use list_calls_as with fields"));
        }
        self.list_calls_as(query).await
    }

    /// Lists call records as another type, for [`ListQuery::fields`].
    ///
    /// # Errors
    ///
    /// Those of [`list_calls`](Self::list_calls), and a response that does not fit the type.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::ListQuery;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Id {
    ///     #[serde(rename = "_id")]
    ///     id: String,
    /// }
    ///
    /// let query = ListQuery { fields: vec!["_id".to_owned()], ..ListQuery::default() };
    /// for call in client.list_calls_as::<Id>(&query).await?.calls {
    ///     println!("{}", call.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_calls_as<T: DeserializeOwned>(&self, query: &ListQuery) -> Result<CallPage<T>, Error> {
        let operation = self.operation("list_calls", Method::GET, self.url("", &query.to_query()));
        let reply = self.send(&operation, ClientBuilder::MAX_PAGE_BYTES).await?;
        let header = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok());
        let total = header("x-total-count").and_then(|total| total.parse().ok());
        let next = header("x-next-cursor").map(str::to_owned);
        Ok(CallPage { calls: reply.json()?, next, total })
    }

    /// Streams pages, starting at the page of the query. A page is requested when the previous one was taken.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::ListQuery;
    ///
    /// let mut pages = client.stream_pages(ListQuery { limit: Some(1000), ..ListQuery::default() });
    /// while let Some(page) = pages.try_next().await? {
    ///     println!("{} calls", page.calls.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream_pages(&self, query: ListQuery) -> ItemStream<CallPage> {
        if query.fields.is_empty() {
            return self.pages(query);
        }
        let refused = Error::invalid("stream_pages has whole records; use stream_calls_as with fields");
        ItemStream::new(stream::once(std::future::ready(Err(refused))))
    }

    /// Streams all records of the query, page by page.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::ListQuery;
    ///
    /// let mut calls = client.stream_calls(ListQuery::default());
    /// while let Some(call) = calls.try_next().await? {
    ///     println!("{}", call.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream_calls(&self, query: ListQuery) -> ItemStream<CallRecord> {
        flatten(self.stream_pages(query))
    }

    /// Streams all records of the query as another type, for [`ListQuery::fields`].
    pub fn stream_calls_as<T: DeserializeOwned + Send + 'static>(&self, query: ListQuery) -> ItemStream<T> {
        flatten(self.pages(query))
    }

    fn pages<T: DeserializeOwned + Send + 'static>(&self, query: ListQuery) -> ItemStream<CallPage<T>> {
        let client = self.clone();
        ItemStream::new(stream::try_unfold(Some(query), move |query| {
            let client = client.clone();
            async move {
                let Some(mut query) = query else { return Ok(None) };
                let page = client.list_calls_as(&query).await?;
                if page.next.is_some() && page.next == query.cursor {
                    return Err(Error::repeated_cursor());
                }
                query.page = None;
                let rest = page.next.clone().map(|next| ListQuery { cursor: Some(next), ..query });
                Ok(Some((page, rest)))
            }
        }))
    }
}

fn flatten<T: Send + 'static>(pages: ItemStream<CallPage<T>>) -> ItemStream<T> {
    ItemStream::new(pages.map_ok(|page| stream::iter(page.calls.into_iter().map(Ok))).try_flatten())
}
