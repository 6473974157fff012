//! Search.

use callhistory_model::{SearchHit, SearchPage, SearchQuery};
use futures_util::{TryStreamExt as _, stream};
use reqwest::Method;
use serde::de::DeserializeOwned;

use crate::{builder::ClientBuilder, client::Client, error::Error, stream::ItemStream};

impl Client {
    /// Searches calls: the hits, each with the texts that match.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_request`] if the query is invalid, or selects [`SearchQuery::fields`]: partial records need
    /// [`search_calls_as`](Self::search_calls_as). Otherwise as in the [crate](crate#errors).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::{CallFilter, SearchQuery};
    ///
    /// let filter = CallFilter { search: Some("refund \"order number\"".to_owned()), ..CallFilter::default() };
    /// for hit in client.search_calls(&SearchQuery { filter, ..SearchQuery::default() }).await?.hits {
    ///     println!("{}: {}", hit.call.id, hit.evidence.first().map_or("", |text| &text.snippet));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn search_calls(&self, query: &SearchQuery) -> Result<SearchPage, Error> {
        if !query.fields.is_empty() {
            return Err(Error::invalid("search_calls returns whole records; use search_calls_as with fields"));
        }
        self.search_calls_as(query).await
    }

    /// Searches calls with records of another type, for [`SearchQuery::fields`].
    ///
    /// # Errors
    ///
    /// Those of [`search_calls`](Self::search_calls), and a response that does not fit the type.
    pub async fn search_calls_as<T: DeserializeOwned>(&self, query: &SearchQuery) -> Result<SearchPage<T>, Error> {
        let operation = self.operation("search_calls", Method::GET, self.url("/search", &query.to_query()));
        self.send(&operation, ClientBuilder::MAX_PAGE_BYTES).await?.json()
    }

    /// Streams all hits of a search, page by page. An order by relevance has one page.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::{CallFilter, SearchQuery, SearchSort};
    ///
    /// let filter = CallFilter { search: Some("refund".to_owned()), ..CallFilter::default() };
    /// let query = SearchQuery { filter, sort: SearchSort::NewestFirst, ..SearchQuery::default() };
    /// let mut hits = client.stream_search_hits(query);
    /// while let Some(hit) = hits.try_next().await? {
    ///     println!("{}", hit.call.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream_search_hits(&self, query: SearchQuery) -> ItemStream<SearchHit> {
        let client = self.clone();
        let pages = stream::try_unfold(Some(query), move |query| {
            let client = client.clone();
            async move {
                let Some(query) = query else { return Ok(None) };
                let page = client.search_calls(&query).await?;
                if page.next.is_some() && page.next == query.cursor {
                    return Err(Error::repeated_cursor());
                }
                let rest = page.next.map(|next| SearchQuery { cursor: Some(next), ..query });
                Ok(Some((stream::iter(page.hits.into_iter().map(Ok)), rest)))
            }
        });
        ItemStream::new(pages.try_flatten())
    }
}
