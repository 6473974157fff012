//! Imports, in requests of bounded size.

use std::{error::Error as StdError, fmt, pin::pin};

use callhistory_model::{CallInput, ImportQuery, ImportReport};
use futures_util::{Stream, StreamExt as _};
use reqwest::Method;

use crate::{
    builder::ClientBuilder,
    client::Client,
    error::Error,
    transport::{encode, is_report},
};

/// Maximum number of records per request.
const IMPORT_RECORDS: usize = 500;
/// Size from which a request is sent, in bytes.
const IMPORT_BYTES: usize = 4 * 1024 * 1024;

#[cfg(not(target_arch = "wasm32"))]
type Progress = Box<dyn FnMut(&ImportReport) + Send>;
#[cfg(target_arch = "wasm32")]
type Progress = Box<dyn FnMut(&ImportReport)>;

impl Client {
    /// Imports call records: creates or replaces each one by its `_id`, and returns a report. [`import`](Self::import) has
    /// parameters, takes streams, and reports progress.
    ///
    /// The records are sent in requests of 500, of which each counts its own repeated IDs. A failed request is retried:
    /// the operation is idempotent. A rejected record is reported with its position, starting at 1, and does not prevent
    /// the others from being written. The handling is lenient by default: see
    /// [`RequestOptions::handling`](crate::RequestOptions::handling). A late record that would undo a final status is not
    /// written, and counts as stale; so does a deleted one, as deleted.
    ///
    /// # Errors
    ///
    /// As in the [crate](crate#errors). Earlier requests stay written, and [`Error::import_report`] is their report; the whole
    /// import can be repeated.
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
        self.import(ImportQuery::default()).calls(calls).await
    }

    /// Prepares an import with parameters: it merges records into those that exist, only creates records, restores deleted ones,
    /// or writes all or none.
    ///
    /// An atomic import is one request of up to [`ImportQuery::MAX_ATOMIC_RECORDS`] records and
    /// [`ImportQuery::MAX_ATOMIC_BYTES`] bytes: [`ImportReport::aborted`] says whether a rejected record prevented it.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client, calls: Vec<callhistory_client::CallInput>)
    /// #     -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::{ImportMode, ImportQuery};
    ///
    /// let import = client.import(ImportQuery::new().mode(ImportMode::Merge));
    /// let import = import.on_progress(|report| println!("{} records processed", report.processed()));
    /// match import.calls(calls).await {
    ///     Ok(report) => println!("{} merged", report.merged),
    ///     Err(error) => println!("{error}; before: {:?}", error.import_report()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn import(&self, query: ImportQuery) -> Import {
        Import { client: self.clone(), query, progress: None }
    }
}

/// An import that is being prepared; returned by [`Client::import`].
#[must_use = "an import does nothing until it has records"]
pub struct Import {
    client: Client,
    query: ImportQuery,
    progress: Option<Progress>,
}

impl Import {
    /// Calls a function after each request, with the report of what was written so far.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn on_progress(mut self, progress: impl FnMut(&ImportReport) + Send + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Calls a function after each request, with the report of what was written so far.
    #[cfg(target_arch = "wasm32")]
    pub fn on_progress(mut self, progress: impl FnMut(&ImportReport) + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Imports the records of an iterator.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_request`] if an atomic import is too large; otherwise those of
    /// [`import_calls`](Client::import_calls).
    pub async fn calls(self, calls: impl IntoIterator<Item = CallInput>) -> Result<ImportReport, Error> {
        let mut parts = Parts::new(self);
        for call in calls {
            parts.push(&call).await?;
        }
        parts.finish().await
    }

    /// Imports the records of a stream, such as a file or the cursor of a database, which is not read ahead.
    ///
    /// # Errors
    ///
    /// Those of [`calls`](Self::calls), and the first error of the stream: what came before it is written, unless the text of the error says
    /// why not.
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// # let archive = client.clone();
    /// use callhistory_client::{CallFilter, ImportQuery};
    /// use futures_util::TryStreamExt as _;
    ///
    /// let calls = archive.export_calls(CallFilter::default()).await?;
    /// let report = client.import(ImportQuery::default()).stream(calls.map_ok(Into::into)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stream<E: Into<Box<dyn StdError + Send + Sync>>>(
        self,
        calls: impl Stream<Item = Result<CallInput, E>>,
    ) -> Result<ImportReport, Error> {
        let (mut parts, mut calls) = (Parts::new(self), pin!(calls));
        while let Some(call) = calls.next().await {
            match call {
                Ok(call) => parts.push(&call).await?,
                Err(error) => return Err(parts.fail(error.into()).await),
            }
        }
        parts.finish().await
    }
}

impl fmt::Debug for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import").field("query", &self.query).finish_non_exhaustive()
    }
}

/// The requests of an import.
struct Parts {
    import: Import,
    report: ImportReport,
    /// The records of the next request.
    lines: Vec<u8>,
    records: usize,
    /// Records that were sent before.
    sent: u64,
}

impl Parts {
    fn new(import: Import) -> Self {
        Self { import, report: ImportReport::default(), lines: Vec::new(), records: 0, sent: 0 }
    }

    /// Adds a record, and sends a request if it is full.
    async fn push(&mut self, call: &CallInput) -> Result<(), Error> {
        let line = encode(call).map_err(|error| error.with_report(self.report.clone()))?;
        self.lines.extend(line);
        self.lines.push(b'\n');
        self.records += 1;
        if !self.import.query.is_atomic {
            let is_full = self.records == IMPORT_RECORDS || self.lines.len() >= IMPORT_BYTES;
            return if is_full { self.send().await } else { Ok(()) };
        }
        if self.records > ImportQuery::MAX_ATOMIC_RECORDS || self.lines.len() > ImportQuery::MAX_ATOMIC_BYTES {
            return Err(Error::invalid("an atomic import has at most 10,000 records and 32 MiB"));
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Error> {
        let Import { client, query, progress } = &mut self.import;
        let operation = client.operation("import_calls", Method::POST, client.url("/batch", &query.to_query()));
        let operation = operation.with_body("application/x-ndjson", std::mem::take(&mut self.lines));
        let operation = operation.with_handling(client.options.handling);
        // A part of which nothing was taken has the status of an error, and a report like any other.
        let reply = client.send_for(&operation, is_report, ClientBuilder::MAX_PAGE_BYTES).await;
        let part: Result<ImportReport, Error> = reply.and_then(|reply| reply.json());
        let part = part.map_err(|error| error.with_report(self.report.clone()))?;
        add(&mut self.report, part, self.sent);
        self.sent += self.records as u64;
        self.records = 0;
        if let Some(progress) = progress {
            progress(&self.report);
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<ImportReport, Error> {
        if self.records > 0 {
            self.send().await?;
        }
        Ok(self.report)
    }

    /// Sends what came before an error of the source, and returns that error. An atomic import sends nothing.
    async fn fail(mut self, source: Box<dyn StdError + Send + Sync>) -> Error {
        let mut message = "the source of the import failed".to_owned();
        if self.records > 0
            && !self.import.query.is_atomic
            && let Err(unsent) = self.send().await
        {
            message = format!("{message}, and the records before were not sent ({unsent})");
        }
        Error::invalid_source(&message, source).with_report(self.report)
    }
}

/// Adds the report of a part that starts after this number of records.
fn add(report: &mut ImportReport, part: ImportReport, sent: u64) {
    report.created += part.created;
    report.replaced += part.replaced;
    report.merged += part.merged;
    report.unchanged += part.unchanged;
    report.stale += part.stale;
    report.deleted += part.deleted;
    report.repeated += part.repeated;
    report.skipped += part.skipped;
    report.rejected += part.rejected;
    report.warned += part.warned;
    report.aborted |= part.aborted;
    let room = ImportReport::MAX_ERRORS.saturating_sub(report.errors.len());
    let errors = part.errors.into_iter().take(room);
    report.errors.extend(errors.map(|mut error| {
        error.line += sent;
        error
    }));
    let room = ImportReport::MAX_WARNINGS.saturating_sub(report.warnings.len());
    let warnings = part.warnings.into_iter().take(room);
    report.warnings.extend(warnings.map(|mut warning| {
        warning.line += sent;
        warning
    }));
}
