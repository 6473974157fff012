//! The host names that a server without keys answers to. Otherwise a web page of any name could read it: after its name is made
//! to resolve to this machine (DNS rebinding), a browser takes the server for a part of the page's own site.

use std::{net::IpAddr, str::FromStr};

use axum::http::uri::Authority;

/// Host names, in addition to `localhost` and all IP addresses: rebinding needs a name.
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts(Vec<String>);

impl FromStr for AllowedHosts {
    type Err = String;

    /// Parses names that are separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        };
        let names: Vec<_> = text.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
        match names.iter().find(|name| !is_name(name)) {
            Some(name) => {
                Err(format!("{name:?} is not a host name; write names without a port: calls,calls.example.com"))
            }
            None => Ok(Self(names)),
        }
    }
}

impl AllowedHosts {
    /// Whether a request for this authority, such as `localhost:8080`, is answered.
    pub(crate) fn allows(&self, authority: &[u8]) -> bool {
        let Ok(authority) = Authority::try_from(authority) else { return false };
        let host = authority.host().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        host == "localhost" || address.parse::<IpAddr>().is_ok() || self.0.iter().any(|name| name == host)
    }
}
