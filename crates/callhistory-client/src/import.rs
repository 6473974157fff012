//! Imports, in requests of bounded size.

use callhistory_model::{CallInput, ImportReport};
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
    /// The records are sent in requests of 500. A failed request is retried: the operation is idempotent. A
    /// rejected record is reported with its position, starting at 1, and does not prevent the others from being
    /// written.
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
        let mut report = ImportReport::default();
        let (mut lines, mut records, mut sent) = (Vec::new(), 0, 0);
        for call in calls {
            lines.extend(encode(&call)?);
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
        let request = with_body(Request::new(Method::POST, self.url("/batch", "")), "application/x-ndjson", lines);
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
}
