//! Lists: one page, or a stream of all pages.

use callhistory_model::{CallRecord, ListQuery};
use futures_util::{Stream, TryStreamExt as _, stream};
use reqwest::{Method, Request};
use serde::de::DeserializeOwned;

use crate::{
    client::{Client, ClientBuilder},
    error::Error,
};

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
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
    /// let filter = CallFilter::new().status(OneOf::any(["failed", "busy"]));
    /// let page = client.list_calls(&ListQuery::new().filter(filter).limit(50)).await?;
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
    /// let query = ListQuery::new().fields(["_id"]);
    /// for call in client.list_calls_as::<Id>(&query).await?.calls {
    ///     println!("{}", call.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_calls_as<T: DeserializeOwned>(&self, query: &ListQuery) -> Result<CallPage<T>, Error> {
        let request = Request::new(Method::GET, self.url("", &query.to_query()));
        let reply = self.send(&request, ClientBuilder::MAX_PAGE_BYTES).await?;
        let header = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok());
        let total = header("x-total-count").and_then(|total| total.parse().ok());
        let next = header("x-next-cursor").map(str::to_owned);
        Ok(CallPage { calls: reply.json()?, next, total })
    }

    /// Streams pages, starting at the page of the query. A page is requested when the previous one was taken. An error
    /// ends the stream.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::ListQuery;
    /// use futures_util::TryStreamExt as _;
    ///
    /// let mut pages = std::pin::pin!(client.stream_pages(ListQuery::new().limit(1000)));
    /// while let Some(page) = pages.try_next().await? {
    ///     println!("{} calls", page.calls.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream_pages(&self, query: ListQuery) -> impl Stream<Item = Result<CallPage, Error>> + Send + use<> {
        let client = self.clone();
        stream::try_unfold(Some(query), move |query| {
            let client = client.clone();
            async move {
                let Some(mut query) = query else { return Ok(None) };
                let page = client.list_calls(&query).await?;
                if page.next.is_some() && page.next == query.cursor {
                    return Err(Error::invalid("the service returned the same cursor twice"));
                }
                query.page = None;
                let rest = page.next.clone().map(|next| query.cursor(next));
                Ok(Some((page, rest)))
            }
        })
    }

    /// Streams all records of the query, page by page. An error ends the stream.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::ListQuery;
    /// use futures_util::TryStreamExt as _;
    ///
    /// let mut calls = std::pin::pin!(client.stream_calls(ListQuery::default()));
    /// while let Some(call) = calls.try_next().await? {
    ///     println!("{}", call.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream_calls(&self, query: ListQuery) -> impl Stream<Item = Result<CallRecord, Error>> + Send + use<> {
        self.stream_pages(query).map_ok(|page| stream::iter(page.calls.into_iter().map(Ok))).try_flatten()
    }
}
