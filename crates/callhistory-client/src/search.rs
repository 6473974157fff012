//! Search.

use callhistory_model::{SearchPage, SearchQuery};
use reqwest::{Method, Request};
use serde::de::DeserializeOwned;

use crate::{
    client::{Client, ClientBuilder},
    error::Error,
};

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
    /// let filter = CallFilter::new().search("refund \"order number\"".to_owned());
    /// for hit in client.search_calls(&SearchQuery::new().filter(filter)).await?.hits {
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
        let request = Request::new(Method::GET, self.url("/search", &query.to_query()));
        self.send(&request, ClientBuilder::MAX_PAGE_BYTES).await?.json()
    }
}
