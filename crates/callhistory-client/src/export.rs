//! Exports: a stream that resumes after a broken connection.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use callhistory_model::{CallFilter, CallRecord, ExportQuery, Timestamp};
use futures_util::stream;
use reqwest::Method;

use crate::{
    builder::ClientBuilder,
    client::{Client, Operation},
    error::{BodyError, Error, Malformed},
    stream::ItemStream,
    transport::ResponseParts,
};

/// The read timeout bounds an export; the service ends it after an hour.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2 * 3600);

impl Client {
    /// Exports all matching records, newest first, from one snapshot and in constant memory.
    ///
    /// After a broken connection the stream reconnects and resumes after the last record; the later records are from a
    /// later snapshot. An error that retries do not resolve ends the stream. [`export_file`](Self::export_file) exports
    /// tables, and raw bytes.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::CallFilter;
    ///
    /// let mut calls = client.export_calls(CallFilter::default()).await?;
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
    pub async fn export_calls(&self, filter: CallFilter) -> Result<ItemStream<CallRecord>, Error> {
        let mut export = Export { client: self.clone(), filter, lines: LineReader::default(), last: None, breaks: 0 };
        export.connect().await?;
        let next = |mut export: Export| async move { Ok(export.next().await?.map(|call| (call, export))) };
        Ok(ItemStream::new(stream::try_unfold(export, next)))
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
    ///
    /// let query = ExportQuery::from_query("format=xlsx&startedAfter=2026-01-01&timezone=Europe/Berlin")?;
    /// let mut file = tokio::fs::File::create("calls.xlsx").await?;
    /// client.export_file(&query).await?.write_to(&mut file).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As in the [crate](crate#errors), if the export does not start.
    pub async fn export_file(&self, query: &ExportQuery) -> Result<ItemStream<Bytes>, Error> {
        let parts = self.open(&self.export(query)).await?;
        Ok(ItemStream::new(stream::try_unfold(parts, |mut parts| async move {
            match parts.next().await {
                Ok(part) => Ok(part.map(|part| (part, parts))),
                Err(error) => Err(parts.unreadable(error)),
            }
        })))
    }

    fn export(&self, query: &ExportQuery) -> Operation {
        let mut operation = self.operation("export_calls", Method::GET, self.url("/export", &query.to_query()));
        *operation.request.timeout_mut() = Some(EXPORT_TIMEOUT);
        operation
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
    response: Option<ResponseParts>,
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
        let query = ExportQuery { filter, ..ExportQuery::default() };
        let response = Some(self.client.open(&self.client.export(&query)).await?);
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
                Err(error) if error.is_retryable() && self.breaks < self.client.options.max_retries => {
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
        while self.ready.is_empty() {
            match response.next().await {
                Ok(Some(chunk)) => {
                    let mut parts = chunk.split(|byte| *byte == b'\n');
                    self.text.extend_from_slice(parts.next().unwrap_or_default());
                    for part in parts {
                        self.ready.push_back(std::mem::replace(&mut self.text, part.to_vec()));
                    }
                    if self.text.len() > ClientBuilder::MAX_RECORD_BYTES {
                        let error = BodyError::TooLarge(ClientBuilder::MAX_RECORD_BYTES);
                        return Err(response.unreadable(error));
                    }
                }
                Ok(None) if self.text.is_empty() => return Ok(None),
                // An incomplete line: the end of the response is lost.
                Ok(None) => return Err(response.unreadable(BodyError::CutOff)),
                Err(error) => return Err(response.unreadable(error)),
            }
        }
        let line = self.ready.pop_front().unwrap_or_default();
        let call = Malformed::check(&line).map_err(|error| response.unreadable(BodyError::Malformed(error)))?;
        Ok(Some(call))
    }
}
