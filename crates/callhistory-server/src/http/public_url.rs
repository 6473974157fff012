//! The URL under which callers reach the service.

use std::str::FromStr;

use axum::http::Uri;

/// The URL under which callers reach the service, maybe through proxies. Links are absolute with it.
#[derive(Clone, Debug)]
pub struct PublicUrl {
    calls: String,
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write http:// or https://, a host, and the path prefix of a proxy: https://calls.example.com";
        let refuse = |reason: &str| format!("{reason}; {form}");
        let uri: Uri = text.parse().map_err(|_| refuse("is not a URL"))?;
        let host = uri.authority().ok_or_else(|| refuse("has no host"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(refuse("is neither http nor https"));
        }
        if uri.query().is_some() || text.contains('#') || host.as_str().contains('@') || text.contains(['<', '>', '"'])
        {
            return Err(refuse("has a query, a fragment, a user or a character that a URL must encode"));
        }
        Ok(Self { calls: format!("{}/v2/api/call-history", text.trim_end_matches('/')) })
    }
}

impl PublicUrl {
    /// The URL of the collection of calls, without a slash at its end.
    pub(crate) fn calls(&self) -> &str {
        &self.calls
    }
}
