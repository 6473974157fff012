//! The operations on many records: pages, numbers, exports, imports and changes.

use std::collections::VecDeque;

use callhistory_model::{
    CallChangePage, CallInput, CallMetrics, CallRecord, ChangesQuery, ExportQuery, ImportReport, ListQuery,
    MetricsQuery, Timestamp,
};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Response, Url, header::LINK};
use serde::de::DeserializeOwned;

use crate::{
    client::{Client, ClientBuilder},
    error::{Answer, BodyError, Error},
    send::{Request, encode},
};

/// Records that one request of an import carries.
const IMPORT_RECORDS: usize = 500;
/// The size at which a request of an import is full, in bytes.
const IMPORT_BYTES: usize = 4 * 1024 * 1024;

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct CallPage<T = CallRecord> {
    /// The records, in the order of the list.
    pub calls: Vec<T>,
    /// The cursor of the next page; `None` on the last one.
    pub next: Option<String>,
    /// The records on all pages, where [`ListQuery::include_total`] asks for it.
    pub total: Option<u64>,
}

impl Client {
    /// Reads one page of records. To read them all, see [`stream_calls`](Self::stream_calls).
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_request`] where the query is not usable, or asks for [`ListQuery::fields`]: the parts of
    /// records are read by [`list_calls_as`](Self::list_calls_as). Otherwise as in the [crate](crate#errors).
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
            return Err(Error::refused("list_calls reads whole records; use list_calls_as for fields".to_owned()));
        }
        self.list_calls_as(query).await
    }

    /// Reads one page into a type of your own, as for a list with [`ListQuery::fields`].
    ///
    /// # Errors
    ///
    /// Those of [`list_calls`](Self::list_calls), and an answer that does not fit the type.
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
        let request = Request::get(self.url("", &query.to_query()));
        let reply = self.send(&request, ClientBuilder::MAX_PAGE_BYTES).await?;
        let total = reply.headers.get("x-total-count").and_then(|total| total.to_str().ok()?.parse().ok());
        let link = reply.headers.get(LINK).and_then(|link| link.to_str().ok());
        let next = link.and_then(next_cursor);
        Ok(CallPage { calls: reply.json()?, next, total })
    }

    /// Every page from the query's on, each one read when the one before has been taken. A failure ends the stream.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::ListQuery;
    /// use futures_util::TryStreamExt as _;
    ///
    /// let mut pages = std::pin::pin!(client.stream_pages(ListQuery { limit: Some(1000), ..ListQuery::default() }));
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
                    return Err(Error::refused("the service gave the same cursor twice".to_owned()));
                }
                query.page = None;
                let rest = page.next.clone().map(|next| ListQuery { cursor: Some(next), ..query });
                Ok(Some((page, rest)))
            }
        })
    }

    /// Every record of the query, page by page. A failure ends the stream.
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

    /// Reads the numbers of many records.
    ///
    /// # Errors
    ///
    /// As in the [crate](crate#errors).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::{GroupKey, MetricsQuery};
    ///
    /// let zone = Some("Europe/Berlin".to_owned());
    /// let query = MetricsQuery { group_by: vec![GroupKey::Day], time_zone: zone, ..MetricsQuery::default() };
    /// for day in client.get_call_metrics(&query).await?.groups.unwrap_or_default() {
    ///     println!("{}: {} calls, {}", day.group["day"], day.total_calls, day.total_cost);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_call_metrics(&self, query: &MetricsQuery) -> Result<CallMetrics, Error> {
        let request = Request::get(self.url("/metrics", &query.to_query()));
        self.send(&request, ClientBuilder::MAX_PAGE_BYTES).await?.json()
    }

    /// Creates or replaces many records, each with its `_id`, and returns what became of them.
    ///
    /// The records are sent in requests of 500; a request that fails is retried, because writing the same again changes
    /// nothing. A record that breaks rules is reported by its place, from 1 on, and does not keep the others from being
    /// written.
    ///
    /// # Errors
    ///
    /// As in the [crate](crate#errors); what was sent before stays written, and the import may be repeated as a whole.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use callhistory_client::CallInput;
    ///
    /// let ids = ["a1", "a2"].map(|id| id.parse().map(Some));
    /// let calls = ids.into_iter().flatten().map(|id| CallInput { id, ..CallInput::default() });
    /// let report = client.import_calls(calls).await?;
    /// println!("{} created, {} rejected", report.created, report.rejected);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn import_calls(&self, calls: impl IntoIterator<Item = CallInput>) -> Result<ImportReport, Error> {
        let mut report = ImportReport::default();
        let (mut lines, mut records, mut sent) = (Vec::new(), 0, 0);
        for call in calls {
            lines.extend_from_slice(&encode(&call)?);
            lines.push(b'\n');
            records += 1;
            if records == IMPORT_RECORDS || lines.len() >= IMPORT_BYTES {
                self.send_lines(std::mem::take(&mut lines), sent, &mut report).await?;
                sent += records as u64;
                records = 0;
            }
        }
        if !lines.is_empty() {
            self.send_lines(lines, sent, &mut report).await?;
        }
        Ok(report)
    }

    async fn send_lines(&self, lines: Vec<u8>, sent: u64, report: &mut ImportReport) -> Result<(), Error> {
        let request = Request::import(self.url("/batch", ""), lines);
        let part: ImportReport = self.send(&request, ClientBuilder::MAX_PAGE_BYTES).await?.json()?;
        report.created += part.created;
        report.replaced += part.replaced;
        report.unchanged += part.unchanged;
        report.rejected += part.rejected;
        let room = ImportReport::MAX_ERRORS.saturating_sub(report.errors.len());
        report.errors.extend(part.errors.into_iter().take(room).map(|mut error| {
            error.line += sent;
            error
        }));
        Ok(())
    }

    /// Every record of a filter, newest first, from one snapshot of the service and in constant memory.
    ///
    /// Where the connection breaks, the stream connects again and goes on behind the last record; what comes after that
    /// is from a later snapshot. A failure that retries do not mend ends the stream. `format` is the stream's own affair;
    /// for a file of CSV, ask the service itself.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::CallFilter;
    /// use futures_util::TryStreamExt as _;
    ///
    /// let mut calls = std::pin::pin!(client.export_calls(CallFilter::default()).await?);
    /// while let Some(call) = calls.try_next().await? {
    ///     println!("{}", call.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As in the [crate](crate#errors), where the export does not begin.
    pub async fn export_calls(
        &self,
        filter: callhistory_model::CallFilter,
    ) -> Result<impl Stream<Item = Result<CallRecord, Error>> + Send + use<>, Error> {
        let mut export = Export { client: self.clone(), filter, lines: Lines::default(), last: None, breaks: 0 };
        export.connect().await?;
        Ok(stream::try_unfold(export, |mut export| async move { Ok(export.next().await?.map(|call| (call, export))) }))
    }

    /// Reads the changes after a cursor, once. To follow them, see [`follow_changes`](Self::follow_changes).
    ///
    /// # Errors
    ///
    /// As in the [crate](crate#errors).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::ChangesQuery;
    ///
    /// let page = client.list_call_changes(&ChangesQuery::default()).await?;
    /// for change in &page.changes {
    ///     println!("{} {}", change.kind, change.id);
    /// }
    /// println!("go on at {}", page.cursor);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_call_changes(&self, query: &ChangesQuery) -> Result<CallChangePage, Error> {
        let request = Request::get(self.url("/changes", &query.to_query()));
        self.send(&request, ClientBuilder::MAX_PAGE_BYTES).await?.json()
    }

    /// Follows the changes after a cursor, for ever: each item has at least one change, and the cursor to keep once they
    /// have been dealt with.
    ///
    /// A failure is an item as well. After one that [may pass](Error::is_retryable) the stream goes on where it was when
    /// it is polled again; any other one ends it.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client, kept: Option<String>) -> Result<(), callhistory_client::Error> {
    /// use futures_util::TryStreamExt as _;
    ///
    /// let mut pages = std::pin::pin!(client.follow_changes(kept));
    /// while let Some(page) = pages.try_next().await? {
    ///     for change in &page.changes {
    ///         println!("{} {}", change.kind, change.id);
    ///     }
    ///     println!("keep {}", page.cursor);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow_changes(
        &self,
        cursor: Option<String>,
    ) -> impl Stream<Item = Result<CallChangePage, Error>> + Send + use<> {
        let client = self.clone();
        let query = ChangesQuery { cursor, limit: None, wait: Some(self.inner.longest_wait) };
        let pages = stream::unfold(Some(query), move |query| {
            let client = client.clone();
            async move {
                let query = query?;
                match client.list_call_changes(&query).await {
                    Ok(page) => {
                        let rest = ChangesQuery { cursor: Some(page.cursor.clone()), ..query };
                        Some((Ok(page), Some(rest)))
                    }
                    Err(error) => {
                        let rest = error.is_retryable().then_some(query);
                        Some((Err(error), rest))
                    }
                }
            }
        });
        // A wait that ended without a change is nobody's business.
        pages.filter(|page| std::future::ready(page.as_ref().map_or(true, |page| !page.changes.is_empty())))
    }
}

/// The cursor that the link to the next page has. A target may have commas, so the brackets around it come first.
fn next_cursor(link: &str) -> Option<String> {
    let mut links = link.split('<').filter_map(|part| part.split_once('>'));
    let (target, _) = links.find(|(_, parameters)| parameters.contains("rel=\"next\""))?;
    // The link is relative; only its cursor is of interest, and it is sent to the service that this client knows.
    let url = Url::parse("http://relative").ok()?.join(target).ok()?;
    url.query_pairs().find(|(name, _)| name == "cursor").map(|(_, cursor)| cursor.into_owned())
}

/// An export under way.
struct Export {
    client: Client,
    filter: callhistory_model::CallFilter,
    lines: Lines,
    last: Option<CallRecord>,
    /// Connections that broke since the last record.
    breaks: usize,
}

/// The lines of an answer, as they come.
#[derive(Default)]
struct Lines {
    response: Option<Response>,
    text: Vec<u8>,
    ready: VecDeque<Vec<u8>>,
}

impl Export {
    /// Begins, or goes on at the moment of the last record.
    async fn connect(&mut self) -> Result<(), Error> {
        let mut filter = self.filter.clone();
        if let Some(last) = &self.last {
            let before = Timestamp::from_unix_nanos(last.sort_time_nanos().saturating_add(1));
            let sooner = filter.started_before.filter(|asked| asked.unix_nanos() < before.unix_nanos());
            filter.started_before = Some(sooner.unwrap_or(before));
        }
        let query = ExportQuery { filter, ..ExportQuery::default() };
        let request = Request::get(self.client.url("/export", &query.to_query()));
        let response = Some(self.client.open(&request).await?);
        self.lines = Lines { response, ..Lines::default() };
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<CallRecord>, Error> {
        loop {
            match self.lines.next().await {
                Ok(None) => return Ok(None),
                Ok(Some(call)) if self.is_new(&call) => {
                    self.breaks = 0;
                    self.last = Some(call.clone());
                    return Ok(Some(call));
                }
                Ok(Some(_)) => {}
                Err(error) if error.is_retryable() && self.breaks < self.client.inner.max_retries => {
                    self.breaks += 1;
                    self.connect().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a record lies behind the last one, in the order of the export.
    fn is_new(&self, call: &CallRecord) -> bool {
        let place = |call: &CallRecord| (call.sort_time_nanos(), call.id.clone());
        self.last.as_ref().is_none_or(|last| place(call) < place(last))
    }
}

impl Lines {
    async fn next(&mut self) -> Result<Option<CallRecord>, Error> {
        let Some(response) = &mut self.response else { return Ok(None) };
        let unreadable = |error, response: &Response| Error::unreadable(Answer::of(response), false, error).after(1);
        while self.ready.is_empty() {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let mut parts = chunk.split(|byte| *byte == b'\n');
                    self.text.extend_from_slice(parts.next().unwrap_or_default());
                    for part in parts {
                        self.ready.push_back(std::mem::replace(&mut self.text, part.to_vec()));
                    }
                    if self.text.len() > ClientBuilder::MAX_RECORD_BYTES {
                        let error = BodyError::TooLarge(ClientBuilder::MAX_RECORD_BYTES);
                        return Err(unreadable(error, response));
                    }
                }
                Ok(None) if self.text.is_empty() => return Ok(None),
                // Half a line: whoever carried the answer here lost its end.
                Ok(None) => return Err(unreadable(BodyError::CutOff, response)),
                Err(error) => return Err(unreadable(BodyError::broken(error), response)),
            }
        }
        let line = self.ready.pop_front().unwrap_or_default();
        let call = serde_json::from_slice(&line).map_err(|error| unreadable(BodyError::Malformed(error), response))?;
        Ok(Some(call))
    }
}
