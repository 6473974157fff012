//! Exports: a stream that resumes after a broken connection.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use callhistory_model::{CallFilter, CallRecord, ExportQuery, Timestamp};
use futures_util::{Stream, stream};
use reqwest::{Method, Request, Response};

use crate::{
    client::{Client, ClientBuilder},
    error::{BodyError, Error, ResponseHead},
};

/// The read timeout bounds an export; the service ends it after an hour.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2 * 3600);

impl Client {
    /// Exports all matching records, newest first, from one snapshot and in constant memory.
    ///
    /// After a broken connection the stream reconnects and resumes after the last record; the later records are from a
    /// later snapshot. An error that retries do not resolve ends the stream. [`export_calls_as`](Self::export_calls_as) exports
    /// tables.
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
    /// As in the [crate](crate#errors), if the export does not start.
    pub async fn export_calls(
        &self,
        filter: CallFilter,
    ) -> Result<impl Stream<Item = Result<CallRecord, Error>> + Send + use<>, Error> {
        let mut export = Export { client: self.clone(), filter, lines: LineReader::default(), last: None, breaks: 0 };
        export.connect().await?;
        Ok(stream::try_unfold(export, |mut export| async move { Ok(export.next().await?.map(|call| (call, export))) }))
    }
}

impl Client {
    /// Exports in any format and order: the bytes of the file, in parts of any size.
    ///
    /// A broken connection ends the stream with an error; nothing is retried after the first part.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use callhistory_client::ExportQuery;
    /// use futures_util::TryStreamExt as _;
    /// use std::io::Write as _;
    ///
    /// let query = ExportQuery::from_query("format=xlsx&startedAfter=2026-01-01&timezone=Europe/Berlin")?;
    /// let mut file = std::fs::File::create("calls.xlsx")?;
    /// let mut parts = std::pin::pin!(client.export_calls_as(&query).await?);
    /// while let Some(part) = parts.try_next().await? {
    ///     file.write_all(&part)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As in the [crate](crate#errors), if the export does not start.
    pub async fn export_calls_as(
        &self,
        query: &ExportQuery,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + use<>, Error> {
        let mut request = Request::new(Method::GET, self.url("/export", &query.to_query()));
        *request.timeout_mut() = Some(EXPORT_TIMEOUT);
        let response = self.open(&request).await?;
        Ok(stream::try_unfold(response, |mut response| async move {
            match response.chunk().await {
                Ok(part) => Ok(part.map(|part| (part, response))),
                Err(error) => {
                    Err(Error::unreadable(ResponseHead::of(&response), false, BodyError::broken(error)).after(1))
                }
            }
        }))
    }
}

/// An export in progress.
struct Export {
    client: Client,
    filter: CallFilter,
    lines: LineReader,
    last: Option<CallRecord>,
    /// Broken connections since the last record.
    breaks: usize,
}

/// The lines of a response body, read incrementally.
#[derive(Default)]
struct LineReader {
    response: Option<Response>,
    text: Vec<u8>,
    ready: VecDeque<Vec<u8>>,
}

impl Export {
    /// Starts the export, or resumes it at the time of the last record.
    async fn connect(&mut self) -> Result<(), Error> {
        let mut filter = self.filter.clone();
        if let Some(last) = &self.last {
            let before = Timestamp::from_unix_nanos(last.sort_time_nanos().saturating_add(1));
            let sooner = filter.started_before.filter(|asked| asked.unix_nanos() < before.unix_nanos());
            filter.started_before = Some(sooner.unwrap_or(before));
        }
        let query = ExportQuery::new().filter(filter);
        let mut request = Request::new(Method::GET, self.client.url("/export", &query.to_query()));
        *request.timeout_mut() = Some(EXPORT_TIMEOUT);
        let response = Some(self.client.open(&request).await?);
        self.lines = LineReader { response, ..LineReader::default() };
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
                Err(error) if error.is_retryable() && self.breaks < self.client.shared.max_retries => {
                    self.breaks += 1;
                    self.connect().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a record follows the last one, in the order of the export.
    fn is_new(&self, call: &CallRecord) -> bool {
        let key = |call: &CallRecord| (call.sort_time_nanos(), call.id.clone());
        self.last.as_ref().is_none_or(|last| key(call) < key(last))
    }
}

impl LineReader {
    async fn next(&mut self) -> Result<Option<CallRecord>, Error> {
        let Some(response) = &mut self.response else { return Ok(None) };
        let unreadable =
            |error, response: &Response| Error::unreadable(ResponseHead::of(response), false, error).after(1);
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
                // An incomplete line: the end of the response is lost.
                Ok(None) => return Err(unreadable(BodyError::CutOff, response)),
                Err(error) => return Err(unreadable(BodyError::broken(error), response)),
            }
        }
        let line = self.ready.pop_front().unwrap_or_default();
        let call = serde_json::from_slice(&line).map_err(|error| unreadable(BodyError::Malformed(error), response))?;
        Ok(Some(call))
    }
}
