//! Metrics of calls.

use callhistory_model::{CallMetrics, MetricsQuery};
use reqwest::Method;

use crate::{builder::ClientBuilder, client::Client, error::Error};

impl Client {
    /// Gets the metrics of the matching calls.
    ///
    /// # Errors
    ///
    /// As in the [crate](crate#errors).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::{CallFilter, GroupKey, MetricsQuery};
    ///
    /// let filter = CallFilter { time_zone: Some("Europe/Berlin".parse().unwrap()), ..CallFilter::default() };
    /// let query = MetricsQuery { filter, group_by: vec![GroupKey::Day], fill: true };
    /// for day in client.get_call_metrics(&query).await?.groups.unwrap_or_default() {
    ///     println!("{}: {} calls, {}", day.group["day"], day.total_calls, day.total_cost);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_call_metrics(&self, query: &MetricsQuery) -> Result<CallMetrics, Error> {
        let operation = self.operation("get_call_metrics", Method::GET, self.url("/metrics", &query.to_query()));
        self.send(&operation, ClientBuilder::MAX_PAGE_BYTES).await?.json()
    }
}
