//! Originals: what was sent, byte for byte.

use callhistory_model::OriginalInfo;
use reqwest::{Method, Url, header::CONTENT_TYPE};

use crate::{builder::ClientBuilder, client::Client, error::Error};

/// A document of a record as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// The bytes.
    pub body: Vec<u8>,
    /// The media type that they were sent with.
    pub media_type: String,
}

impl Client {
    /// Lists the originals of a record: documents of which the record does not have everything that was sent.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] if the record does not exist in this workspace; otherwise as in the [crate](crate#errors).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// for original in client.list_originals("1234567890abcdef").await? {
    ///     println!("{} from {}: {} warnings", original.number, original.source, original.warnings.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_originals(&self, id: &str) -> Result<Vec<OriginalInfo>, Error> {
        let operation = self.operation("list_originals", Method::GET, self.originals_url(id, None)?);
        self.send(&operation, ClientBuilder::MAX_PAGE_BYTES).await?.json()
    }

    /// Retrieves an original by its number in the record.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] if the record does not exist in this workspace, or has no such original; otherwise as in the
    /// [crate](crate#errors).
    ///
    /// ```no_run
    /// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
    /// let original = client.get_original("1234567890abcdef", 1).await?;
    /// println!("{}: {} bytes", original.media_type, original.body.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_original(&self, id: &str, number: u32) -> Result<Original, Error> {
        let operation = self.operation("get_original", Method::GET, self.originals_url(id, Some(number))?);
        let reply = self.send(&operation, ClientBuilder::MAX_RECORD_BYTES).await?;
        let media_type = reply.headers.get(CONTENT_TYPE).and_then(|media_type| media_type.to_str().ok());
        let media_type = media_type.unwrap_or("application/octet-stream").to_owned();
        Ok(Original { body: reply.body, media_type })
    }

    fn originals_url(&self, id: &str, number: Option<u32>) -> Result<Url, Error> {
        let mut url = self.call_url(id)?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push("originals").extend(number.map(|number| number.to_string()));
        }
        Ok(url)
    }
}
