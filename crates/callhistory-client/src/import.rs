//! Imports, in requests of bounded size.

use callhistory_model::{CallInput, ImportQuery, ImportReport};
use reqwest::{Method, Request};

use crate::{
    client::{Client, ClientBuilder},
    error::Error,
    transport::{encode, with_body},
};

/// Maximum number of records per request.
const IMPORT_RECORDS: usize = 500;
/// Size from which a request is sent, in bytes.
const IMPORT_BYTES: usize = 4 * 1024 * 1024;

impl Client {
    /// Imports call records: creates or replaces each one by its `_id`, and returns a report.
    ///
    /// The records are sent in requests of 500, of which each counts its own repeated IDs. A failed request is retried:
    /// the operation is idempotent. A rejected record is reported with its position, starting at 1, and does not prevent
    /// the others from being written. The handling is lenient by default: see
    /// [`with_handling`](Self::with_handling). A late record that would undo a final status is not written, and counts
    /// as stale; so does a deleted one, as deleted.
    ///
    /// # Errors
    ///
    /// As in the [crate](crate#errors). Earlier requests stay written; the whole import can be repeated.
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
        self.import_calls_with(&ImportQuery::default(), calls).await
    }

    /// Imports call records with parameters: merges them into those that exist, creates only, restores deleted ones, or
    /// writes all or none.
    ///
    /// An atomic import is one request of up to [`ImportQuery::MAX_ATOMIC_RECORDS`] records and
    /// [`ImportQuery::MAX_ATOMIC_BYTES`] bytes: [`ImportReport::aborted`] says whether a rejected record prevented it.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_request`] if an atomic import is too large; otherwise those of
    /// [`import_calls`](Self::import_calls).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client, calls: Vec<callhistory_client::CallInput>)
    /// #     -> Result<(), callhistory_client::Error> {
    /// use callhistory_client::{ImportMode, ImportQuery};
    ///
    /// let query = ImportQuery::new().mode(ImportMode::Merge);
    /// let report = client.import_calls_with(&query, calls).await?;
    /// println!("{} merged", report.merged);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn import_calls_with(
        &self,
        query: &ImportQuery,
        calls: impl IntoIterator<Item = CallInput>,
    ) -> Result<ImportReport, Error> {
        let mut report = ImportReport::default();
        let (mut lines, mut records, mut sent) = (Vec::new(), 0, 0);
        for call in calls {
            lines.extend(encode(&call)?);
            lines.push(b'\n');
            records += 1;
            let is_too_large = records > ImportQuery::MAX_ATOMIC_RECORDS || lines.len() > ImportQuery::MAX_ATOMIC_BYTES;
            if query.is_atomic && is_too_large {
                return Err(Error::invalid("an atomic import has at most 10,000 records and 32 MiB"));
            }
            if !query.is_atomic && (records == IMPORT_RECORDS || lines.len() >= IMPORT_BYTES) {
                self.send_lines(query, std::mem::take(&mut lines), sent, &mut report).await?;
                sent += records as u64;
                records = 0;
            }
        }
        if !lines.is_empty() {
            self.send_lines(query, lines, sent, &mut report).await?;
        }
        Ok(report)
    }

    async fn send_lines(
        &self,
        query: &ImportQuery,
        lines: Vec<u8>,
        sent: u64,
        report: &mut ImportReport,
    ) -> Result<(), Error> {
        let request = Request::new(Method::POST, self.url("/batch", &query.to_query()));
        let request = self.prefer(with_body(request, "application/x-ndjson", lines));
        // A part of which nothing was taken has the status of an error, and a report like any other.
        let part: ImportReport = self.send_for_report(&request, ClientBuilder::MAX_PAGE_BYTES).await?.json()?;
        add(report, part, sent);
        Ok(())
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
