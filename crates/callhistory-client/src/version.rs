//! Versions of records, and records with their version.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    str::FromStr,
};

use callhistory_model::{CallChange, CallRecord, WarningCode};
use reqwest::header::{ETAG, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::Error;

const WARNINGS: HeaderName = HeaderName::from_static("x-callhistory-warnings");

/// The version of a record in its workspace: its entity tag (`ETag`), which is opaque.
///
/// It can be stored as text, and read again with [`str::parse`].
///
/// ```
/// use callhistory_client::Version;
///
/// let version: Version = "\"7-9f86d081884c7d65\"".parse()?;
/// assert_eq!(version.to_string(), "\"7-9f86d081884c7d65\"");
/// assert!("7".parse::<Version>().unwrap_err().is_invalid_request());
/// # Ok::<(), callhistory_client::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(HeaderValue);

impl Version {
    /// The entity tag, with its quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The version of a record after a change. The [precondition](crate::Client::if_version) fails if it has changed again since;
    /// `None` for a deleted record.
    ///
    /// ```
    /// # fn example(change: callhistory_client::CallChange, client: callhistory_client::Client) {
    /// use callhistory_client::Version;
    ///
    /// let client = Version::of_change(&change).map(|version| client.if_version(&version));
    /// # }
    /// ```
    #[must_use]
    pub fn of_change(change: &CallChange) -> Option<Self> {
        change.etag.as_deref()?.parse().ok()
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// The version that a response names.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get(ETAG).and_then(Self::from_header)
    }

    fn from_header(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let tag = text.strip_prefix("W/").unwrap_or(text).strip_prefix('"')?.strip_suffix('"')?;
        (!tag.contains('"')).then(|| Self(value.clone()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let version = HeaderValue::from_str(text).ok().and_then(|value| Self::from_header(&value));
        version
            .ok_or_else(|| Error::invalid("the version is not an entity tag; it has double quotes, as an ETag has it"))
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A record as it is stored, with its version. It derefs to the record.
///
/// ```no_run
/// # async fn example(client: callhistory_client::Client) -> Result<(), callhistory_client::Error> {
/// use callhistory_client::{CallInput, CallPatch, CallStatus};
///
/// let call = client.get_call("1234567890abcdef").await?;
/// if call.status == Some(CallStatus::Ongoing) {
///     let ended = CallInput { status: Some(CallStatus::Completed), ..CallInput::default() };
///     // Each write fails if another one came between.
///     let written = client.if_version(call.version()?).update_call(call.id.as_str(), &ended.into()).await?;
///     let patch = CallPatch::default().without("roomName");
///     client.if_version(written.version()?).update_call(call.id.as_str(), &patch).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Versioned<T = CallRecord> {
    /// The record.
    pub call: T,
    /// What the service stored in another form than it was sent, or left out, and what contradicts itself: the service
    /// names as many as fit into a header of 4 KiB. Reads have none.
    pub warnings: Vec<WriteWarning>,
    version: Option<Version>,
}

/// A warning about a write that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct WriteWarning {
    /// Location in the document that was sent, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// Machine-readable warning code.
    pub code: WarningCode,
}

impl<T> Versioned<T> {
    pub(crate) fn new(call: T, headers: &HeaderMap) -> Self {
        // A proxy may remove or shorten headers; the record says what is stored.
        let warnings = headers.get(WARNINGS).and_then(|json| serde_json::from_slice(json.as_bytes()).ok());
        Self { call, warnings: warnings.unwrap_or_default(), version: Version::of(headers) }
    }

    /// The version, for the [precondition](crate::Client::if_version) of the next write.
    ///
    /// # Errors
    ///
    /// If the response had no `ETag`: a proxy has removed it.
    pub fn version(&self) -> Result<&Version, Error> {
        self.version.as_ref().ok_or_else(|| Error::invalid("the response has no ETag; a proxy may have removed it"))
    }
}

impl<T> Deref for Versioned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.call
    }
}

impl<T> DerefMut for Versioned<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.call
    }
}
